//! A job, a handler, and a worker that runs it. Run with `cargo run -p posthaste --example hello`.
#![expect(clippy::print_stdout, reason = "an example talks to its reader")]

use posthaste::{Cx, Done, Job, Posthaste};
use serde::{Deserialize, Serialize};

/// The value is the payload; the kind is `welcome-email`, from the type's name.
#[derive(Serialize, Deserialize, Job)]
#[job(queue = "mail", max_attempts = 8, timeout = "30s")]
struct WelcomeEmail {
    user: u64,
}

#[tokio::main]
pub(crate) async fn main() -> posthaste::Result<()> {
    // `file:./data` instead keeps the jobs through kill -9 and power cuts.
    let hub = Posthaste::open("memory:").await?;
    let job = hub.enqueue(WelcomeEmail { user: 7 }).priority(9).await?;
    println!("{} is {}", job.id, job.state);

    let worker = hub.worker().on(|job: WelcomeEmail, cx: Cx| async move {
        println!("mailing user {}, attempt {}", job.user, cx.attempt());
        Done
    });
    // A program would wait for a signal here; this one waits for the job.
    let mailed = async { drop(job.wait().await) };
    let summary = worker.run_until(mailed).await?;
    assert_eq!(summary.completed, 1);
    hub.close().await
}
