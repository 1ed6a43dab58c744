//! Groups over time: restarts, resets, waits for what was published, shadows, routes and inboxes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use posthaste::event::{
    Effects, EventCx, GroupSettings, MemoryInbox, PausedBy, RawEvent, ReadFrom, TypedEvent, once,
};
use posthaste::{
    Consumer, Done, Draft, ErrorKind, HandlerResult, JobFilter, Posthaste, State, TimeUnits,
};
use tokio::sync::Notify;

use crate::{OrderPlaced, Ping, memory, placed, run};

fn billing(hub: &Posthaste) -> Consumer {
    hub.group("orders", "billing")
        .consumer()
        .from(ReadFrom::Earliest)
}

async fn publish(hub: &Posthaste, orders: std::ops::Range<u64>) {
    hub.publish_all(orders.map(placed))
        .await
        .expect("published");
}

#[test]
fn a_group_goes_on_after_a_restart_in_the_middle() {
    run(async {
        let dir = tempfile::tempdir().expect("a directory");
        let url = format!("file:{}", dir.path().display());
        let sum = Arc::new(AtomicU64::new(0));
        let open = || async { Posthaste::open(&url).await.expect("opens") };
        let hub = open().await;
        publish(&hub, 0..100).await;
        let half = Arc::new(Notify::new());
        let (tell, adds) = (Arc::clone(&half), Arc::clone(&sum));
        let consumer = billing(&hub)
            .concurrency(3)
            .on(move |event: OrderPlaced, cx: EventCx| {
                let (tell, adds) = (Arc::clone(&tell), Arc::clone(&adds));
                async move {
                    cx.commit_with(Ping { n: event.order })?;
                    if adds.fetch_add(1, Ordering::SeqCst) == 50 {
                        tell.notify_one();
                    }
                    Done
                }
            });
        let did = consumer.run_until(half.notified()).await.expect("works");
        assert!(did.done >= 50, "{did:?}");
        hub.close().await.expect("closes");
        drop(hub);

        let hub = open().await;
        let rest = billing(&hub).on(|event: OrderPlaced, cx: EventCx| async move {
            assert_eq!(cx.attempt(), 1);
            cx.commit_with(Ping { n: event.order })?;
            Done
        });
        let rest = rest.drain().await.expect("drains");
        assert_eq!(did.done + rest.done, 100);
        let queues = hub.queues().await.expect("queues");
        assert_eq!(queues[0].totals.enqueued, 100, "each exactly once");
        hub.close().await.expect("closes");
    });
}

#[test]
fn a_group_is_reset_to_any_place_and_tells_first_what_that_would_bring() {
    run(async {
        let hub = Posthaste::test().await.expect("a hub");
        publish(&hub, 0..4).await;
        hub.advance(1.hours());
        let time = hub.now();
        publish(&hub, 4..10).await;
        let group = hub.group("orders", "billing");
        let drain = || billing(&hub).on(|_: OrderPlaced| async { Done }).drain();
        assert_eq!(drain().await.expect("drains").done, 10);
        let time = time.duration_since(std::time::UNIX_EPOCH).expect("after");
        let time = posthaste::core::WallMs(u64::try_from(time.as_millis()).expect("small"));
        let offset = ReadFrom::Offset {
            partition: 0,
            offset: 0,
        };
        let places = hub.raw_events("orders").await.expect("events");
        let first = places.iter().find(|event| event.partition == 0);
        let first = first.expect("one in the first partition").position.sequence;
        for (to, again) in [
            (ReadFrom::Earliest, 10),
            (ReadFrom::Time(time), 6),
            (ReadFrom::Position(places[7].position), 3),
            (offset, 10 - first),
            (ReadFrom::Latest, 0),
        ] {
            let look = group.reset(to).dry_run().await.expect("a look");
            assert_eq!((look.again, look.passed_over, look.leased), (again, 0, 0));
            assert_eq!(group.lag().await.expect("a lag").events, 0, "unchanged");
            group.reset(to).await.expect("reset");
            assert_eq!(drain().await.expect("drains").done, again, "{to:?}");
        }
        group.reset(ReadFrom::Earliest).await.expect("reset");
        let lag = group.lag().await.expect("a lag");
        assert_eq!((lag.events, lag.behind), (10, 1.hours()));
        assert_eq!(lag.oldest, Some(places[0].at));
        let look = group.reset(ReadFrom::Latest).dry_run().await;
        assert_eq!(look.expect("a look").passed_over, 10);
        let none = hub.group("orders", "none").reset(ReadFrom::Latest).await;
        assert_eq!(none.expect_err("none").kind(), ErrorKind::NotFound);
    });
}

