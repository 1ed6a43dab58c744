//! Durable background jobs to embed: a queue on its own log, nothing to install.

pub use posthaste_core as core;
pub use posthaste_core::duration;

#[cfg(feature = "wire")]
pub mod wire;
