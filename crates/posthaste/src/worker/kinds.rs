//! The kinds of a worker: how many jobs of each it may take now, and whether one that it took may start.
//!
//! A kind with a policy is left out of the ask for work while its breaker is open or all its places are
//! taken, and taken up again by itself. What is claimed and has not started counts against its places. How
//! many are asked for begins at one after a refusal and doubles with each job that is let through, so that
//! what can only be known by trying (a rate, a ramp) sends few jobs to and fro.
//!
//! It refuses to spend an attempt on a job that did not start.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use posthaste_core::policy::{Refusal, settings};
use posthaste_core::port::Leased;
use posthaste_core::{Error, ErrorKind, KindName, Outcome, Result, WallMs};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::batch::lock;
use super::retries::Retries;
use crate::outcome::{put_off_ms, text};
use crate::policy::{BreakerState, Policy};
use crate::units::millis;

/// How soon to look again where nothing says when a kind may go on: somebody outside of this worker may
/// have a place, or have joined the breaker by hand.
const LOOK_AGAIN: Duration = Duration::from_millis(200);
/// How soon to look again where a refusal names a later time: its settings may be other ones by then. A
/// breaker that is still open says so again without a job being claimed.
const LOOK_AGAIN_MAX: Duration = Duration::from_secs(5);
/// Pause of a kind after a refusal that doesn't say how long.
const PAUSE: Duration = Duration::from_millis(100);
/// The target of what is told here, as of all policies.
const TARGET: &str = "posthaste::policy";

/// The kinds of a worker.
pub(super) struct Kinds {
    /// Every kind that has a handler of its own, in an order that stays.
    named: Vec<(KindName, Arc<Kind>)>,
    by_name: HashMap<KindName, Arc<Kind>>,
    /// Those without a handler of their own, together, where the worker takes every kind.
    others: Option<Arc<Kind>>,
    limited: bool,
    changed: Arc<Notify>,
    refused: AtomicU64,
    over_budget: AtomicU64,
}

/// One kind.
pub(super) struct Kind {
    pub(super) policy: Option<Policy>,
    retries: Option<Mutex<Retries>>,
    /// Claimed, and not started.
    waiting: AtomicU32,
    pace: Mutex<Pace>,
    changed: Arc<Notify>,
}

/// How fast it is asked for.
struct Pace {
    /// Most to ask for at once.
    batch: u32,
    paused_until: Option<Instant>,
}

/// What to ask for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Plan {
    /// Of which kinds; empty is every kind.
    pub(super) kinds: Vec<KindName>,
    /// How many; 0 is not to ask at all.
    pub(super) max: u32,
    /// Some kind lets through fewer than were wanted.
    pub(super) narrowed: bool,
    /// When it may be otherwise, though nothing happens here.
    again: Option<Instant>,
}

/// A job of a limited kind between its claim and its start. Dropped, it is one or the other.
pub(super) struct Claim(Arc<Kind>);

impl Drop for Claim {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::AcqRel);
        self.0.changed.notify_waiters();
    }
}

/// Tells that a place is free when it is dropped.
pub(super) struct Leaves<'k>(&'k Kind);

impl Drop for Leaves<'_> {
    fn drop(&mut self) {
        self.0.changed.notify_waiters();
    }
}

impl Kinds {
    /// The kinds of handlers, those of them that have policies, and the retry budget of each.
    pub(super) fn new(
        names: Vec<KindName>,
        takes_all: bool,
        policies: Vec<(KindName, Policy)>,
        budget: Option<&settings::Budget>,
        now: WallMs,
    ) -> Result<Self> {
        let changed = Arc::new(Notify::new());
        let mut policies = collect(&names, takes_all, policies)?;
        let limited = !policies.is_empty();
        let kind = |policy| {
            Arc::new(Kind {
                policy,
                retries: budget.map(|set| Mutex::new(Retries::new(set, now))),
                waiting: AtomicU32::new(0),
                pace: Mutex::new(Pace {
                    batch: u32::MAX,
                    paused_until: None,
                }),
                changed: Arc::clone(&changed),
            })
        };
        let named = names.into_iter().map(|name| {
            let policy = policies.remove(&name);
            (name, kind(policy))
        });
        let named: Vec<_> = named.collect();
        Ok(Self {
            by_name: named.iter().cloned().collect(),
            others: takes_all.then(|| kind(None)),
            named,
            limited,
            changed,
            refused: AtomicU64::new(0),
            over_budget: AtomicU64::new(0),
        })
    }

