//! An effect in a store of one's own, once for each event: the inbox is written together with the
//! effect, so that both happen or neither.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};

use posthaste::event::{EventCx, InboxEntry, ReadFrom};
use posthaste::{Done, Event, HandlerResult, Posthaste, Retry, State, TimeUnits};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize, Event)]
#[event(type = "points.earned", topic = "points", key = "user")]
struct PointsEarned {
    user: u64,
    points: u64,
}

/// A database of the program's own. What one `lock` does is one transaction of it.
#[derive(Default)]
struct Database {
    balances: HashMap<u64, u64>,
    /// `create table inbox (…, primary key (topic, group_name, source, id))`
    inbox: HashSet<InboxEntry>,
}

type Shared = Arc<Mutex<Database>>;

async fn credit(event: PointsEarned, cx: EventCx, State(database): State<Shared>) -> HandlerResult {
    let mut transaction = database.lock().expect("nobody panics here");
    // insert into inbox … on conflict do nothing
    if !transaction.inbox.insert(cx.inbox_entry()) {
        return Done; // it was credited before
    }
    *transaction.balances.entry(event.user).or_default() += event.points;
    drop(transaction);
    if cx.attempt() == 1 {
        // The transaction is committed, and then the connection to the store breaks, say.
        return Retry::after(1.secs(), "the answer got lost");
    }
    Done
}

#[tokio::main]
pub(crate) async fn main() -> posthaste::Result<()> {
    let hub = Posthaste::test().await?;
    for user in 0..5 {
        let points = 10;
        hub.publish(PointsEarned { user, points }).await?;
    }
    let database = Shared::default();
    let group = hub.group("points", "balances");
    let drain = || {
        let consumer = group.consumer().from(ReadFrom::Earliest);
        consumer.state(Arc::clone(&database)).on(credit).drain()
    };
    assert_eq!(drain().await?.retried, 5);
    hub.advance(1.secs());
    assert_eq!(drain().await?.done, 5);

    // Not even a replay of everything credits anybody twice.
    group.reset(ReadFrom::Earliest).await?;
    drain().await?;
    let database = database.lock().expect("nobody panics here");
    assert!(database.balances.len() == 5 && database.balances.values().all(|is| *is == 10));
    Ok(())
}
