//! Places and the waiting room: who may start now, who waits, and who is refused.
//!
//! A higher tier goes first. Within a tier callers take turns, and of one caller's the first goes
//! first. When a tier's oldest has waited longer than `target` for a whole `interval`, the tier is
//! overloaded: then the newest goes first of each caller whose calls stand there, and whoever has
//! waited for `target` is refused, so that the queue adds no standing delay. It is well again when nobody had to wait so long for an
//! `interval`. (Nichols and Jacobson, "Controlling Queue Delay", 2012; newest first under overload:
//! Maurer, "Fail at Scale", 2015.) Each tier is judged by itself, so that a flood of a low one does
//! not make a high one impatient.
//!
//! Without a waiting room, a tier leaves under overload as many places free as the tiers above it
//! have lately used at once.
//!
//! This room refuses to wake anybody: [`Gate::next`] says whose turn it is, and [`Gate::due`] when to
//! ask. It allocates when it is made or reloaded, and as places are first used by those who waited.

mod deadlines;
mod list;
mod reserve;
mod room;
#[cfg(test)]
mod tests;

use std::time::Duration;

use super::criticality::Criticality;
use super::limit::Limiter;
use super::refusal::Refusal;
use super::settings::Concurrency;
use super::verdict::Ended;
use crate::time::{MonoNs, ns};
use reserve::Reserve;
use room::Room;

const TIERS: usize = Criticality::ALL.len();

/// A place that is taken. To be given back with [`Gate::ended`], exactly once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// When the attempt could start.
    pub started: MonoNs,
    /// How many places were taken then, this one included.
    pub in_flight: u32,
    /// The tier of the call.
    pub tier: Criticality,
    /// For which ticket it was granted; none where it was admitted at once.
    ticket: Option<Ticket>,
}

/// Somebody waits. Never given out twice by one gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket {
    serial: u64,
    slot: u32,
}

/// What became of an arrival.
#[derive(Clone, Copy, Debug, PartialEq)]
#[must_use]
pub enum Arrived {
    /// It may start.
    Admitted(Place),
    /// [`Gate::next`] will have an answer for it.
    Waiting(Ticket),
    /// It may not start.
    Refused(Refusal),
}

/// How a tier's queue is.
#[derive(Clone, Copy, Debug, Default)]
struct Mood {
    /// Since when its oldest has waited longer than is well.
    late_since: Option<MonoNs>,
    /// When somebody last had waited longer than is well.
    late_at: MonoNs,
    overloaded: bool,
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Gate {
    limiter: Limiter,
    target_ns: u64,
    interval_ns: u64,
    in_flight: u32,
    room: Room,
    moods: [Mood; TIERS],
    reserve: Reserve,
}

impl Gate {
    /// Nobody runs, nobody waits.
    #[must_use]
    pub fn new(settings: &Concurrency, now: MonoNs) -> Self {
        let queue = settings.queue;
        Self {
            limiter: Limiter::new(&settings.limit, now),
            target_ns: ns(queue.target),
            interval_ns: ns(queue.interval),
            in_flight: 0,
            room: Room::new(queue.waiting_max, queue.share),
            moods: [Mood::default(); TIERS],
            reserve: Reserve::new(now),
        }
    }

    /// A call comes: it starts at once, waits, or is refused. After it, [`next`](Self::next) may have
    /// an answer for somebody who was displaced.
    #[inline]
    pub fn arrive(
        &mut self,
        now: MonoNs,
        tier: Criticality,
        caller: u64,
        deadline: Option<MonoNs>,
    ) -> Arrived {
        if let Some(deadline) = deadline.filter(|deadline| *deadline <= now) {
            let past = Duration::from_nanos(now.since(deadline));
            return Arrived::Refused(Refusal::Deadline { past });
        }
        if self.in_flight == 0 {
            self.limiter.woken(now);
        }
        let limit = self.limiter.limit();
        if self.room.waiting_max() == 0 {
            return self.arrive_without_room(now, tier, limit);
        }
        if self.in_flight < limit && self.room.waiting() == 0 {
            return Arrived::Admitted(self.take_place(now, tier, None));
        }
        if let Err(refusal) = self.room.make_room(tier, caller) {
            return Arrived::Refused(refusal);
        }
        if self.room.oldest(tier).is_none() {
            self.moods[tier.index()].late_since = None;
        }
        Arrived::Waiting(self.room.add(now, tier, caller, deadline))
    }

