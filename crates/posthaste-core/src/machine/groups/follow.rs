//! Every group with its index, which follows each change.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::ids::Token;
use crate::limits::CRASHES_MAX;
use crate::machine::groups::apply::Change;
use crate::machine::groups::lines::{Ahead, Lines};
use crate::machine::groups::saved::{
    EventState, SavedGroup, SavedGroups, SavedKept, SavedMember, Unfinished,
};
use crate::time::{MonoMs, WallMs};

/// See the module.
#[derive(Debug, Default)]
pub(in crate::machine) struct Groups {
    pub(in crate::machine) saved: SavedGroups,
    pub(super) by_name: BTreeMap<u32, BTreeMap<Arc<str>, u32>>,
    pub(super) lines: BTreeMap<u32, Lines>,
    /// When memberships end.
    pub(super) ends: BTreeSet<(MonoMs, u32, Token)>,
    /// When retries are due.
    pub(super) retries: BTreeSet<(WallMs, u32, u64)>,
    /// Events that were lost with their members too often.
    pub(super) poison: BTreeSet<(u32, u64)>,
    /// Keys of which an event waits behind a parked one.
    pub(super) behind: BTreeSet<(u32, u32)>,
    /// Members that live in the process that holds the store.
    pub(super) local: BTreeSet<(u32, Token)>,
    /// Groups in which something may have become claimable.
    pub(super) ready: BTreeSet<u32>,
    /// Groups that may have to be fed.
    pub(super) hungry: BTreeSet<u32>,
    /// Groups that may have something to be copied.
    pub(super) keeping: BTreeSet<u32>,
    /// Events that could not be copied, by when that is tried again. Outside the replayed state.
    pub(super) later: BTreeSet<(MonoMs, u32, u64)>,
    /// Changes under way, and keys that they touched.
    pub(super) changes: Vec<(u32, Change)>,
    touched: Vec<u32>,
}

impl Groups {
    pub(super) fn get(&self, group: u32) -> Option<(&SavedGroup, &Lines)> {
        let is = self.saved.by_number.get(&group)?;
        Some((is, self.lines.get(&group)?))
    }

