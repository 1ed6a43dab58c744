//! Long waits for events: woken by what is asked for and by nothing else, and missing nothing.

use std::thread;

use posthaste_core::command::Command;
use posthaste_core::error::{ErrorKind, Result};
use posthaste_core::port::PortFuture;
use posthaste_core::topic::{
    Event, EventPage, NewEvent, ReadFrom, TailTopic, TopicRead, TopicSettings,
};

use super::Bench;
use super::events::check_page;
use super::waits::pass_until;
use super::words::{delete_topic, event, ids, numbered, page, publish, read};
use crate::{block_on, poll_once};

/// A long wait for what is published from now on. It begins at a cursor, so that nothing hangs on
/// when the ask arrives.
fn waiting(bench: &Bench<'_>, name: &str) -> TailTopic {
    if bench.find_topic(name).is_none() {
        bench.set_topic(name, TopicSettings::default());
    }
    let end = bench.topic(name).end;
    TailTopic {
        wait_ms: 60_000,
        ..read(name, ReadFrom::Position(end))
    }
}

fn finished(read: PortFuture<'_, Result<TopicRead>>, most: u32) -> EventPage {
    let page = page(block_on(read).expect("it can be read"));
    check_page(&page, most as usize);
    page
}

/// Reads with a long wait, does `meanwhile` once the ask is out, and says what came.
fn read_while(bench: &Bench<'_>, ask: TailTopic, meanwhile: impl FnOnce()) -> EventPage {
    let (store, most) = (bench.store(), ask.max);
    let mut read = store.read(ask);
    assert!(poll_once(read.as_mut()).is_none(), "nothing is there yet");
    meanwhile();
    finished(read, most)
}

/// A read that waits is woken by a publish, and told all of it.
pub fn a_publish_wakes(bench: &Bench<'_>) {
    bench.publish("orders", numbered(0, 5));
    for round in 0..3 {
        let ask = waiting(bench, "orders");
        let first = 10 * round;
        let page = read_while(bench, ask, || {
            bench.publish("orders", numbered(first, 2));
        });
        assert_eq!(
            ids(&page.events),
            [first.to_string(), (first + 1).to_string()]
        );
        assert_eq!(page.next, page.end);
    }
}

/// What happens in another topic, and to jobs, does not wake.
pub fn a_publish_elsewhere_does_not_wake(bench: &Bench<'_>) {
    let ask = waiting(bench, "orders");
    let page = read_while(bench, ask, || {
        bench.publish_one("audit", event("elsewhere"));
        bench.enqueue(bench.job());
        bench.set_topic("orders", TopicSettings::default());
        bench.publish_one("orders", event("here"));
    });
    assert_eq!(ids(&page.events), ["here"]);
}

/// Of a type and under a key that are not asked for, events do not wake.
pub fn only_wanted_events_wake(bench: &Bench<'_>) {
    let typed = |id: &str, of: &str| NewEvent {
        event_type: of.into(),
        ..event(id)
    };
    let by_type = TailTopic {
        types: vec!["paid".into(), "sent".into()],
        ..waiting(bench, "orders")
    };
    let page = read_while(bench, by_type, || {
        bench.publish(
            "orders",
            vec![typed("1", "placed"), event("2").keyed("sent")],
        );
        bench.publish("orders", vec![typed("3", "placed"), typed("4", "sent")]);
    });
    assert_eq!(ids(&page.events), ["4"]);
    let by_key = TailTopic {
        keys: vec!["user:7".into()],
        ..waiting(bench, "orders")
    };
    let page = read_while(bench, by_key, || {
        bench.publish("orders", vec![event("5"), event("6").keyed("user:8")]);
        bench.publish_one("orders", typed("7", "user:7"));
        bench.publish_one("orders", event("8").keyed("user:7"));
    });
    assert_eq!(ids(&page.events), ["8"]);
}

