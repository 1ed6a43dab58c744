//! Consumers: what a handler's end means for its event and its key, what it is told, what is
//! committed with it, and how a consumer leaves.

use std::sync::{Arc, Mutex};

use posthaste::event::{
    EventCx, EventDraft, GroupSettings, KeptReason, OnExhausted, Otherwise, RawEvent, ReadFrom,
    TypedEvent, Which, of_key,
};
use posthaste::{
    Backoff, Cancel, Consumer, Dead, Done, ErrorKind, Event, HandlerError, HandlerResult, Park,
    Payload, Posthaste, Retry, Skip, Snooze, State, TimeUnits,
};
use serde::{Deserialize, Serialize};

use crate::{OrderPlaced, Ping, placed, run};

/// What handlers saw, in order.
type Seen = Arc<Mutex<Vec<(u64, u16)>>>;

pub(crate) fn saw(seen: &Seen) -> Vec<(u64, u16)> {
    std::mem::take(&mut *seen.lock().expect("a lock"))
}

async fn hub() -> posthaste::testing::TestHub {
    Posthaste::test().await.expect("a hub")
}

/// A consumer of the group `billing`, from the earliest.
fn billing(hub: &Posthaste) -> Consumer {
    hub.group("orders", "billing")
        .consumer()
        .from(ReadFrom::Earliest)
}

/// One event whose handler ends with `end`, and what became of it: how many events are retrying,
/// parked, dead, and unfinished, and the error that is kept.
async fn ended(end: fn() -> HandlerResult) -> (u64, u64, u64, u64, Option<String>) {
    let hub = hub().await;
    hub.publish(placed(7)).await.expect("published");
    let consumer = billing(&hub).on(move |_: OrderPlaced| async move { end() });
    consumer.drain().await.expect("drains");
    let group = hub.group("orders", "billing");
    let view = group.view().await.expect("an answer").expect("the group");
    assert!(view.members.is_empty(), "it left");
    let mut kept = group.parked(None, 10).await.expect("a page").events;
    kept.extend(group.dead(None, 10).await.expect("a page").events);
    let error = kept.pop().and_then(|kept| kept.error);
    let error = error.map(|error| error.to_string());
    (
        view.retrying,
        view.parked,
        view.dead,
        view.unfinished,
        error,
    )
}

fn check(end: fn() -> HandlerResult, (retrying, parked, dead): (u64, u64, u64), why: Option<&str>) {
    let (is_retrying, is_parked, is_dead, unfinished, error) = run(ended(end));
    assert_eq!(
        (is_retrying, is_parked, is_dead),
        (retrying, parked, dead),
        "{why:?}"
    );
    assert_eq!(unfinished, retrying);
    assert_eq!(error.as_deref(), why);
}

#[test]
fn the_last_line_of_a_handler_says_what_becomes_of_its_event() {
    check(|| Done, (0, 0, 0), None);
    check(|| Done::with(&1), (0, 0, 0), None);
    check(|| Retry::because("down"), (1, 0, 0), None);
    check(|| Retry::after(1.secs(), "down"), (1, 0, 0), None);
    check(|| Snooze::after(1.secs()), (1, 0, 0), None);
    check(|| Park::because("odd"), (0, 1, 0), Some("odd"));
    check(|| Dead::because("bad"), (0, 0, 1), Some("bad"));
    check(|| Skip::because("old"), (0, 0, 0), None);
    check(|| Cancel::because("old"), (0, 0, 0), None);
    check(|| Err("down".into()), (1, 0, 0), None);
    check(
        || Err(HandlerError::new("odd").park()),
        (0, 1, 0),
        Some("odd"),
    );
    check(
        || Err(HandlerError::new("bad").dead()),
        (0, 0, 1),
        Some("bad"),
    );
    check(|| panic!("broken"), (1, 0, 0), None);
}

