//! The state machine of the embedded store: an index of every job, decided on and changed by
//! plain functions over values.
//!
//! `commit`, `lease` and `tick` decide, and append facts; `evolve` makes a fact so and cannot fail.
//! None reads a clock, draws a random number, or touches a disk.

pub mod action;
mod audit;
mod claim;
mod claims;
mod commit;
mod ended;
mod enqueue;
mod evolve;
pub mod fact;
mod groups;
mod hash;
mod ids;
mod keys;
mod labels;
mod life;
mod links;
mod load;
mod names;
mod operate;
mod pace;
mod page;
mod pool;
mod remembered;
mod rows;
pub mod saved;
mod seen;
mod settle;
mod settles;
mod state;
mod tick;
mod topics;
mod undo;

pub use action::{
    Action, Answer, Claim, Ending, Grant, KeyLookup, Moment, Refusal, Refused, RowView,
};
pub use fact::{
    Cause, Fact, Hashes, KeyDigest, Place, QueueConfig, Slot, Summary, To, UniqueClaim,
};
pub use groups::{
    EventClaim, EventEnding, EventGrant, EventState, Feed, Finish, Keep, SavedGroup, SavedGroups,
    SavedKept, SavedMember, Unfinished,
};
pub use life::Life;
pub use saved::{
    KeyChanges, Saved, SavedJob, SavedKey, SavedLease, SavedMeta, SavedQueue, SavedSeen,
};
pub use seen::Seen;
pub use settles::{SETTLE_PAGE, SettlePage, Settles};
pub use state::{Bounds, Kept, Machine};
pub use topics::{Batch, SavedTopic, SavedTopics, TopicChange};
