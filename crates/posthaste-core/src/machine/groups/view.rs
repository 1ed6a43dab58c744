//! What people are shown of groups.

use crate::group::{GroupView, MemberView, PausedBy};
use crate::ids::{GroupName, TopicName, WorkerName};
use crate::machine::groups::follow::is_full;
use crate::machine::groups::saved::EventState;
use crate::machine::state::Machine;
use crate::topic::Position;

impl Machine {
    /// The position of a group: the first event that is not finished.
    #[must_use]
    pub fn group_position(&self, group: u32) -> Option<u64> {
        Some(self.groups.saved.by_number.get(&group)?.position())
    }

    /// Every group, by topic and name, in the positions of that history.
    #[must_use]
    pub fn group_views(&self, epoch: u32) -> Vec<GroupView> {
        let topics = self.topic_ids.values();
        let named = topics.filter_map(|topic| self.groups.by_name.get(topic));
        let groups = named.flat_map(|named| named.values());
        groups
            .filter_map(|group| self.group_view(epoch, *group))
            .collect()
    }

    /// One group.
    #[must_use]
    pub fn group_view(&self, epoch: u32, group: u32) -> Option<GroupView> {
        let (is, lines) = self.groups.get(group)?;
        let topic = self.topics.by_number.get(&is.topic)?;
        let at = |sequence| Position {
            epoch,
            topic: is.topic,
            sequence,
        };
        let retrying = is.unfinished.values();
        let retrying = retrying.filter(|event| matches!(event.state, EventState::Retrying { .. }));
        let members = is.members.values().filter_map(|member| {
            Some(MemberView {
                name: WorkerName::new(&member.name).ok()?,
                leased: u64::from(member.held),
            })
        });
        Some(GroupView {
            topic: TopicName::new(&topic.name).ok()?,
            name: GroupName::new(&is.name).ok()?,
            config: is.config,
            created_at: is.created_at,
            position: at(is.position()),
            head: at(is.head),
            end: at(topic.next),
            unfinished: is.unfinished.len() as u64,
            leased: lines.leased.len() as u64,
            retrying: retrying.count() as u64,
            parked: is.parked.len() as u64,
            dead: is.dead.len() as u64,
            members: members.collect(),
            paused: match is.config.paused {
                true => Some(PausedBy::Person),
                false => is_full(is, lines).then_some(PausedBy::ParkedFull),
            },
            totals: is.totals,
            lag: topic.next.saturating_sub(is.position()),
        })
    }
}
