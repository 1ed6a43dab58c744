//! Consumer groups: who is handed which event, how far a group is, and what becomes of what fails.
//! One room for each story; `member` says what their cases do often.

pub mod gaps;
pub mod members;
pub mod memberships;
pub mod order;
pub mod outcomes;
pub mod parking;
pub mod passed;
pub mod resets;
pub mod settings;
pub mod together;

mod member;
