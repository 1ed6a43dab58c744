//! `GET /metrics`: the Prometheus text format, written by hand.

use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use posthaste_core::view::{Health, QueueView, Totals};
use posthaste_core::{JobState, WallMs};

use super::{Answer, Served};
use crate::mint;

/// The content type of the text format.
const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// `GET /metrics`.
pub(super) async fn metrics(State(served): State<Served>) -> Answer {
    let health = served.store.health().await?;
    let queues = served.store.queues().await?;
    let mut page = Page::default();
    page.store(&health);
    page.queues(&queues, mint::now());
    Ok(([(header::CONTENT_TYPE, TEXT)], page.0).into_response())
}

/// A total: its name, what it counts, and where it stands.
type Total = (&'static str, &'static str, fn(&Totals) -> u64);

/// The page so far.
#[derive(Default)]
struct Page(String);

impl Page {
    fn head(&mut self, name: &str, kind: &str, help: &str) {
        let lines = format!("# HELP posthaste_{name} {help}\n# TYPE posthaste_{name} {kind}\n");
        self.0.push_str(&lines);
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: u64) {
        self.0.push_str("posthaste_");
        self.0.push_str(name);
        for (index, (label, text)) in labels.iter().enumerate() {
            self.0.push(if index == 0 { '{' } else { ',' });
            // Names of queues and states have nothing that would need escaping; words of a
            // store might.
            let text = text
                .replace('\\', "\\\\")
                .replace('"', "\\\"")
                .replace('\n', "\\n");
            self.0.push_str(&format!("{label}=\"{text}\""));
        }
        if !labels.is_empty() {
            self.0.push('}');
        }
        self.0.push_str(&format!(" {value}\n"));
    }

    fn store(&mut self, health: &Health) {
        self.head(
            "info",
            "gauge",
            "The store and what an acknowledgement means.",
        );
        let info = [
            ("version", env!("CARGO_PKG_VERSION")),
            ("store", health.store),
            ("durability", &health.durability),
        ];
        self.sample("info", &info, 1);
        let accepting = u64::from(health.accepting);
        let problems = health.problems.len() as u64;
        for (name, kind, help, value) in [
            (
                "accepting",
                "gauge",
                "Whether new work is accepted.",
                accepting,
            ),
            (
                "problems",
                "gauge",
                "Things wrong with the store; /readyz names them.",
                problems,
            ),
            (
                "disk_bytes",
                "gauge",
                "Bytes of the store on disk.",
                health.disk_bytes,
            ),
            (
                "live_bytes",
                "gauge",
                "Bytes on disk that are live.",
                health.live_bytes,
            ),
            (
                "syncs_total",
                "counter",
                "Syncs since the store was opened.",
                health.syncs,
            ),
            (
                "commits_total",
                "counter",
                "Commits since the store was opened.",
                health.commits,
            ),
        ] {
            self.head(name, kind, help);
            self.sample(name, &[], value);
        }
    }

    fn queues(&mut self, queues: &[QueueView], now: WallMs) {
        self.head("jobs", "gauge", "Jobs held, by queue and state.");
        for queue in queues {
            for state in JobState::ALL {
                let labels = [("queue", queue.name.as_str()), ("state", state.as_str())];
                self.sample("jobs", &labels, queue.held[state as usize]);
            }
        }
        let totals: [Total; 8] = [
            ("jobs_enqueued_total", "Jobs accepted.", |totals| {
                totals.enqueued
            }),
            ("jobs_completed_total", "Jobs completed.", |totals| {
                totals.completed
            }),
            ("jobs_dead_total", "Jobs that died.", |totals| totals.dead),
            ("jobs_cancelled_total", "Jobs cancelled.", |totals| {
                totals.cancelled
            }),
            ("jobs_redriven_total", "Jobs brought back.", |totals| {
                totals.redriven
            }),
            ("jobs_deleted_total", "Jobs forgotten.", |totals| {
                totals.deleted
            }),
            (
                "attempts_retried_total",
                "Attempts that failed and are tried again.",
                |totals| totals.retried,
            ),
            ("leases_lapsed_total", "Leases that lapsed.", |totals| {
                totals.lapsed
            }),
        ];
        for (name, help, value) in totals {
            self.each(queues, name, "counter", help, |queue| value(&queue.totals));
        }
        self.each(
            queues,
            "queue_paused",
            "gauge",
            "Whether the queue is paused.",
            |queue| queue.paused.into(),
        );
        let help = "Seconds that the oldest available job has waited.";
        self.each(
            queues,
            "queue_oldest_ready_seconds",
            "gauge",
            help,
            |queue| {
                queue
                    .oldest_ready
                    .map_or(0, |ready| now.since(ready) / 1_000)
            },
        );
    }

    fn each(
        &mut self,
        queues: &[QueueView],
        name: &str,
        kind: &str,
        help: &str,
        value: impl Fn(&QueueView) -> u64,
    ) {
        self.head(name, kind, help);
        for queue in queues {
            self.sample(name, &[("queue", queue.name.as_str())], value(queue));
        }
    }
}