#[test]
fn a_summary_counts_how_events_ended() {
    run(async {
        let hub = hub().await;
        for order in 0..7 {
            hub.publish(placed(order)).await.expect("published");
        }
        hub.publish(EventDraft::raw("orders", "other", Payload::json("1")))
            .await
            .expect("published");
        let consumer = billing(&hub).on(|event: OrderPlaced| async move {
            match event.order {
                0 => Retry::because("down"),
                1 => Park::because("odd"),
                2 => Dead::because("bad"),
                3 => Skip::because("old"),
                _ => Done,
            }
        });
        let did = consumer.drain().await.expect("drains");
        assert_eq!(
            (did.done, did.retried, did.parked, did.dead, did.skipped),
            (3, 1, 1, 1, 2)
        );
        assert_eq!((did.attempts(), did.lost, did.released), (8, 0, 0));
        let view = hub.groups().await.expect("groups").remove(0);
        assert_eq!((view.totals.done, view.totals.skipped), (3, 2));
    });
}

#[test]
fn a_handler_is_told_of_its_event() {
    run(async {
        let hub = hub().await;
        let draft = hub.publish(placed(7)).id("a#1").source("s%/#");
        let at = draft.traceparent("00-aa-bb-01").await.expect("published");
        let consumer = billing(&hub).on(
            move |event: TypedEvent<OrderPlaced>, cx: EventCx| async move {
                assert_eq!(event.data, placed(7));
                assert_eq!(&event.event, cx.event());
                assert_eq!(
                    (cx.topic().as_str(), cx.group().as_str()),
                    ("orders", "billing")
                );
                assert_eq!((cx.position(), cx.offset()), (at.position, at.offset));
                assert_eq!((cx.id(), cx.key()), ("a#1", Some("7")));
                assert_eq!((cx.attempt(), cx.max_attempts()), (1, 25));
                assert!(!cx.is_last_attempt() && !cx.is_shadow() && !cx.is_cancelled());
                assert_eq!(cx.idempotency_key(), "s%25/%23#a#1");
                assert_eq!(cx.traceparent(), Some("00-aa-bb-01"));
                assert_eq!(cx.lease(), 30.secs());
                cx.commit_with(Ping { n: 1 })?;
                cx.publish_with(placed(8))?;
                assert_eq!(cx.hub().groups().await?.len(), 1);
                Done
            },
        );
        assert_eq!(consumer.drain().await.expect("drains").done, 1);
        // It saw the event that it published itself, too: and failed on it.
        let events = hub.raw_events("orders").await.expect("events");
        assert_eq!(events.len(), 2);
        assert_eq!(events[1].header("traceparent"), Some("00-aa-bb-01"));
        let jobs = hub
            .jobs(posthaste::JobFilter::default(), None, 10)
            .await
            .expect("jobs");
        assert_eq!(jobs.jobs.len(), 1);
        let traced = jobs.jobs[0].metadata.iter();
        assert!(
            traced
                .into_iter()
                .any(|(name, value)| (&**name, &**value) == ("traceparent", "00-aa-bb-01"))
        );
    });
}

#[test]
fn each_key_is_in_order_also_where_one_of_its_events_fails() {
    run(async {
        let hub = hub().await;
        for round in 0..5 {
            for order in 0..40 {
                let total = round;
                hub.publish(OrderPlaced { order, total })
                    .await
                    .expect("published");
            }
        }
        let seen = Seen::default();
        let consumer = || {
            billing(&hub).state(Arc::clone(&seen)).concurrency(4).on(
                |event: OrderPlaced, cx: EventCx, State(seen): State<Seen>| async move {
                    // Every third event fails at first, with what was to be done at once behind it.
                    if (event.order + event.total).is_multiple_of(3) && cx.attempt() == 1 {
                        return Retry::after(1.secs(), "at first");
                    }
                    tokio::task::yield_now().await;
                    let mut seen = seen.lock().expect("a lock");
                    seen.push((event.order, u16::try_from(event.total).expect("small")));
                    drop(seen);
                    Done
                },
            )
        };
        let mut done = 0;
        for _ in 0..5 {
            done += consumer().drain().await.expect("drains").done;
            hub.advance(2.secs());
        }
        assert_eq!(done, 200);
        let seen = saw(&seen);
        for order in 0..40 {
            let of = seen.iter().filter(|(seen, _)| *seen == order);
            let totals: Vec<u16> = of.map(|(_, total)| *total).collect();
            assert_eq!(totals, [0, 1, 2, 3, 4], "of {order}");
        }
        let lag = hub.group("orders", "billing").lag().await.expect("a lag");
        assert_eq!((lag.events, lag.behind), (0, 0.secs()));
    });
}

