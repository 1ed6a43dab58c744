//! Making, changing, resetting and forgetting groups; members that say they are alive, or leave.

use crate::group::{GroupConfig, GroupSettings};
use crate::ids::Token;
use crate::machine::action::{Action, Answer, Refusal};
use crate::machine::commit::Course;
use crate::machine::fact::Fact;
use crate::machine::groups::saved::{SavedGroup, SavedGroups};
use crate::machine::state::Machine;

impl Machine {
    /// A group and its number.
    #[must_use]
    pub fn group(&self, topic: &str, group: &str) -> Option<(u32, &SavedGroup)> {
        let number = self.group_of(topic, group).ok()?;
        Some((number, self.groups.saved.by_number.get(&number)?))
    }

    /// Every group.
    #[must_use]
    pub fn groups(&self) -> &SavedGroups {
        &self.groups.saved
    }

    /// Obeys an action that is about a group.
    pub(in crate::machine) fn act_on_group<'a>(
        &mut self,
        action: &Action<'a>,
        course: &mut Course<'_, 'a>,
    ) -> Result<Answer, Refusal> {
        match *action {
            Action::SetGroup {
                topic,
                group,
                settings,
                start,
            } => self.set_group((topic, group), settings, start, course),
            Action::DeleteGroup { topic, group } => self.delete_group((topic, group), course),
            Action::SettleEvents {
                topic,
                group,
                token,
                ends,
            } => self.settle_events((topic, group), token, ends, course),
            Action::MemberBeat {
                topic,
                group,
                token,
            } => self.beat((topic, group), token, course),
            Action::MemberLeave {
                topic,
                group,
                token,
            } => self.leave((topic, group), token, course),
            Action::ResetGroup {
                topic,
                group,
                head,
                force,
            } => self.reset_group((topic, group), head, force, course),
            Action::Unpark {
                topic,
                group,
                which,
                how,
            } => self.unpark((topic, group), which, how, course),
            Action::Redrive {
                topic,
                group,
                which,
            } => self.redrive((topic, group), which, course),
            Action::KeepEvent {
                group,
                position,
                place,
            } => Ok(self.keep_event(group, position, place, course)),
            Action::LoseEvent { group, position } => Ok(self.lose_event(group, position, course)),
            Action::CopyKept {
                group,
                position,
                from,
                to,
            } => Ok(self.copy_kept(group, position, (from, to), course)),
            _ => Ok(Answer::Noted),
        }
    }

    fn set_group<'a>(
        &mut self,
        (topic, name): (&str, &'a str),
        settings: &GroupSettings,
        start: Option<u64>,
        course: &mut Course<'_, 'a>,
    ) -> Result<Answer, Refusal> {
        let (topic, of) = self.topic(topic).ok_or(Refusal::NoSuchTopic)?;
        let end = of.next;
        let known = self.groups.by_name.get(&topic);
        let known = known.and_then(|named| named.get(name)).copied();
        let known = known.and_then(|group| Some((group, self.groups.saved.by_number.get(&group)?)));
        if let Some((group, is)) = known {
            let config = settings.over(is.config);
            if config != is.config {
                let fact = Fact::GroupSet {
                    group,
                    topic,
                    name,
                    config,
                    at: is.created_at,
                    head: is.head,
                };
                self.put(fact, course);
            }
            return Ok(Answer::Configured);
        }
        if self.groups.saved.by_number.len() >= self.bounds.groups {
            return Err(Refusal::GroupsFull);
        }
        let next = self.groups.saved.last_number.checked_add(1);
        let head = start.unwrap_or(end);
        if head > end {
            return Err(Refusal::PastEnd { end });
        }
        let fact = Fact::GroupSet {
            group: next.ok_or(Refusal::GroupsFull)?,
            topic,
            name,
            config: settings.over(GroupConfig::default()),
            at: course.now(),
            head,
        };
        self.put(fact, course);
        Ok(Answer::Configured)
    }

    fn delete_group(
        &mut self,
        (topic, group): (&str, &str),
        course: &mut Course<'_, '_>,
    ) -> Result<Answer, Refusal> {
        let group = self.group_of(topic, group)?;
        self.put(Fact::GroupDeleted { group }, course);
        Ok(Answer::Deleted)
    }

    fn beat(
        &mut self,
        (topic, group): (&str, &str),
        token: Token,
        course: &Course<'_, '_>,
    ) -> Result<Answer, Refusal> {
        let group = self.group_of(topic, group)?;
        self.extend_member(group, token, course.moment.mono)?;
        Ok(Answer::Extended { cancelled: false })
    }

    fn leave(
        &mut self,
        (topic, group): (&str, &str),
        token: Token,
        course: &mut Course<'_, '_>,
    ) -> Result<Answer, Refusal> {
        let group = self.group_of(topic, group)?;
        if self.groups.member(group, token).is_none() {
            return Err(Refusal::MemberGone);
        }
        self.member_left(group, token, false, course);
        Ok(Answer::Left)
    }

    fn reset_group(
        &mut self,
        (topic, group): (&str, &str),
        head: Option<u64>,
        force: bool,
        course: &mut Course<'_, '_>,
    ) -> Result<Answer, Refusal> {
        let group = self.group_of(topic, group)?;
        let end = self.topic(topic).map_or(0, |(_, of)| of.next);
        let head = head.unwrap_or(end);
        if head > end {
            return Err(Refusal::PastEnd { end });
        }
        let leased = self.groups.lines.get(&group);
        let leased = leased.map_or(0, |lines| lines.leased.len());
        if leased > 0 && !force {
            let leased = u32::try_from(leased).unwrap_or(u32::MAX);
            return Err(Refusal::GroupBusy { leased });
        }
        let at = course.now();
        self.put(Fact::GroupReset { group, head, at }, course);
        Ok(Answer::Configured)
    }
}
