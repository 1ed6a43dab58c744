//! Consumers of the library over HTTP: what they promise beside a store, they promise beside a server.

use std::sync::{Arc, Mutex};

use posthaste::event::{EventCx, GroupSettings, KeptReason, RawEvent, ReadFrom, Which};
use posthaste::{
    Consumer, Done, ErrorKind, Event, HandlerResult, HttpStore, Job, Park, Posthaste, Retry, State,
    TimeUnits,
};
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use crate::client::Server;

#[derive(Serialize, Deserialize, Event)]
#[event(type = "order.placed", topic = "orders", key = "order")]
struct OrderPlaced {
    order: u64,
    number: u64,
}

#[derive(Serialize, Deserialize, Job)]
struct SendInvoice {
    order: u64,
}

/// Runs a test as a client of a server.
fn run<F: Future<Output = ()>>(test: impl FnOnce(Posthaste) -> F) {
    let server = Server::start();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let url = format!("http://{}", server.address);
        let store = HttpStore::connect(&url).await.expect("connects");
        let hub = Posthaste::with_store(Arc::new(store)).expect("a hub");
        test(hub.clone()).await;
        hub.close().await.expect("closes");
    });
}

fn billing(hub: &Posthaste) -> Consumer {
    hub.group("orders", "billing")
        .consumer()
        .from(ReadFrom::Earliest)
}

async fn publish(hub: &Posthaste, orders: u64, numbers: u64) -> posthaste::event::Position {
    let all = (0..numbers).flat_map(|number| (0..orders).map(move |order| (order, number)));
    let events = all.map(|(order, number)| OrderPlaced { order, number });
    let places = hub.publish_all(events).await.expect("published");
    places.last().expect("one at least").position
}

type Seen = Arc<Mutex<Vec<(u64, u64)>>>;

/// Fails every third event at first, and enqueues a job with each that is done.
async fn bill(event: OrderPlaced, cx: EventCx, State(seen): State<Seen>) -> HandlerResult {
    let (order, number) = (event.order, event.number);
    if (order + number).is_multiple_of(3) && cx.attempt() == 1 {
        return Retry::after(0.millis(), "at first"); // the clock of the server stands still
    }
    cx.commit_with(SendInvoice { order })?;
    seen.lock().expect("a lock").push((order, number));
    Done
}

#[test]
fn consumers_share_the_keys_of_a_group_over_http() {
    run(|hub| async move {
        let last = publish(&hub, 6, 10).await;
        let seen = Seen::default();
        let mut consumers = Vec::new();
        for number in 0..2 {
            let consumer = billing(&hub)
                .concurrency(3)
                .name(&format!("member-{number}"));
            let consumer = consumer.state(Arc::clone(&seen)).on(bill);
            consumers.push(consumer.start().await.expect("starts"));
        }
        let group = hub.group("orders", "billing");
        let passed = group.reached(last).within(60.secs()).await;
        let view = group.view().await.expect("an answer").expect("the group");
        let mut did = Vec::new();
        for consumer in consumers {
            did.push(consumer.stop().await.expect("stops"));
        }
        assert_eq!(passed, Ok(()), "{view:?} {did:?}");
        assert_eq!(did.iter().map(|of| of.done).sum::<u64>(), 60);
        let seen = std::mem::take(&mut *seen.lock().expect("a lock"));
        for order in 0..6 {
            let of = seen.iter().filter(|(seen, _)| *seen == order);
            let numbers: Vec<u64> = of.map(|(_, number)| *number).collect();
            assert_eq!(numbers, (0..10).collect::<Vec<_>>(), "of {order}");
        }
        let queues = hub.queues().await.expect("queues");
        assert_eq!(queues[0].totals.enqueued, 60);
        let view = group.view().await.expect("an answer").expect("the group");
        assert!(view.members.is_empty(), "they left");
    });
}

#[test]
fn what_is_parked_over_http_is_listed_released_and_redriven() {
    run(|hub| async move {
        let last = publish(&hub, 1, 3).await;
        let group = hub.group("orders", "billing");
        let mended = Arc::new(std::sync::atomic::AtomicBool::new(false));
        let is_mended = Arc::clone(&mended);
        let consumer = billing(&hub).on_any(move |event: RawEvent| {
            let mended = is_mended.load(std::sync::atomic::Ordering::SeqCst);
            async move {
                match event.position.sequence {
                    0 if !mended => Park::because("odd"),
                    _ => Done,
                }
            }
        });
        let consumer = consumer.start().await.expect("starts");
        group.reached(last).await.expect("passed");
        let parked = group.parked(None, 10).await.expect("a page").events;
        let said: Vec<_> = parked
            .iter()
            .map(|kept| (kept.reason, kept.error.as_deref()))
            .collect();
        let behind = (KeptReason::Behind, None);
        assert_eq!(said, [(KeptReason::Failed, Some("odd")), behind, behind]);
        mended.store(true, std::sync::atomic::Ordering::SeqCst);
        assert_eq!(group.skip(Which::At(1)).await, Ok(1));
        assert_eq!(group.release(Which::All).await, Ok(2));
        group.reached(last).await.expect("passed");
        let did = consumer.stop().await.expect("stops");
        assert_eq!((did.parked, did.done), (1, 2));
        assert_eq!(group.redrive(Which::All).await, Ok(0));
    });
}

#[test]
fn a_group_is_reset_over_http_while_its_consumer_runs() {
    run(|hub| async move {
        let last = publish(&hub, 1, 2).await;
        let group = hub.group("orders", "billing");
        let (began, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let (tell, wait) = (Arc::clone(&began), Arc::clone(&go));
        let consumer = billing(&hub).heartbeat(20.millis());
        let consumer = consumer.on(move |_: OrderPlaced| {
            let (tell, wait) = (Arc::clone(&tell), Arc::clone(&wait));
            async move {
                tell.notify_one();
                wait.notified().await;
            }
        });
        let consumer = consumer.start().await.expect("starts");
        began.notified().await;
        let busy = group.reset(ReadFrom::Earliest).await;
        assert_eq!(busy.expect_err("held").kind(), ErrorKind::Conflict);
        let reset = group.reset(ReadFrom::Earliest).force();
        reset.await.expect("reset");
        // It joins again, and begins again.
        began.notified().await;
        let settings = GroupSettings {
            max_attempts: Some(3),
            ..GroupSettings::default()
        };
        group.set(settings).await.expect("set");
        go.notify_one();
        began.notified().await;
        go.notify_one();
        group.reached(last).within(60.secs()).await.expect("passed");
        let did = consumer.stop().await.expect("stops");
        assert_eq!(did.done, 2, "{did:?}");
        assert!(did.lost >= 1, "{did:?}");
    });
}
