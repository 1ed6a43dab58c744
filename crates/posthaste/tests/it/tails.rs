//! Tails: every event once and in order, gaps told, and no event lost to a dropped future.

use posthaste::event::{
    EventDraft, GapReason, Page, Position, RawEvent, ReadFrom, Tail, Tailed, TailedOf,
    TopicSettings,
};
use posthaste::{ErrorKind, Payload, Posthaste};

use crate::{OrderPlaced, memory, placed, run};

/// A hub with events of these orders.
async fn with_orders(orders: std::ops::Range<u64>) -> Posthaste {
    let hub = memory().await;
    hub.publish_all(orders.map(placed))
        .await
        .expect("published");
    hub
}

fn earliest(hub: &Posthaste) -> Tail {
    hub.topic("orders").tail().from(ReadFrom::Earliest)
}

fn order(event: &RawEvent) -> u64 {
    event
        .key
        .as_deref()
        .and_then(|key| key.parse().ok())
        .expect("an order")
}

async fn next(tail: &mut Tail) -> u64 {
    match tail.next().await.expect("an event") {
        Tailed::Event(event) => order(&event),
        Tailed::Gap(gap) => panic!("{gap:?}"),
    }
}

#[test]
fn every_event_is_read_once_and_in_order() {
    run(async {
        let hub = with_orders(0..25).await;
        let mut tail = earliest(&hub).page_size(10);
        for n in 0..25 {
            assert_eq!(next(&mut tail).await, n);
        }
        assert_eq!(tail.behind(), Some(0));
        assert_eq!(tail.ready_page().await, Ok(Page::Events(Vec::new())));
        hub.publish(placed(25)).await.expect("published");
        assert_eq!(next(&mut tail).await, 25);
    });
}

#[test]
fn a_tail_waits_for_what_is_to_come() {
    run(async {
        let hub = with_orders(0..1).await;
        let mut tail = hub.topic("orders").tail();
        tail.begin().await.expect("begins");
        let reader = tokio::spawn(async move { (next(&mut tail).await, next(&mut tail).await) });
        hub.publish(placed(1)).await.expect("published");
        hub.publish(placed(2)).await.expect("published");
        assert_eq!(reader.await.expect("reads"), (1, 2));
    });
}

#[test]
fn a_cursor_goes_on_where_it_was_taken() {
    run(async {
        let hub = with_orders(0..5).await;
        let mut tail = earliest(&hub);
        assert_eq!(tail.cursor(), None);
        tail.begin().await.expect("begins");
        let first = tail.cursor().expect("it began");
        assert_eq!(first.sequence, 0);
        assert_eq!((next(&mut tail).await, next(&mut tail).await), (0, 1));
        let kept = tail.cursor().expect("it began").to_string();
        let cursor: Position = kept.parse().expect("a cursor");
        let mut other = hub.topic("orders").tail().from(ReadFrom::Position(cursor));
        for n in 2..5 {
            assert_eq!(next(&mut other).await, n);
        }
        tail.go_on_from(ReadFrom::Position(first));
        assert_eq!(next(&mut tail).await, 0, "back to the beginning");
    });
}

#[test]
fn types_keys_and_partitions_are_picked() {
    run(async {
        let hub = with_orders(0..20).await;
        let other = EventDraft::new(placed(3)).topic("orders");
        let raw = EventDraft::raw("orders", "order.lost", Payload::json("1")).key("3");
        hub.publish_all([raw, other]).await.expect("published");
        let read = async |mut tail: Tail| match tail.next_page().await.expect("a page") {
            Page::Events(events) => events,
            Page::Gap(gap) => panic!("{gap:?}"),
        };
        let lost = read(earliest(&hub).types(["order.lost"])).await;
        assert_eq!(lost.len(), 1);
        let of_three = read(earliest(&hub).keys(["3"])).await;
        assert_eq!(of_three.len(), 3);
        let partition = of_three[0].partition;
        let of_partition = read(earliest(&hub).partition(partition)).await;
        assert!(of_partition.len() > 3 && of_partition.len() < 22);
        let offsets: Vec<u64> = of_partition.iter().map(|event| event.offset).collect();
        assert!(offsets.iter().copied().eq(0..of_partition.len() as u64));
    });
}

#[test]
fn a_dropped_future_takes_no_event_with_it() {
    run(async {
        let hub = with_orders(0..1).await;
        let mut tail = hub.topic("orders").tail();
        for n in 1..10 {
            tokio::select! {
                biased;
                told = tail.next() => panic!("there is none: {told:?}"),
                // The first question, which asks where the latest is, may be under way.
                () = tokio::task::yield_now() => {}
            }
            tail.begin().await.expect("begins");
            hub.publish(placed(n)).await.expect("published");
            assert_eq!(next(&mut tail).await, n);
        }
    });
}

