//! A handler returns something, and whoever enqueued the job waits for it.
#![expect(clippy::print_stdout, reason = "an example talks to its reader")]

use posthaste::{Dead, Done, Job, Posthaste};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize, Job)]
struct Total {
    prices: Vec<u64>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Sum {
    cents: u64,
}

#[tokio::main]
pub(crate) async fn main() -> posthaste::Result<()> {
    let hub = Posthaste::open("memory:").await?;
    let worker = hub.worker().on(|job: Total| async move {
        if job.prices.is_empty() {
            return Dead::because("there is nothing to add up");
        }
        // At most 64 KiB, kept with the job for a day: see `keep_result`.
        Done::with(&Sum {
            cents: job.prices.iter().sum(),
        })
    });
    let worker = worker.start().await?;

    let job = hub
        .enqueue(Total {
            prices: vec![250, 499],
        })
        .await?;
    let sum: Sum = job.result().await?;
    assert_eq!(sum, Sum { cents: 749 });

    // A job that dies says why.
    let empty = hub.enqueue(Total { prices: vec![] }).await?;
    let error = empty.result::<Sum>().await.expect_err("it is dead");
    println!("{error}");
    assert!(error.to_string().contains("there is nothing to add up"));

    worker.stop().await?;
    Ok(())
}