#[test]
fn a_paused_group_hands_out_nothing_and_a_deleted_one_is_gone() {
    run(async {
        let hub = memory().await;
        publish(&hub, 0..2).await;
        let group = hub.group("orders", "billing");
        let missing = group.pause().await.expect_err("none yet");
        assert_eq!(missing.kind(), ErrorKind::NotFound);
        assert_eq!(group.view().await, Ok(None), "pausing made none");
        let from = Some(ReadFrom::Earliest);
        let made = group.make(from, GroupSettings::default()).await;
        made.expect("made");
        group.pause().await.expect("paused");
        let drain = || billing(&hub).on(|_: OrderPlaced| async { Done }).drain();
        assert_eq!(drain().await.expect("drains").attempts(), 0);
        let view = group.view().await.expect("an answer").expect("the group");
        assert_eq!(view.paused, Some(PausedBy::Person));
        group.resume().await.expect("resumed");
        assert_eq!(drain().await.expect("drains").done, 2);
        group.delete().await.expect("deleted");
        assert_eq!(hub.groups().await, Ok(Vec::new()));
        assert_eq!(hub.topic("orders").group("billing").view().await, Ok(None));
    });
}

#[test]
fn who_waits_for_a_group_sees_what_he_published() {
    run(async {
        let hub = memory().await;
        let group = hub.group_of::<OrderPlaced>("totals");
        let total = Arc::new(AtomicU64::new(0));
        let consumer = group.consumer().state(Arc::clone(&total)).on(
            |event: OrderPlaced, State(total): State<Arc<AtomicU64>>| async move {
                tokio::task::yield_now().await;
                total.fetch_add(event.total, Ordering::SeqCst);
            },
        );
        let consumer = consumer.start().await.expect("starts");
        let mut sum = 0;
        for order in 0..50 {
            let at = hub.publish(placed(order)).await.expect("published");
            sum += placed(order).total;
            group.reached(at.position).await.expect("passed");
            assert_eq!(total.load(Ordering::SeqCst), sum);
        }
        consumer.stop().await.expect("stops");
        let at = hub.publish(placed(1)).await.expect("published").position;
        let late = group.reached(at).within(20.millis()).await;
        let late = late.expect_err("nobody handles it");
        assert_eq!(late.kind(), ErrorKind::Busy);
        assert!(late.message().contains("1 events to go"), "{late}");
        let mut other = at;
        other.topic += 1;
        let other = group.reached(other).within(20.millis()).await;
        assert_eq!(other.expect_err("another").kind(), ErrorKind::Invalid);
    });
}

#[test]
fn a_shadow_replays_history_and_keeps_from_effects() {
    run(async {
        let hub = Posthaste::test().await.expect("a hub");
        publish(&hub, 0..3).await;
        async fn handle(event: OrderPlaced, cx: EventCx) -> HandlerResult {
            assert_eq!(cx.is_shadow(), cx.group().as_str() != "billing");
            cx.commit_with(Ping { n: event.order })?;
            Done
        }
        let count = || async {
            let jobs = hub.jobs(JobFilter::default(), None, 100).await;
            jobs.expect("jobs").jobs.len()
        };
        billing(&hub).on(handle).drain().await.expect("drains");
        assert_eq!(count().await, 3);
        let shadow = |name: &str| hub.group("orders", name).consumer().on(handle);
        let tried = shadow("next").from(ReadFrom::Earliest);
        let did = tried.shadow(Effects::Withheld).drain().await;
        let did = did.expect("drains");
        assert_eq!((did.done, did.withheld, count().await), (3, 3, 3));
        publish(&hub, 3..4).await;
        let copy = shadow("copy").from_group("billing");
        let did = copy.shadow(Effects::Committed).drain().await;
        let did = did.expect("drains");
        assert_eq!((did.done, did.withheld, count().await), (1, 0, 4));
        let lag = hub.group("orders", "billing").lag().await.expect("a lag");
        assert_eq!(lag.events, 1, "the real group is where it was");
    });
}