#[test]
fn the_latest_is_where_it_was_first_asked_for() {
    run(async {
        let hub = with_orders(0..3).await;
        let mut tail = hub.topic("orders").tail();
        tail.begin().await.expect("begins");
        tokio::select! {
            biased;
            told = tail.next() => panic!("there is none: {told:?}"),
            () = std::future::ready(()) => {}
        }
        hub.publish(placed(3)).await.expect("published");
        assert_eq!(next(&mut tail).await, 3);
    });
}

#[test]
fn what_is_gone_is_told_and_never_passed_over() {
    run(async {
        let hub = with_orders(0..3).await;
        let mut tail = earliest(&hub);
        assert_eq!(next(&mut tail).await, 0);
        let kept = tail.cursor().expect("it began");
        hub.topic("orders").delete().await.expect("deleted");
        let mut tail = hub.topic("orders").tail().from(ReadFrom::Position(kept));
        let error = tail.next().await.expect_err("no topic");
        assert_eq!(error.kind(), ErrorKind::NotFound);

        hub.publish(placed(9)).await.expect("another topic");
        match tail.next().await.expect("a gap") {
            Tailed::Gap(gap) => assert_eq!(gap.reason, GapReason::History),
            Tailed::Event(event) => panic!("{event:?}"),
        }
        assert_eq!(tail.cursor(), Some(kept), "it stands still");
        let error = tail.next().await.expect_err("not told where to go on");
        assert_eq!(error.kind(), ErrorKind::Conflict);
        let error = tail.ready_page().await.expect_err("nor here");
        assert_eq!(error.kind(), ErrorKind::Conflict);
        tail.go_on_from_earliest();
        assert_eq!(next(&mut tail).await, 9);
    });
}

#[test]
fn a_typed_tail_tells_what_it_can_not_read() {
    run(async {
        let hub = memory().await;
        let events = [
            EventDraft::new(placed(1)),
            EventDraft::raw("orders", "order.placed", Payload::json(r#"{"order":"x"}"#)),
            EventDraft::raw("orders", "order.placed", Payload::bytes("text/plain", "x")),
            EventDraft::raw("orders", "order.lost", Payload::json("1")),
            EventDraft::tombstone("orders", "order.placed", "1"),
            EventDraft::new(placed(2)),
        ];
        hub.publish_all(events).await.expect("published");
        let mut tail = hub.tail_of::<OrderPlaced>().from(ReadFrom::Earliest);
        let mut said = Vec::new();
        for _ in 0..5 {
            said.push(match tail.next().await.expect("something") {
                TailedOf::Event(told) => {
                    assert_eq!(told.version(), Some(2));
                    format!("order {}", told.data.order)
                }
                TailedOf::Tombstone(event) => format!("end of {}", order(&event)),
                TailedOf::Undecodable(bad) => bad.error.to_string(),
                TailedOf::Gap(gap) => format!("{gap:?}"),
            });
        }
        assert_eq!(
            (&*said[0], &*said[3], &*said[4]),
            ("order 1", "end of 1", "order 2")
        );
        for (bad, why) in [
            (&said[1], "invalid type"),
            (&said[2], "text/plain, not JSON"),
        ] {
            assert!(
                bad.contains("is not a order.placed of version 2") && bad.contains(why),
                "{bad}"
            );
        }
    });
}

#[test]
fn what_can_not_be_asked_is_refused() {
    run(async {
        let hub = with_orders(0..1).await;
        let refused = async |mut tail: Tail| tail.next().await.expect_err("refused").kind();
        assert_eq!(
            refused(earliest(&hub).page_size(0)).await,
            ErrorKind::Invalid
        );
        assert_eq!(
            refused(hub.topic("my orders").tail()).await,
            ErrorKind::Invalid
        );
        assert_eq!(refused(hub.topic("none").tail()).await, ErrorKind::NotFound);
        let many = (0..65).map(|n| n.to_string());
        assert_eq!(refused(earliest(&hub).keys(many)).await, ErrorKind::Invalid);
    });
}

#[test]
fn what_retention_took_is_a_gap() {
    run(async {
        let hub = Posthaste::test().await.expect("a hub");
        let settings = TopicSettings {
            kept_ms: Some(1_000),
            ..TopicSettings::default()
        };
        hub.topic("orders").set(settings).await.expect("made");
        hub.publish_all((0..3).map(placed))
            .await
            .expect("published");
        let mut tail = earliest(&hub);
        assert_eq!(next(&mut tail).await, 0);
        let kept = tail.cursor().expect("it began");
        hub.advance(std::time::Duration::from_secs(3_600));
        hub.publish(placed(3)).await.expect("published");
        let mut tail = hub.topic("orders").tail().from(ReadFrom::Position(kept));
        match tail.next().await.expect("a gap") {
            Tailed::Gap(gap) => {
                assert_eq!(gap.reason, GapReason::Retention);
                assert_eq!(gap.earliest.sequence, 3);
            }
            Tailed::Event(event) => panic!("{event:?}"),
        }
        tail.go_on_from_earliest();
        assert_eq!(next(&mut tail).await, 3);
    });
}
