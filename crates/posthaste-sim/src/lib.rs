//! A discrete-event simulator: what happens to a service on a bad day, under which policy.
//!
//! Clients call a server with a fixed number of workers, over a network, at a rate that may be far
//! more than the workers can do; things go wrong and get well again. On both sides run the policies of
//! [`posthaste_core::policy`]: not models of them, but the state machines that run in production, on
//! virtual time and on chance from a seed. So the same seed gives the same run, to the last call.
//!
//! This crate refuses to read a clock, to do I/O and to know what a policy file looks like.

mod agenda;
mod chance;
mod chart;
mod client;
mod histogram;
mod outcome;
mod plot;
mod rig;
mod server;
mod slots;
mod svg;
mod tally;
mod world;

pub use chart::{Axis, Chart, Line};
pub use outcome::{Moment, Outcome, Recovery, TierOutcome};
pub use plot::plot;
pub use rig::{Order, Rig, Scenario, Service, Trigger, TriggerKind};
pub use svg::svg;
pub use world::run;
