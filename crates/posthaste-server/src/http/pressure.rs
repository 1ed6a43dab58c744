//! Whether new work is taken while there is too much of it already, or too little room on the disk.
//!
//! The lower tiers are refused first. Work that is under way can always be ended: nothing here looks
//! at a settle, whatever is committed with it. The figures are asked of the store ten times a second
//! at most and by one request at a time, and what was let in since is added to them, so that no enqueue
//! waits for a count. Where nothing is measured by them they are not asked for.
//!
//! It refuses to know idempotency keys: a repetition may be refused whose first request was taken. What
//! a refusal says is that this request did nothing.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use posthaste::policy::{Context, Criticality};
use posthaste_core::view::Health;
use posthaste_core::{Command, Error, ErrorKind, JobState, Result, Store};
use tokio::sync::OwnedMutexGuard;

/// How long figures are believed.
const FRESH: Duration = Duration::from_millis(100);
/// How long they are gone by while newer ones are asked for.
const USABLE: Duration = Duration::from_secs(1);
/// When it is worth asking again, in milliseconds: a backlog gets shorter, and a disk empty.
const BACKLOG_AGAIN_MS: u64 = 2_000;
const DISK_AGAIN_MS: u64 = 5_000;

/// Up to which part of the largest backlog a tier is taken, in percent.
const fn backlog_percent(tier: Criticality) -> u64 {
    match tier {
        Criticality::Critical => 110,
        Criticality::Default => 100,
        Criticality::Batch => 80,
        Criticality::BestEffort => 70,
    }
}

/// How many times the reserve of the disk has to be free for a tier. The store itself refuses all new
/// work when its reserve is touched.
const fn reserves(tier: Criticality) -> u64 {
    match tier {
        Criticality::Critical | Criticality::Default => 0,
        Criticality::Batch => 2,
        Criticality::BestEffort => 3,
    }
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub(super) struct Pressure {
    backlog_max: Option<u64>,
    seen: Arc<Mutex<Seen>>,
    /// Held by the one who asks for figures; given back where its request is dropped.
    asking: Arc<tokio::sync::Mutex<()>>,
}

/// The figures, as they were last seen.
#[derive(Debug, Default)]
struct Seen {
    at: Option<Instant>,
    /// When they could not be had, and why.
    failed: Option<(Instant, Error)>,
    /// Jobs that are ready or wait for their next attempt.
    waiting: u64,
    /// Let in since the server began.
    let_in: u64,
    /// Let in when the figures were asked for.
    let_in_before: u64,
    /// Free bytes of the disk.
    free: Option<u64>,
    reserve: u64,
}

impl Seen {
    fn age(&self) -> Duration {
        self.at.map_or(Duration::MAX, |at| at.elapsed())
    }

    /// What came of asking for whoever has waited for it since `came`.
    fn told_since(&self, came: Instant) -> Option<Result<()>> {
        if self.age() < USABLE {
            return Some(Ok(()));
        }
        let (at, error) = self.failed.as_ref()?;
        (*at >= came).then(|| Err(error.clone()))
    }
}

/// How much a commit brings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Brings {
    jobs: u64,
    events: bool,
}

impl Brings {
    /// What `commands` bring; nothing where they end work.
    fn of(commands: &[Command]) -> Self {
        let ends = |command: &Command| {
            matches!(
                command,
                Command::Settle { .. } | Command::SettleEvents { .. }
            )
        };
        if commands.iter().any(ends) {
            return Self {
                jobs: 0,
                events: false,
            };
        }
        let is_job = |command: &&Command| matches!(command, Command::Enqueue(_));
        let is_event = |command: &Command| matches!(command, Command::Publish { .. });
        Self {
            jobs: commands.iter().filter(is_job).count() as u64,
            events: commands.iter().any(is_event),
        }
    }
}

