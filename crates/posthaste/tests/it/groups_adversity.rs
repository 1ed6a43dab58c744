//! What a consumer does when its store does not answer, answers late or takes its membership away,
//! when it has to leave, and when it is not alone.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use posthaste::core::{Commit, Position};
use posthaste::event::{EventCx, EventRequest, EventService, GroupSettings, ReadFrom};
use posthaste::{
    Command, Consumer, Done, ErrorKind, HandlerResult, Posthaste, Retry, State, TimeUnits,
};
use tokio::sync::{Notify, Semaphore};

use crate::hooked::{Fate, Hooked};
use crate::{OrderPlaced, Ping, memory, placed, run};

fn billing(hub: &Posthaste) -> Consumer {
    hub.group("orders", "billing")
        .consumer()
        .from(ReadFrom::Earliest)
}

async fn publish(hub: &Posthaste, orders: std::ops::Range<u64>) -> Position {
    let mut last = None;
    for order in orders {
        last = Some(hub.publish(placed(order)).await.expect("published"));
    }
    last.expect("one at least").position
}

/// Whether a commit settles events.
fn settles(commit: &Commit) -> bool {
    matches!(commit.commands.first(), Some(Command::SettleEvents { .. }))
}

/// Whether it does something else with them.
fn adds(commit: &Commit) -> bool {
    settles(commit) && commit.commands.len() > 1
}

/// Handles an order, and enqueues a job with it.
async fn with_a_job(event: OrderPlaced, cx: EventCx) -> HandlerResult {
    cx.commit_with(Ping { n: event.order })?;
    Done
}

async fn enqueued(hub: &Posthaste) -> u64 {
    let queues = hub.queues().await.expect("queues");
    queues.first().map_or(0, |queue| queue.totals.enqueued)
}

#[test]
fn an_uncertain_settle_of_events_is_repeated_and_counts_once() {
    run(async {
        let (store, hub) = Hooked::over(&memory().await);
        publish(&hub, 0..3).await;
        let mut left = 2;
        store.on_commit(move |commit| match settles(commit) && left > 0 {
            true => {
                left -= 1;
                Fate::Uncertain
            }
            false => Fate::Pass,
        });
        let did = billing(&hub).on(with_a_job).drain().await.expect("drains");
        assert_eq!((did.done, did.lost), (3, 0));
        assert_eq!(enqueued(&hub).await, 3);
        let view = hub.groups().await.expect("groups").remove(0);
        assert_eq!((view.totals.done, view.lag), (3, 0));
    });
}

/// What was in an answer that got lost is held by the member all the same, and no lapse frees it: the
/// consumer goes on under another membership.
#[test]
fn events_of_an_answer_that_got_lost_come_again() {
    run(async {
        let (store, hub) = Hooked::over(&memory().await);
        let last = publish(&hub, 0..3).await;
        // The answer to the one who joins tells him his token: without it, he is nobody.
        let is_member = Arc::new(AtomicBool::new(false));
        let asks = Arc::clone(&is_member);
        store.on_ask(move |ask| {
            asks.store(ask.token.is_some(), Ordering::SeqCst);
            None
        });
        let gone = Arc::new(AtomicU32::new(0));
        let lost = Arc::clone(&gone);
        store.on_answer(move |leased| {
            let loses = is_member.load(Ordering::SeqCst) && !leased.events.is_empty();
            let first = loses && lost.fetch_add(1, Ordering::SeqCst) == 0;
            first.then_some(ErrorKind::Unavailable)
        });
        let consumer = billing(&hub).lease(1.hours());
        let consumer = consumer.on(|_: OrderPlaced| async { Done });
        let group = hub.group("orders", "billing");
        let settings = GroupSettings::default();
        let made = group.make(Some(ReadFrom::Earliest), settings).await;
        made.expect("made");
        let passed = async { group.reached(last).await.expect("passed") };
        let did = consumer.run_until(passed).await.expect("works");
        assert_eq!(did.done, 3);
        assert_ne!(gone.load(Ordering::SeqCst), 0, "an answer got lost");
    });
}