#[test]
fn a_route_makes_one_job_of_each_event_in_one_step() {
    run(async {
        let hub = Posthaste::test().await.expect("a hub");
        publish(&hub, 0..4).await;
        let group = hub.group("orders", "mail");
        let route = |add: u64| {
            let consumer = group.consumer().from(ReadFrom::Earliest);
            consumer.route(move |event: OrderPlaced| {
                (event.order > 0).then_some(Ping {
                    n: event.order + add,
                })
            })
        };
        let jobs = || async {
            let jobs = hub.jobs(JobFilter::default(), None, 100).await;
            jobs.expect("jobs").jobs.len()
        };
        let did = route(0).drain().await.expect("drains");
        assert_eq!((did.done, did.skipped, jobs().await), (3, 1, 3));
        // A replay enqueues nothing again, whatever the route says by now.
        for add in [0, 1] {
            group.reset(ReadFrom::Earliest).await.expect("reset");
            let did = route(add).drain().await.expect("drains");
            assert_eq!((did.done, did.skipped, jobs().await), (3, 1, 3));
        }
        hub.advance(25.hours());
        group.reset(ReadFrom::Earliest).await.expect("reset");
        let did = route(0).drain().await.expect("drains");
        assert_eq!((did.done, jobs().await), (3, 6), "past the window");

        // By name, several at once, and of what can't be enqueued.
        let all = hub
            .group("orders", "all")
            .consumer()
            .from(ReadFrom::Earliest);
        let all = all.route_type("order.placed", |event: RawEvent| {
            let key = event.key.as_deref().unwrap_or_default().to_owned();
            let draft = |kind: &str| {
                let payload = posthaste::Payload::json("1");
                Draft::raw(kind, "default", payload).tag(&key)
            };
            match key.as_str() {
                "0" => vec![draft("not a kind")],
                _ => vec![draft("one"), draft("one"), draft("two")],
            }
        });
        let did = all.drain().await.expect("drains");
        assert_eq!((did.done, did.dead), (3, 1));
        assert_eq!(jobs().await, 6 + 9);
        let typed = hub.group("orders", "typed").consumer();
        let typed = typed.route(|event: TypedEvent<OrderPlaced>| Ping {
            n: event.event.offset,
        });
        assert_eq!(typed.drain().await.expect("drains").attempts(), 0);
    });
}

#[test]
fn an_inbox_keeps_an_effect_from_happening_twice() {
    run(async {
        let hub = memory().await;
        publish(&hub, 0..3).await;
        let sent = Arc::new(AtomicU64::new(0));
        let inbox = Arc::new(MemoryInbox::new(2));
        let consumer = |group: &str| {
            let consumer = hub.group("orders", group).consumer();
            let consumer = consumer.from(ReadFrom::Earliest).concurrency(1);
            let consumer = consumer.state(Arc::clone(&sent)).state(Arc::clone(&inbox));
            consumer.on(
                |_: OrderPlaced,
                 cx: EventCx,
                 State(sent): State<Arc<AtomicU64>>,
                 State(inbox): State<Arc<MemoryInbox>>| async move {
                    let effect = async {
                        sent.fetch_add(1, Ordering::SeqCst);
                        Ok::<_, posthaste::HandlerError>(7)
                    };
                    let done = once(&inbox, &cx, effect).await?;
                    assert!(done.is_none_or(|done| done == 7));
                    Done
                },
            )
        };
        consumer("a").drain().await.expect("drains");
        assert_eq!(sent.load(Ordering::SeqCst), 3);
        let last = hub.topic("orders").view().await.expect("a view");
        let last = last.expect("the topic").end;
        let reset = hub
            .group("orders", "a")
            .reset(ReadFrom::Position(last.at(1)));
        reset.await.expect("reset");
        consumer("a").drain().await.expect("drains");
        assert_eq!(sent.load(Ordering::SeqCst), 3, "the last two are known");
        let reset = hub.group("orders", "a").reset(ReadFrom::Earliest);
        reset.await.expect("reset");
        consumer("a").drain().await.expect("drains");
        assert!(sent.load(Ordering::SeqCst) > 3, "the first was forgotten");
        let before = sent.load(Ordering::SeqCst);
        consumer("b").drain().await.expect("drains");
        let after = sent.load(Ordering::SeqCst);
        assert_eq!(after, before + 3, "another group has effects of its own");
    });
}
