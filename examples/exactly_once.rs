//! Exactly once inside the store: what a handler commits with its event happens if and only if the
//! event is settled, however often the handler runs. And routes, which are that without a handler.

use posthaste::event::{EventCx, ReadFrom};
use posthaste::{Done, Event, Job, Posthaste, Retry, TimeUnits};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize, Event)]
#[event(type = "order.placed", topic = "orders", key = "order")]
struct OrderPlaced {
    order: u64,
    gift: bool,
}

#[derive(Serialize, Deserialize, Event)]
#[event(type = "order.billed", topic = "bills", key = "order")]
struct OrderBilled {
    order: u64,
}

#[derive(Serialize, Deserialize, Job)]
struct SendInvoice {
    order: u64,
}

#[derive(Serialize, Deserialize, Job)]
struct WrapGift {
    order: u64,
}

#[tokio::main]
pub(crate) async fn main() -> posthaste::Result<()> {
    let hub = Posthaste::test().await?;
    for order in 0..10 {
        let gift = order == 7;
        hub.publish(OrderPlaced { order, gift }).await?;
    }

    // The event is settled, the job enqueued and the other event published in one commit.
    let billing = || {
        hub.group("orders", "billing")
            .consumer()
            .from(ReadFrom::Earliest)
            .on(|event: OrderPlaced, cx: EventCx| async move {
                let order = event.order;
                cx.commit_with(SendInvoice { order })?;
                cx.publish_with(OrderBilled { order })?;
                if order.is_multiple_of(3) && cx.attempt() == 1 {
                    // Too early: nothing of the above happens with a retry.
                    return Retry::after(1.mins(), "the books are closed");
                }
                Done
            })
    };
    let first = billing().drain().await?;
    assert_eq!((first.done, first.retried), (6, 4));
    hub.advance(1.mins());
    assert_eq!(billing().drain().await?.done, 4);
    assert_eq!(hub.events::<OrderBilled>().await?.len(), 10);

    // A route makes jobs of events: the same atomic step, declared.
    let gifts = hub.group("orders", "gifts");
    let route = || {
        let consumer = gifts.consumer().from(ReadFrom::Earliest);
        consumer.route(|event: OrderPlaced| event.gift.then_some(WrapGift { order: event.order }))
    };
    assert_eq!(route().drain().await?.done, 1);
    // A replay within 24 hours enqueues nothing again.
    gifts.reset(ReadFrom::Earliest).await?;
    route().drain().await?;

    let worker = hub
        .worker()
        .on(|_: SendInvoice| async { Done })
        .on(|job: WrapGift| async move {
            assert_eq!(job.order, 7);
            Done
        });
    assert_eq!(worker.drain().await?.completed, 10 + 1);
    Ok(())
}