#[test]
fn what_is_exhausted_is_parked_or_dead_as_the_group_declares() {
    run(async {
        for on_exhausted in [OnExhausted::Park, OnExhausted::Dead] {
            let hub = hub().await;
            for total in 0..3 {
                let event = OrderPlaced { order: 1, total };
                hub.publish(event).await.expect("published");
            }
            let settings = GroupSettings {
                max_attempts: Some(2),
                backoff: Some(Backoff::fixed(1_000)),
                on_exhausted: Some(on_exhausted),
                ..GroupSettings::default()
            };
            let consumer = || {
                billing(&hub)
                    .settings(settings)
                    .on(|event: OrderPlaced, cx: EventCx| async move {
                        assert_eq!(cx.is_last_attempt(), cx.attempt() == 2);
                        if event.total == 0 {
                            return Err(HandlerError::new("down"));
                        }
                        Ok(())
                    })
            };
            let first = consumer().drain().await.expect("drains");
            assert_eq!((first.retried, first.done), (1, 0), "the key waits");
            hub.advance(2.secs());
            let second = consumer().drain().await.expect("drains");
            let goes_on = u64::from(on_exhausted == OnExhausted::Dead);
            assert_eq!((second.exhausted, second.done), (1, 2 * goes_on));
            let group = hub.group("orders", "billing");
            let parked = group.parked(None, 10).await.expect("a page").events;
            let dead = group.dead(None, 10).await.expect("a page").events;
            if on_exhausted == OnExhausted::Dead {
                assert_eq!((parked.len(), dead.len()), (0, 1));
                assert_eq!(dead[0].reason, KeptReason::Exhausted);
                assert_eq!(group.redrive(Which::All).await, Ok(1));
            } else {
                let reasons: Vec<_> = parked.iter().map(|of| of.reason).collect();
                let behind = KeptReason::Behind;
                assert_eq!(reasons, [KeptReason::Exhausted, behind, behind]);
                assert_eq!(group.release(of_key("other")).await, Ok(0));
                assert_eq!(group.release(of_key("1")).await, Ok(3));
            }
            let again = consumer().drain().await.expect("drains");
            assert_eq!(again.retried, 1, "with all its attempts");
        }
    });
}

#[test]
fn what_no_handler_takes_is_skipped_unless_it_is_said_otherwise() {
    run(async {
        for (otherwise, parked, dead) in [
            (Otherwise::Skip, 0, 0),
            (Otherwise::Park, 1, 0),
            (Otherwise::Dead, 0, 1),
        ] {
            let hub = hub().await;
            let other = EventDraft::raw("orders", "other", Payload::json("1"));
            hub.publish(other).await.expect("published");
            // The end of a key is nothing that a typed handler could read.
            let gone = EventDraft::tombstone("orders", OrderPlaced::TYPE, "7");
            hub.publish(gone).await.expect("published");
            let consumer = billing(&hub).on(|_: OrderPlaced| async { Done });
            let did = consumer.otherwise(otherwise).drain().await.expect("drains");
            assert_eq!((did.parked, did.dead), (parked, dead), "{otherwise:?}");
            assert_eq!(did.skipped, 2 - parked - dead);
        }
        let hub = hub().await;
        for kind in ["a", "b"] {
            let draft = EventDraft::raw("orders", kind, Payload::bytes("image/png", &b"\x89"[..]));
            hub.publish(draft).await.expect("published");
        }
        let gone = EventDraft::tombstone("orders", "b", "7");
        hub.publish(gone).await.expect("published");
        let consumer = billing(&hub)
            .on_type("b", |event: RawEvent| async move {
                assert_eq!(event.event_type, "b");
            })
            .on_any(|event: RawEvent| async move {
                assert_eq!(event.event_type, "a");
            });
        assert_eq!(consumer.drain().await.expect("drains").done, 3);
    });
}

