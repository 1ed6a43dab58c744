//! An ask for work or for events, which gives back what nobody takes.
//!
//! Dropped before its answer is there, an ask hangs up, so that the server drops it too. An answer
//! that was on its way by then is read to its end by a task of its own, which releases what came in
//! it. What that task cannot release (the server or this runtime is gone) lapses with its lease.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use posthaste_core::group::{EventAsk, EventOutcome, LeasedEvents};
use posthaste_core::port::{LeaseAsk, Leased, PortFuture};
use posthaste_core::{Command, Commit, Outcome, Result};
use tokio::runtime::Handle;
use tokio::sync::watch;

use super::client::{Answer, Call, Client};
use super::{encode, group_path, mixed, settle};
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

/// What can be asked for, and is given back where nobody takes it.
pub(super) trait Ask: Clone + Send + Unpin + 'static {
    /// What comes.
    type Answer: Send;

    /// Where it is asked for.
    fn path(&self) -> String;

    /// The request.
    ///
    /// # Errors
    /// `Invalid` where it can't be written.
    fn body(&self) -> Result<Vec<u8>>;

    /// How long it may wait, in milliseconds.
    fn wait_ms(&self) -> u32;

    /// The answer.
    ///
    /// # Errors
    /// What the server says is wrong.
    fn read(answer: &Answer) -> Result<Self::Answer>;

    /// Gives an answer back. Where that fails, what came in it lapses.
    fn give_back(self, answer: Self::Answer, client: Client) -> PortFuture<'static, ()>;
}

/// An ask that is under way.
pub(super) struct Asking<A: Ask> {
    /// Until it is answered.
    exchange: Option<Exchange>,
    ask: A,
    call: Call,
    client: Client,
    dropped: Dropped,
    runtime: Handle,
}

impl<A: Ask> Asking<A> {
    /// Begins to ask. Needs a runtime.
    ///
    /// # Errors
    /// `Invalid` where the ask can't be written.
    pub(super) fn new(client: &Client, dropped: &Dropped, ask: A) -> Result<Self> {
        let wait = Duration::from_millis(ask.wait_ms().into());
        let (exchange, call) = client.call(&ask.path(), ask.body()?, wait)?;
        Ok(Self {
            exchange: Some(Box::pin(exchange)),
            ask,
            call,
            client: client.clone(),
            dropped: dropped.clone(),
            runtime: Handle::current(),
        })
    }
}

impl<A: Ask> Future for Asking<A> {
    type Output = Result<A::Answer>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(exchange) = &mut self.exchange else {
            return Poll::Pending; // it was answered already
        };
        let answer = ready!(exchange.as_mut().poll(context));
        self.exchange = None;
        Poll::Ready(answer.and_then(|answer| A::read(&answer)))
    }
}

impl<A: Ask> Drop for Asking<A> {
    fn drop(&mut self) {
        if let Some(exchange) = self.exchange.take()
            && self.call.hang_up()
        {
            let (client, call) = (self.client.clone(), self.call.clone());
            let counted = Counted::new(&self.dropped);
            let ask = self.ask.clone();
            self.runtime.spawn(async move {
                give_back(client, exchange, &call, ask).await;
                drop(counted);
            });
        }
    }
}

/// Waits for the answer to an ask that was hung up on, and gives back what is in it.
async fn give_back<A: Ask>(client: Client, mut exchange: Exchange, call: &Call, ask: A) {
    let answer = poll_fn(|context| {
        let answer = exchange.as_mut().poll(context);
        if answer.is_pending() {
            // It may have gone over to another connection.
            call.hang_up();
        }
        answer
    });
    // Mostly there is none: the server has dropped the ask.
    if let Ok(answer) = answer.await.and_then(|answer| A::read(&answer)) {
        ask.give_back(answer, client).await;
    }
}

impl Ask for LeaseAsk {
    type Answer = Vec<Leased>;

    fn path(&self) -> String {
        "/v1/leases".to_owned()
    }

    fn body(&self) -> Result<Vec<u8>> {
        encode(&wire::LeaseAsk::write(self))
    }

    fn wait_ms(&self) -> u32 {
        self.wait_ms
    }

    fn read(answer: &Answer) -> Result<Vec<Leased>> {
        let jobs = answer.read::<wire::LeasedJobs>()?.jobs;
        jobs.into_iter().map(wire::LeasedJob::read).collect()
    }

    fn give_back(self, jobs: Vec<Leased>, client: Client) -> PortFuture<'static, ()> {
        let releases: Vec<Commit> = jobs.iter().map(release).collect();
        Box::pin(async move { drop(settle(&client, &releases, &mut Vec::new()).await) })
    }
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

impl Ask for EventAsk {
    type Answer = LeasedEvents;

    fn path(&self) -> String {
        group_path(&self.topic, &self.group, "/lease")
    }

    fn body(&self) -> Result<Vec<u8>> {
        encode(&wire::EventAsk::write(self))
    }

    fn wait_ms(&self) -> u32 {
        self.wait_ms
    }

    fn read(answer: &Answer) -> Result<LeasedEvents> {
        answer.read::<wire::LeasedEvents>()?.read()
    }

    fn give_back(self, leased: LeasedEvents, client: Client) -> PortFuture<'static, ()> {
        Box::pin(async move {
            if self.token.is_none() {
                // Nobody knows the token: the member would only hold on to its events.
                let leave = Command::Leave {
                    topic: self.topic,
                    group: self.group,
                    token: leased.token,
                };
                return drop(mixed(&client, &Commit::one(leave)).await);
            }
            // From behind: an event that is given back takes those of its key behind it along.
            let ends = leased.events.iter().rev();
            let ends = ends.map(|of| (of.event.position.sequence, EventOutcome::Release));
            let release = |ends| {
                Commit::one(Command::SettleEvents {
                    topic: self.topic.clone(),
                    group: self.group.clone(),
                    token: leased.token,
                    ends,
                })
            };
            let ends: Vec<_> = ends.collect();
            if ends.is_empty() {
                return;
            }
            // Where one of them is no longer its own, the others are given back all the same.
            if let Ok(Err(_refused)) = mixed(&client, &release(ends.clone())).await {
                for end in ends {
                    drop(mixed(&client, &release(vec![end])).await);
                }
            }
        })
    }
}