impl Pressure {
    /// With at most so many jobs that wait; `None` for any number.
    pub(super) fn new(backlog_max: Option<u64>) -> Self {
        Self {
            backlog_max,
            ..Self::default()
        }
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets the new work of a commit in.
    ///
    /// # Errors
    /// `Busy` where too much waits already, `DiskFull` where the disk fills up, for the tier of the
    /// request. What the store answers when it is asked for its figures.
    pub(super) async fn let_in(&self, store: &Arc<dyn Store>, commands: &[Command]) -> Result<()> {
        let brings = Brings::of(commands);
        if brings.jobs == 0 && !brings.events {
            return Ok(());
        }
        let tier = Context::current().tier();
        let most = self.backlog_max.filter(|_| brings.jobs > 0);
        if most.is_none() && reserves(tier) == 0 {
            return Ok(());
        }
        self.refresh(store).await?;
        let mut seen = self.seen();
        check_disk(&seen, tier)?;
        if let Some(most) = most {
            // What was let in while the figures were on their way may be in them or not: it counts
            // as if it were not.
            let waiting = seen.waiting + (seen.let_in - seen.let_in_before);
            check_backlog(waiting, brings.jobs, most, tier)?;
        }
        seen.let_in += brings.jobs;
        Ok(())
    }

    /// Figures that are somewhat old are gone by while newer ones are asked for; those that are too
    /// old are waited for. Whoever waits while another one asks is told what that one was.
    async fn refresh(&self, store: &Arc<dyn Store>) -> Result<()> {
        let came = Instant::now();
        let age = self.seen().age();
        if age < FRESH {
            return Ok(());
        }
        let asking = Arc::clone(&self.asking);
        if age < USABLE {
            if let Ok(turn) = asking.try_lock_owned() {
                tokio::spawn(self.clone().ask(Arc::clone(store), turn));
            }
            return Ok(());
        }
        let turn = asking.lock_owned().await;
        let told = self.seen().told_since(came);
        match told {
            Some(told) => told,
            None => self.clone().ask(Arc::clone(store), turn).await,
        }
    }

    /// Asks for figures, and holds the turn until they are there.
    async fn ask(self, store: Arc<dyn Store>, _turn: OwnedMutexGuard<()>) -> Result<()> {
        let before = self.seen().let_in;
        let figures = self.figures(&*store).await;
        let mut seen = self.seen();
        let (waiting, health) = figures.inspect_err(|error| {
            seen.failed = Some((Instant::now(), error.clone()));
        })?;
        seen.at = Some(Instant::now());
        seen.waiting = waiting;
        seen.let_in_before = before;
        seen.free = health.free_bytes;
        seen.reserve = health.reserve_bytes;
        Ok(())
    }

    async fn figures(&self, store: &dyn Store) -> Result<(u64, Health)> {
        let health = store.health().await?;
        if self.backlog_max.is_none() {
            return Ok((0, health));
        }
        let waits = |held: &[u64; 7]| {
            held[JobState::Available as usize] + held[JobState::Retryable as usize]
        };
        let queues = store.queues().await?;
        Ok((queues.iter().map(|queue| waits(&queue.held)).sum(), health))
    }
}

fn check_backlog(waiting: u64, more: u64, most: u64, tier: Criticality) -> Result<()> {
    let limit = most.saturating_mul(backlog_percent(tier)) / 100;
    if waiting + more <= limit {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Busy,
        format!("the backlog is too long: {waiting} jobs wait, and {tier} is taken up to {limit} of {most}"),
    )
    .next("try again after Retry-After, run more workers, or serve with a larger --backlog-max")
    .retry_after_ms(BACKLOG_AGAIN_MS))
}

fn check_disk(seen: &Seen, tier: Criticality) -> Result<()> {
    let wanted = seen.reserve.saturating_mul(reserves(tier));
    let Some(free) = seen.free.filter(|free| *free < wanted) else {
        return Ok(());
    };
    let mib = |bytes: u64| bytes >> 20;
    Err(Error::new(
        ErrorKind::DiskFull,
        format!(
            "the disk is filling up: {} MiB are free, and {tier} is taken down to {} MiB",
            mib(free),
            mib(wanted)
        ),
    )
    .next("make room on the disk of the data directory; what matters more is still taken")
    .retry_after_ms(DISK_AGAIN_MS))
}

#[cfg(test)]
mod tests {
    use posthaste_core::TopicName;
    use posthaste_log::{Location, Log, Options};

    use super::*;