#[test]
fn an_event_that_can_not_be_read_is_left_to_others_for_a_while() {
    run(async {
        let hub = hub().await;
        let draft = EventDraft::raw("orders", OrderPlaced::TYPE, Payload::json("\"new\""));
        hub.publish(draft.key("1")).await.expect("published");
        let settings = GroupSettings {
            max_attempts: Some(3),
            ..GroupSettings::default()
        };
        let old = || {
            billing(&hub)
                .settings(settings)
                .on(|_: OrderPlaced| async { Done })
        };
        assert_eq!(old().drain().await.expect("drains").retried, 1);
        assert_eq!(
            old().drain().await.expect("drains").attempts(),
            0,
            "not at once"
        );
        hub.advance(30.secs());
        assert_eq!(old().drain().await.expect("drains").retried, 1);
        hub.advance(30.secs());
        assert_eq!(old().drain().await.expect("drains").exhausted, 1);
        let group = hub.group("orders", "billing");
        let parked = group.parked(None, 10).await.expect("a page").events;
        let error = parked[0].error.as_deref().expect("why");
        assert!(
            error.contains("is not a order.placed of version 2"),
            "{error}"
        );
    });
}

#[derive(Serialize, Deserialize, Event)]
#[event(topic = "bills", key = "order")]
struct Billed {
    order: u64,
}

#[test]
fn what_is_committed_with_an_event_happens_exactly_when_it_ends() {
    run(async {
        let hub = hub().await;
        for order in 0..5 {
            hub.publish(placed(order)).await.expect("published");
        }
        let consumer = || {
            billing(&hub).on(|event: OrderPlaced, cx: EventCx| async move {
                cx.commit_with(Ping { n: event.order })?;
                cx.publish_with(Billed { order: event.order })?;
                match (event.order, cx.attempt()) {
                    (0, 1) => Retry::after(1.secs(), "first"),
                    (1, _) => Park::because("odd"),
                    (2, _) => Dead::because("bad"),
                    (3, _) => Skip::because("old"),
                    _ => Done,
                }
            })
        };
        consumer().drain().await.expect("drains");
        let billed = || async {
            let billed = hub.events::<Billed>().await.expect("events");
            billed.iter().map(|of| of.order).collect::<Vec<_>>()
        };
        let mut orders = billed().await;
        orders.sort_unstable();
        assert_eq!(orders, [2, 3, 4]);
        hub.advance(1.secs());
        consumer().drain().await.expect("drains");
        assert_eq!(billed().await.last(), Some(&0));
        let jobs = hub
            .jobs(posthaste::JobFilter::default(), None, 10)
            .await
            .expect("jobs");
        assert_eq!(jobs.jobs.len(), 4);
    });
}