#[test]
fn one_settle_that_is_stale_does_not_take_the_others_along() {
    run(async {
        let (store, hub) = Hooked::over(&memory().await);
        publish(&hub, 0..9).await;
        store.on_commit(|commit| match commit.commands.first() {
            Some(Command::SettleEvents { ends, .. }) if ends.iter().any(|(at, _)| *at == 4) => {
                Fate::Refuse(ErrorKind::Stale)
            }
            _ => Fate::Pass,
        });
        let consumer = billing(&hub).on(|_: OrderPlaced| async { Done });
        let did = consumer.drain().await.expect("drains");
        assert_eq!((did.done, did.lost), (8, 1));
    });
}

#[test]
fn what_finds_the_disk_full_is_kept_and_holds_up_its_own_key_only() {
    run(async {
        let (store, hub) = Hooked::over(&memory().await);
        let full = Arc::new(AtomicBool::new(true));
        let refused = Arc::new(Semaphore::new(0));
        let (is_full, tell) = (Arc::clone(&full), Arc::clone(&refused));
        store.on_commit(
            move |commit| match adds(commit) && is_full.load(Ordering::SeqCst) {
                true => {
                    tell.add_permits(1);
                    Fate::Refuse(ErrorKind::DiskFull)
                }
                false => Fate::Pass,
            },
        );
        publish(&hub, 1..2).await;
        let second = publish(&hub, 1..2).await;
        let seen = Arc::new(AtomicU32::new(0));
        let consumer = billing(&hub).state(Arc::clone(&seen)).on(
            |event: OrderPlaced, cx: EventCx, State(seen): State<Arc<AtomicU32>>| async move {
                seen.fetch_add(1, Ordering::SeqCst);
                match event.order {
                    1 => with_a_job(event, cx).await,
                    _ => Done,
                }
            },
        );
        let consumer = consumer.start().await.expect("starts");
        refused.acquire_many(2).await.expect("refused").forget();
        let other = publish(&hub, 2..3).await;
        let group = hub.group("orders", "billing");
        loop {
            let view = group.view().await.expect("an answer").expect("the group");
            if view.totals.done == 1 {
                break;
            }
            tokio::task::yield_now().await;
        }
        assert_eq!(seen.load(Ordering::SeqCst), 2, "the second of key 1 waits");
        let late = group.reached(other).within(Duration::ZERO).await;
        assert_eq!(late.expect_err("not yet").kind(), ErrorKind::Busy);
        full.store(false, Ordering::SeqCst);
        group.reached(second).await.expect("passed");
        group.reached(other).await.expect("passed");
        let did = consumer.stop().await.expect("stops");
        assert_eq!((did.done, did.lost, did.released), (3, 0, 0));
        assert_eq!(enqueued(&hub).await, 2);
    });
}

#[test]
fn a_consumer_that_leaves_gives_back_what_finds_the_disk_full() {
    run(async {
        let (store, hub) = Hooked::over(&memory().await);
        let refused = Arc::new(Semaphore::new(0));
        let tell = Arc::clone(&refused);
        store.on_commit(move |commit| match adds(commit) {
            true => {
                tell.add_permits(1);
                Fate::Refuse(ErrorKind::DiskFull)
            }
            false => Fate::Pass,
        });
        publish(&hub, 1..2).await;
        publish(&hub, 1..2).await;
        let consumer = billing(&hub).grace(Duration::ZERO).on(with_a_job);
        let consumer = consumer.start().await.expect("starts");
        refused.acquire().await.expect("refused").forget();
        let did = consumer.stop().await.expect("stops");
        assert_eq!((did.done, did.lost), (0, 0));
        let view = hub.groups().await.expect("groups").remove(0);
        assert_eq!((view.leased, view.position.sequence), (0, 0));
        store.on_commit(|_| Fate::Pass);
        let did = billing(&hub).on(|_: OrderPlaced, cx: EventCx| async move {
            assert_eq!(cx.attempt(), 1, "no attempt was spent");
        });
        assert_eq!(did.drain().await.expect("drains").done, 2);
    });
}

