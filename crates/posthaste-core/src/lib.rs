//! What jobs, topics and consumer groups are and how they change.
//!
//! This crate is pure: no I/O, no clock, no threads, no randomness, no async runtime. Time and
//! entropy are passed in, effects come back as values. It holds the vocabulary that every other
//! crate shares, the state machine of the embedded store, and the [`port::Store`] that adapters
//! implement.

pub mod backoff;
pub mod check;
pub mod command;
pub mod duration;
pub mod error;
pub mod group;
pub mod ids;
pub mod job;
pub mod limits;
pub mod machine;
pub mod plan;
pub mod policy;
pub mod port;
pub mod suggest;
pub mod text;
pub mod time;
pub mod topic;
pub mod view;

pub use backoff::Backoff;
pub use command::{Command, Commit, Committed, Reply};
pub use error::{Error, ErrorKind, Result};
pub use ids::{GroupName, JobId, KindName, QueueName, Token, TopicName, WorkerName};
pub use job::{DeadReason, JobState, NewJob, Outcome, Payload, Priority};
pub use port::Store;
pub use text::Text;
pub use time::{MonoMs, Now, WallMs};
pub use topic::{Event, NewEvent, Position, Published};
