//! The conformance suite: what every store must do, one case for each promise.
//!
//! A store brings a [`Fixture`] and calls [`conformance_tests!`](crate::conformance_tests), which
//! makes one test of each case; with `restarts`, also one in which the store is opened again
//! before every commit and every look. What a store can't do is declared as missing
//! in its [`Capabilities`], and the cases that need it are then not among its tests, or say so.
//!
//! It refuses to look inside a store, to sleep, and to assert how fast anything is. At the end of
//! each case the totals must balance.

pub mod claim;
pub mod enqueue;
pub mod groups;
pub mod keys;
pub mod leases;
pub mod listing;
pub mod operate;
pub mod reads;
pub mod restart;
pub mod settle;
pub mod tails;
pub mod times;
pub mod topics;
pub mod waits;

mod bench;
mod events;
mod list;
pub mod words;

use std::sync::Arc;

use posthaste_core::port::Store;
use posthaste_core::time::WallMs;

pub use bench::Bench;
pub(crate) use bench::PATIENCE;
pub use groups::{
    gaps, members, memberships, order, outcomes, parking, passed, resets, settings, together,
};

/// How a store ends before it is opened again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Closed, as at a clean shutdown.
    Clean,
    /// Left as it is, as when its process is killed.
    Crash,
}

/// What a store can do beyond what every store can.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// It can be opened again with everything that was acknowledged.
    pub restart: bool,
    /// Jobs keep the ids that their enqueuer gave them (otherwise the accepting edge mints them).
    pub chosen_ids: bool,
    /// It knows workers that live in its own process.
    pub local_leases: bool,
    /// A lease whose asker hung up is undone as if it had never been. Otherwise it is released, and
    /// the crashes of its job are counted afresh.
    pub undoes_leases: bool,
}

/// One fresh store on clocks that stand still until they are moved.
pub trait Fixture {
    /// Opens the store, empty. Called once.
    fn open(&self) -> Arc<dyn Store>;

    /// Ends `store` and opens it again. `None` where the store can't; see [`Capabilities`].
    fn reopen(&self, store: Arc<dyn Store>, ending: Ending) -> Option<Arc<dyn Store>>;

    /// Lets `ms` milliseconds pass on both clocks.
    fn advance(&self, ms: u64);

    /// Sets the wall clock, forward or back, while the monotonic one stands still.
    fn set_wall(&self, wall: WallMs);

    /// What the wall clock shows.
    fn wall(&self) -> WallMs;

    /// What the store can do.
    fn capabilities(&self) -> Capabilities;
}

/// One promise.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// Its name, `module::function`.
    pub name: &'static str,
    /// Attacks it. Panics where it is broken.
    pub check: fn(&Bench<'_>),
}

impl Case {
    /// Runs the case on `fixture`.
    ///
    /// # Panics
    /// Where the store breaks the promise.
    pub fn run(&self, fixture: &dyn Fixture) {
        let bench = Bench::new(fixture, false);
        (self.check)(&bench);
        bench.check_totals();
    }

    /// Runs the case on `fixture`, which is opened again before every commit and every look:
    /// cleanly, and as after a crash, in turn.
    ///
    /// # Panics
    /// Where the store breaks the promise.
    pub fn run_with_restarts(&self, fixture: &dyn Fixture) {
        let bench = Bench::new(fixture, true);
        (self.check)(&bench);
        bench.check_totals();
    }
}

macro_rules! as_cases {
    ([] $({ $($module:ident { $($case:ident)* })* })*) => {
        vec![$($($(Case {
            name: concat!(stringify!($module), "::", stringify!($case)),
            check: $module::$case,
        },)*)*)*]
    };
}

/// Every case.
#[must_use]
pub fn cases() -> Vec<Case> {
    crate::with_conformance_cases!([as_cases] [])
}
