//! What the derive says of a type reaches the store.

use std::time::Duration;

use posthaste::{Backoff, Job, Posthaste};
use serde::{Deserialize, Serialize};

use crate::{memory, run};

#[derive(Serialize, Deserialize, Job)]
struct HTTPPing;

#[derive(Serialize, Deserialize, Job)]
#[job(
    kind = "welcome-email",
    queue = "mail",
    priority = 7,
    max_attempts = 8,
    timeout = "1m30s",
    backoff(base = "2s", factor = 3, max = "1h", jitter_percent = 10),
    keep_result = false
)]
struct Welcome {
    user: u64,
}

async fn view<J: Job>(hub: &Posthaste, job: J) -> posthaste::JobView {
    let id = hub.enqueue(job).await.expect("enqueued").id;
    hub.job(id).await.expect("an answer").expect("the job")
}

#[test]
fn a_bare_type_has_every_default() {
    run(async {
        let job = view(&memory().await, HTTPPing).await;
        assert_eq!(HTTPPing::KIND, "http-ping");
        assert_eq!(
            (job.kind.as_str(), job.queue.as_str()),
            ("http-ping", "default")
        );
        assert_eq!((job.priority.get(), job.retry.max_attempts), (5, 25));
        assert_eq!(job.retry.backoff, Backoff::default());
        assert_eq!(&job.payload.bytes[..], b"null");
    });
}

#[test]
fn every_setting_is_obeyed() {
    run(async {
        let job = view(&memory().await, Welcome { user: 7 }).await;
        assert_eq!(
            (job.kind.as_str(), job.queue.as_str()),
            ("welcome-email", "mail")
        );
        assert_eq!((job.priority.get(), job.retry.max_attempts), (7, 8));
        assert_eq!(u64::from(job.retry.timeout_ms), 90_000);
        let Backoff {
            base_ms,
            factor,
            max_ms,
            jitter_percent,
        } = job.retry.backoff;
        assert_eq!(
            (base_ms, factor, max_ms, jitter_percent),
            (2_000, 3, 3_600_000, 10)
        );
        assert_eq!(&job.payload.bytes[..], br#"{"user":7}"#);
    });
}

#[test]
fn an_enqueue_overrides_its_type() {
    run(async {
        let hub = memory().await;
        let enqueue = hub
            .enqueue(HTTPPing)
            .queue("other")
            .priority(1)
            .max_attempts(2);
        let id = enqueue
            .timeout(Duration::from_secs(3))
            .await
            .expect("enqueued")
            .id;
        let job = hub.job(id).await.expect("an answer").expect("the job");
        assert_eq!((job.queue.as_str(), job.priority.get()), ("other", 1));
        assert_eq!((job.retry.max_attempts, job.retry.timeout_ms), (2, 3_000));
    });
}