#[test]
fn a_store_that_can_not_be_asked_is_waited_for() {
    run(async {
        let (store, hub) = Hooked::over(&memory().await);
        let last = publish(&hub, 0..1).await;
        let mut kinds = vec![ErrorKind::Unavailable, ErrorKind::Busy];
        store.on_ask(move |_| kinds.pop());
        let consumer = billing(&hub).on(|_: OrderPlaced| async { Done });
        let group = hub.group("orders", "billing");
        group
            .make(Some(ReadFrom::Earliest), GroupSettings::default())
            .await
            .expect("made");
        let passed = async { group.reached(last).await.expect("passed") };
        let did = consumer.run_until(passed).await.expect("works");
        assert_eq!(did.done, 1);
    });
}

#[test]
fn a_consumer_ends_with_its_store_and_with_its_group() {
    run(async {
        let hub = memory().await;
        publish(&hub, 0..1).await;
        let closer = hub.clone();
        let consumer = billing(&hub).on(move |_: OrderPlaced| {
            let hub = closer.clone();
            async move { drop(hub.close().await) }
        });
        let did = consumer.run().await.expect("closed is an end");
        assert_eq!(did.attempts(), 1);

        let hub = memory().await;
        publish(&hub, 0..1).await;
        let deleter = hub.clone();
        let consumer = billing(&hub).on(move |_: OrderPlaced| {
            let group = deleter.group("orders", "billing");
            async move {
                group.delete().await?;
                Done
            }
        });
        let error = consumer.run().await.expect_err("it is deleted");
        assert_eq!(error.kind(), ErrorKind::NotFound);
    });
}

/// Tells when it is dropped.
struct Dropped(Arc<Notify>);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

#[test]
fn a_membership_that_is_lost_stops_its_handlers_and_is_joined_again() {
    run(async {
        let test = Posthaste::test().await.expect("a hub");
        let group = test.group("orders", "billing");
        for by_reset in [false, true] {
            let first = publish(&test, 1..2).await;
            let last = publish(&test, 1..2).await;
            let began = Arc::new(Notify::new());
            let stopped = Arc::new(Notify::new());
            let is_told = Arc::new(Notify::new());
            let hang = Arc::new(AtomicBool::new(true));
            let (tell, told, cancel) = (
                Arc::clone(&began),
                Arc::clone(&stopped),
                Arc::clone(&is_told),
            );
            let seen = Arc::new(Mutex::new(Vec::new()));
            let sees = Arc::clone(&seen);
            let consumer =
                billing(&test)
                    .heartbeat(20.millis())
                    .on(move |_: OrderPlaced, cx: EventCx| {
                        let (hang, tell) = (Arc::clone(&hang), Arc::clone(&tell));
                        let (told, cancel) = (Dropped(Arc::clone(&told)), Arc::clone(&cancel));
                        sees.lock().expect("a lock").push(cx.position());
                        async move {
                            if hang.swap(false, Ordering::SeqCst) {
                                let _told = told;
                                let elsewhere = cx.clone();
                                tokio::spawn(async move {
                                    elsewhere.cancelled().await;
                                    assert!(elsewhere.is_cancelled());
                                    cancel.notify_one();
                                });
                                tell.notify_one();
                                std::future::pending::<()>().await;
                            }
                            assert_eq!(cx.attempt(), 1, "a lost member spends none");
                        }
                    });
            let consumer = consumer.start().await.expect("starts");
            began.notified().await;
            match by_reset {
                false => test.advance(31.secs()),
                true => {
                    let busy = group.reset(ReadFrom::Position(first)).await;
                    assert_eq!(busy.expect_err("held").kind(), ErrorKind::Conflict);
                    let reset = group.reset(ReadFrom::Position(first)).force();
                    reset.await.expect("reset");
                }
            }
            stopped.notified().await;
            is_told.notified().await;
            group.reached(last).await.expect("passed");
            let did = consumer.stop().await.expect("stops");
            assert_eq!(did.done, 2, "{did:?}");
            // The one that ran, and the one behind it where that had come.
            assert!((1..=2).contains(&did.lost), "{did:?}");
            let seen = seen.lock().expect("a lock");
            assert_eq!(*seen, [first, first, last]);
        }
        let view = group.view().await.expect("an answer").expect("the group");
        assert!(view.members.is_empty());
    });
}

