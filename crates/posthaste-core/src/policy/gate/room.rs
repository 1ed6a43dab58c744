//! The waiting room: a slab of those who wait, through which run a list for each tier by age, and in
//! each tier a ring of callers, each with a list of its own. Nothing here costs more where more wait,
//! but for deadlines, which are kept in a heap.
//!
//! It refuses to judge how long a wait is well: that is the gate's.

use super::deadlines::Deadlines;
use super::list::{By, Link, Linked, List, NONE};
use super::{TIERS, Ticket};
use crate::policy::criticality::Criticality;
use crate::policy::refusal::Refusal;
use crate::time::MonoNs;

mod callers;
use callers::Callers;

#[derive(Clone, Copy, Debug)]
enum State {
    Free,
    Waiting,
    /// It was put out, and is yet to be told.
    Displaced(Refusal),
    /// It has a place.
    Granted,
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    serial: u64,
    state: State,
    tier: Criticality,
    caller: u32,
    arrived: MonoNs,
    links: [Link; 2],
}

impl Linked for Slot {
    fn link(&mut self, by: By) -> &mut Link {
        &mut self.links[by as usize]
    }
}

/// What was left behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Left {
    Nothing,
    /// A place that nobody started on.
    Granted(Criticality),
}

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct Room {
    waiting_max: u32,
    /// How many one caller may have waiting, while others wait.
    share: u32,
    waiting: u32,
    serial: u64,
    slots: Vec<Slot>,
    free: List,
    displaced: List,
    by_age: [List; TIERS],
    callers: Callers,
    deadlines: Deadlines,
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a part of a u32"
)]
fn share_of(waiting_max: u32, share: f64) -> u32 {
    let share = (f64::from(waiting_max) * share.clamp(0.0, 1.0)).ceil();
    (share as u32).max(1)
}

impl Room {
    pub(super) fn new(waiting_max: u32, share: f64) -> Self {
        let mut room = Self {
            waiting_max: 0,
            share: 1,
            waiting: 0,
            serial: 0,
            slots: Vec::new(),
            free: List::EMPTY,
            displaced: List::EMPTY,
            by_age: [List::EMPTY; TIERS],
            callers: Callers::new(),
            deadlines: Deadlines::default(),
        };
        room.resize(waiting_max, share);
        room
    }

    pub(super) const fn waiting_max(&self) -> u32 {
        self.waiting_max
    }

    pub(super) const fn waiting(&self) -> u32 {
        self.waiting
    }

    /// Nobody waits for anything.
    pub(super) const fn is_quiet(&self) -> bool {
        self.waiting == 0 && self.displaced.is_empty()
    }

    /// Another size. Who no longer fits is put out: the lowest tier's newest first.
    pub(super) fn resize(&mut self, waiting_max: u32, share: f64) {
        self.waiting_max = waiting_max;
        self.share = share_of(waiting_max, share);
        while self.waiting > waiting_max {
            let Some(tier) = self.lowest() else { break };
            let newest = self.by_age[tier.index()].last;
            self.put_out(newest, Refusal::QueueFull { tier, waiting_max });
        }
        let size = waiting_max as usize;
        self.slots.reserve(size.saturating_sub(self.slots.len()));
        self.deadlines.reserve(size);
        self.callers.resize(size);
    }

    /// When a tier's oldest arrived.
    pub(super) fn oldest(&self, tier: Criticality) -> Option<MonoNs> {
        let first = self.by_age[tier.index()].first;
        (first != NONE).then(|| self.slots[first as usize].arrived)
    }

    fn lowest(&self) -> Option<Criticality> {
        let mut lowest_first = Criticality::ALL.into_iter().rev();
        lowest_first.find(|tier| !self.by_age[tier.index()].is_empty())
    }

    /// Sees to it that one more may wait, or says why not. A room that is full puts out whoever has
    /// more than its share, and then the newest of a lower tier.
    pub(super) fn make_room(&mut self, tier: Criticality, caller: u64) -> Result<(), Refusal> {
        let mine = self.callers.waiting_of(caller);
        if mine >= self.share && self.waiting > mine {
            return Err(Refusal::Unfair {
                waiting: mine,
                share: self.share,
            });
        }
        if self.waiting < self.waiting_max {
            return Ok(());
        }
        if let Some((greedy, waiting)) = self.callers.greedy(tier, self.share)
            && mine < self.share
        {
            let share = self.share;
            self.put_out(greedy, Refusal::Unfair { waiting, share });
            return Ok(());
        }
        match self.lowest() {
            Some(lowest) if lowest > tier => {
                let newest = self.by_age[lowest.index()].last;
                self.put_out(newest, Refusal::Displaced { tier: lowest });
                Ok(())
            }
            _ => Err(Refusal::QueueFull {
                tier,
                waiting_max: self.waiting_max,
            }),
        }
    }

