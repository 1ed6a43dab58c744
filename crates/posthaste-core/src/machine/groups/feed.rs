//! What comes up in the topics of groups: from what is published, and from what is read back.

use crate::machine::fact::Hashes;
use crate::machine::groups::follow::Groups;
use crate::machine::groups::lines::Ahead;
use crate::machine::state::Machine;

/// Events that are to be read for a group, which hears of them by [`Machine::feed`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Feed {
    /// The group's number.
    pub group: u32,
    /// The topic's number.
    pub topic: u32,
    /// From which position.
    pub from: u64,
    /// Most events.
    pub max: u32,
}

impl Machine {
    /// What was read for a group: the events from `from` up to `next`, each with the hash of its
    /// key, in order. What is missing between them is not there: compaction left a hole, and
    /// retention took `lost` of them, which lie before the first. No effect where the group has gone
    /// on elsewhere.
    ///
    /// Where `next` is no further than `from`, nothing could be read: the group is told of again when
    /// something is published, or a member asks.
    pub fn feed(&mut self, group: u32, from: u64, events: &[(u64, u32)], next: u64, lost: u64) {
        let Some(lines) = self.groups.lines.get_mut(&group) else {
            return;
        };
        if lines.loaded != from || !lines.asked {
            return;
        }
        lines.asked = false;
        if next <= from {
            return;
        }
        let first = events.first().map_or(next, |(position, _)| *position);
        let gap = (lost > 0).then_some(Ahead::Gap { to: first, lost });
        let after = events.last().map_or(from, |(position, _)| position + 1);
        let hole = (after < next && (lost == 0 || !events.is_empty()))
            .then_some(Ahead::Gap { to: next, lost: 0 });
        let events = events.iter().map(|(position, hash)| Ahead::Event {
            position: *position,
            hash: *hash,
        });
        let all = gap.into_iter().chain(events).chain(hole);
        self.groups.append(group, all, next);
        self.groups.hungry.insert(group);
    }

    /// Tells what has to be read for groups. Each is told once, until it is fed.
    pub fn drain_feeds(&mut self, into: &mut Vec<Feed>) {
        for group in std::mem::take(&mut self.groups.hungry) {
            let Some(is) = self.groups.saved.by_number.get(&group) else {
                continue;
            };
            let end = self.topics.by_number.get(&is.topic).map_or(0, |of| of.next);
            let Some(lines) = self.groups.lines.get_mut(&group) else {
                continue;
            };
            let room = self.bounds.ahead.saturating_sub(lines.ahead.len());
            let wanted = !lines.asked
                && !lines.ends.is_empty()
                && lines.loaded < end
                && room * 2 >= self.bounds.ahead;
            if wanted {
                lines.asked = true;
                into.push(Feed {
                    group,
                    topic: is.topic,
                    from: lines.loaded,
                    max: u32::try_from(room).unwrap_or(u32::MAX),
                });
            }
        }
    }

    /// Tells in which groups something became claimable since the last call, by number.
    pub fn drain_ready_groups(&mut self, mut f: impl FnMut(u32)) {
        for group in std::mem::take(&mut self.groups.ready) {
            if self.groups.is_claimable(group, self.bounds.unfinished) {
                f(group);
            }
        }
    }

    /// Whether a claim in a group may find something.
    #[must_use]
    pub fn has_claimable(&self, group: u32) -> bool {
        self.groups.is_claimable(group, self.bounds.unfinished)
    }

    /// Events were published: groups that are fed up to there have them come up.
    pub(in crate::machine) fn published(&mut self, topic: u32, position: u64, hashes: Hashes<'_>) {
        if !self.groups.by_name.contains_key(&topic) {
            return;
        }
        let groups: Vec<u32> = self.groups.of_topic(topic).collect();
        for group in groups {
            self.groups.hungry.insert(group);
            let Some((_, lines)) = self.groups.get(group) else {
                continue;
            };
            if lines.ends.is_empty() || lines.loaded != position {
                continue;
            }
            let room = self.bounds.ahead.saturating_sub(lines.ahead.len());
            let count = room.min(hashes.count() as usize);
            let events = (position..).zip(hashes.iter()).take(count);
            let events = events.map(|(position, hash)| Ahead::Event { position, hash });
            self.groups.append(group, events, position + count as u64);
        }
    }

    /// Publishing was taken back: nothing comes up from there on.
    pub(in crate::machine) fn unpublished(&mut self, topic: u32, next: u64) {
        let groups: Vec<u32> = self.groups.of_topic(topic).collect();
        for group in groups {
            self.groups.cut(group, next);
        }
    }
}

impl Groups {
    fn cut(&mut self, group: u32, next: u64) {
        let Some(lines) = self.lines.get_mut(&group) else {
            return;
        };
        while lines.ahead.back().is_some_and(|of| !of.is_below(next)) {
            lines.ahead.pop_back();
        }
        lines.loaded = lines.loaded.min(next);
    }
}
