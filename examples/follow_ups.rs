//! Several things in one commit: all of them, or none. A handler's follow-ups are part of the
//! commit that settles its job, so that a crash between the two cannot happen.

use posthaste::{Cx, Done, Draft, Job, Posthaste, TimeUnits};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize, Job)]
struct Order {
    number: u64,
}

#[derive(Serialize, Deserialize, Job)]
struct Invoice {
    order: u64,
}

#[derive(Serialize, Deserialize, Job)]
#[job(priority = 2)]
struct AskForReview {
    order: u64,
}

#[tokio::main]
pub(crate) async fn main() -> posthaste::Result<()> {
    let hub = Posthaste::test().await?;

    // From outside: the order, and a reminder a week later, or neither.
    let reminder = Draft::new(AskForReview { order: 42 })
        .after(7.days())
        .id(hub.mint_id());
    hub.commit()
        .enqueue(Order { number: 42 })
        .enqueue(reminder)
        .idempotency_key("order 42 was placed")
        .await?;

    // From a handler: the invoice exists exactly if the order is settled.
    let worker = || {
        hub.worker()
            .on(|order: Order, cx: Cx| async move {
                cx.commit_with(Invoice {
                    order: order.number,
                })?;
                Done
            })
            .on(|invoice: Invoice| async move {
                assert_eq!(invoice.order, 42);
                Done
            })
            .on(|review: AskForReview| async move {
                assert_eq!(review.order, 42);
                Done
            })
    };
    assert_eq!(worker().drain().await?.completed, 2);
    hub.advance(7.days());
    assert_eq!(worker().drain().await?.completed, 1);

    // A command that can't be obeyed undoes its whole commit, and is named.
    let missing = hub.mint_id();
    let refused = hub
        .commit()
        .enqueue(Invoice { order: 43 })
        .cancel(missing)
        .await;
    assert_eq!(refused.expect_err("no such job").command(), Some(1));
    assert_eq!(worker().drain().await?.completed, 0);
    Ok(())
}