    /// What to ask for where `wanted` jobs are wanted.
    pub(super) fn plan(&self, wanted: u32) -> Plan {
        let mut plan = Plan {
            kinds: Vec::new(),
            max: wanted,
            narrowed: false,
            again: None,
        };
        if self.others.is_some() {
            return plan;
        }
        let now = Instant::now();
        for (name, kind) in &self.named {
            match kind.room(now) {
                Ok(room) => {
                    plan.kinds.push(name.clone());
                    plan.narrowed |= room < wanted;
                    plan.max = plan.max.min(room);
                }
                Err(until) => plan.again = Some(plan.again.map_or(until, |at| at.min(until))),
            }
        }
        if plan.kinds.is_empty() {
            plan.max = 0;
        }
        plan
    }

    /// How many jobs were given back because of the policy of their kind.
    pub(super) fn refused_count(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// How many retries were put off because their kind's budget had nothing left.
    pub(super) fn over_budget_count(&self) -> u64 {
        self.over_budget.load(Ordering::Relaxed)
    }

    /// Those of the kinds that have no policy.
    pub(super) fn unlimited(&self) -> Vec<KindName> {
        let free = self.named.iter().filter(|(_, kind)| kind.policy.is_none());
        free.map(|(name, _)| name.clone()).collect()
    }

    /// Waits until there are other kinds to ask for than these, at `earliest` or later. What changes and
    /// changes back before then is not seen.
    pub(super) async fn differ(&self, from: &[KindName], earliest: Instant) {
        if !self.limited {
            std::future::pending::<()>().await;
        }
        if earliest > Instant::now() {
            tokio::time::sleep_until(earliest).await;
        }
        loop {
            let told = self.changed.notified();
            tokio::pin!(told);
            told.as_mut().enable();
            let plan = self.plan(u32::MAX);
            if plan.kinds != from {
                return;
            }
            match plan.again {
                Some(at) => tokio::select! {
                    () = told => {}
                    () = tokio::time::sleep_until(at) => {}
                },
                None => told.await,
            }
        }
    }

    /// The kind of a job.
    pub(super) fn of(&self, name: &KindName) -> Option<&Arc<Kind>> {
        self.by_name.get(name).or(self.others.as_ref())
    }

    /// A job was claimed.
    pub(super) fn claim(&self, name: &KindName) -> Option<Claim> {
        if !self.limited {
            return None;
        }
        let kind = self.of(name).filter(|kind| kind.policy.is_some())?;
        kind.waiting.fetch_add(1, Ordering::AcqRel);
        Some(Claim(Arc::clone(kind)))
    }

    /// A job is about to start.
    ///
    /// # Errors
    /// How it is given back instead, where its kind's retry budget has nothing left.
    pub(super) fn start(
        &self,
        kind: Option<&Arc<Kind>>,
        job: &Leased,
        now: WallMs,
    ) -> Result<(), Outcome> {
        let Some(retries) = kind.and_then(|kind| kind.retries.as_ref()) else {
            return Ok(());
        };
        let mut retries = lock(retries);
        if job.attempt <= 1 {
            retries.first(now);
            return Ok(());
        }
        let Err(put_off) = retries.again(now) else {
            return Ok(());
        };
        drop(retries);
        self.over_budget.fetch_add(1, Ordering::Relaxed);
        let (kind, attempt) = (&job.kind, job.attempt);
        tracing::debug!(target: TARGET, %kind, attempt, ?put_off, reason = "budget", "put off");
        let put_off_ms = millis(put_off);
        let error = format!("put off for {put_off_ms} ms: the retry budget of {kind} is exhausted");
        Err(given_back(put_off_ms, error))
    }

    /// How a job is given back that its kind's policy refused to start.
    pub(super) fn refused(&self, kind: &Kind, job: &Leased, refusal: &Refusal) -> Outcome {
        self.refused.fetch_add(1, Ordering::Relaxed);
        kind.pause(refusal);
        let (kind, id, reason) = (&job.kind, &job.id, refusal.slug());
        tracing::debug!(target: TARGET, %kind, %id, reason, "given back: {refusal}");
        given_back(put_off_ms(refusal), format!("not started: {refusal}"))
    }
}

impl Kind {
    /// How many more jobs it lets through now.
    ///
    /// # Errors
    /// When to look again, where it lets none through.
    fn room(&self, now: Instant) -> Result<u32, Instant> {
        let Some(policy) = &self.policy else {
            return Ok(u32::MAX);
        };
        let pace = lock(&self.pace);
        if let Some(until) = pace.paused_until.filter(|until| *until > now) {
            return Err(until);
        }
        let mut room = pace.batch;
        drop(pace);
        if let Err(refusal) = policy.peek() {
            let after = refusal.retry_after().unwrap_or(LOOK_AGAIN);
            return Err(now + after.min(LOOK_AGAIN_MAX));
        }
        if policy.breaker() == Some(BreakerState::HalfOpen) {
            // One at a time: where another probe is allowed, the next ask is for it.
            room = 1;
        }
        if let Some(places) = policy.places() {
            let taken = places.in_flight.saturating_add(places.waiting);
            room = room.min(places.limit.saturating_sub(taken));
        }
        match room.saturating_sub(self.waiting.load(Ordering::Acquire)) {
            0 => Err(now + LOOK_AGAIN),
            room => Ok(room),
        }
    }

