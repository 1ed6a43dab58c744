//! What jobs are and how they change.
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
pub mod ids;
pub mod job;
pub mod limits;
pub mod machine;
pub mod port;
pub mod suggest;
pub mod time;
pub mod view;

pub use backoff::Backoff;
pub use command::{Command, Commit, Committed, Reply};
pub use error::{Error, ErrorKind, Result};
pub use ids::{JobId, KindName, QueueName, Token, WorkerName};
pub use job::{DeadReason, JobState, NewJob, Outcome, Payload, Priority};
pub use port::Store;
pub use time::{MonoMs, Now, WallMs};
