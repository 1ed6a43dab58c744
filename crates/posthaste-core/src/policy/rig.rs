//! A server and its callers on virtual time, to try a gate on: calls arrive by a Poisson process, pass
//! the gate, and are worked off by a few workers in order of arrival. One seed gives one course.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::time::Duration;

use super::criticality::Criticality;
use super::gate::{Arrived, Gate, Place, Ticket};
use super::refusal::Refusal;
use super::settings::Concurrency;
use super::verdict::{Ended, Verdict};
use crate::time::{MonoNs, ns};

pub(super) const MS: u64 = 1_000_000;
pub(super) const SECOND: u64 = 1_000_000_000;

/// SplitMix64 (Steele, Lea and Flood, 2014).
#[derive(Debug)]
pub(super) struct Chance(pub(super) u64);

impl Chance {
    pub(super) fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(super) fn unit(&mut self) -> f64 {
        (self.draw() >> 11) as f64 / (1_u64 << 53) as f64
    }

    #[expect(clippy::cast_possible_truncation, reason = "what is longer is cut")]
    pub(super) fn exponential(&mut self, mean: f64) -> u64 {
        (-(1.0 - self.unit()).ln() * mean) as u64
    }
}

/// Who calls, how often.
#[derive(Clone, Copy, Debug)]
pub(super) struct Source {
    pub(super) tier: Criticality,
    pub(super) caller: u64,
    pub(super) per_second: f64,
}

/// What became of the calls of one source.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally {
    pub(super) came: u32,
    pub(super) done: u32,
    pub(super) timed_out: u32,
    pub(super) refused: BTreeMap<&'static str, u32>,
    /// From arrival to the end, of those that were done.
    pub(super) took: Vec<u64>,
    /// The longest that anybody who was admitted had waited.
    pub(super) waited_max: u64,
}

impl Tally {
    pub(super) fn shed(&self) -> u32 {
        self.refused.values().sum()
    }

    #[expect(clippy::cast_possible_truncation, reason = "a place in a list")]
    pub(super) fn quantile_ms(&self, quantile: f64) -> f64 {
        let mut took = self.took.clone();
        took.sort_unstable();
        let at = (took.len() as f64 * quantile) as usize;
        took.get(at).map_or(0.0, |took| *took as f64 / 1e6)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Arrives(usize),
    Done(usize),
    TimesOut(usize),
    Due,
}

#[derive(Clone, Copy, Debug)]
struct Call {
    source: usize,
    arrived: u64,
    place: Option<Place>,
}

type Service = Box<dyn FnMut(&mut Chance, u64) -> u64>;

/// See the module.
pub(super) struct Rig {
    pub(super) gate: Gate,
    pub(super) now: u64,
    pub(super) chance: Chance,
    pub(super) workers: usize,
    pub(super) service: Service,
    pub(super) attempt_timeout: Option<Duration>,
    pub(super) deadline: Option<Duration>,
    pub(super) sources: Vec<Source>,
    pub(super) tallies: Vec<Tally>,
    /// The lowest and the highest limit that was seen.
    pub(super) limits: (u32, u32),
    pub(super) busy: usize,
    queue: VecDeque<usize>,
    calls: Vec<Call>,
    tickets: BTreeMap<Ticket, usize>,
    events: BinaryHeap<Reverse<(u64, u64, Event)>>,
    order: u64,
    due: u64,
}

impl Rig {
    /// 50 workers, and an exponential service of 10 ms.
    pub(super) fn new(settings: &Concurrency, seed: u64) -> Self {
        Self {
            gate: Gate::new(settings, MonoNs(0)),
            now: 0,
            chance: Chance(seed),
            workers: 50,
            service: Box::new(|chance, _| chance.exponential(10e6)),
            attempt_timeout: None,
            deadline: None,
            sources: Vec::new(),
            tallies: Vec::new(),
            limits: (u32::MAX, 0),
            busy: 0,
            queue: VecDeque::new(),
            calls: Vec::new(),
            tickets: BTreeMap::new(),
            events: BinaryHeap::new(),
            order: 0,
            due: u64::MAX,
        }
    }

    pub(super) fn source(&mut self, tier: Criticality, caller: u64, per_second: f64) {
        self.sources.push(Source {
            tier,
            caller,
            per_second,
        });
        self.tallies.push(Tally::default());
        self.plan_arrival(self.sources.len() - 1);
    }

    /// Changes how often a source calls.
    pub(super) fn set_rate(&mut self, source: usize, per_second: f64) {
        let before = std::mem::replace(&mut self.sources[source].per_second, per_second);
        if before <= 0.0 {
            self.plan_arrival(source);
        }
    }