#[test]
fn a_handler_that_takes_too_long_has_failed() {
    run(async {
        let hub = memory().await;
        let last = publish(&hub, 1..2).await;
        let settings = GroupSettings {
            max_attempts: Some(1),
            ..GroupSettings::default()
        };
        let consumer = billing(&hub).settings(settings).timeout(30.millis());
        let consumer = consumer.on(|_: OrderPlaced| std::future::pending::<()>());
        let consumer = consumer.start().await.expect("starts");
        let group = hub.group("orders", "billing");
        group.reached(last).await.expect("passed");
        assert_eq!(consumer.stop().await.expect("stops").exhausted, 1);
        let parked = group.parked(None, 1).await.expect("a page").events;
        let error = parked[0].error.as_deref();
        assert_eq!(error, Some("timed out after 30ms"));
    });
}

#[test]
fn who_leaves_lets_what_runs_finish_and_gives_the_rest_back() {
    run(async {
        for grace in [60.secs(), 0.secs()] {
            let hub = memory().await;
            // Two keys, and one slot.
            for _ in 0..3 {
                publish(&hub, 1..3).await;
            }
            let began = Arc::new(Notify::new());
            let go = Arc::new(Notify::new());
            let (tell, wait) = (Arc::clone(&began), Arc::clone(&go));
            let consumer = billing(&hub).concurrency(1).grace(grace);
            let consumer = consumer.on(move |_: OrderPlaced| {
                let (tell, wait) = (Arc::clone(&tell), Arc::clone(&wait));
                async move {
                    tell.notify_one();
                    wait.notified().await;
                }
            });
            let consumer = consumer.start().await.expect("starts");
            began.notified().await;
            let (did, ()) = tokio::join!(consumer.stop(), async {
                if grace > Duration::ZERO {
                    go.notify_one();
                }
            });
            let did = did.expect("stops");
            let finished = u64::from(grace > Duration::ZERO);
            assert_eq!((did.done, did.lost), (finished, 0), "{did:?}");
            let view = hub.groups().await.expect("groups").remove(0);
            assert!(view.members.is_empty(), "it left");
            assert_eq!((view.leased, view.totals.lapsed), (0, 0));
            let rest = billing(&hub).on(|_: OrderPlaced, cx: EventCx| async move {
                assert_eq!(cx.attempt(), 1, "giving back spends none");
            });
            assert_eq!(rest.drain().await.expect("drains").done, 6 - finished);
        }
    });
}

/// A layer that counts what comes out.
#[derive(Clone)]
struct Counting(EventService, Arc<AtomicU32>);

impl tower_service::Service<EventRequest> for Counting {
    type Response = posthaste::event::EventOutcome;
    type Error = posthaste::BoxError;
    type Future = posthaste::BoxFuture<Result<Self::Response, Self::Error>>;

    fn poll_ready(
        &mut self,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Result<(), Self::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: EventRequest) -> Self::Future {
        if request.cx.key() == Some("9") {
            let refused = posthaste::HandlerError::new("banned").dead();
            return Box::pin(std::future::ready(Err(refused.into_error())));
        }
        let (called, count) = (self.0.call(request), Arc::clone(&self.1));
        Box::pin(async move {
            let outcome = called.await?;
            count.fetch_add(1, Ordering::SeqCst);
            Ok(outcome)
        })
    }
}

