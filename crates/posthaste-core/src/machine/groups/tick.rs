//! What time makes true of groups.

use crate::group::{KeptReason, OnExhausted};
use crate::ids::Token;
use crate::machine::commit::Course;
use crate::machine::fact::{Fact, Place};
use crate::machine::state::Machine;
use crate::time::{MonoMs, WallMs};

impl Machine {
    /// The one thing that comes next; false where there is nothing.
    pub(in crate::machine) fn step_groups(&mut self, course: &mut Course<'_, 'static>) -> bool {
        let (now, mono) = (course.now(), course.moment.mono);
        if let Some((group, position)) = self.groups.poison.first().copied() {
            self.poisoned(group, position, course);
            return true;
        }
        if let Some((group, hash)) = self.groups.behind.first().copied() {
            self.park_behind(group, hash, course);
            return true;
        }
        if let Some((end, group, token)) = self.groups.ends.first().copied()
            && end <= mono
        {
            self.member_left(group, token, true, course);
            return true;
        }
        if let Some((until, group, position)) = self.groups.retries.first().copied()
            && until <= now
        {
            self.groups.fall_due(until, group, position);
            return true;
        }
        if let Some((at, group, position)) = self.groups.later.first().copied()
            && at <= mono
        {
            self.groups.later.pop_first();
            self.groups.keep_now(group, position);
            return true;
        }
        false
    }

    /// An event takes its members down.
    fn poisoned(&mut self, group: u32, position: u64, course: &mut Course<'_, 'static>) {
        let is = self.groups.saved.by_number.get(&group);
        let event = is.and_then(|is| Some((is.config, is.unfinished.get(&position)?.attempts)));
        let Some((config, attempts)) = event else {
            self.groups.poison.remove(&(group, position));
            return;
        };
        let dead = config.on_exhausted == OnExhausted::Dead;
        let (why, note) = (KeptReason::Poison, Place::NONE);
        self.end_event(group, position, dead, why, attempts, note, course);
    }

    /// An event of a parked key follows where the key is.
    fn park_behind(&mut self, group: u32, hash: u32, course: &mut Course<'_, 'static>) {
        let lines = self.groups.lines.get(&group);
        let position = lines.and_then(|lines| lines.first_behind(hash));
        let event = position.and_then(|at| Some((at, self.groups.event(group, at)?)));
        let Some((position, event)) = event else {
            self.groups.behind.remove(&(group, hash));
            return;
        };
        let (why, note) = (KeptReason::Behind, Place::NONE);
        self.end_event(group, position, false, why, event.attempts, note, course);
    }

    pub(super) fn member_left(
        &mut self,
        group: u32,
        token: Token,
        lapsed: bool,
        course: &mut Course<'_, '_>,
    ) {
        let fact = Fact::MemberLeft {
            group,
            token,
            lapsed,
        };
        self.put(fact, course);
    }

    /// Members that lived in the process which held the store before are gone; at most `max`. True
    /// where more are left.
    pub(in crate::machine) fn lapse_local_members(
        &mut self,
        clean: bool,
        max: usize,
        course: &mut Course<'_, 'static>,
    ) -> bool {
        for _ in 0..max.max(1) {
            let Some((group, token)) = self.groups.local.first().copied() else {
                return false;
            };
            self.member_left(group, token, !clean, course);
        }
        !self.groups.local.is_empty()
    }

    /// Milliseconds until something of groups has to be done.
    pub(in crate::machine) fn groups_wake_ms(&self, wall: WallMs, mono: MonoMs) -> Option<u64> {
        let groups = &self.groups;
        if !groups.poison.is_empty() || !groups.behind.is_empty() {
            return Some(0);
        }
        let end = groups.ends.first().map(|(end, ..)| end.since(mono));
        let retry = groups.retries.first().map(|(until, ..)| until.since(wall));
        let later = groups.later.first().map(|(at, ..)| at.since(mono));
        end.into_iter().chain(retry).chain(later).min()
    }
}
