//! Consumer groups: which event is whose turn, who has it, and how far a group is.
//!
//! What outlives the process is in `saved`, and one function, in `apply`, says what a fact makes of
//! it, for the machine and for the merging of snapshots. `lines` is the machine's index over that:
//! which event of a key is next, who has the key, which events come up.

mod apply;
mod audit;
mod claim;
mod evolve;
mod feed;
mod follow;
mod keep;
mod lines;
mod operate;
mod saved;
mod settle;
mod tick;
mod undo;
mod view;

pub use claim::{EventClaim, EventGrant};
pub use feed::Feed;
pub use keep::Keep;
pub use saved::{EventState, Finish, SavedGroup, SavedGroups, SavedKept, SavedMember, Unfinished};
pub use settle::EventEnding;

pub(super) use follow::Groups;
pub(super) use undo::GroupUndo;
