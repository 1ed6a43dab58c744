//! Parked events and dead letters.

use posthaste_core::command::Reply;
use posthaste_core::error::{ErrorKind, Result};
use posthaste_core::group::{Unparking, Which};
use posthaste_core::ids::{GroupName, TopicName};
use posthaste_core::limits;

use super::{Group, Kept, Model, Open, State, key_of, refusal};

impl Model {
    pub(in crate::model) fn unpark(
        &mut self,
        topic: &TopicName,
        name: &GroupName,
        which: Which,
        how: Unparking,
    ) -> Result<Reply> {
        let group = self.group(topic, name)?;
        let mut parked: Vec<(u64, u32)> = group
            .parked
            .iter()
            .map(|kept| (kept.at(), key_of(&kept.event)))
            .collect();
        let parking = group.open.iter().filter(|open| open.is_being_parked());
        parked.extend(parking.map(|open| (open.at(), open.key())));
        parked.sort_unstable();
        if let Which::At(at) = which {
            let Some((_, key)) = parked.iter().find(|it| it.0 == at) else {
                return Err(refusal(ErrorKind::NotFound, "no such event is parked"));
            };
            if how == Unparking::Release && parked.iter().any(|it| it.1 == *key && it.0 < at) {
                return Err(refusal(ErrorKind::Conflict, "an earlier one comes first"));
            }
        }
        let asked = chosen(&parked, which);
        Ok(moved(&asked, |at| match how {
            Unparking::Release => group.bring_back(false, at),
            Unparking::Skip => group.forget_parked(at),
        }))
    }

    pub(in crate::model) fn redrive(
        &mut self,
        topic: &TopicName,
        name: &GroupName,
        which: Which,
    ) -> Result<Reply> {
        let group = self.group(topic, name)?;
        let dead = group.dead.iter();
        let mut dead: Vec<(u64, u32)> = dead.map(|it| (it.at(), key_of(&it.event))).collect();
        dead.sort_unstable();
        let busy = |at: u64| {
            let open = group.open.iter().any(|it| it.at() == at);
            open || group.parked.iter().any(|it| it.at() == at)
        };
        if let Which::At(at) = which {
            if !dead.iter().any(|it| it.0 == at) {
                return Err(refusal(ErrorKind::NotFound, "no such event is dead"));
            }
            if busy(at) {
                return Err(refusal(ErrorKind::Conflict, "it was met again"));
            }
        }
        dead.retain(|it| !busy(it.0));
        let asked = chosen(&dead, which);
        Ok(moved(&asked, |at| group.bring_back(true, at)))
    }

    /// What was given up on is kept, as far as there is room, and what waits behind it with it.
    pub(crate) fn keep_what_is_given_up(&mut self) {
        let wall = self.now.wall;
        for group in &mut self.groups {
            let parks = group.parked_count() > 0;
            for index in (0..group.open.len()).filter(|_| parks) {
                let (at, key) = (group.open[index].at(), group.open[index].key());
                let behind = group.first_parked(key).is_some_and(|first| first < at);
                if behind && group.open[index].waits() {
                    group.open[index].park_behind();
                }
            }
            while let Some(index) = group.next_to_keep() {
                let open = group.open.remove(index);
                group.keep(open, wall);
            }
        }
    }

    /// Takes over which events a store parked of too many.
    pub fn adopt_parked(&mut self, topic: &TopicName, name: &GroupName, parked: &[u64]) {
        let wall = self.now.wall;
        let Ok(group) = self.group(topic, name) else {
            return;
        };
        let most = group.config.parked_max as usize;
        let moved = group
            .parked
            .iter()
            .any(|kept| !parked.contains(&kept.at()) && kept.at == wall);
        if group.parked.len() != most || parked.len() != most || !moved {
            return;
        }
        let fresh = |kept: &Kept| !parked.contains(&kept.at()) && kept.at == wall;
        let (back, stay): (Vec<Kept>, Vec<Kept>) = group.parked.drain(..).partition(fresh);
        group.parked = stay;
        for kept in back {
            group.totals.parked -= 1;
            group.put(Open {
                state: State::GivenUp {
                    dead: false,
                    why: kept.why,
                    error: kept.error,
                },
                event: kept.event,
                attempts: kept.attempts,
                crashes: 0,
                back: false,
            });
        }
        for at in parked {
            let index = group
                .open
                .iter()
                .position(|it| it.at() == *at && it.is_being_parked());
            if let Some(index) = index {
                let open = group.open.remove(index);
                group.keep(open, wall);
            }
        }
    }
}

impl Group {
    /// The event that is kept next; those that are parked as long as there is room.
    fn next_to_keep(&self) -> Option<usize> {
        let room = self.parked.len() < self.config.parked_max as usize;
        self.open.iter().position(|open| match open.state {
            State::GivenUp { dead, .. } => dead || room,
            _ => false,
        })
    }

    fn keep(&mut self, open: Open, wall: posthaste_core::WallMs) {
        let State::GivenUp { dead, why, error } = open.state else {
            return;
        };
        let kept = Kept {
            event: open.event,
            why,
            error,
            attempts: open.attempts,
            at: wall,
        };
        let (list, total) = match dead {
            true => (&mut self.dead, &mut self.totals.dead),
            false => (&mut self.parked, &mut self.totals.parked),
        };
        list.retain(|it| it.at() != kept.at());
        list.push(kept);
        list.sort_by_key(Kept::at);
        *total += 1;
    }

    /// It is handed out again, afresh.
    fn bring_back(&mut self, dead: bool, at: u64) {
        if let Some(open) = self.find(at).filter(|open| open.is_being_parked()) {
            open.state = State::Waits;
            (open.attempts, open.crashes) = (0, 0);
            return;
        }
        let list = if dead {
            &mut self.dead
        } else {
            &mut self.parked
        };
        let Some(index) = list.iter().position(|kept| kept.at() == at) else {
            return;
        };
        let event = list.remove(index).event;
        self.put(Open {
            event,
            state: State::Waits,
            attempts: 0,
            crashes: 0,
            back: true,
        });
    }

    fn forget_parked(&mut self, at: u64) {
        self.parked.retain(|kept| kept.at() != at);
        self.open.retain(|open| open.at() != at);
        self.totals.skipped += 1;
    }
}

fn chosen(all: &[(u64, u32)], which: Which) -> Vec<u64> {
    let asked = all.iter().filter(|(at, key)| match which {
        Which::At(one) => *at == one,
        Which::Key(one) => *key == one,
        Which::All => true,
    });
    asked.map(|(at, _)| *at).collect()
}

fn moved(asked: &[u64], mut each: impl FnMut(u64)) -> Reply {
    let now = asked.len().min(limits::MOVED_EVENTS_MAX);
    asked[..now].iter().for_each(|at| each(*at));
    let count = |of: usize| u32::try_from(of).unwrap_or(u32::MAX);
    Reply::EventsMoved {
        events: count(now),
        left: count(asked.len() - now),
    }
}
