//! Publishing: what is said of an event reaches its topic, at once, with others, and later.

use posthaste::event::{DATA_VERSION, EventDraft, TopicSettings};
use posthaste::{
    Cancel, Cx, Done, ErrorKind, Event, Job, JobFilter, JobState, Payload, Posthaste, Published,
    Retry, TimeUnits,
};
use serde::{Deserialize, Serialize};

use crate::{OrderPlaced, Ping, memory, placed, run};

#[derive(Debug, PartialEq, Serialize, Deserialize, Event)]
struct HTTPPinged;

#[derive(Debug, PartialEq, Serialize, Deserialize, Event)]
#[event(key = "1")]
struct Moved(u64, String);

async fn test_hub() -> posthaste::testing::TestHub {
    Posthaste::test().await.expect("a hub")
}

#[test]
fn a_bare_type_has_every_default() {
    run(async {
        let hub = test_hub().await;
        hub.publish(HTTPPinged).await.expect("published");
        let events = hub.raw_events("http-pinged").await.expect("events");
        let [event] = events.as_slice() else {
            panic!("{events:?}")
        };
        assert_eq!(event.event_type, "http-pinged");
        assert_eq!((event.source.as_str(), &event.key), ("posthaste", &None));
        assert_eq!(event.header(DATA_VERSION), Some("1"));
        let payload = event.payload.as_ref().expect("a payload");
        assert_eq!(&payload.bytes[..], b"null");
        assert_eq!(hub.events::<HTTPPinged>().await, Ok(vec![HTTPPinged]));
    });
}

#[test]
fn every_setting_is_obeyed_and_a_publish_overrides_its_type() {
    run(async {
        let hub = test_hub().await;
        hub.publish(placed(7)).await.expect("published");
        let other = hub.publish(placed(7)).topic("returns").key("k").source("s");
        let other = other.header("subject", "a").header("subject", "b");
        other.traceparent("00-aa-bb-01").await.expect("published");
        hub.publish(Moved(1, "left".into())).await.expect("moved");

        let orders = hub.raw_events("orders").await.expect("events");
        assert_eq!(
            (
                orders[0].source.as_str(),
                orders[0].key.as_deref(),
                orders[0].header(DATA_VERSION)
            ),
            ("shop", Some("7"), Some("2"))
        );
        let returns = hub.raw_events("returns").await.expect("events");
        let headers: Vec<_> = returns[0].headers.iter().collect();
        let said: Vec<_> = headers.iter().map(|(n, v)| (&**n, &**v)).collect();
        assert_eq!(
            said,
            [
                (DATA_VERSION, "2"),
                ("subject", "b"),
                ("traceparent", "00-aa-bb-01")
            ]
        );
        assert_eq!(
            (returns[0].source.as_str(), returns[0].key.as_deref()),
            ("s", Some("k"))
        );
        let moved = hub.raw_events("moved").await.expect("events");
        assert_eq!(moved[0].key.as_deref(), Some("left"));
    });
}

#[test]
fn many_in_one_commit_are_all_or_none_and_in_order() {
    run(async {
        let hub = test_hub().await;
        let drafts = [
            EventDraft::new(placed(1)),
            EventDraft::new(placed(2)),
            EventDraft::new(HTTPPinged),
            EventDraft::new(placed(3)),
        ];
        let places = hub.publish_all(drafts).await.expect("published");
        let sequences: Vec<u64> = places.iter().map(|at| at.position.sequence).collect();
        assert_eq!(sequences, [0, 1, 0, 2]);
        let bad = [placed(4), placed(5)].map(EventDraft::new);
        let [good, bad] = bad;
        let error = hub
            .publish_all([good, bad.header("No", "x")])
            .await
            .expect_err("a bad header");
        assert_eq!(
            (error.kind(), error.command()),
            (ErrorKind::Invalid, Some(0))
        );
        let orders = hub.events::<OrderPlaced>().await;
        assert_eq!(orders, Ok(vec![placed(1), placed(2), placed(3)]));
        let none = hub.publish_all(Vec::<OrderPlaced>::new()).await;
        assert_eq!(none, Ok(Vec::new()));
    });
}

