//! Parked events and dead letters: kept as copies, as their topic forgets them with time, until
//! somebody decides.

use crate::group::{Unparking, Which};
use crate::limits;
use crate::machine::action::{Answer, Refusal};
use crate::machine::commit::Course;
use crate::machine::fact::{Fact, Place};
use crate::machine::groups::follow::Groups;
use crate::machine::groups::saved::{EventState, Finish, SavedGroup, SavedKept};
use crate::machine::state::Machine;
use crate::time::MonoMs;

/// An event that has to be copied, to be kept: [`Action::KeepEvent`](super::super::Action) tells
/// where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keep {
    /// The group's number.
    pub group: u32,
    /// The topic's number.
    pub topic: u32,
    /// Which event.
    pub position: u64,
    /// Where a copy is already; `Place::NONE` where it is read from the topic.
    pub place: Place,
}

impl Machine {
    /// Tells what has to be copied. Each is told once while the process lives, and again after the
    /// store was opened. No more are told to be parked than there is room for.
    pub fn drain_keeps(&mut self, into: &mut Vec<Keep>) {
        for group in std::mem::take(&mut self.groups.keeping) {
            let is = self.groups.saved.by_number.get(&group);
            let Some((is, lines)) = is.zip(self.groups.lines.get_mut(&group)) else {
                continue;
            };
            let told = lines.parked.len() - lines.to_park.len();
            let room = (is.config.parked_max as usize).saturating_sub(told);
            let mut keep: Vec<u64> = std::mem::take(&mut lines.to_bury).into_iter().collect();
            for _ in 0..room {
                keep.extend(lines.to_park.pop_first());
            }
            into.extend(keep.into_iter().filter_map(|position| {
                let event = is.unfinished.get(&position)?;
                Some(Keep {
                    group,
                    topic: is.topic,
                    position,
                    place: event.place,
                })
            }));
        }
    }

    /// Whether a group keeps something of that event there: its copy, or the error it ended with.
    #[must_use]
    pub fn keeps(&self, group: u32, position: u64, place: Place) -> bool {
        let Some(is) = self.groups.saved.by_number.get(&group) else {
            return false;
        };
        let event = is.unfinished.get(&position);
        let event = event.is_some_and(|event| {
            let noted = matches!(event.state, EventState::Ending { note, .. } if note == place);
            noted || event.place == place
        });
        let kept = [is.parked.get(&position), is.dead.get(&position)];
        let mut kept = kept.into_iter().flatten();
        place.is_some() && (event || kept.any(|kept| kept.place == place || kept.note == place))
    }

    /// Appends one page of parked events, or of dead letters, with their positions, in order, going
    /// on from `cursor`; tells where to go on, `None` at the end.
    pub fn page_of_kept(
        &self,
        group: u32,
        dead: bool,
        cursor: Option<u64>,
        max: u32,
        out: &mut Vec<(u64, SavedKept)>,
    ) -> Option<u64> {
        let is = self.groups.saved.by_number.get(&group)?;
        let kept = if dead { &is.dead } else { &is.parked };
        let max = max.clamp(1, limits::PAGE_MAX) as usize;
        let mut from = kept.range(cursor.unwrap_or(0)..);
        out.extend(from.by_ref().take(max).map(|(at, kept)| (*at, *kept)));
        from.next().map(|(at, _)| *at)
    }

    /// An event that was given up on has its copy. No effect where it was released meanwhile.
    pub(super) fn keep_event(
        &mut self,
        group: u32,
        position: u64,
        place: Place,
        course: &mut Course<'_, '_>,
    ) -> Answer {
        let is = self.groups.saved.by_number.get(&group);
        let Some(is) = is.filter(|_| place.is_some()) else {
            return Answer::Noted;
        };
        let state = is.unfinished.get(&position).map(|event| event.state);
        let Some(EventState::Ending { dead, .. }) = state else {
            return Answer::Noted;
        };
        if !dead && is.parked.len() >= is.config.parked_max as usize {
            // It was told when there was more room. It is told again when there is some.
            if let Some(lines) = self.groups.lines.get_mut(&group) {
                lines.to_park.insert(position);
            }
            return Answer::Noted;
        }
        let at = course.now();
        let fact = Fact::EventKept {
            group,
            position,
            place,
            at,
        };
        self.put(fact, course);
        self.trim_dead(group, course);
        Answer::Noted
    }

    /// Forgets the dead letters that have been there longest, where there are too many.
    fn trim_dead(&mut self, group: u32, course: &mut Course<'_, '_>) {
        while let Some((_, position)) = self
            .groups
            .lines
            .get(&group)
            .filter(|lines| lines.dead.len() > self.bounds.dead_letters)
            .and_then(|lines| lines.dead.first().copied())
        {
            self.put(Fact::KeptForgotten { group, position }, course);
        }
    }

    /// An unfinished event is not there any more, or can't be read: it is passed, and counted.
    pub(super) fn lose_event(
        &mut self,
        group: u32,
        position: u64,
        course: &mut Course<'_, '_>,
    ) -> Answer {
        if self.groups.event(group, position).is_some() {
            self.finished(group, position, position + 1, Finish::Lost, course);
        }
        Answer::Noted
    }

