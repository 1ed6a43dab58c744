//! `GET /metrics`: the Prometheus text format, written by hand.

mod pace;

use std::cmp::Reverse;

use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use posthaste_core::group::GroupView;
use posthaste_core::view::{Health, QueueView, Totals};
use posthaste_core::{JobState, Store, WallMs, limits};

use super::{Answer, Served};
use crate::mint;
use posthaste::event::standing;

/// The content type of the text format.
const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// `GET /metrics`.
pub(super) async fn metrics(State(served): State<Served>) -> Answer {
    let health = served.store.health().await?;
    let queues = served.store.queues().await?;
    let groups = served.store.groups().await?;
    let waited = waited(&*served.store, &groups, mint::now()).await;
    let mut page = Page::default();
    page.store(&health);
    page.queues(&queues, mint::now());
    pace::put(&mut page, &queues);
    page.groups(&groups, &waited);
    page.0.push_str(&served.policies.metrics());
    Ok(([(header::CONTENT_TYPE, TEXT)], page.0).into_response())
}

/// How many seconds the first unfinished event of groups has waited, by their index: of those that
/// are furthest behind, so many as may be looked up for one page.
async fn waited(store: &dyn Store, groups: &[GroupView], now: WallMs) -> Vec<(usize, u64)> {
    let all = groups.iter().enumerate();
    let (mut behind, through): (Vec<_>, Vec<_>) = all.partition(|(_, group)| group.lag > 0);
    behind.sort_by_key(|(_, group)| Reverse(group.lag));
    let mut waited: Vec<_> = through.iter().map(|(index, _)| (*index, 0)).collect();
    for (index, group) in behind.into_iter().take(limits::LAG_READS_MAX) {
        // What can't be read is not told; the page has more to say than that.
        let since = standing::oldest(store, group).await.ok().flatten();
        waited.extend(since.map(|since| (index, now.since(since) / 1_000)));
    }
    waited.sort_unstable();
    waited
}

/// A total: its name, what it counts, and where it stands.
type Total = (&'static str, &'static str, fn(&Totals) -> u64);

/// The page so far.
#[derive(Default)]
struct Page(String);

/// A metric of a group: its name, what it says, and where that is.
type Measure = (&'static str, &'static str, fn(&GroupView) -> u64);

impl Page {
    fn head(&mut self, name: &str, kind: &str, help: &str) {
        let lines = format!("# HELP posthaste_{name} {help}\n# TYPE posthaste_{name} {kind}\n");
        self.0.push_str(&lines);
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl std::fmt::Display) {
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

    fn groups(&mut self, groups: &[GroupView], waited: &[(usize, u64)]) {
        let gauges: [Measure; 7] = [
            (
                "group_lag_events",
                "Events between the group's position and the topic's end.",
                |group| group.lag,
            ),
            (
                "group_in_flight",
                "Events in the hands of members.",
                |group| group.leased,
            ),
            (
                "group_retrying",
                "Events that failed and wait for their next attempt.",
                |group| group.retrying,
            ),
            ("group_parked", "Parked events.", |group| group.parked),
            ("group_dead", "Dead letters.", |group| group.dead),
            ("group_members", "Members of the group.", |group| {
                group.members.len() as u64
            }),
            (
                "group_paused",
                "Whether the group hands out nothing, by a person or because too many are parked.",
                |group| group.paused.is_some().into(),
            ),
        ];
        for (name, help, value) in gauges {
            self.of_groups(groups, name, "gauge", help, value);
        }
        let totals: [Measure; 8] = [
            (
                "group_done_total",
                "Events whose handlers were done.",
                |group| group.totals.done,
            ),
            (
                "group_retried_total",
                "Attempts that failed and were followed by another.",
                |group| group.totals.retried,
            ),
            ("group_parked_total", "Events that were parked.", |group| {
                group.totals.parked
            }),
            (
                "group_dead_total",
                "Events that went to the dead letters.",
                |group| group.totals.dead,
            ),
            (
                "group_skipped_total",
                "Events that were skipped.",
                |group| group.totals.skipped,
            ),
            (
                "group_lapsed_total",
                "Events whose member was lost.",
                |group| group.totals.lapsed,
            ),
            (
                "group_redelivered_total",
                "Events that were handed out again.",
                |group| group.totals.redelivered,
            ),
            (
                "group_lost_to_retention_total",
                "Events that were gone before they were handled.",
                |group| group.totals.lost_to_retention,
            ),
        ];
        for (name, help, value) in totals {
            self.of_groups(groups, name, "counter", help, value);
        }
        let (name, help) = (
            "group_lag_seconds",
            "Seconds that the group's first unfinished event has waited.",
        );
        self.head(name, "gauge", help);
        for (index, seconds) in waited {
            let labels = labels(&groups[*index]);
            self.sample(name, &labels, *seconds);
        }
    }

    fn of_groups(
        &mut self,
        groups: &[GroupView],
        name: &str,
        kind: &str,
        help: &str,
        value: fn(&GroupView) -> u64,
    ) {
        self.head(name, kind, help);
        for group in groups {
            self.sample(name, &labels(group), value(group));
        }
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

fn labels(group: &GroupView) -> [(&'static str, &str); 2] {
    [
        ("topic", group.topic.as_str()),
        ("group", group.name.as_str()),
    ]
}