/// Of another partition, events do not wake.
pub fn only_events_of_its_partition_wake(bench: &Bench<'_>) {
    let places = bench.publish("orders", numbered(0, 20));
    let mine = places[0].partition;
    let ask = TailTopic {
        partition: Some(mine),
        ..waiting(bench, "orders")
    };
    let others = numbered(0, 20).into_iter().zip(&places);
    let others: Vec<NewEvent> = others
        .filter(|(_, place)| place.partition != mine)
        .map(|(event, _)| event)
        .collect();
    assert!(!others.is_empty(), "there are keys of other partitions");
    let page = read_while(bench, ask, || {
        bench.publish("orders", others.clone());
        let last = numbered(0, 1).remove(0);
        bench.publish_one(
            "orders",
            NewEvent {
                id: "mine".into(),
                ..last
            },
        );
    });
    assert_eq!(ids(&page.events), ["mine"]);
    assert_eq!(page.events[0].partition, mine);
}

/// Where there is something to read, nobody waits, and no clock has to move.
pub fn what_is_there_needs_no_wait(bench: &Bench<'_>) {
    let first = waiting(bench, "orders");
    bench.publish("orders", numbered(0, 20));
    let wanting = |keys: Vec<_>, from: ReadFrom| TailTopic {
        keys,
        from,
        ..first.clone()
    };
    for ask in [
        first.clone(),
        wanting(Vec::new(), ReadFrom::Earliest),
        wanting(vec!["key-6".into()], ReadFrom::Earliest),
        wanting(Vec::new(), ReadFrom::Time(bench.wall())),
    ] {
        let page = finished(bench.store().read(ask.clone()), ask.max);
        assert!(!page.events.is_empty());
    }
}

/// A wait for which nothing comes ends with an empty page, and what was passed over in it is not
/// looked at again.
pub fn a_wait_that_ends_has_gone_on(bench: &Bench<'_>) {
    let ask = TailTopic {
        types: vec!["paid".into()],
        wait_ms: 500,
        ..waiting(bench, "orders")
    };
    let store = bench.store();
    let mut read = store.read(ask.clone());
    assert!(poll_once(read.as_mut()).is_none(), "nothing is there yet");
    bench.publish_one("orders", event("other"));
    thread::scope(|scope| {
        let waiter = scope.spawn(move || block_on(read));
        pass_until(bench, || waiter.is_finished());
        let read = waiter.join().expect("no panic").expect("it can be read");
        let page = page(read);
        assert_eq!((page.events, page.next), (Vec::new(), page.end));
        assert_eq!(page.end, bench.topic("orders").end);
    });
    let page = read_while(bench, waiting(bench, "orders"), || {
        bench.publish_one("orders", event("next"));
    });
    assert_eq!(ids(&page.events), ["next"]);
}

/// Everybody who waits is told, each what he asked for.
pub fn many_readers_hear_of_one_event(bench: &Bench<'_>) {
    let ask = waiting(bench, "orders");
    let latest = TailTopic {
        keys: vec!["key-1".into()],
        ..ask.clone()
    };
    let store = bench.store();
    let asks = (0..12).map(|number| match number % 3 {
        0 => latest.clone(),
        _ => ask.clone(),
    });
    let mut reads: Vec<_> = asks.map(|ask| store.read(ask)).collect();
    for read in &mut reads {
        assert!(poll_once(read.as_mut()).is_none(), "nothing is there yet");
    }
    drop(reads.split_off(10));
    bench.publish("orders", numbered(0, 3));
    for (number, read) in reads.into_iter().enumerate() {
        let page = finished(read, ask.max);
        let expected: &[&str] = if number % 3 == 0 {
            &["1"]
        } else {
            &["0", "1", "2"]
        };
        assert_eq!(ids(&page.events), expected);
    }
}

/// Whoever has published reads it: at the place that he was told, and wherever he reads from.
pub fn a_reader_sees_what_he_published(bench: &Bench<'_>) {
    let mut next = waiting(bench, "orders").from;
    for number in 0..50 {
        let place = bench.publish_one("orders", event(&number.to_string()));
        for from in [next, ReadFrom::Position(place.position)] {
            let page = finished(bench.store().read(read("orders", from)), 1_000);
            assert_eq!(ids(&page.events), [number.to_string()]);
            assert_eq!(page.events[0].position, place.position);
        }
        next = ReadFrom::Position(place.position.plus(1));
    }
}