    fn plan_arrival(&mut self, source: usize) {
        let per_second = self.sources[source].per_second;
        if per_second > 0.0 {
            let gap = self.chance.exponential(1e9 / per_second);
            self.plan(self.now + gap, Event::Arrives(source));
        }
    }

    fn plan(&mut self, at: u64, event: Event) {
        self.order += 1;
        self.events.push(Reverse((at, self.order, event)));
    }

    /// Forgets what was counted so far.
    pub(super) fn count_anew(&mut self) {
        self.tallies.fill(Tally::default());
        self.limits = (u32::MAX, 0);
    }

    /// Everything of all sources.
    pub(super) fn total(&self) -> Tally {
        let mut total = Tally::default();
        for tally in &self.tallies {
            total.came += tally.came;
            total.done += tally.done;
            total.timed_out += tally.timed_out;
            for (slug, count) in &tally.refused {
                *total.refused.entry(slug).or_default() += count;
            }
            total.took.extend(&tally.took);
            total.waited_max = total.waited_max.max(tally.waited_max);
        }
        total
    }

    pub(super) fn run(&mut self, for_ns: u64) {
        let until = self.now + for_ns;
        while let Some(Reverse((at, _, event))) = self.events.peek().copied() {
            if at > until {
                break;
            }
            self.events.pop();
            self.now = at;
            match event {
                Event::Arrives(source) => self.arrives(source),
                Event::Done(call) => self.done(call),
                Event::TimesOut(call) => self.times_out(call),
                Event::Due => self.due = u64::MAX,
            }
            self.settle();
            let limit = self.gate.limit();
            self.limits = (self.limits.0.min(limit), self.limits.1.max(limit));
        }
        self.now = until;
    }

    fn arrives(&mut self, source: usize) {
        // A source that was stopped has one arrival still planned.
        if self.sources[source].per_second <= 0.0 {
            return;
        }
        self.plan_arrival(source);
        let Source { tier, caller, .. } = self.sources[source];
        let call = self.calls.len();
        self.calls.push(Call {
            source,
            arrived: self.now,
            place: None,
        });
        self.tallies[source].came += 1;
        let deadline = self.deadline.map(|after| MonoNs(self.now).after(after));
        match self.gate.arrive(MonoNs(self.now), tier, caller, deadline) {
            Arrived::Admitted(place) => self.starts(call, place),
            Arrived::Waiting(ticket) => {
                assert!(self.tickets.insert(ticket, call).is_none(), "a new ticket");
            }
            Arrived::Refused(refusal) => self.refused(call, refusal),
        }
    }

    fn settle(&mut self) {
        let now = MonoNs(self.now);
        while let Some((ticket, answer)) = self.gate.next(now) {
            let call = self.tickets.remove(&ticket).expect("one answer a ticket");
            match answer {
                Ok(place) => self.starts(call, place),
                Err(refusal) => self.refused(call, refusal),
            }
        }
        if let Some(due) = self.gate.due() {
            assert!(due > now, "what is due was done");
            if due.0 < self.due {
                self.due = due.0;
                self.plan(due.0, Event::Due);
            }
        }
    }

    fn refused(&mut self, call: usize, refusal: Refusal) {
        let tally = &mut self.tallies[self.calls[call].source];
        *tally.refused.entry(refusal.slug()).or_default() += 1;
    }

    fn starts(&mut self, call: usize, place: Place) {
        let Call {
            source, arrived, ..
        } = self.calls[call];
        let tally = &mut self.tallies[source];
        tally.waited_max = tally.waited_max.max(self.now - arrived);
        self.calls[call].place = Some(place);
        if let Some(timeout) = self.attempt_timeout {
            self.plan(self.now + ns(timeout), Event::TimesOut(call));
        }
        self.queue.push_back(call);
        self.work();
    }

    fn work(&mut self) {
        while self.busy < self.workers
            && let Some(call) = self.queue.pop_front()
        {
            self.busy += 1;
            let takes = (self.service)(&mut self.chance, self.now);
            self.plan(self.now + takes, Event::Done(call));
        }
    }

    fn done(&mut self, call: usize) {
        self.busy -= 1;
        let Call {
            source,
            arrived,
            place,
        } = self.calls[call];
        if let Some(place) = place {
            self.calls[call].place = None;
            let tally = &mut self.tallies[source];
            tally.done += 1;
            tally.took.push(self.now - arrived);
            let now = MonoNs(self.now);
            self.gate.ended(now, place, Ended::With(Verdict::Ok));
        }
        self.work();
    }

    fn times_out(&mut self, call: usize) {
        if let Some(place) = self.calls[call].place.take() {
            self.tallies[self.calls[call].source].timed_out += 1;
            let now = MonoNs(self.now);
            self.gate.ended(now, place, Ended::TimedOut);
        }
    }
}
