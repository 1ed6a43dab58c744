//! Drives the topics of a store on a disk that breaks, and keeps the ledger of what it answered.

use std::sync::{Arc, Mutex, MutexGuard};

use posthaste_core::port::Leased;
use posthaste_core::topic::{ReadFrom, TailTopic, TopicRead};
use posthaste_core::{ErrorKind, Store};
use posthaste_log::{Error, Log, ManualClock};
use posthaste_testkit::disk::Chance;
use posthaste_testkit::{block_on, poll_once};

use crate::bench::ask;
use crate::ledger::{Fate, number};
use crate::topics_ledger::{Ledger, Op, places, topic};

/// A store at work, and the ledger of it.
pub(crate) struct Life {
    pub(crate) store: Log,
    pub(crate) ledger: Arc<Mutex<Ledger>>,
    clock: ManualClock,
    chance: Chance,
    leased: Vec<Leased>,
    /// An answer was uncertain: nothing may be acknowledged any more.
    poisoned: bool,
    /// What the disk may have refused.
    pub(crate) refused: u64,
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
            poisoned: false,
            refused: 0,
        }
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().expect("nobody panicked")
    }

    /// Makes the topics that have settings.
    pub(crate) fn begin(&mut self) {
        let adds = self.ledger().numbers(1).pop();
        self.commit(vec![Op {
            adds,
            sets: true,
            ..Op::default()
        }]);
    }

    /// One step at random: several commits at once, a lease, a look, or time that passes.
    pub(crate) fn step(&mut self) {
        match self.chance.below(12) {
            0..=5 => {
                let count = 1 + self.chance.below(3);
                let ops = (0..count).map(|_| self.draw()).collect();
                self.commit(ops);
            }
            6 | 7 => self.lease(),
            8..=10 => self.look(),
            _ => self.clock.advance(self.chance.below(1_500)),
        }
    }

    fn draw(&mut self) -> Op {
        let mut op = Op::default();
        if !self.chance.one_in(3) {
            op.adds = self.ledger().numbers(1).pop();
        }
        op.deletes = op.adds.is_some() && self.chance.one_in(60);
        if !self.chance.one_in(3) {
            let leased = self.leased.pop();
            op.completes = leased.map(|leased| (number(leased.id), leased.token));
            if op.completes.is_some() && op.adds.is_none() {
                op.adds = self.ledger().numbers(1).pop();
            }
        }
        for _ in 0..1 + self.chance.below(2) {
            let which = usize::try_from(self.chance.below(3)).expect("small");
            let count = match self.chance.below(4) {
                0 => 1 + self.chance.below(24), // two of them fit a segment
                _ => 1 + self.chance.below(5),
            };
            let mut events = self.ledger().numbers(u32::try_from(count).expect("small"));
            let pick = self.chance.number();
            if self.chance.one_in(3) {
                events.extend(self.ledger().published_before(which, pick));
            }
            op.publishes.push((which, events));
        }
        op
    }

    /// Asks for commits all at once, and takes the answers down.
    pub(crate) fn commit(&mut self, ops: Vec<Op>) {
        let asked: Vec<_> = ops
            .into_iter()
            .map(|op| {
                let commit = op.commit();
                (self.ledger().ask(op), commit)
            })
            .collect();
        let store = self.store.clone();
        let mut answers: Vec<_> = asked
            .into_iter()
            .map(|(number, commit)| (number, store.commit(vec![commit])))
            .collect();
        let early: Vec<_> = answers
            .iter_mut()
            .map(|(_, answer)| poll_once(answer.as_mut()))
            .collect();
        for ((number, answer), early) in answers.into_iter().zip(early) {
            let answer = early.unwrap_or_else(|| block_on(answer));
            let answer = answer.and_then(|mut all| all.pop().expect("one answer for a commit"));
            let (fate, told) = match answer {
                Ok(committed) => {
                    assert!(!self.poisoned, "acknowledged after an uncertain answer");
                    (Fate::Acknowledged, places(committed.replies))
                }
                Err(error) => (self.fate(&error), Vec::new()),
            };
            self.ledger().answered(number, fate, told);
        }
    }

    fn fate(&mut self, error: &Error) -> Fate {
        if error.kind() == ErrorKind::Uncertain {
            self.poisoned = true;
            return Fate::Unknown;
        }
        let known = [
            ErrorKind::Io,
            ErrorKind::DiskFull,
            ErrorKind::Busy,
            ErrorKind::Unavailable,
            // The first topic is gone already.
            ErrorKind::NotFound,
        ];
        assert!(known.contains(&error.kind()), "refused as {error}");
        assert!(error.next_step().is_some(), "what next? {error}");
        self.refused += 1;
        Fate::Refused
    }

    fn lease(&mut self) {
        match block_on(self.store.lease(ask(5))) {
            Ok(jobs) => {
                assert!(jobs.is_empty() || !self.poisoned, "leased after a failure");
                self.leased.extend(jobs);
            }
            Err(error) => {
                let _noted = self.fate(&error);
            }
        }
    }

    /// Reads a page from somewhere, and remembers what was there.
    pub(crate) fn look(&mut self) {
        let which = usize::try_from(self.chance.below(3)).expect("small");
        let from = match self.chance.below(3) {
            0 => ReadFrom::Earliest,
            _ => ReadFrom::Time(posthaste_core::WallMs(u64::MAX / 2)),
        };
        let mut ask = TailTopic::new(topic(which), from);
        ask.max = 50;
        let read = block_on(self.store.read(ask.clone()));
        let page = match read {
            Ok(TopicRead::Page(page)) => page,
            Ok(TopicRead::Gap(_)) => return,
            Err(error) => {
                let _noted = self.fate(&error);
                return;
            }
        };
        self.ledger().saw(&page.events);
        let back = page.end.sequence.saturating_sub(self.chance.below(200));
        let back = back.max(page.earliest.sequence);
        ask.from = ReadFrom::Position(page.end.at(back));
        if let Ok(TopicRead::Page(page)) = block_on(self.store.read(ask)) {
            self.ledger().saw(&page.events);
        }
    }
}
