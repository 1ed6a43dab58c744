//! Opening by URL, and what a URL can't be.

use std::sync::Arc;
use std::time::Duration;

use posthaste::event::{EventDraft, TopicSettings};
use posthaste::{Dead, Done, ErrorKind, Payload, Posthaste};
use posthaste_core::WallMs;
use posthaste_log::ManualClock;

use crate::{Ping, run};

fn check_refused(url: &str, kind: ErrorKind, said: &str) {
    let error = run(Posthaste::open(url)).expect_err(url);
    assert_eq!(error.kind(), kind, "{error}");
    assert!(error.to_string().contains(said), "{error}");
}

#[test]
fn an_unknown_url_names_the_known_ones() {
    let known = "known: memory:, file:, http:";
    check_refused(
        "redis://localhost",
        ErrorKind::Invalid,
        "known: memory:, file:./data, http://",
    );
    check_refused("data", ErrorKind::Invalid, "known: memory:");
    check_refused("flie:./data", ErrorKind::Invalid, "did you mean file:?");
    check_refused("file:", ErrorKind::Invalid, "file:./data");
    check_refused("memory:./data", ErrorKind::Invalid, "memory: takes no path");
    assert!(known.starts_with("known"));
}

#[test]
fn a_sync_interval_is_refused_where_nothing_is_synced() {
    for url in ["memory:", "http://127.0.0.1:1"] {
        let options = Posthaste::options().sync_interval(Duration::from_millis(50));
        let error = run(options.open(url)).expect_err(url);
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
        assert!(error.to_string().contains("interval"), "{error}");
    }
}

#[test]
fn what_has_ended_is_kept_as_long_as_was_said() {
    let minute = Duration::from_secs(60);
    let clock = Arc::new(ManualClock::at(WallMs(1_700_000_000_000)));
    let options = Posthaste::options().completed_kept(minute, 1_000);
    let options = options.dead_kept(2 * minute, 1_000).clock(clock.clone());
    run(async {
        let hub = options.open("memory:").await.expect("opens");
        let fails = hub.enqueue(Ping { n: 0 }).max_attempts(1);
        let (fails, done) = (fails.await, hub.enqueue(Ping { n: 1 }).await);
        let (fails, done) = (fails.expect("enqueued").id, done.expect("enqueued").id);
        let worker = hub.worker().on(|job: Ping| async move {
            match job.n {
                0 => Dead::because("it is zero"),
                _ => Done,
            }
        });
        worker.drain().await.expect("drains");
        let kept = async |id| hub.job(id).await.expect("an answer").is_some();
        clock.advance(59_000);
        assert!(kept(done).await && kept(fails).await);
        clock.advance(2_000);
        assert!(!kept(done).await && kept(fails).await);
        clock.advance(60_000);
        assert!(!kept(fails).await);
    });
}

#[test]
fn a_retention_that_cannot_be_is_refused() {
    let hour = Duration::from_secs(3_600);
    let refused = |options: posthaste::Options, url: &str, kind| {
        let error = run(options.open(url)).expect_err(url);
        assert_eq!(error.kind(), kind, "{error}");
    };
    let kept = |time, most| Posthaste::options().completed_kept(time, most);
    refused(kept(Duration::ZERO, 1_000), "memory:", ErrorKind::Invalid);
    refused(kept(hour, 999), "memory:", ErrorKind::Invalid);
    let dead = Posthaste::options().dead_kept(100_000 * hour, 1_000);
    refused(dead, "memory:", ErrorKind::Invalid);
    refused(
        kept(hour, 1_000),
        "http://127.0.0.1:1",
        ErrorKind::Unsupported,
    );
}

#[test]
fn publishing_makes_no_topic_where_that_is_off() {
    run(async {
        let options = Posthaste::options().create_topics(false);
        let hub = options.open("memory:").await.expect("opens");
        let publish = || EventDraft::raw("orders", "placed", Payload::json("1"));
        let error = hub.publish(publish()).await.expect_err("no such topic");
        assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
        assert!(hub.topics().await.expect("an answer").is_empty());
        let orders = hub.topic("orders");
        orders.set(TopicSettings::default()).await.expect("made");
        hub.publish(publish()).await.expect("published");
        let options = Posthaste::options().create_topics(true);
        let error = options.open("http://127.0.0.1:1").await;
        let error = error.expect_err("its server says");
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
    });
}

#[test]
fn a_directory_keeps_its_jobs() {
    let dir = tempfile::tempdir().expect("a directory");
    let url = format!("file:{}", dir.path().join("data").display());
    run(async {
        let hub = Posthaste::open(&url).await.expect("opens");
        let id = hub.enqueue(Ping { n: 1 }).await.expect("enqueued").id;
        let held = Posthaste::open(&url).await.expect_err("it is held");
        assert_eq!(held.kind(), ErrorKind::Locked, "{held}");
        hub.close().await.expect("closes");
        let closed = hub.enqueue(Ping { n: 2 }).await.expect_err("it is closed");
        assert_eq!(closed.kind(), ErrorKind::Closed, "{closed}");
        drop(hub);
        let hub = Posthaste::open(&url).await.expect("opens again");
        assert!(hub.job(id).await.expect("an answer").is_some());
        assert_eq!(hub.health().await.expect("an answer").durability, "sync");
    });
}
