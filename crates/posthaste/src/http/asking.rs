//! An ask for work, which gives back what nobody takes.
//!
//! Dropped before its answer is there, an ask hangs up, so that the server drops it too. An answer
//! that was on its way by then is read to its end by a task of its own, which releases what came in
//! it. What that task cannot release (the server or this runtime is gone) lapses with its lease.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use posthaste_core::port::{LeaseAsk, Leased};
use posthaste_core::{Command, Commit, Outcome, Result};
use tokio::runtime::Handle;
use tokio::sync::watch;

use super::client::{Answer, Call, Client};
use super::{encode, settle};
use crate::wire;

/// How long a store that closes waits for what is being given back.
const PATIENCE: Duration = Duration::from_secs(10);

/// How many asks were dropped whose answer may still come.
#[derive(Clone, Debug, Default)]
pub(super) struct Dropped(Arc<watch::Sender<usize>>);

impl Dropped {
    /// Ready once nothing more is given back; given up after ten seconds.
    pub(super) async fn none(&self) {
        let mut dropped = self.0.subscribe();
        let none = dropped.wait_for(|dropped| *dropped == 0);
        // What has not been given back by then lapses.
        drop(tokio::time::timeout(PATIENCE, none).await);
    }
}

/// One ask that was dropped, for as long as it is seen to.
struct Counted(Dropped);

impl Counted {
    fn new(dropped: &Dropped) -> Self {
        dropped.0.send_modify(|dropped| *dropped += 1);
        Self(dropped.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.0.send_modify(|dropped| *dropped -= 1);
    }
}

type Exchange = Pin<Box<dyn Future<Output = Result<Answer>> + Send>>;

/// An ask that is under way.
pub(super) struct Asking {
    /// Until it is answered.
    exchange: Option<Exchange>,
    call: Call,
    client: Client,
    dropped: Dropped,
    runtime: Handle,
}

impl Asking {
    /// Begins to ask. Needs a runtime.
    ///
    /// # Errors
    /// `Invalid` where the ask can't be written.
    pub(super) fn new(client: &Client, dropped: &Dropped, ask: &LeaseAsk) -> Result<Self> {
        let wait = Duration::from_millis(ask.wait_ms.into());
        let body = encode(&wire::LeaseAsk::write(ask))?;
        let (exchange, call) = client.call("/v1/leases", body, wait)?;
        Ok(Self {
            exchange: Some(Box::pin(exchange)),
            call,
            client: client.clone(),
            dropped: dropped.clone(),
            runtime: Handle::current(),
        })
    }
}

impl Future for Asking {
    type Output = Result<Vec<Leased>>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(exchange) = &mut self.exchange else {
            return Poll::Pending; // it was answered already
        };
        let answer = ready!(exchange.as_mut().poll(context));
        self.exchange = None;
        Poll::Ready(answer.and_then(|answer| leased(&answer)))
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        if let Some(exchange) = self.exchange.take()
            && self.call.hang_up()
        {
            let (client, call) = (self.client.clone(), self.call.clone());
            let counted = Counted::new(&self.dropped);
            self.runtime.spawn(async move {
                give_back(&client, exchange, &call).await;
                drop(counted);
            });
        }
    }
}

fn leased(answer: &Answer) -> Result<Vec<Leased>> {
    let jobs = answer.read::<wire::LeasedJobs>()?.jobs;
    jobs.into_iter().map(wire::LeasedJob::read).collect()
}

/// Waits for the answer to an ask that was hung up on, and releases what is in it.
async fn give_back(client: &Client, mut exchange: Exchange, call: &Call) {
    let answer = poll_fn(|context| {
        let answer = exchange.as_mut().poll(context);
        if answer.is_pending() {
            // It may have gone over to another connection.
            call.hang_up();
        }
        answer
    });
    // Mostly there is none: the server has dropped the ask.
    let Ok(jobs) = answer.await.and_then(|answer| leased(&answer)) else {
        return;
    };
    let releases: Vec<Commit> = jobs.iter().map(release).collect();
    // Where this fails they lapse.
    drop(settle(client, &releases, &mut Vec::new()).await);
}

fn release(job: &Leased) -> Commit {
    Commit::one(Command::Settle {
        id: job.id,
        token: job.token,
        outcome: Outcome::Release {
            delay_ms: 0,
            undecodable: false,
            error: None,
        },
    })
}