#[test]
fn what_the_store_refuses_to_commit_with_an_event_fails_the_attempt() {
    run(async {
        let hub = hub().await;
        let unique = || {
            let rule = posthaste::UniqueRule::key("one").or_reject();
            posthaste::Draft::new(Ping { n: 1 }).unique(rule)
        };
        let held = hub.enqueue(unique()).await.expect("enqueued");
        for total in 0..2 {
            let event = OrderPlaced { order: 1, total };
            hub.publish(event).await.expect("published");
        }
        let seen = Seen::default();
        let consumer = || {
            billing(&hub).state(Arc::clone(&seen)).on(
                move |event: OrderPlaced, cx: EventCx, State(seen): State<Seen>| {
                    let draft = unique();
                    async move {
                        let mut seen = seen.lock().expect("a lock");
                        seen.push((event.total, cx.attempt()));
                        drop(seen);
                        if event.total == 0 {
                            cx.commit_with(draft)?;
                        }
                        Done
                    }
                },
            )
        };
        let did = consumer().drain().await.expect("drains");
        assert_eq!((did.retried, did.done), (1, 0));
        assert_eq!(saw(&seen), [(0, 1)], "its key waited for the store");
        hub.cancel(held.id).await.expect("cancelled");
        hub.advance(1.hours());
        let did = consumer().drain().await.expect("drains");
        assert_eq!((did.retried, did.done), (0, 2));
        assert_eq!(saw(&seen), [(0, 2), (1, 1)]);
    });
}

#[test]
fn a_consumer_makes_what_is_missing_and_changes_nothing_that_is_there() {
    run(async {
        let hub = hub().await;
        let handler = || |_: OrderPlaced| async { Done };
        let missing = billing(&hub).existing().on(handler()).drain().await;
        assert_eq!(missing.expect_err("none").kind(), ErrorKind::NotFound);
        billing(&hub).on(handler()).drain().await.expect("drains");
        let settings = GroupSettings {
            in_flight: Some(7),
            ..GroupSettings::default()
        };
        let group = hub.group("orders", "billing");
        group.set(settings).await.expect("set");
        let other = GroupSettings {
            in_flight: Some(9),
            ..GroupSettings::default()
        };
        let consumer = billing(&hub).settings(other).on(handler());
        consumer.drain().await.expect("drains");
        let view = group.view().await.expect("an answer").expect("the group");
        assert_eq!(view.config.in_flight, 7);

        // A new group begins at the latest, or where it is told.
        hub.publish(placed(1)).await.expect("published");
        let of = |name: &str| hub.group("orders", name).consumer().on(handler());
        let done = |did: posthaste::Result<posthaste::ConsumerSummary>| did.expect("drains").done;
        assert_eq!(done(of("late").drain().await), 0);
        assert_eq!(done(billing(&hub).on(handler()).drain().await), 1);
        assert_eq!(
            done(of("copy").from_group("billing").drain().await),
            0,
            "it is through"
        );
        let earlier = of("copy-of-none").from_group("none").drain().await;
        assert_eq!(earlier.expect_err("no such").kind(), ErrorKind::NotFound);
    });
}

#[test]
fn a_consumer_that_can_not_work_says_so() {
    run(async {
        let hub = hub().await;
        let none = billing(&hub).drain().await.expect_err("no handlers");
        assert!(none.message().contains("no handlers"));
        let on = |consumer: Consumer| consumer.on(|_: OrderPlaced| async { Done });
        let twice = on(on(billing(&hub))).drain().await.expect_err("two");
        assert!(twice.message().contains("order.placed"), "{twice}");
        let state = billing(&hub)
            .on(|_: OrderPlaced, State(_): State<u8>| async { Done })
            .drain()
            .await;
        assert!(state.expect_err("no state").message().contains("State<u8>"));
        let bad = [
            on(billing(&hub)).concurrency(0),
            on(billing(&hub)).lease(1.millis()),
            on(billing(&hub)).heartbeat(30.secs()),
            on(billing(&hub)).timeout(0.secs()),
            on(hub.group("no topic", "x").consumer()),
            on(hub.group("orders", "").consumer()),
            billing(&hub).on_type("", |_: RawEvent| async { Done }),
        ];
        for consumer in bad {
            let said = format!("{consumer:?}");
            let error = consumer.drain().await.expect_err("it can't work");
            assert_eq!(error.kind(), ErrorKind::Invalid, "{said}");
        }
    });
}
