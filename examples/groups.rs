//! Two groups on one topic: each handles every event once, at its own pace, each key in order.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use posthaste::event::ReadFrom;
use posthaste::{Done, Event, Posthaste, State};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize, Event)]
#[event(
    type = "order.placed",
    topic = "orders",
    source = "shop",
    key = "customer"
)]
struct OrderPlaced {
    customer: u64,
    total: u64,
}

#[derive(Serialize, Deserialize, Event)]
#[event(
    type = "order.cancelled",
    topic = "orders",
    source = "shop",
    key = "customer"
)]
struct OrderCancelled {
    customer: u64,
    total: u64,
}

/// What each customer owes.
type Accounts = Arc<Mutex<HashMap<u64, i64>>>;

fn add(accounts: &Accounts, customer: u64, amount: i64) {
    let mut accounts = accounts.lock().expect("nobody panics here");
    *accounts.entry(customer).or_default() += amount;
}

#[tokio::main]
pub(crate) async fn main() -> posthaste::Result<()> {
    let hub = Posthaste::open("memory:").await?;
    let accounts = Accounts::default();
    let orders = Arc::new(Mutex::new(0));

    // One consumer with a handler for each type that its group cares for.
    let billing = hub.group("orders", "billing");
    let bills = billing
        .consumer()
        .from(ReadFrom::Earliest)
        .concurrency(64) // so many customers at once
        .state(Arc::clone(&accounts))
        .on(
            |event: OrderPlaced, State(accounts): State<Accounts>| async move {
                add(&accounts, event.customer, event.total.cast_signed());
                Done
            },
        )
        .on(
            |event: OrderCancelled, State(accounts): State<Accounts>| async move {
                add(&accounts, event.customer, -event.total.cast_signed());
                Done
            },
        )
        .start()
        .await?;

    // Another group, which passes over what it has no handler for.
    let analytics = hub.group("orders", "analytics");
    let counts = Arc::clone(&orders);
    let counter = analytics.consumer().from(ReadFrom::Earliest);
    let counter = counter.on(move |_: OrderPlaced| {
        *counts.lock().expect("nobody panics here") += 1;
        async { Done }
    });
    let counter = counter.start().await?;

    let mut last = None;
    for customer in 0..100 {
        hub.publish(OrderPlaced {
            customer,
            total: 30,
        })
        .await?;
        let total = 10;
        last = Some(hub.publish(OrderCancelled { customer, total }).await?);
    }
    let last = last.expect("published").position;
    billing.reached(last).await?;
    analytics.reached(last).await?;
    assert_eq!(billing.lag().await?.events, 0);

    let (billed, counted) = (bills.stop().await?, counter.stop().await?);
    assert_eq!(
        (billed.done, counted.done, counted.skipped),
        (200, 100, 100)
    );
    assert_eq!(*orders.lock().expect("nobody panics here"), 100);
    let accounts = accounts.lock().expect("nobody panics here");
    assert!(accounts.len() == 100 && accounts.values().all(|owed| *owed == 20));
    Ok(())
}
