//! Drives a store on a disk that breaks, and keeps the ledger of what it answered.

use std::path::Path;
use std::sync::{Arc, Mutex};

use posthaste_core::port::{LeaseAsk, Leased};
use posthaste_core::{ErrorKind, Store, WallMs};
use posthaste_log::{Error, Location, Log, ManualClock, Options};
use posthaste_testkit::disk::{Chance, FaultDisk};
use posthaste_testkit::{block_on, poll_once};

use crate::ledger::{Fate, Ledger, Op, number};

pub(crate) const SEGMENT: u32 = 64 * 1024;

/// Where the stores are.
pub(crate) fn dir() -> &'static Path {
    Path::new("/srv/data")
}

pub(crate) fn options(disk: &FaultDisk, clock: &ManualClock) -> Options {
    let mut options = Options::new(Location::Directory(dir().to_owned()));
    options.segment_bytes = SEGMENT;
    options.segments_ready = 0;
    options.reserve_bytes = 0;
    options.disk = Arc::new(disk.clone());
    options.clock = Arc::new(clock.clone());
    options
}

pub(crate) fn clock() -> ManualClock {
    ManualClock::at(WallMs(1_700_000_000_000))
}

pub(crate) fn open(disk: &FaultDisk, clock: &ManualClock) -> Result<Log, Error> {
    Log::open(options(disk, clock))
}

pub(crate) fn ask(max: u32) -> LeaseAsk {
    LeaseAsk {
        queues: vec![("mail".parse().expect("a name"), 1)],
        strict: false,
        kinds: Vec::new(),
        max,
        lease_ms: 30_000,
        wait_ms: 0,
        worker: "w".parse().expect("a name"),
        local: true,
    }
}

/// A store at work, and the ledger of it.
pub(crate) struct Life {
    pub(crate) store: Log,
    pub(crate) ledger: Arc<Mutex<Ledger>>,
    clock: ManualClock,
    chance: Chance,
    leased: Vec<Leased>,
    completed: Vec<u32>,
    /// An answer was uncertain: nothing may be acknowledged any more.
    poisoned: bool,
}

impl Life {
    pub(crate) fn new(
        store: Log,
        clock: &ManualClock,
        ledger: Arc<Mutex<Ledger>>,
        seed: u64,
    ) -> Self {
        Self {
            store,
            ledger,
            clock: clock.clone(),
            chance: Chance::new(seed),
            leased: Vec::new(),
            completed: Vec::new(),
            poisoned: false,
        }
    }