    /// Its policy let a job through.
    pub(super) fn let_through(&self) {
        let mut pace = lock(&self.pace);
        pace.batch = pace.batch.saturating_mul(2);
    }

    /// To be dropped when a job that was let through has left its place.
    pub(super) fn leaves(&self) -> Leaves<'_> {
        Leaves(self)
    }

    /// A job that was started has ended so.
    pub(super) fn ended(&self, job: &Leased, outcome: &Outcome) {
        let worked = match outcome {
            Outcome::Completed { .. } | Outcome::Snooze { .. } | Outcome::Cancel { .. } => true,
            Outcome::Retry { .. } | Outcome::Dead { .. } => false,
            Outcome::Release { .. } => return,
        };
        if let (Some(retries), true) = (&self.retries, job.attempt > 1) {
            lock(retries).ended(worked);
        }
    }

    fn pause(&self, refusal: &Refusal) {
        // That one job has no time left says nothing of the others.
        if matches!(refusal, Refusal::Deadline { .. }) {
            return;
        }
        let pause = refusal.retry_after().unwrap_or(PAUSE);
        let mut pace = lock(&self.pace);
        pace.batch = 1;
        pace.paused_until = Some(Instant::now() + pause.min(LOOK_AGAIN_MAX));
        drop(pace);
        self.changed.notify_waiters();
    }
}

/// A job that did not start, given back for so long.
pub(super) fn given_back(delay_ms: u64, error: impl std::fmt::Display) -> Outcome {
    Outcome::Release {
        delay_ms,
        undecodable: false,
        error: Some(text(&error)),
    }
}

