//! The customers: they sign up and order, at a chosen rate. What they ask for is one commit of
//! several jobs and an event, and counts once it is acknowledged.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use posthaste_core::job::Start;
use posthaste_core::{
    Command, Commit, Error, JobId, JobState, KindName, NewJob, Payload, QueueName, Reply, Result,
    Store,
};
use posthaste_server::mint::Mint;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::acknowledged::Acknowledged;
use super::chance::Chance;
use super::followers::{OrderPlaced, SignedUp, tell};
use super::parties::{BACKOFF, TIMEOUT};

/// Most customers served at once; further ones queue up at the door.
const AT_ONCE: u32 = 512;
/// How often it is seen who has come meanwhile.
const TICK: Duration = Duration::from_millis(10);
/// How many of a thousand customers don't want to be asked how it was.
const UNSUBSCRIBING: u64 = 150;
/// When they say so.
const UNSUBSCRIBE_AFTER: Duration = Duration::from_secs(1);

/// The customers of the shop.
pub(super) struct Customers {
    shared: Arc<Shared>,
    at_once: Arc<Semaphore>,
}

struct Shared {
    store: Arc<dyn Store>,
    chance: Chance,
    acknowledged: Arc<Acknowledged>,
    refused: AtomicU64,
    last_refusal: Mutex<Option<Error>>,
}

impl Customers {
    pub(super) fn new(
        store: Arc<dyn Store>,
        chance: Chance,
        acknowledged: Arc<Acknowledged>,
    ) -> Self {
        Self {
            shared: Arc::new(Shared {
                store,
                chance,
                acknowledged,
                refused: AtomicU64::new(0),
                last_refusal: Mutex::default(),
            }),
            at_once: Arc::new(Semaphore::new(AT_ONCE as usize)),
        }
    }

    /// Lets `rate` customers in a second come, for `length`.
    pub(super) async fn come(&self, rate: u32, length: Duration) {
        let start = Instant::now();
        let mut ticks = tokio::time::interval(TICK);
        let mut came: u64 = 0;
        while start.elapsed() < length {
            ticks.tick().await;
            let due = u128::from(rate) * start.elapsed().as_millis() / 1_000;
            while u128::from(came) < due {
                came += 1;
                let Ok(place) = Arc::clone(&self.at_once).acquire_owned().await else {
                    return;
                };
                let (shared, number) = (Arc::clone(&self.shared), came);
                tokio::spawn(async move {
                    shared.serve(number).await;
                    drop(place);
                });
            }
        }
    }

    /// Waits until everybody who came has an answer.
    pub(super) async fn leave(&self) {
        drop(self.at_once.acquire_many(AT_ONCE).await);
    }

    /// How many were refused, and the last refusal.
    pub(super) fn refused(&self) -> (u64, Option<Error>) {
        let last = self
            .shared
            .last_refusal
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        (self.shared.refused.load(Ordering::Relaxed), last.clone())
    }
}

impl Shared {
    async fn serve(&self, number: u64) {
        if let Err(error) = self.ask(number).await {
            self.refused.fetch_add(1, Ordering::Relaxed);
            *self
                .last_refusal
                .lock()
                .unwrap_or_else(PoisonError::into_inner) = Some(error);
        }
    }

    async fn ask(&self, number: u64) -> Result<()> {
        let mut mint = Mint::new()?;
        let signs_up = self.chance.happens(400);
        let told = match signs_up {
            true => tell(&mut mint, SignedUp { customer: number })?,
            false => tell(
                &mut mint,
                OrderPlaced {
                    customer: number,
                    total: 100 + self.chance.below(20_000),
                },
            )?,
        };
        let jobs = if signs_up {
            vec![
                job(&mut mint, "mail", "welcome", number)?,
                job(&mut mint, "newsletter", "subscribe", number)?,
                job(&mut mint, "chat", "say-hello", number)?,
            ]
        } else {
            let mut ask = job(&mut mint, "mail", "ask-how-it-was", number)?;
            ask.start = Start::After(3_000);
            vec![
                job(&mut mint, "invoice", "write-invoice", number)?,
                job(&mut mint, "mail", "confirm-order", number)?,
                job(&mut mint, "chat", "ring-the-bell", number)?,
                ask,
            ]
        };
        let ask = jobs.last().map(|job| job.id);
        let commands = jobs.into_iter().map(|job| Command::Enqueue(Box::new(job)));
        let commands = commands.chain([told]);
        self.commit(Commit::of(commands.collect())).await?;
        match ask {
            Some(id) if !signs_up && self.chance.happens(UNSUBSCRIBING) => {
                self.unsubscribe(id).await
            }
            _ => Ok(()),
        }
    }

    async fn unsubscribe(&self, id: JobId) -> Result<()> {
        tokio::time::sleep(UNSUBSCRIBE_AFTER).await;
        self.commit(Commit::one(Command::Cancel(id))).await
    }

    async fn commit(&self, commit: Commit) -> Result<()> {
        for answer in self.store.commit(vec![commit]).await? {
            let (mut accepted, mut cancelled, mut published) = (0, 0, 0);
            for reply in answer?.replies {
                match reply {
                    Reply::Enqueued {
                        existing: false, ..
                    } => accepted += 1,
                    Reply::Changed {
                        state: JobState::Cancelled,
                    } => cancelled += 1,
                    Reply::Published(events) => published += events.len() as u64,
                    _ => {}
                }
            }
            self.acknowledged.accepted(accepted, published);
            for _ in 0..cancelled {
                self.acknowledged.ended(JobState::Cancelled);
            }
        }
        Ok(())
    }
}

fn job(mint: &mut Mint, queue: &str, kind: &str, customer: u64) -> Result<NewJob> {
    let payload =
        format!("{{\"customer\":{customer},\"mail\":\"customer-{customer}@example.com\"}}");
    let mut job = NewJob::new(
        mint.id(),
        QueueName::new(queue)?,
        KindName::new(kind)?,
        Payload::json(payload.into_bytes()),
    );
    job.retry.max_attempts = 6;
    job.retry.backoff = BACKOFF;
    job.retry.timeout_ms = u32::try_from(TIMEOUT.as_millis()).unwrap_or(u32::MAX);
    Ok(job)
}
