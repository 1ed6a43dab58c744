//! How fast queues go, for `GET /metrics`: the figures of `/v1/queues`, in seconds. A queue of which a
//! figure is not known has no sample of it.

use posthaste::wire;
use posthaste_core::view::QueueView;

use super::Page;

/// A gauge of a queue: its name, what it says, and what that is.
type Gauge = (&'static str, &'static str, fn(&wire::Pace) -> Option<f64>);

const GAUGES: [Gauge; 8] = [
    (
        "queue_arrivals_per_second",
        "Jobs that became ready, each second of the last minutes.",
        |pace| Some(pace.arrivals_per_second),
    ),
    (
        "queue_arrivals_dispersion",
        "Variance of the jobs that became ready in a second over their mean; 1 at random.",
        |pace| pace.arrival_cv2,
    ),
    (
        "queue_settled_per_second",
        "Attempts that were settled, each second of the last minutes.",
        |pace| Some(pace.settled_per_second),
    ),
    (
        "queue_service_seconds",
        "From lease to settle, on average of the last minutes.",
        |pace| pace.service_ms.map(|ms| ms / 1e3),
    ),
    (
        "queue_service_cv2",
        "Squared coefficient of variation of the service time.",
        |pace| pace.service_cv2,
    ),
    (
        "queue_running_most",
        "The most jobs that ran at once in the last minutes.",
        |pace| u32::try_from(pace.running_most).ok().map(f64::from),
    ),
    (
        "queue_utilisation",
        "How busy what arrives keeps the workers; 1 or more is more than they can do.",
        |pace| pace.utilisation,
    ),
    (
        "queue_drain_seconds",
        "Seconds until nothing waits that waits now; none where that is never.",
        |pace| pace.drain_ms.map(|ms| ms / 1e3),
    ),
];

pub(super) fn put(page: &mut Page, queues: &[QueueView]) {
    let paces = queues.iter().map(wire::QueueView::write);
    let paces: Vec<_> = paces.filter_map(|it| Some((it.name, it.pace?))).collect();
    for (name, help, value) in GAUGES {
        page.head(name, "gauge", help);
        for (queue, pace) in &paces {
            if let Some(value) = value(pace) {
                page.sample(name, &[("queue", queue)], value);
            }
        }
    }
}