    /// The groups of a topic, by number.
    pub(super) fn of_topic(&self, topic: u32) -> impl Iterator<Item = u32> + '_ {
        let named = self.by_name.get(&topic).into_iter();
        named.flat_map(|named| named.values().copied())
    }

    /// Whether a claim may find something in a group.
    pub(super) fn is_claimable(&self, group: u32, most_unfinished: usize) -> bool {
        let Some((is, lines)) = self.get(group) else {
            return false;
        };
        let more = !lines.ahead.is_empty() && may_look_on(is, most_unfinished);
        hands_out(is, lines) && (more || !lines.ready.is_empty())
    }

    /// A group is there: its index is put up. Memberships run from `mono`.
    pub(super) fn put_up(&mut self, group: u32, mono: MonoMs) {
        let Some(is) = self.saved.by_number.remove(&group) else {
            return;
        };
        let named = self.by_name.entry(is.topic).or_default();
        named.insert(Arc::clone(&is.name), group);
        let mut lines = Lines {
            loaded: is.head,
            ..Lines::default()
        };
        let mut hashes = BTreeSet::new();
        for (position, event) in &is.unfinished {
            lines.link(*position, event);
            hashes.insert(event.hash);
            self.time(group, *position, event);
        }
        for (position, kept) in &is.parked {
            lines.parked.insert((kept.hash, *position));
            hashes.insert(kept.hash);
        }
        for (position, kept) in &is.dead {
            lines.dead.insert((kept.at, *position));
        }
        for (token, member) in &is.members {
            let end = mono.plus(u64::from(member.lease_ms));
            lines.ends.insert(*token, end);
            self.ends.insert((end, group, *token));
            if member.local {
                self.local.insert((group, *token));
            }
        }
        self.saved.by_number.insert(group, is);
        self.lines.insert(group, lines);
        for hash in hashes {
            self.refresh(group, hash);
        }
        self.mark(group);
    }

    /// A group is gone: its index goes with it.
    pub(super) fn take_down(&mut self, group: u32, was: &SavedGroup) -> Lines {
        if let Some(named) = self.by_name.get_mut(&was.topic) {
            named.remove(&was.name);
            if named.is_empty() {
                self.by_name.remove(&was.topic);
            }
        }
        for (position, event) in &was.unfinished {
            self.untime(group, *position, event);
            self.behind.remove(&(group, event.hash));
        }
        let lines = self.lines.remove(&group).unwrap_or_default();
        for (token, end) in &lines.ends {
            self.ends.remove(&(*end, group, *token));
            self.local.remove(&(group, *token));
        }
        lines
    }

    /// Puts a group back that was taken down, just as it was.
    pub(super) fn put_back(&mut self, group: u32, was: SavedGroup, lines: Lines) {
        let named = self.by_name.entry(was.topic).or_default();
        named.insert(Arc::clone(&was.name), group);
        for (position, event) in &was.unfinished {
            if event.until().is_none() {
                self.time(group, *position, event);
            }
        }
        let retries = lines.retries.iter();
        let retries = retries.map(|(until, position)| (*until, group, *position));
        self.retries.extend(retries);
        for (token, end) in &lines.ends {
            self.ends.insert((*end, group, *token));
        }
        let local = was.members.iter().filter(|(_, member)| member.local);
        self.local.extend(local.map(|(token, _)| (group, *token)));
        let hashes: BTreeSet<u32> = was.unfinished.values().map(|event| event.hash).collect();
        self.saved.by_number.insert(group, was);
        self.lines.insert(group, lines);
        for hash in hashes {
            self.refresh(group, hash);
        }
        self.mark(group);
    }

    /// Whatever may have changed in a group is looked at.
    pub(super) fn mark(&mut self, group: u32) {
        self.ready.insert(group);
        self.hungry.insert(group);
        self.keeping.insert(group);
    }

    fn time(&mut self, group: u32, position: u64, event: &Unfinished) {
        match event.state {
            EventState::Retrying { until } => drop(self.retries.insert((until, group, position))),
            EventState::Held if event.crashes >= CRASHES_MAX => {
                self.poison.insert((group, position));
            }
            _ => {}
        }
    }

    fn untime(&mut self, group: u32, position: u64, event: &Unfinished) {
        match event.state {
            EventState::Retrying { until } => drop(self.retries.remove(&(until, group, position))),
            EventState::Held => drop(self.poison.remove(&(group, position))),
            _ => {}
        }
    }

    /// The index follows an event.
    pub(super) fn follow_entry(
        &mut self,
        group: u32,
        position: u64,
        was: Option<Unfinished>,
        is: Option<Unfinished>,
    ) {
        if let Some(was) = &was {
            self.untime(group, position, was);
        }
        if let Some(is) = &is {
            self.time(group, position, is);
        }
        let Some(lines) = self.lines.get_mut(&group) else {
            return;
        };
        if let Some(was) = &was {
            lines.unlink(position, was);
            self.touched.push(was.hash);
        }
        if let Some(is) = &is {
            lines.link(position, is);
            self.touched.push(is.hash);
        }
        let freed = is.is_none() || was.is_some_and(|was| was.holder().is_some());
        let ends = is.is_some_and(|is| matches!(is.state, EventState::Ending { .. }));
        let parked = was.is_some_and(|was| was.is_being_parked());
        if freed || parked {
            self.ready.insert(group);
        }
        if ends || parked {
            self.keeping.insert(group);
        }
    }

    /// The index follows a parked event or a dead letter.
    pub(super) fn follow_kept(
        &mut self,
        group: u32,
        dead: bool,
        position: u64,
        was: Option<SavedKept>,
        is: Option<SavedKept>,
    ) {
        let Some(lines) = self.lines.get_mut(&group) else {
            return;
        };
        if dead {
            was.map(|was| lines.dead.remove(&(was.at, position)));
            is.map(|is| lines.dead.insert((is.at, position)));
            return;
        }
        if let Some(was) = was {
            lines.parked.remove(&(was.hash, position));
            self.touched.push(was.hash);
            self.ready.insert(group);
            self.keeping.insert(group);
        }
        if let Some(is) = is {
            lines.parked.insert((is.hash, position));
            self.touched.push(is.hash);
        }
    }

    /// The index follows a member that came (with the end of its membership) or went. Tells when
    /// the membership ended that is over.
    pub(super) fn follow_member(
        &mut self,
        group: u32,
        token: Token,
        is: Option<(MonoMs, bool)>,
    ) -> Option<MonoMs> {
        let lines = self.lines.get_mut(&group)?;
        let was = match is {
            Some((end, _)) => lines.ends.insert(token, end),
            None => lines.ends.remove(&token),
        };
        if let Some(was) = was {
            self.ends.remove(&(was, group, token));
            self.local.remove(&(group, token));
        }
        if let Some((end, local)) = is {
            self.ends.insert((end, group, token));
            if local {
                self.local.insert((group, token));
            }
        }
        if lines.ends.is_empty() {
            // Nobody will ask: what comes up is read again when somebody does.
            let head = self.saved.by_number.get(&group).map_or(0, |is| is.head);
            lines.ahead.clear();
            (lines.loaded, lines.asked) = (head, false);
        }
        self.hungry.insert(group);
        was
    }

    /// The index follows the head.
    pub(super) fn follow_head(&mut self, group: u32, was: u64) {
        let is = self.saved.by_number.get(&group);
        let Some((is, lines)) = is.zip(self.lines.get_mut(&group)) else {
            return;
        };
        let head = is.head;
        let passed = is.unfinished.range(was.min(head)..was.max(head));
        self.touched.extend(passed.map(|(_, event)| event.hash));
        if head < was {
            lines.ahead.clear();
            (lines.loaded, lines.asked) = (head, false);
        }
        while lines.ahead.front().is_some_and(|of| of.is_below(head)) {
            lines.ahead.pop_front();
        }
        if lines.loaded < head {
            (lines.loaded, lines.asked) = (head, false);
        }
        self.hungry.insert(group);
    }

    pub(super) fn refresh(&mut self, group: u32, hash: u32) {
        let is = self.saved.by_number.get(&group);
        let Some((is, lines)) = is.zip(self.lines.get_mut(&group)) else {
            return;
        };
        if lines.refresh(hash, is) {
            self.ready.insert(group);
        }
        match lines.first_behind(hash) {
            Some(_) => self.behind.insert((group, hash)),
            None => self.behind.remove(&(group, hash)),
        };
    }

    /// Finds anew what is ready of the keys that were touched.
    pub(super) fn settle_down(&mut self, group: u32) {
        let mut touched = std::mem::take(&mut self.touched);
        // Many events that are finished together are of few keys.
        touched.sort_unstable();
        touched.dedup();
        for hash in touched.drain(..) {
            self.refresh(group, hash);
        }
        self.touched = touched;
    }

    pub(super) fn member(&self, group: u32, token: Token) -> Option<&SavedMember> {
        self.saved.by_number.get(&group)?.members.get(&token)
    }
}

