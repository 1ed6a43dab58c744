//! Idempotency keys: one effect however often you ask. Unique jobs: one at a time.

use posthaste::{Done, ErrorKind, Job, Posthaste, TimeUnits, UniqueRule};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize, Job)]
struct Invoice {
    order: u64,
}

#[derive(Serialize, Deserialize, Job)]
struct Reindex {
    table: String,
}

#[tokio::main]
pub(crate) async fn main() -> posthaste::Result<()> {
    let hub = Posthaste::test().await?;

    // The client timed out and asks again: the same key, the same job. Remembered for 24 hours.
    let ask = |order| hub.enqueue(Invoice { order }).idempotency_key("order-42");
    let first = ask(42).await?;
    let again = ask(42).await?;
    assert_eq!((first.id, again.existing), (again.id, true));
    let other = ask(43).await.expect_err("the key stands for another order");
    assert_eq!(other.kind(), ErrorKind::KeyReused);

    // However many ask for it, the index is rebuilt once at a time.
    let reindex = || Reindex {
        table: "users".into(),
    };
    let first = hub.enqueue(reindex()).unique_by_payload().await?;
    let second = hub.enqueue(reindex()).unique_by_payload().await?;
    assert_eq!(first.id, second.id);

    // Or refuse the second, and at most once an hour even when the first is done.
    let hourly = || {
        UniqueRule::key("users")
            .within(1.hours())
            .states(&posthaste::JobState::ALL)
    };
    hub.enqueue(reindex()).unique(hourly()).await?;
    let worker = || hub.worker().on(|_: Reindex| async { Done });
    worker().drain().await?;
    let refused = hub.enqueue(reindex()).unique(hourly().or_reject()).await;
    assert_eq!(
        refused.expect_err("within the hour").kind(),
        ErrorKind::UniqueConflict
    );
    hub.advance(1.hours());
    hub.enqueue(reindex()).unique(hourly().or_reject()).await?;
    Ok(())
}