#[test]
fn a_chosen_id_is_published_once() {
    run(async {
        let hub = test_hub().await;
        let once = |order| hub.publish(placed(order)).id("a");
        let first: Published = once(1).await.expect("new");
        let second = once(2).await.expect("again");
        assert_eq!((first.existing, second.existing), (false, true));
        assert_eq!(first.position, second.position);
        assert_eq!(hub.events().await, Ok(vec![placed(1)]));
        let error = hub.publish(placed(1)).id("").await.expect_err("no id");
        assert_eq!(error.kind(), ErrorKind::Invalid);
        hub.advance(11.mins());
        assert!(!once(3).await.expect("forgotten").existing);
    });
}

#[test]
fn events_and_jobs_share_a_commit() {
    run(async {
        let hub = test_hub().await;
        let order = |total| {
            let placed = OrderPlaced { order: 1, total };
            let commit = hub.commit().enqueue(Ping { n: 1 }).publish(placed);
            commit.idempotency_key("order 1")
        };
        let first = order(10).await.expect("applied");
        let second = order(10).await.expect("repeated");
        assert_eq!((first.repeated, second.repeated), (false, true));
        let error = order(20).await.expect_err("another event");
        assert_eq!(error.kind(), ErrorKind::KeyReused);
        assert_eq!(hub.events().await, Ok(vec![placed(1)]));

        let missing = hub.mint_id();
        let commit = hub.commit().publish(placed(2)).cancel(missing);
        let error = commit.await.expect_err("no such job");
        assert_eq!(error.command(), Some(1));
        assert_eq!(hub.events().await, Ok(vec![placed(1)]), "undone");
    });
}

#[test]
fn a_handler_publishes_exactly_when_its_job_ends() {
    run(async {
        let hub = test_hub().await;
        for n in 0..3 {
            let job = hub.enqueue(Ping { n }).metadata("tracestate", "v=1");
            job.traceparent("00-aa-bb-01").await.expect("enqueued");
        }
        let worker = hub.worker().on(|job: Ping, cx: Cx| async move {
            cx.publish_with(placed(job.n))?;
            match (job.n, cx.attempt()) {
                (0, 1) => Retry::because("first"),
                (1, _) => Cancel::because("unwanted"),
                _ => Done,
            }
        });
        worker.drain().await.expect("drains");
        assert_eq!(hub.events().await, Ok(vec![placed(1), placed(2)]));
        let events = hub.raw_events("orders").await.expect("events");
        assert_eq!(events[0].header("traceparent"), Some("00-aa-bb-01"));
        assert_eq!(events[0].header("tracestate"), Some("v=1"));
    });
}

/// Publishes `draft` in an hour, and gives what lies in its topic then.
async fn later(draft: EventDraft) -> posthaste::event::RawEvent {
    let hub = test_hub().await;
    let topic = "orders";
    let job = hub.publish(draft).after(1.hours()).await.expect("enqueued");
    assert_eq!(job.state, JobState::Scheduled);
    let drain = || hub.worker().queue("other").publishes().drain();
    drain().await.expect("nothing to do");
    assert!(hub.raw_events(topic).await.expect("none").is_empty());
    hub.advance(1.hours());
    assert_eq!(drain().await.expect("drains").completed, 1);
    let mut events = hub.raw_events(topic).await.expect("events");
    assert_eq!(events.len(), 1);
    let event = events.remove(0);
    if !event.id.starts_with("mine") {
        assert_eq!(event.id, *job.id.to_string(), "one id in every attempt");
    }
    event
}

