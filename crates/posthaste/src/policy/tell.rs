//! What a policy decides, told in the span that the call runs in.

use std::time::Duration;

use posthaste_core::policy::{Refusal, Stop};

/// The target of all that is told here: `RUST_LOG=posthaste::policy=debug`.
const TARGET: &str = "posthaste::policy";

pub(super) fn refused(policy: &str, refusal: &Refusal) {
    let reason = refusal.slug();
    tracing::debug!(target: TARGET, policy, reason, "{refusal}");
}

pub(super) fn stopped(policy: &str, stop: &Stop, attempts: u32) {
    let reason = stop.slug();
    tracing::debug!(target: TARGET, policy, reason, attempts, "not repeated: {stop}");
}

pub(super) fn again(policy: &str, attempts: u32, pause_ns: u64) {
    let pause = Duration::from_nanos(pause_ns);
    tracing::debug!(target: TARGET, policy, attempts, ?pause, "it failed, and is repeated");
}

pub(super) fn hedged(policy: &str, attempt: u32) {
    tracing::debug!(target: TARGET, policy, attempt, "it takes long, and gets another one beside it");
}
