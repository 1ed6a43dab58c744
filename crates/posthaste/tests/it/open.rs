//! Opening by URL, and what a URL can't be.

use std::time::Duration;

use posthaste::{ErrorKind, Posthaste};

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
