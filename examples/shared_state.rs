//! What handlers share, queues with slots of their own, and a tower layer around everything.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use posthaste::{Cx, Done, Job, JobRequest, JobService, Posthaste, State, WorkQueue};
use serde::{Deserialize, Serialize};
use tower_layer::layer_fn;
use tower_service::Service;

#[derive(Serialize, Deserialize, Job)]
#[job(queue = "mail")]
struct WelcomeEmail {
    user: u64,
}

#[derive(Serialize, Deserialize, Job)]
#[job(queue = "images")]
struct Thumbnail {
    image: u64,
}

/// Each call of a handler gets a clone, so what is shared is behind an `Arc`.
#[derive(Clone, Default)]
struct Mailer {
    sent: Arc<AtomicU64>,
}

/// A middleware: any tower layer over a service of jobs will do.
#[derive(Clone)]
struct Counted {
    inner: JobService,
    calls: Arc<AtomicU64>,
}

impl Service<JobRequest> for Counted {
    type Response = <JobService as Service<JobRequest>>::Response;
    type Error = <JobService as Service<JobRequest>>::Error;
    type Future = <JobService as Service<JobRequest>>::Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: JobRequest) -> Self::Future {
        self.calls.fetch_add(1, Ordering::Relaxed);
        Service::call(&mut self.inner, request)
    }
}

#[tokio::main]
pub(crate) async fn main() -> posthaste::Result<()> {
    let hub = Posthaste::test().await?;
    hub.enqueue_many((0..20).map(|user| WelcomeEmail { user }))
        .await?;
    hub.enqueue_many((0..5).map(|image| Thumbnail { image }))
        .await?;

    let (mailer, calls) = (Mailer::default(), Arc::new(AtomicU64::new(0)));
    let counter = Arc::clone(&calls);
    let worker = hub
        .worker()
        // Mail shares the worker's 32 slots; images never run more than two at once.
        .queue("mail")
        .queue(WorkQueue::new("images").concurrency(2))
        .concurrency(32)
        .state(mailer.clone())
        .layer(layer_fn(move |inner| Counted {
            inner,
            calls: Arc::clone(&counter),
        }))
        // After the job, the context and states come in any order, or not at all.
        .on(
            |job: WelcomeEmail, State(mailer): State<Mailer>, cx: Cx| async move {
                assert_eq!((job.user < 20, cx.queue().as_str()), (true, "mail"));
                mailer.sent.fetch_add(1, Ordering::Relaxed);
                Done
            },
        )
        .on(|job: Thumbnail| async move { assert!(job.image < 5) });
    assert_eq!(worker.drain().await?.completed, 25);
    assert_eq!(mailer.sent.load(Ordering::Relaxed), 20);
    assert_eq!(calls.load(Ordering::Relaxed), 25);
    Ok(())
}