#[test]
fn what_is_published_later_is_what_was_given() {
    run(async {
        let event = later(EventDraft::new(placed(7)).id("mine").header("subject", "a")).await;
        assert_eq!(
            (event.id.as_str(), event.key.as_deref()),
            ("mine", Some("7"))
        );
        assert_eq!(
            (event.event_type.as_str(), event.source.as_str()),
            ("order.placed", "shop")
        );
        assert_eq!(event.header("subject"), Some("a"));
        assert_eq!(
            event.payload,
            Some(Payload::json(r#"{"order":7,"total":70}"#))
        );

        let null = later(EventDraft::new(HTTPPinged).topic("orders")).await;
        assert_eq!(null.payload, Some(Payload::json("null")));
        let image = Payload::bytes("image/png", &b"\x89PNG\0"[..]);
        let raw = later(EventDraft::raw("orders", "photo", image.clone())).await;
        assert_eq!(raw.payload, Some(image));
        let gone = later(EventDraft::tombstone("orders", "left", "7")).await;
        assert_eq!((gone.payload, gone.key.as_deref()), (None, Some("7")));
    });
}

#[test]
fn what_can_not_be_published_is_not_enqueued() {
    run(async {
        let hub = memory().await;
        let error = hub
            .publish(placed(1))
            .header("Subject", "x")
            .after(1.hours())
            .await
            .expect_err("a bad header");
        assert_eq!(error.kind(), ErrorKind::Invalid);
        let error = hub.publish(placed(1)).topic("my orders").await;
        assert_eq!(error.expect_err("a bad name").kind(), ErrorKind::Invalid);
        let page = hub.jobs(JobFilter::default(), None, 10).await;
        assert!(page.expect("a page").jobs.is_empty());
    });
}

#[test]
fn an_event_that_waits_is_looked_at_and_called_off() {
    run(async {
        let hub = test_hub().await;
        let job = hub.publish(placed(1)).after(1.hours()).await;
        let id = job.expect("enqueued").id;
        let view = hub.job(id).await.expect("an answer").expect("the job");
        assert_eq!(view.kind.as_str(), "posthaste.publish");
        hub.cancel(id).await.expect("cancelled");
        hub.advance(2.hours());
        hub.worker().publishes().drain().await.expect("drains");
        assert_eq!(hub.events::<OrderPlaced>().await, Ok(Vec::new()));
    });
}

#[test]
fn a_topic_is_set_up_looked_at_and_forgotten() {
    run(async {
        let hub = memory().await;
        let topic = hub.topic_of::<OrderPlaced>();
        assert_eq!(topic.view().await, Ok(None));
        let settings = TopicSettings {
            partitions: Some(2),
            kept_events: Some(100),
            ..TopicSettings::default()
        };
        topic.set(settings).await.expect("made");
        topic.set(settings).await.expect("safe to repeat");
        let view = topic.view().await.expect("an answer").expect("the topic");
        assert_eq!((view.config.partitions, view.config.kept_events), (2, 100));
        let more = TopicSettings {
            partitions: Some(3),
            ..TopicSettings::default()
        };
        let error = topic.set(more).await.expect_err("fixed");
        assert_eq!(error.kind(), ErrorKind::Conflict);
        assert_eq!(hub.topics().await.expect("topics").len(), 1);
        topic.delete().await.expect("deleted");
        let error = topic.delete().await.expect_err("gone");
        assert_eq!(error.kind(), ErrorKind::NotFound);
        let error = hub.topic("my orders").set(settings).await;
        assert_eq!(error.expect_err("a bad name").kind(), ErrorKind::Invalid);
    });
}

#[derive(Serialize, Deserialize, Job)]
struct Unrelated;

#[test]
fn only_a_worker_that_publishes_takes_what_waits() {
    run(async {
        let hub = test_hub().await;
        hub.publish(placed(1)).after(1.secs()).await.expect("waits");
        hub.advance(2.secs());
        let other = hub.worker().on(|_: Unrelated| async { Done });
        other.drain().await.expect("drains");
        assert_eq!(hub.events::<OrderPlaced>().await, Ok(Vec::new()));
        let both = hub.worker().on(|_: Unrelated| async { Done }).publishes();
        both.drain().await.expect("drains");
        assert_eq!(hub.events().await, Ok(vec![placed(1)]));
    });
}
