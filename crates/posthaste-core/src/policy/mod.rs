//! The policies that keep a call between services alive, as plain state machines.
//!
//! Time comes in as [`MonoNs`](crate::time::MonoNs), chance as a number that the caller drew, and what
//! is to be done goes out as a value. The async face in `posthaste::policy` runs them under one lock
//! for each policy; the simulator runs the same ones on virtual time.
//!
//! This room refuses to wait, to spawn and to know what a call is.

pub mod breaker;
pub mod budget;
pub mod chaos;
mod check;
pub mod criticality;
pub mod degrade;
pub mod engine;
pub mod gate;
pub mod hedge;
pub mod limit;
pub mod order;
pub mod pause;
pub mod presets;
pub mod rate;
pub mod refusal;
pub mod settings;
pub mod throttle;
pub mod verdict;

#[cfg(test)]
mod rig;

pub use criticality::Criticality;
pub use engine::Engine;
pub use refusal::{Refusal, Stop};
pub use settings::Settings;
pub use verdict::{Ended, Verdict};
