//! What jobs and events carry of the context they come from, and the context that their handlers run
//! under.
//!
//! Carried are how much it matters and the trace: as metadata of a job, as attributes of an event, where
//! it says nothing of its own. Neither the deadline nor the key is: a job outlives the call that
//! enqueued it, and has a key of its own. Nothing is carried where there is no room for it, for that is no
//! reason to refuse a job.

use std::time::Duration;

use posthaste_core::policy::Criticality;
use posthaste_core::port::Leased;
use posthaste_core::{Command, NewEvent, Text, WallMs, limits};

use crate::draft::set_metadata;
use crate::policy::Context;

/// The metadata, and the attribute, under which a W3C trace context travels.
pub(crate) const TRACEPARENT: &str = "traceparent";
/// What vendors add to it.
pub(crate) const TRACESTATE: &str = "tracestate";
/// Under which it travels how much it matters.
pub(crate) const CRITICALITY: &str = "criticality";

/// Where it is written what goes along.
trait Carrier {
    fn has(&self, name: &str) -> bool;
    fn put(&mut self, name: &'static str, value: &str);
}

impl Carrier for posthaste_core::job::NewJob {
    fn has(&self, name: &str) -> bool {
        self.metadata.iter().any(|(known, _)| &**known == name)
    }

    fn put(&mut self, name: &'static str, value: &str) {
        let fits = value.len() <= limits::METADATA_VALUE_BYTES_MAX;
        if fits && self.metadata.len() < limits::METADATA_MAX {
            set_metadata(self, name, value);
        }
    }
}

impl Carrier for NewEvent {
    fn has(&self, name: &str) -> bool {
        self.headers.iter().any(|(known, _)| known == name)
    }

    fn put(&mut self, name: &'static str, value: &str) {
        let fits = value.len() <= limits::HEADER_BYTES_MAX && !value.is_empty();
        if fits && self.headers.len() < limits::HEADERS_MAX {
            self.headers.push((Text::from_static(name), value.into()));
        }
    }
}

fn onto(context: &Context, carrier: &mut impl Carrier) {
    let tier = context.tier();
    if tier != Criticality::Default && !carrier.has(CRITICALITY) {
        carrier.put(CRITICALITY, tier.word());
    }
    let Some(traceparent) = context.traceparent() else {
        return;
    };
    if carrier.has(TRACEPARENT) {
        return;
    }
    carrier.put(TRACEPARENT, traceparent);
    // What vendors add goes with the trace that it belongs to.
    if let (Some(tracestate), false) = (context.tracestate(), carrier.has(TRACESTATE)) {
        carrier.put(TRACESTATE, tracestate);
    }
}

impl Context {
    /// Has what a command enqueues or publishes inherit how much it matters and the trace, where it says
    /// nothing of its own: for whoever speaks to a [`Store`](crate::Store) without a hub. A hub does it
    /// with the [current](Self::current) context by itself.
    pub fn inherited_by(&self, command: &mut Command) {
        match command {
            Command::Enqueue(job) => onto(self, &mut **job),
            Command::Publish { events, .. } => {
                events.iter_mut().for_each(|event| onto(self, event));
            }
            _ => {}
        }
    }
}

/// The context of an attempt that begins now: its key is the job's id.
pub(crate) fn of_job(job: &Leased, now: WallMs) -> Context {
    let value = |name: &str| {
        let mut known = job.metadata.iter();
        let found = known.find(|(known, _)| &**known == name);
        found.map(|(_, value)| &**value)
    };
    let context = Context::new()
        .within(Duration::from_millis(job.timeout_ms.into()))
        .attempted(job.attempt.into())
        .key(job.id.to_string());
    let context = match job.deadline {
        Some(deadline) => context.until_wall(deadline, now),
        None => context,
    };
    told(context, value)
}

/// The context of an attempt to handle an event that begins now.
pub(crate) fn of_event<'e>(
    timeout_ms: u32,
    attempt: u16,
    key: String,
    header: impl Fn(&str) -> Option<&'e str>,
) -> Context {
    let context = Context::new()
        .within(Duration::from_millis(timeout_ms.into()))
        .attempted(attempt.into())
        .key(key);
    told(context, header)
}

/// With what was carried. A tier that is none is ignored.
fn told<'v>(context: Context, value: impl Fn(&str) -> Option<&'v str>) -> Context {
    let context = match value(CRITICALITY).and_then(Criticality::from_word) {
        Some(tier) => context.criticality(tier),
        None => context,
    };
    match value(TRACEPARENT) {
        Some(traceparent) => context.trace(traceparent, value(TRACESTATE)),
        None => context,
    }
}