    fn arrive_without_room(&mut self, now: MonoNs, tier: Criticality, limit: u32) -> Arrived {
        let free = self.in_flight < limit;
        if free && self.room.waiting() == 0 && self.reserve.admits(now, tier, limit) {
            return Arrived::Admitted(self.take_place(now, tier, None));
        }
        self.reserve.refused(now, self.interval_ns);
        Arrived::Refused(Refusal::Full { limit })
    }

    #[inline]
    fn take_place(&mut self, now: MonoNs, tier: Criticality, ticket: Option<Ticket>) -> Place {
        self.in_flight += 1;
        self.reserve.started(now, tier);
        Place {
            started: now,
            in_flight: self.in_flight,
            tier,
            ticket,
        }
    }

    #[inline]
    fn free_place(&mut self, tier: Criticality) {
        debug_assert!(self.in_flight > 0, "a place is given back once");
        self.in_flight = self.in_flight.saturating_sub(1);
        self.reserve.ended(tier);
    }

    /// Somebody gave up waiting. There will be no answer for the ticket; where its place was granted
    /// already, and nobody started on it, the place is free again (and is not to be `ended`). Does
    /// nothing where it was refused, or has ended.
    pub fn leave(&mut self, now: MonoNs, ticket: Ticket) {
        if let room::Left::Granted(tier) = self.room.leave(ticket) {
            self.free_place(tier);
        }
        self.observe(now);
    }

    /// Who of the waiting starts or is refused now. To be called until it says `None`: after
    /// [`arrive`](Self::arrive), [`ended`](Self::ended), [`leave`](Self::leave) and
    /// [`reload`](Self::reload), and when something is [`due`](Self::due). A place that is granted
    /// counts as taken from then on.
    pub fn next(&mut self, now: MonoNs) -> Option<(Ticket, Result<Place, Refusal>)> {
        if self.room.is_quiet() {
            return None;
        }
        if let Some((ticket, refusal)) = self.room.next_displaced() {
            return Some((ticket, Err(refusal)));
        }
        if let Some((ticket, deadline)) = self.room.take_expired(now) {
            let past = Duration::from_nanos(now.since(deadline));
            return Some((ticket, Err(Refusal::Deadline { past })));
        }
        self.observe(now);
        let limit = match self.room.oldest(Criticality::Critical) {
            Some(_) => self.limiter.limit_of_highest(),
            None => self.limiter.limit(),
        };
        if self.in_flight < limit
            && let Some((ticket, tier)) = self.grant(now)
        {
            let place = self.take_place(now, tier, Some(ticket));
            self.observe(now);
            return Some((ticket, Ok(place)));
        }
        let (ticket, refusal) = self.shed(now)?;
        Some((ticket, Err(refusal)))
    }

    /// In an overloaded tier, the newest goes first of a caller whose oldest has waited for most of
    /// what is well: who has nobody standing there is not who overloads it.
    fn grant(&mut self, now: MonoNs) -> Option<(Ticket, Criticality)> {
        let standing = now.0.checked_sub(self.target_ns / 4 * 3).map(MonoNs);
        Criticality::ALL.into_iter().find_map(|tier| {
            let standing = standing.filter(|_| self.moods[tier.index()].overloaded);
            let ticket = self.room.grant(tier, standing)?;
            Some((ticket, tier))
        })
    }

