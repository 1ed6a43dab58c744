//! An event that can't be handled is put aside with the later ones of its key; every other key goes
//! on. Somebody mends what was wrong, and releases them. Or it goes to the dead letters, and its key
//! goes on without it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use posthaste::event::{GroupSettings, KeptReason, OnExhausted, ReadFrom, Which, of_key};
use posthaste::{Backoff, Done, Event, HandlerResult, Posthaste, State, TimeUnits};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize, Event)]
#[event(type = "payment.received", topic = "payments", key = "account")]
struct PaymentReceived {
    account: String,
    amount: u64,
}

/// A ledger that has lost one account.
#[derive(Clone)]
struct Ledger(Arc<AtomicBool>);

async fn book(event: PaymentReceived, State(ledger): State<Ledger>) -> HandlerResult {
    let mended = ledger.0.load(Ordering::SeqCst);
    if event.account == "lost" && !mended {
        return Err("there is no such account".into()); // try again, in the end park
    }
    Done
}

#[tokio::main]
pub(crate) async fn main() -> posthaste::Result<()> {
    let hub = Posthaste::test().await?;
    for amount in 1..=3 {
        for account in ["lost", "found"] {
            let account = account.to_owned();
            hub.publish(PaymentReceived { account, amount }).await?;
        }
    }
    let ledger = Ledger(Arc::new(AtomicBool::new(false)));
    let settings = |on_exhausted| GroupSettings {
        max_attempts: Some(2),
        backoff: Some(Backoff::fixed(60_000)),
        on_exhausted: Some(on_exhausted),
        ..GroupSettings::default()
    };
    let drain = |group: &'static str, on_exhausted| {
        let group = hub.group("payments", group).consumer();
        let consumer = group.from(ReadFrom::Earliest).state(ledger.clone());
        consumer.settings(settings(on_exhausted)).on(book).drain()
    };

    // The first of "lost" fails twice, and is parked with what is behind it; "found" goes on.
    let (books, park) = (hub.group("payments", "books"), OnExhausted::Park);
    assert_eq!(drain("books", park).await?.done, 3);
    hub.advance(1.mins());
    assert_eq!(drain("books", park).await?.exhausted, 1);
    let parked = books.parked(None, 100).await?.events;
    let reasons: Vec<_> = parked.iter().map(|kept| kept.reason).collect();
    let behind = KeptReason::Behind;
    assert_eq!(reasons, [KeptReason::Exhausted, behind, behind]);
    assert_eq!(parked[0].error.as_deref(), Some("there is no such account"));
    assert_eq!(books.lag().await?.events, 0, "the group has gone on");

    // The other way: it is a dead letter, and its key goes on.
    let (reports, dead) = (hub.group("payments", "reports"), OnExhausted::Dead);
    for _ in 0..6 {
        drain("reports", dead).await?;
        hub.advance(1.mins());
    }
    assert_eq!(reports.dead(None, 100).await?.events.len(), 3);

    // Mended: both come again, in order and with all their attempts.
    ledger.0.store(true, Ordering::SeqCst);
    assert_eq!(books.release(of_key("lost")).await?, 3);
    assert_eq!(reports.redrive(Which::All).await?, 3);
    assert_eq!(drain("books", park).await?.done, 3);
    assert_eq!(drain("reports", dead).await?.done, 3);
    Ok(())
}