#[test]
fn a_layer_stands_around_every_handler() {
    run(async {
        let hub = memory().await;
        publish(&hub, 7..10).await;
        let count = Arc::new(AtomicU32::new(0));
        let counts = Arc::clone(&count);
        let layer = tower_layer::layer_fn(move |inner| Counting(inner, Arc::clone(&counts)));
        let consumer = billing(&hub)
            .layer(layer)
            .on(|_: OrderPlaced| async { Done });
        let did = consumer.drain().await.expect("drains");
        assert_eq!(
            (did.done, did.dead, count.load(Ordering::SeqCst)),
            (2, 1, 2)
        );
    });
}

/// What is known of each key: the totals that were handled, and whether a handler is at it.
#[derive(Default)]
struct Keys {
    handled: Mutex<HashMap<u64, Vec<u64>>>,
    busy: Mutex<std::collections::HashSet<u64>>,
    failed: AtomicU64,
}

/// Fails every fifth attempt at first, at once or a little later, and says which keys it is at.
async fn jumpy(event: OrderPlaced, cx: EventCx, State(keys): State<Arc<Keys>>) -> HandlerResult {
    let key = event.order;
    assert!(
        keys.busy.lock().expect("a lock").insert(key),
        "two at {key}"
    );
    if event.total.is_multiple_of(2) {
        tokio::task::yield_now().await;
    }
    let fails = (event.order + event.total).is_multiple_of(5) && cx.attempt() == 1;
    if !fails {
        let mut handled = keys.handled.lock().expect("a lock");
        handled.entry(key).or_default().push(event.total);
    }
    keys.busy.lock().expect("a lock").remove(&key);
    if fails {
        keys.failed.fetch_add(1, Ordering::SeqCst);
        let delay = (event.total % 3) * 5;
        return Retry::after(delay.millis(), "at first");
    }
    Done
}

/// Several consumers handle many events of few keys, some of which fail at first: each key's events
/// are handled once each, in order, and never two at a time.
async fn share(hub: &Posthaste, consumers: usize) {
    const KEYS: u64 = 12;
    const ROUNDS: u64 = 150;
    let keys = Arc::new(Keys::default());
    let mut running = Vec::new();
    hub.publish(OrderPlaced { order: 0, total: 0 })
        .await
        .expect("published");
    for number in 0..consumers {
        let consumer = billing(hub)
            .concurrency(5)
            .name(&format!("member-{number}"));
        let consumer = consumer.state(Arc::clone(&keys)).on(jumpy);
        running.push(consumer.start().await.expect("starts"));
    }
    let mut last = None;
    for total in 0..ROUNDS {
        let orders = (0..KEYS).filter(|order| *order > 0 || total > 0);
        let events = orders.map(|order| OrderPlaced { order, total });
        let places = hub.publish_all(events).await.expect("published");
        last = places.last().copied();
    }
    let group = hub.group("orders", "billing");
    let last = last.expect("published").position;
    group.reached(last).await.expect("passed");
    let mut done = 0;
    for consumer in running {
        let did = consumer.stop().await.expect("stops");
        assert_eq!((did.lost, did.exhausted), (0, 0), "{did:?}");
        done += did.done;
    }
    assert_eq!(done, KEYS * ROUNDS);
    assert!(keys.failed.load(Ordering::SeqCst) > 0);
    let handled = keys.handled.lock().expect("a lock");
    for order in 0..KEYS {
        let expected: Vec<u64> = (0..ROUNDS).collect();
        assert_eq!(handled[&order], expected, "of {order}");
    }
}

#[test]
fn one_consumer_keeps_the_order_of_every_key_under_retry() {
    run(async { share(&memory().await, 1).await });
}

#[test]
fn consumers_share_the_keys_of_a_group_and_keep_their_order_under_retry() {
    run(async { share(&memory().await, 3).await });
}

#[test]
fn consumers_share_the_keys_of_a_group_in_a_directory() {
    run(async {
        let dir = tempfile::tempdir().expect("a directory");
        let url = format!("file:{}", dir.path().display());
        let hub = Posthaste::open(&url).await.expect("opens");
        share(&hub, 2).await;
        hub.close().await.expect("closes");
    });
}