    /// Who waited too long in an overloaded tier, the lowest tier first.
    fn shed(&mut self, now: MonoNs) -> Option<(Ticket, Refusal)> {
        for tier in Criticality::ALL.into_iter().rev() {
            let Some(arrived) = self.room.oldest(tier) else {
                continue;
            };
            let waited = now.since(arrived);
            if waited >= self.target_ns && self.moods[tier.index()].overloaded {
                let ticket = self.room.take_oldest(tier)?;
                let refusal = Refusal::QueueDelay {
                    tier,
                    delay: Duration::from_nanos(waited),
                    target: Duration::from_nanos(self.target_ns),
                };
                return Some((ticket, refusal));
            }
        }
        None
    }

    /// Judges each tier by how long its oldest has waited.
    fn observe(&mut self, now: MonoNs) {
        for tier in Criticality::ALL {
            let mood = &mut self.moods[tier.index()];
            let late = self
                .room
                .oldest(tier)
                .is_some_and(|arrived| now.since(arrived) >= self.target_ns);
            if late {
                let since = *mood.late_since.get_or_insert(now);
                mood.late_at = now;
                mood.overloaded |= now.since(since) >= self.interval_ns;
            } else {
                mood.late_since = None;
                mood.overloaded &= now.since(mood.late_at) < self.interval_ns;
            }
        }
    }

    /// When [`next`](Self::next) is to be called though nothing happens: somebody's deadline passes,
    /// or has waited too long. Later than the `now` at which `next` last said `None`.
    #[must_use]
    pub fn due(&self) -> Option<MonoNs> {
        let delays = Criticality::ALL.into_iter().filter_map(|tier| {
            let late = self.room.oldest(tier)?.plus(self.target_ns);
            let mood = &self.moods[tier.index()];
            Some(match mood.late_since {
                Some(since) if !mood.overloaded => since.plus(self.interval_ns),
                _ => late,
            })
        });
        delays.chain(self.room.first_deadline()).min()
    }

    /// An attempt ended: its place is free, and the limit learns from it.
    #[inline]
    pub fn ended(&mut self, now: MonoNs, place: Place, ended: Ended) {
        if let Some(ticket) = place.ticket
            && !self.room.release(ticket)
        {
            return;
        }
        self.free_place(place.tier);
        let took_ns = now.since(place.started);
        self.limiter.sample(now, took_ns, place.in_flight, ended);
    }

    /// How many may run at once now.
    #[must_use]
    pub fn limit(&self) -> u32 {
        self.limiter.limit()
    }

    /// How many may run at once now where the highest tier is among them.
    #[must_use]
    pub fn limit_of_highest(&self) -> u32 {
        self.limiter.limit_of_highest()
    }

    /// How many run.
    #[must_use]
    pub const fn in_flight(&self) -> u32 {
        self.in_flight
    }

    /// How many wait.
    #[must_use]
    pub const fn waiting(&self) -> u32 {
        self.room.waiting()
    }

    /// Whether a tier's queue is overloaded.
    #[must_use]
    pub const fn is_overloaded(&self, tier: Criticality) -> bool {
        self.moods[tier.index()].overloaded
    }

    /// How long the one who waits longest has waited.
    #[must_use]
    pub fn queue_delay(&self, now: MonoNs) -> Duration {
        let oldest = Criticality::ALL
            .into_iter()
            .filter_map(|tier| self.room.oldest(tier))
            .min();
        Duration::from_nanos(oldest.map_or(0, |arrived| now.since(arrived)))
    }

    /// Other settings. Those who run go on; those who wait do as long as they fit.
    pub fn reload(&mut self, settings: &Concurrency, now: MonoNs) {
        let queue = settings.queue;
        self.limiter.reload(&settings.limit, now);
        self.target_ns = ns(queue.target);
        self.interval_ns = ns(queue.interval);
        self.room.resize(queue.waiting_max, queue.share);
    }
}