/// Whoever reads on while others publish is told everything once, in order.
pub fn a_reader_follows_a_publisher(bench: &Bench<'_>) {
    const COUNT: usize = 300;
    let mut ask = waiting(bench, "orders");
    let store = bench.store();
    thread::scope(|scope| {
        let publishers: Vec<_> = (0..2)
            .map(|half| {
                let store = &store;
                scope.spawn(move || {
                    for number in (0..COUNT).filter(|number| number % 2 == half) {
                        let event = event(&number.to_string()).keyed(half.to_string());
                        let commit = posthaste_core::Commit::one(publish("orders", vec![event]));
                        block_on(store.commit(vec![commit])).expect("it answers")[0]
                            .as_ref()
                            .expect("published");
                    }
                })
            })
            .collect();
        let mut events: Vec<Event> = Vec::new();
        while events.len() < COUNT {
            let page = finished(store.read(ask.clone()), ask.max);
            assert!(!page.events.is_empty(), "a wait ends with an event");
            ask.from = ReadFrom::Position(page.next);
            events.extend(page.events);
        }
        let places = events.iter().map(|event| event.position.sequence);
        assert!(places.eq(0..COUNT as u64), "everything once, in order");
        for half in ["0", "1"] {
            let of_key = events.iter().filter(|event| event.key == Some(half.into()));
            let numbers = of_key.map(|event| event.id.parse::<usize>().expect("a number"));
            assert!(numbers.is_sorted(), "the events of a key come in order");
        }
        for publisher in publishers {
            publisher.join().expect("no panic");
        }
    });
}

/// Who hangs up while he waits has missed nothing when he comes again.
pub fn who_hangs_up_misses_nothing(bench: &Bench<'_>) {
    let ask = waiting(bench, "orders");
    for round in 0..8 {
        let store = bench.store();
        let mut gone = store.read(ask.clone());
        if round == 0 {
            assert!(poll_once(gone.as_mut()).is_none(), "nothing is there yet");
        }
        bench.publish_one("orders", event(&round.to_string()));
        drop(gone); // whether it was answered already or not
        let page = finished(store.read(ask.clone()), ask.max);
        assert_eq!(page.events.len(), 1 + round);
    }
}

/// Nobody hears of what a refused commit would have published.
pub fn a_refused_publish_wakes_nobody(bench: &Bench<'_>) {
    let ask = waiting(bench, "orders");
    let page = read_while(bench, ask, || {
        let nothing = Command::Cancel(bench.job().id);
        let bad = vec![publish("orders", numbered(0, 5)), nothing];
        bench.check_refused(bad, 1, ErrorKind::NotFound);
        bench.publish_one("orders", event("true"));
    });
    assert_eq!(ids(&page.events), ["true"]);
    assert_eq!(page.end, page.events[0].position.plus(1));
}

/// Whoever waits at a topic that is deleted is told that it is not there.
pub fn a_deleted_topic_ends_the_wait(bench: &Bench<'_>) {
    let ask = waiting(bench, "orders");
    let store = bench.store();
    let mut read = store.read(ask);
    assert!(poll_once(read.as_mut()).is_none(), "nothing is there yet");
    bench.one(delete_topic("orders")).expect("deleted");
    let error = block_on(read).expect_err("it is not there");
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
}

/// Closing ends every wait, and a closed store reads nothing.
pub fn closing_ends_the_wait(bench: &Bench<'_>) {
    let ask = waiting(bench, "orders");
    let store = bench.store();
    let mut read = store.read(ask.clone());
    assert!(poll_once(read.as_mut()).is_none(), "nothing is there yet");
    assert_eq!(block_on(store.close()), Ok(()));
    let error = block_on(read).expect_err("closed");
    assert_eq!(error.kind(), ErrorKind::Closed, "{error}");
    let error = block_on(store.read(ask)).expect_err("closed");
    assert_eq!(error.kind(), ErrorKind::Closed, "{error}");
    let error = block_on(store.topics()).expect_err("closed");
    assert_eq!(error.kind(), ErrorKind::Closed, "{error}");
}
