//! What every store must do, and the means to see whether it does.
//!
//! - [`conformance`]: the promises, one case each, to be run on every store.
//! - [`model`]: a second, naive job store, written from the promises and not from the machine.
//! - [`random`]: random lives, in which a store and the model must agree.
//! - [`disk`]: a disk in memory that fails on demand, and forgets what was not synced.
//! - [`block_on`]: runs one future without a runtime, for tests.
//!
//! Only tests depend on this crate. It refuses to know how any store works inside: whatever it
//! checks, it checks through the port.

pub mod conformance;
pub mod disk;
pub mod model;
pub mod random;
mod run;

pub use run::{block_on, poll_once};