    pub(super) fn copy_kept(
        &mut self,
        group: u32,
        position: u64,
        (from, to): (Place, Place),
        course: &mut Course<'_, '_>,
    ) -> Answer {
        if self.keeps(group, position, from) {
            let fact = Fact::KeptCopied {
                group,
                position,
                from,
                to,
            };
            self.put(fact, course);
        }
        Answer::Noted
    }

    pub(super) fn unpark(
        &mut self,
        (topic, group): (&str, &str),
        which: Which,
        how: Unparking,
        course: &mut Course<'_, '_>,
    ) -> Result<Answer, Refusal> {
        let group = self.group_of(topic, group)?;
        let (is, lines) = self.groups.get(group).ok_or(Refusal::NoSuchGroup)?;
        let asked: Vec<u64> = match which {
            Which::At(position) => {
                let hash = parked_hash(is, position).ok_or(Refusal::NoSuchEvent { position })?;
                let first = lines.first_parked(hash).unwrap_or(position);
                if how == Unparking::Release && first < position {
                    return Err(Refusal::OutOfOrder { position, first });
                }
                vec![position]
            }
            Which::Key(hash) => {
                let of = lines.parked.range((hash, 0)..=(hash, u64::MAX));
                of.map(|(_, position)| *position).collect()
            }
            Which::All => {
                let mut all: Vec<u64> = lines.parked.iter().map(|(_, at)| *at).collect();
                all.sort_unstable();
                all
            }
        };
        let most = match how {
            Unparking::Release => self.room_for_moved(group, asked.len())?,
            Unparking::Skip => limits::MOVED_EVENTS_MAX,
        };
        let moved = |position| match how {
            Unparking::Release => Fact::KeptReleased { group, position },
            Unparking::Skip => Fact::KeptSkipped { group, position },
        };
        Ok(self.move_events(&asked, most, moved, course))
    }

    pub(super) fn redrive(
        &mut self,
        (topic, group): (&str, &str),
        which: Which,
        course: &mut Course<'_, '_>,
    ) -> Result<Answer, Refusal> {
        let group = self.group_of(topic, group)?;
        let (is, _) = self.groups.get(group).ok_or(Refusal::NoSuchGroup)?;
        // After a reset an event may be on its way again beside its dead letter.
        let free = |position: &u64| {
            !is.unfinished.contains_key(position) && !is.parked.contains_key(position)
        };
        let asked: Vec<u64> = match which {
            Which::At(position) if !is.dead.contains_key(&position) => {
                return Err(Refusal::NoSuchEvent { position });
            }
            Which::At(position) if !free(&position) => {
                return Err(Refusal::EventUnfinished { position });
            }
            Which::At(position) => vec![position],
            Which::Key(hash) => {
                let of = is.dead.iter().filter(|(_, kept)| kept.hash == hash);
                of.map(|(at, _)| *at).filter(free).collect()
            }
            Which::All => is.dead.keys().copied().filter(free).collect(),
        };
        let most = self.room_for_moved(group, asked.len())?;
        let moved = |position| Fact::KeptRedriven { group, position };
        Ok(self.move_events(&asked, most, moved, course))
    }

    fn room_for_moved(&self, group: u32, asked: usize) -> Result<usize, Refusal> {
        let is = self.groups.saved.by_number.get(&group);
        let unfinished = is.map_or(0, |is| is.unfinished.len());
        let room = self.bounds.unfinished.saturating_sub(unfinished);
        if room == 0 && asked > 0 {
            return Err(Refusal::UnfinishedFull);
        }
        Ok(room.min(limits::MOVED_EVENTS_MAX))
    }

    fn move_events(
        &mut self,
        asked: &[u64],
        most: usize,
        fact: impl Fn(u64) -> Fact<'static>,
        course: &mut Course<'_, '_>,
    ) -> Answer {
        let now = most.min(asked.len());
        for position in &asked[..now] {
            self.put(fact(*position), course);
        }
        let count = |of: usize| u32::try_from(of).unwrap_or(u32::MAX);
        Answer::EventsMoved {
            events: count(now),
            left: count(asked.len() - now),
        }
    }
}

impl Machine {
    /// An event that is to be kept can't be read or copied now: it is told again after
    /// [`limits::KEEP_AGAIN_MS`].
    pub fn keep_later(&mut self, group: u32, position: u64, now: MonoMs) {
        let at = now.plus(limits::KEEP_AGAIN_MS);
        self.groups.later.insert((at, group, position));
    }
}

impl Groups {
    /// What is to be kept of that event is told again, if it still is.
    pub(super) fn keep_now(&mut self, group: u32, position: u64) {
        let event = self.event(group, position);
        let lines = self.lines.get_mut(&group);
        if let Some((EventState::Ending { dead, .. }, lines)) =
            event.map(|event| event.state).zip(lines)
        {
            match dead {
                true => lines.to_bury.insert(position),
                false => lines.to_park.insert(position),
            };
            self.keeping.insert(group);
        }
    }
}

/// The hash of an event that is parked, or on its way there.
fn parked_hash(is: &SavedGroup, position: u64) -> Option<u32> {
    let kept = is.parked.get(&position).map(|kept| kept.hash);
    let ending = is.unfinished.get(&position);
    let ending = ending.filter(|event| event.is_being_parked());
    kept.or(ending.map(|event| event.hash))
}