/// The policies by kind.
fn collect(
    names: &[KindName],
    takes_all: bool,
    policies: Vec<(KindName, Policy)>,
) -> Result<HashMap<KindName, Policy>> {
    let refused = |said: String, next: &str| Err(Error::new(ErrorKind::Invalid, said).next(next));
    let mut by_kind = HashMap::new();
    for (kind, policy) in policies {
        if takes_all {
            return refused(
                format!("a worker of every kind can't pause the kind {kind}"),
                "name its kinds, or give this one a worker of its own",
            );
        }
        if !names.contains(&kind) {
            return refused(
                format!("the kind {kind} has a policy and no handler"),
                "add one with .on(…), or take the policy away",
            );
        }
        if by_kind.insert(kind.clone(), policy).is_some() {
            return refused(
                format!("the kind {kind} has two policies"),
                "keep one of them",
            );
        }
    }
    Ok(by_kind)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::settings::{Breaker, Concurrency, Limit, Trip};

    fn name(kind: &str) -> KindName {
        KindName::new(kind).expect("a kind")
    }

    /// The kinds `free` and `bank`, of which the second has a policy.
    fn kinds(policy: &Policy) -> Kinds {
        let names = vec![name("free"), name("bank")];
        let policies = vec![(name("bank"), policy.clone())];
        Kinds::new(names, false, policies, None, WallMs(0)).expect("kinds")
    }

    fn asked(plan: &Plan) -> (Vec<&str>, u32) {
        (plan.kinds.iter().map(KindName::as_str).collect(), plan.max)
    }

    fn breaker() -> Policy {
        let policy = Policy::named("bank").breaker(Breaker::default());
        policy.build().expect("a policy")
    }

    #[test]
    fn what_is_claimed_and_not_started_counts_against_the_places() {
        let concurrency = Concurrency {
            limit: Limit::Static(3),
            ..Concurrency::default()
        };
        let policy = Policy::named("bank").concurrency(concurrency).build();
        let kinds = kinds(&policy.expect("a policy"));
        assert_eq!(asked(&kinds.plan(8)), (vec!["free", "bank"], 3));
        let claims: Vec<_> = (0..2).map(|_| kinds.claim(&name("bank"))).collect();
        assert_eq!(asked(&kinds.plan(8)), (vec!["free", "bank"], 1));
        let third = kinds.claim(&name("bank"));
        assert_eq!(asked(&kinds.plan(8)), (vec!["free"], 8));
        drop((claims, third));
        assert_eq!(asked(&kinds.plan(8)), (vec!["free", "bank"], 3));
        assert!(kinds.claim(&name("free")).is_none(), "it has no places");
    }

    #[test]
    fn a_half_open_breaker_is_asked_for_one_job() {
        let policy = breaker();
        let kinds = kinds(&policy);
        assert_eq!(asked(&kinds.plan(8)), (vec!["free", "bank"], 8));
        policy.isolate();
        assert_eq!(asked(&kinds.plan(8)), (vec!["free"], 8));
        policy.join();
        assert_eq!(asked(&kinds.plan(8)), (vec!["free", "bank"], 1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_kind_that_may_go_on_again_is_noticed_whoever_let_it() {
        let policy = breaker();
        let kinds = kinds(&policy);
        policy.isolate();
        let plan = kinds.plan(8);
        let noticed = async {
            let noticed = kinds.differ(&plan.kinds, Instant::now());
            tokio::time::timeout(Duration::from_secs(1), noticed).await
        };
        let (noticed, ()) = tokio::join!(noticed, async { policy.join() });
        noticed.expect("it is noticed within a second");
    }

    #[tokio::test(start_paused = true)]
    async fn what_changes_and_changes_back_while_an_ask_may_stand_does_not_end_it() {
        let policy = breaker();
        let kinds = kinds(&policy);
        let (asked, stands) = (kinds.plan(8).kinds, Duration::from_millis(20));
        policy.isolate();
        let began = Instant::now();
        kinds.differ(&asked, began + stands).await;
        assert!(began.elapsed() >= stands, "{:?}", began.elapsed());

        // It differs when it is first looked at, and no longer when the time is over.
        let ended = async {
            let ended = kinds.differ(&asked, Instant::now() + stands);
            tokio::time::timeout(Duration::from_secs(1), ended).await
        };
        let (ended, ()) = tokio::join!(ended, async { policy.join() });
        ended.expect_err("the ask goes on");
    }

    #[tokio::test(start_paused = true)]
    async fn a_long_refusal_is_looked_at_again_soon() {
        let hour = Duration::from_secs(3_600);
        let settings = Breaker {
            trip: Trip::Consecutive(1),
            open_for: hour,
            ..Breaker::default()
        };
        let policy = Policy::named("bank").breaker(settings).build();
        let policy = policy.expect("a policy");
        let kinds = kinds(&policy);
        let bank = kinds.of(&name("bank")).expect("the kind");
        bank.pause(&Refusal::Rate { retry_after: hour });
        assert_eq!(kinds.plan(8).again, Some(Instant::now() + LOOK_AGAIN_MAX));
        tokio::time::advance(LOOK_AGAIN_MAX).await;
        assert_eq!(asked(&kinds.plan(8)), (vec!["free", "bank"], 1));

        let call = policy.call(|_| async { Err::<(), _>(std::io::Error::other("down")) });
        call.await.expect_err("it is down");
        let plan = kinds.plan(8);
        assert_eq!(asked(&plan), (vec!["free"], 8));
        assert_eq!(plan.again, Some(Instant::now() + LOOK_AGAIN_MAX));
    }

    #[tokio::test(start_paused = true)]
    async fn a_job_without_time_does_not_pause_its_kind() {
        let kinds = kinds(&breaker());
        let bank = kinds.of(&name("bank")).expect("the kind");
        let past = Duration::ZERO;
        bank.pause(&Refusal::Deadline { past });
        assert_eq!(asked(&kinds.plan(8)), (vec!["free", "bank"], 8));
    }

    #[tokio::test(start_paused = true)]
    async fn after_a_refusal_one_is_asked_for_and_twice_as_many_after_each_that_was_let_through() {
        let kinds = kinds(&breaker());
        let bank = kinds.of(&name("bank")).expect("the kind");
        bank.pause(&Refusal::Ramping { per_mille: 100 });
        assert_eq!(asked(&kinds.plan(8)), (vec!["free"], 8));
        tokio::time::advance(PAUSE).await;
        assert_eq!(asked(&kinds.plan(8)), (vec!["free", "bank"], 1));
        bank.let_through();
        assert_eq!(asked(&kinds.plan(8)), (vec!["free", "bank"], 2));
        bank.let_through();
        bank.let_through();
        assert_eq!(asked(&kinds.plan(8)), (vec!["free", "bank"], 8));
    }
}