    /// One more waits.
    pub(super) fn add(
        &mut self,
        now: MonoNs,
        tier: Criticality,
        caller: u64,
        deadline: Option<MonoNs>,
    ) -> Ticket {
        self.serial += 1;
        let caller = self.callers.find_or_add(caller);
        let slot = Slot {
            serial: self.serial,
            state: State::Waiting,
            tier,
            caller,
            arrived: now,
            links: [Link::NONE; 2],
        };
        let at = self.take_slot(slot);
        self.by_age[tier.index()].push(&mut self.slots, By::Age, at);
        self.callers
            .push(&mut self.slots, caller, tier, at, self.share);
        if let Some(deadline) = deadline {
            self.deadlines.add(at, deadline);
        }
        self.waiting += 1;
        self.ticket(at)
    }

    fn take_slot(&mut self, slot: Slot) -> u32 {
        if let Some(at) = self.free.pop(&mut self.slots, By::Age) {
            self.slots[at as usize] = slot;
            return at;
        }
        self.slots.push(slot);
        u32::try_from(self.slots.len() - 1).unwrap_or(NONE)
    }

    fn ticket(&self, at: u32) -> Ticket {
        Ticket {
            serial: self.slots[at as usize].serial,
            slot: at,
        }
    }

    fn free_slot(&mut self, at: u32) {
        let slot = &mut self.slots[at as usize];
        slot.state = State::Free;
        slot.serial = 0;
        self.free.push(&mut self.slots, By::Age, at);
    }

    /// It waits no longer. Its slot stays.
    fn unlink(&mut self, at: u32) {
        let Slot { tier, caller, .. } = self.slots[at as usize];
        self.by_age[tier.index()].remove(&mut self.slots, By::Age, at);
        self.callers.remove(&mut self.slots, caller, tier, at);
        self.deadlines.remove(at);
        self.waiting -= 1;
    }

    fn put_out(&mut self, at: u32, refusal: Refusal) {
        self.unlink(at);
        self.slots[at as usize].state = State::Displaced(refusal);
        self.displaced.push(&mut self.slots, By::Age, at);
    }

    fn take(&mut self, at: u32) -> Ticket {
        let ticket = self.ticket(at);
        self.unlink(at);
        self.free_slot(at);
        ticket
    }

    /// The next who is to be told that it was put out.
    pub(super) fn next_displaced(&mut self) -> Option<(Ticket, Refusal)> {
        let at = self.displaced.pop(&mut self.slots, By::Age)?;
        let State::Displaced(refusal) = self.slots[at as usize].state else {
            unreachable!("only who was put out is in this list");
        };
        let ticket = self.ticket(at);
        self.free_slot(at);
        Some((ticket, refusal))
    }

    pub(super) fn first_deadline(&self) -> Option<MonoNs> {
        self.deadlines.first().map(|(deadline, _)| deadline)
    }

    /// Takes out one whose deadline has passed.
    pub(super) fn take_expired(&mut self, now: MonoNs) -> Option<(Ticket, MonoNs)> {
        let (deadline, at) = self.deadlines.first()?;
        (deadline <= now).then(|| (self.take(at), deadline))
    }

    pub(super) fn take_oldest(&mut self, tier: Criticality) -> Option<Ticket> {
        let first = self.by_age[tier.index()].first;
        (first != NONE).then(|| self.take(first))
    }

    /// Whose turn it is in a tier: the next caller's oldest, or its newest where its oldest came at
    /// `standing` or before. It keeps its slot until [`release`](Self::release) or
    /// [`leave`](Self::leave).
    pub(super) fn grant(&mut self, tier: Criticality, standing: Option<MonoNs>) -> Option<Ticket> {
        let slots = &self.slots;
        let stands = |first: u32| standing.is_some_and(|by| slots[first as usize].arrived <= by);
        let at = self.callers.turn(tier, stands)?;
        self.unlink(at);
        self.slots[at as usize].state = State::Granted;
        Some(self.ticket(at))
    }

    fn find(&self, ticket: Ticket) -> Option<&Slot> {
        let slot = self.slots.get(ticket.slot as usize)?;
        (slot.serial == ticket.serial).then_some(slot)
    }

    /// A granted place is given back. False where it was already.
    pub(super) fn release(&mut self, ticket: Ticket) -> bool {
        let granted = matches!(
            self.find(ticket).map(|slot| slot.state),
            Some(State::Granted)
        );
        if granted {
            self.free_slot(ticket.slot);
        }
        granted
    }

    /// How many slots and how many callers it has ever needed at once.
    #[cfg(test)]
    pub(super) fn sizes(&self) -> (usize, usize) {
        (self.slots.len(), self.callers.size())
    }

    /// Somebody gives up.
    pub(super) fn leave(&mut self, ticket: Ticket) -> Left {
        let Some(Slot { state, tier, .. }) = self.find(ticket).copied() else {
            return Left::Nothing;
        };
        match state {
            State::Free => return Left::Nothing,
            State::Waiting => self.unlink(ticket.slot),
            State::Displaced(_) => {
                self.displaced.remove(&mut self.slots, By::Age, ticket.slot);
            }
            State::Granted => {}
        }
        self.free_slot(ticket.slot);
        match state {
            State::Granted => Left::Granted(tier),
            _ => Left::Nothing,
        }
    }
}