    fn store() -> Arc<dyn Store> {
        Arc::new(Log::open(Options::new(Location::Memory)).expect("a store"))
    }

    /// What two are told who need figures while a third one's ask `brings` some, and how many wait then.
    async fn told(brings: impl FnOnce(&mut Seen)) -> (Result<()>, Result<()>, u64) {
        let (pressure, store) = (Pressure::new(Some(10)), store());
        let turn = Arc::clone(&pressure.asking).lock_owned().await;
        let brought = async {
            brings(&mut pressure.seen());
            drop(turn);
        };
        let (first, second, ()) =
            tokio::join!(pressure.refresh(&store), pressure.refresh(&store), brought);
        let waiting = pressure.seen().waiting;
        (first, second, waiting)
    }

    #[tokio::test]
    async fn who_waits_while_another_one_asks_does_not_ask_again() {
        // Not old before the two have looked, however slow they are.
        let at = Instant::now() + Duration::from_secs(600);
        let figures = told(|seen| {
            seen.at = Some(at);
            seen.waiting = 7;
        });
        // An empty store would say that none wait, and would not fail.
        assert_eq!(figures.await, (Ok(()), Ok(()), 7));
        let error = Error::new(ErrorKind::Io, "so");
        let failure = told(|seen| seen.failed = Some((at, error.clone())));
        assert_eq!(failure.await, (Err(error.clone()), Err(error.clone()), 0));
        let before = told(|_| {});
        assert_eq!(before.await, (Ok(()), Ok(()), 0), "nothing came: they ask");
    }

    #[tokio::test]
    async fn figures_that_nothing_is_measured_by_are_not_asked_for() {
        async fn check(backlog_max: Option<u64>, tier: Criticality, asks: bool) {
            let (pressure, store) = (Pressure::new(backlog_max), store());
            let events = [Command::Publish {
                topic: TopicName::new("t").expect("a name"),
                events: Vec::new(),
            }];
            let let_in = pressure.let_in(&store, &events);
            let let_in = Context::new().criticality(tier).scope(let_in).await;
            let_in.expect("taken");
            let asked = pressure.seen().at.is_some();
            assert_eq!(asked, asks, "{backlog_max:?} {tier}");
        }
        check(None, Criticality::Critical, false).await;
        check(None, Criticality::Default, false).await;
        check(Some(10), Criticality::Default, false).await;
        check(None, Criticality::Batch, true).await;
        check(None, Criticality::BestEffort, true).await;
    }

    #[test]
    fn the_lower_tiers_are_refused_at_a_shorter_backlog() {
        let taken = |waiting, more, tier| check_backlog(waiting, more, 1_000, tier).is_ok();
        for (tier, last) in [
            (Criticality::BestEffort, 700),
            (Criticality::Batch, 800),
            (Criticality::Default, 1_000),
            (Criticality::Critical, 1_100),
        ] {
            assert!(taken(last - 1, 1, tier), "{tier}");
            assert!(!taken(last, 1, tier), "{tier}");
            assert!(!taken(last - 1, 2, tier), "{tier}");
        }
        let error = check_backlog(812, 1, 1_000, Criticality::Batch).expect_err("refused");
        assert_eq!(error.kind(), ErrorKind::Busy);
        let said = "812 jobs wait, and batch is taken up to 800 of 1000";
        assert!(error.message().contains(said), "{error}");
    }

    #[test]
    fn the_lower_tiers_are_refused_on_a_fuller_disk() {
        let taken = |free, tier| {
            let seen = Seen {
                free,
                reserve: 100 << 20,
                ..Seen::default()
            };
            check_disk(&seen, tier).is_ok()
        };
        for (tier, least) in [
            (Criticality::BestEffort, 300_u64 << 20),
            (Criticality::Batch, 200 << 20),
        ] {
            assert!(taken(Some(least), tier), "{tier}");
            assert!(!taken(Some(least - 1), tier), "{tier}");
            assert!(taken(None, tier), "a store without a disk");
        }
        // The store itself refuses these, when its reserve is touched.
        assert!(taken(Some(1), Criticality::Default));
        assert!(taken(Some(1), Criticality::Critical));
    }
}
