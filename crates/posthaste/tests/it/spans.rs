//! Each attempt runs in a span that says whose it is, and what goes wrong is an event.

use std::fmt::{Debug, Write as _};
use std::sync::{Arc, Mutex};

use posthaste::{Dead, Done, Draft, Handler, Job, Payload, Posthaste};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::Interest;
use tracing::{Event, Metadata, Subscriber};

use crate::Ping;

/// Writes down spans and events, each as one line.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<String>>>);

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        write!(self.0, " {field}={value:?}").expect("a string has room");
    }
}

impl Lines {
    fn add(&self, name: &str, record: impl FnOnce(&mut Line)) {
        let mut line = Line(name.to_owned());
        record(&mut line);
        self.0.lock().expect("a lock").push(line.0);
    }

    fn any(&self, parts: &[&str]) -> bool {
        let lines = self.0.lock().expect("a lock");
        lines
            .iter()
            .any(|line| parts.iter().all(|part| line.contains(part)))
    }
}

impl Subscriber for Lines {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("posthaste")
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        self.add(span.metadata().name(), |line| span.record(line));
        Id::from_u64(1)
    }

    fn record(&self, _span: &Id, _values: &Record<'_>) {}

    fn record_follows_from(&self, _span: &Id, _follows: &Id) {}

    fn event(&self, event: &Event<'_>) {
        self.add("event", |line| event.record(line));
    }

    fn enter(&self, _span: &Id) {}

    fn exit(&self, _span: &Id) {}
}

/// Hears nothing, and keeps every place that speaks ready to be heard: one that another test comes
/// past first, with nobody listening, may otherwise be silenced for good.
struct Silence;

impl Subscriber for Silence {
    fn register_callsite(&self, _metadata: &'static Metadata<'static>) -> Interest {
        Interest::sometimes()
    }

    fn enabled(&self, _metadata: &Metadata<'_>) -> bool {
        false
    }

    fn new_span(&self, _span: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _span: &Id, _values: &Record<'_>) {}

    fn record_follows_from(&self, _span: &Id, _follows: &Id) {}

    fn event(&self, _event: &Event<'_>) {}

    fn enter(&self, _span: &Id) {}

    fn exit(&self, _span: &Id) {}
}

/// What is written down while `job` is handled by `handler` until nothing is ready.
fn written<A: 'static, H: Handler<A>>(job: Draft, handler: H) -> (Lines, String)
where
    H::Input: Job,
{
    // The other test may have set it.
    drop(tracing::subscriber::set_global_default(Silence));
    let lines = Lines::default();
    let id = tracing::subscriber::with_default(lines.clone(), || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        runtime.expect("a runtime").block_on(async {
            let hub = Posthaste::test().await.expect("a hub");
            let job = hub.enqueue(job).await.expect("enqueued");
            hub.worker().on(handler).drain().await.expect("drains");
            job.id.to_string()
        })
    });
    (lines, format!("id={id}"))
}

#[test]
fn an_attempt_has_a_span_and_a_death_is_an_event() {
    let handler = |_: Ping| async { Dead::because("hopeless") };
    let (lines, id) = written(Draft::new(Ping { n: 1 }), handler);
    assert!(lines.any(&["job ", "kind=ping", "queue=default", "attempt=1", &id]));
    assert!(lines.any(&["event", "the job is dead", "hopeless", &id]));
}

#[test]
fn a_payload_that_cannot_be_read_is_an_event() {
    let payload = Payload::json(&b"{\"m\": 1}"[..]);
    let (lines, id) = written(Draft::raw("ping", "default", payload), |_: Ping| async {
        Done
    });
    assert!(lines.any(&["job ", "kind=ping", &id]));
    assert!(lines.any(&["event", "missing field `n`", "left to others"]));
}
