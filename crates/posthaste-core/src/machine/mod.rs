//! The state machine of the embedded store: an index of every job, decided on and changed by
//! plain functions over values.
//!
//! `decide` says what would become true; `evolve` makes it so and cannot fail. Neither reads a
//! clock, draws a random number, or touches a disk.

pub mod action;
pub mod fact;

pub use action::{
    Action, Answer, Claim, Ending, Grant, KeyLookup, Moment, Refusal, Refused, RowView,
};
pub use fact::{Cause, Fact, KeyDigest, Place, QueueConfig, Slot, Summary, To, UniqueClaim};
