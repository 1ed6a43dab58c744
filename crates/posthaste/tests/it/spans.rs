//! Each attempt runs in a span that says whose it is, and what goes wrong is an event.

use std::fmt::{Debug, Write as _};
use std::sync::{Arc, Mutex};

use posthaste::{Dead, Posthaste};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
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

#[test]
fn an_attempt_has_a_span_and_a_death_is_an_event() {
    let lines = Lines::default();
    let id = tracing::subscriber::with_default(lines.clone(), || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        runtime.expect("a runtime").block_on(async {
            let hub = Posthaste::test().await.expect("a hub");
            let job = hub.enqueue(Ping { n: 1 }).await.expect("enqueued");
            let worker = hub
                .worker()
                .on(|_: Ping| async { Dead::because("hopeless") });
            worker.drain().await.expect("drains");
            job.id.to_string()
        })
    });
    let id = format!("id={id}");
    assert!(lines.any(&["job ", "kind=ping", "queue=default", "attempt=1", &id]));
    assert!(lines.any(&["event", "the job is dead", "hopeless", &id]));
}