/// Whether a group hands out anything at all.
pub(super) fn hands_out(is: &SavedGroup, lines: &Lines) -> bool {
    !is.config.paused && !is_full(is, lines) && lines.leased.len() < is.config.in_flight as usize
}

/// Whether further events may be looked at. Those that came back from where they were kept and lie
/// ahead don't count: they wait for the head.
pub(super) fn may_look_on(is: &SavedGroup, most_unfinished: usize) -> bool {
    let all = is.unfinished.len();
    all < most_unfinished || all - is.unfinished.range(is.head..).count() < most_unfinished
}

/// Whether as many events are parked, or on their way there, as may be.
pub(super) fn is_full(is: &SavedGroup, lines: &Lines) -> bool {
    lines.parked.len() >= is.config.parked_max as usize
}

impl Groups {
    /// Whether that is a retry whose time has come.
    pub(super) fn is_retry_due(&self, group: u32, position: u64, of: Option<Unfinished>) -> bool {
        match of.map(|of| of.state) {
            Some(EventState::Retrying { until }) => {
                !self.retries.contains(&(until, group, position))
            }
            _ => false,
        }
    }

    /// A retry's time has come.
    pub(super) fn fall_due(&mut self, until: WallMs, group: u32, position: u64) {
        self.retries.remove(&(until, group, position));
        let is = self.saved.by_number.get(&group);
        let event = is.and_then(|is| is.unfinished.get(&position));
        let hash = event.map(|event| event.hash);
        if let Some(lines) = self.lines.get_mut(&group) {
            lines.retries.remove(&(until, position));
        }
        if let Some(hash) = hash {
            self.refresh(group, hash);
        }
    }

    /// What comes up is put in line; what is known of it already is not.
    pub(super) fn append(&mut self, group: u32, events: impl Iterator<Item = Ahead>, loaded: u64) {
        if let Some(lines) = self.lines.get_mut(&group) {
            lines.ahead.extend(events);
            lines.loaded = loaded;
            self.ready.insert(group);
        }
    }
}