    fn ledger(&self) -> std::sync::MutexGuard<'_, Ledger> {
        self.ledger.lock().expect("nobody panicked")
    }

    /// One step at random: several commits at once, a lease, or time that passes.
    pub(crate) fn step(&mut self) {
        match self.chance.below(10) {
            0..=4 => {
                let count = 1 + self.chance.below(3);
                let ops = (0..count).map(|_| self.draw()).collect();
                self.commit(ops);
            }
            5..=7 => self.lease(),
            _ => self.clock.advance(self.chance.clone().below(1_500)),
        }
    }

    /// Enqueues `count` jobs that nobody keeps account of.
    pub(crate) fn try_add(&mut self, count: u64) -> Result<(), Error> {
        let adds = self.ledger().new_jobs(count);
        let op = Op {
            adds,
            completes: Vec::new(),
            deletes: Vec::new(),
        };
        let (_, commit) = self.ledger().ask(op);
        let mut answer = block_on(self.store.commit(vec![commit]))?;
        answer.pop().expect("one answer for a commit").map(|_| ())
    }

    /// Waits until the store has noticed that its disk is nearly full.
    pub(crate) fn until_refusing(&self) {
        while block_on(self.store.health()).expect("it answers").accepting {
            std::thread::yield_now();
        }
    }

    /// Waits until the store has noticed that there is room again.
    pub(crate) fn until_accepting(&self) {
        while !block_on(self.store.health()).expect("it answers").accepting {
            std::thread::yield_now();
        }
    }

    /// Some jobs come and as many go, so that segments empty; now and then one is left behind.
    pub(crate) fn churn(&mut self) {
        self.add(12);
        self.lease();
        let stays = self.leased.len() / 8;
        let mut op = Op {
            adds: Vec::new(),
            completes: Vec::new(),
            deletes: Vec::new(),
        };
        for leased in self.leased.drain(stays..) {
            op.completes.push((number(leased.id), leased.token));
        }
        op.deletes = self.completed.drain(..).collect();
        if !op.completes.is_empty() || !op.deletes.is_empty() {
            self.commit(vec![op]);
        }
    }

    /// The next new jobs are numbered from here.
    pub(crate) fn number_from(&self, number: u32) {
        self.ledger().number_from(number);
    }

    /// Enqueues `count` jobs in one commit.
    pub(crate) fn add(&mut self, count: u64) {
        let adds = self.ledger().new_jobs(count);
        self.commit(vec![Op {
            adds,
            completes: Vec::new(),
            deletes: Vec::new(),
        }]);
    }

    fn draw(&mut self) -> Op {
        let mut op = Op {
            adds: Vec::new(),
            completes: Vec::new(),
            deletes: Vec::new(),
        };
        let kind = self.chance.below(10);
        if kind >= 4 {
            let some = self.chance.below(10) + 1;
            for leased in self
                .leased
                .drain(..usize::try_from(some).unwrap_or(0).min(self.leased.len()))
            {
                op.completes.push((number(leased.id), leased.token));
            }
        }
        if kind == 9 {
            op.deletes.extend(self.completed.pop());
        }
        if kind < 6 || (op.completes.is_empty() && op.deletes.is_empty()) {
            let some = 1 + self.chance.below(24);
            op.adds = self.ledger().new_jobs(some);
        }
        op
    }

    /// Asks for commits all at once, and takes the answers down.
    pub(crate) fn commit(&mut self, ops: Vec<Op>) {
        let asked: Vec<_> = ops
            .into_iter()
            .map(|op| (op.clone(), self.ledger().ask(op)))
            .collect();
        let store = self.store.clone();
        let mut answers: Vec<_> = asked
            .into_iter()
            .map(|(op, (number, commit))| (op, number, store.commit(vec![commit])))
            .collect();
        let early: Vec<_> = answers
            .iter_mut()
            .map(|(_, _, answer)| poll_once(answer.as_mut()))
            .collect();
        for ((op, number, answer), early) in answers.into_iter().zip(early) {
            let answer = early.unwrap_or_else(|| block_on(answer));
            let answer = answer.and_then(|mut all| all.pop().expect("one answer for a commit"));
            let fate = self.fate(answer.map(|_| ()));
            self.ledger().answered(number, fate);
            if fate == Fate::Acknowledged {
                let completed = op.completes.iter().map(|(number, _)| *number);
                self.completed.extend(completed);
            }
        }
    }

    fn fate(&mut self, answer: Result<(), Error>) -> Fate {
        match answer {
            Ok(()) => {
                assert!(!self.poisoned, "acknowledged after an uncertain answer");
                Fate::Acknowledged
            }
            Err(error) if error.kind() == ErrorKind::Uncertain => {
                self.poisoned = true;
                Fate::Unknown
            }
            Err(error) => {
                let told = error.to_string();
                let known = [ErrorKind::Io, ErrorKind::DiskFull, ErrorKind::Busy];
                assert!(known.contains(&error.kind()), "refused as {told}");
                assert!(error.next_step().is_some(), "what next? {told}");
                Fate::Refused
            }
        }
    }

    fn lease(&mut self) {
        let max = 1 + u32::try_from(self.chance.below(30)).expect("small");
        let answer = block_on(self.store.lease(ask(max)));
        match answer {
            Ok(jobs) => {
                assert!(jobs.is_empty() || !self.poisoned, "leased after a failure");
                self.leased.extend(jobs);
            }
            Err(error) => {
                let _noted = self.fate(Err(error));
            }
        }
    }

    /// Leases and completes everything that is left, and checks that it is what must be left.
    pub(crate) fn drain(&mut self) {
        let mut left = self.ledger().unfinished();
        self.leased.clear();
        let mut idle = 0;
        while idle < 8 && !left.is_empty() {
            let jobs = block_on(self.store.lease(ask(40))).expect("it leases");
            if jobs.is_empty() {
                idle += 1;
                self.clock.advance(40_000);
                continue;
            }
            let mut op = Op {
                adds: Vec::new(),
                completes: Vec::new(),
                deletes: Vec::new(),
            };
            for job in jobs {
                let number = number(job.id);
                assert!(left.remove(&number), "job {number} is delivered again");
                op.completes.push((number, job.token));
            }
            self.commit(vec![op]);
        }
        assert!(left.is_empty(), "never delivered: {left:?}");
    }
}
