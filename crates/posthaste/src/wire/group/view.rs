//! Groups as people see them.

use posthaste_core::group::{
    GroupConfig, GroupTotals as CoreTotals, GroupView as CoreView, MemberView as CoreMember,
    PausedBy,
};
use posthaste_core::{Error, ErrorKind, GroupName, Result, TopicName, WorkerName};
use serde::{Deserialize, Serialize};

use super::settings::read_exhausted;
use crate::wire::{Backoff, Instant};

/// The answer to `GET /v1/groups`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Groups {
    /// Every group, by topic and name.
    pub groups: Vec<GroupView>,
}

/// One group, its settings, and how far it is.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct GroupView {
    /// Of which topic.
    pub topic: String,
    /// Its name.
    pub group: String,
    /// Most events in the hands of members at once.
    pub in_flight: u32,
    /// Attempts of one event in all.
    pub max_attempts: u16,
    /// Delay after a failed attempt, in full.
    pub backoff: Backoff,
    /// What becomes of an event whose last attempt failed: `park` or `dead`.
    pub on_exhausted: String,
    /// Most parked events.
    pub parked_max: u32,
    /// Whether somebody paused it.
    pub paused: bool,
    /// Why it hands out nothing, where that is so: `person`, or `parked-full`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused_by: Option<String>,
    /// When it was made.
    pub created_at: Instant,
    /// The first event that is not finished. Everything before this cursor is.
    pub position: String,
    /// The first event that was not looked at.
    pub head: String,
    /// Where the topic's next event will be published.
    pub end: String,
    /// How many events lie between its position and the end of the topic.
    pub lag: u64,
    /// Events from the position on that are not finished, as far as they were looked at.
    pub unfinished: u64,
    /// Those in the hands of members.
    pub leased: u64,
    /// Those that failed and wait for their next attempt.
    pub retrying: u64,
    /// Parked events.
    pub parked: u64,
    /// Dead letters.
    pub dead: u64,
    /// Its members.
    pub members: Vec<MemberView>,
    /// What happened in it since it was made.
    pub totals: GroupTotals,
    /// Whether it has passed what was asked for; told where that was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub passed: Option<bool>,
}

/// A member of a group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberView {
    /// Its name.
    pub name: String,
    /// How many events it holds.
    pub leased: u64,
}

/// What happened in a group since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupTotals {
    /// Events whose handlers were done.
    pub done: u64,
    /// Attempts that failed and were followed by another.
    pub retried: u64,
    /// Events that were parked.
    pub parked: u64,
    /// Events that went to the dead letters.
    pub dead: u64,
    /// Events that were skipped.
    pub skipped: u64,
    /// Events whose member was lost.
    pub lapsed: u64,
    /// Events that were handed out again.
    pub redelivered: u64,
    /// Events that were gone before they were handled.
    pub lost_to_retention: u64,
}

impl GroupView {
    /// How `group` is written.
    #[must_use]
    pub fn write(group: &CoreView) -> Self {
        let (config, totals) = (group.config, group.totals);
        let member = |member: &CoreMember| MemberView {
            name: member.name.to_string(),
            leased: member.leased,
        };
        Self {
            topic: group.topic.to_string(),
            group: group.name.to_string(),
            in_flight: config.in_flight,
            max_attempts: config.max_attempts,
            backoff: Backoff::write(&config.backoff),
            on_exhausted: config.on_exhausted.as_str().to_owned(),
            parked_max: config.parked_max,
            paused: config.paused,
            paused_by: group.paused.map(|by| by.as_str().to_owned()),
            created_at: Instant(group.created_at),
            position: group.position.to_string(),
            head: group.head.to_string(),
            end: group.end.to_string(),
            lag: group.lag,
            unfinished: group.unfinished,
            leased: group.leased,
            retrying: group.retrying,
            parked: group.parked,
            dead: group.dead,
            members: group.members.iter().map(member).collect(),
            totals: GroupTotals {
                done: totals.done,
                retried: totals.retried,
                parked: totals.parked,
                dead: totals.dead,
                skipped: totals.skipped,
                lapsed: totals.lapsed,
                redelivered: totals.redelivered,
                lost_to_retention: totals.lost_to_retention,
            },
            passed: None,
        }
    }

    /// The port's group.
    ///
    /// # Errors
    /// `Invalid` for a name, a cursor or a word that can't be one.
    pub fn read(self) -> Result<CoreView> {
        let totals = self.totals;
        let member = |member: &MemberView| {
            Ok(CoreMember {
                name: WorkerName::new(&member.name)?,
                leased: member.leased,
            })
        };
        Ok(CoreView {
            topic: TopicName::new(&self.topic)?,
            name: GroupName::new(&self.group)?,
            config: GroupConfig {
                in_flight: self.in_flight,
                max_attempts: self.max_attempts,
                backoff: self.backoff.read()?,
                on_exhausted: read_exhausted(&self.on_exhausted)?,
                parked_max: self.parked_max,
                paused: self.paused,
            },
            created_at: self.created_at.0,
            position: self.position.parse()?,
            head: self.head.parse()?,
            end: self.end.parse()?,
            unfinished: self.unfinished,
            leased: self.leased,
            retrying: self.retrying,
            parked: self.parked,
            dead: self.dead,
            members: self.members.iter().map(member).collect::<Result<_>>()?,
            paused: self.paused_by.as_deref().map(read_paused).transpose()?,
            totals: CoreTotals {
                done: totals.done,
                retried: totals.retried,
                parked: totals.parked,
                dead: totals.dead,
                skipped: totals.skipped,
                lapsed: totals.lapsed,
                redelivered: totals.redelivered,
                lost_to_retention: totals.lost_to_retention,
            },
            lag: self.lag,
        })
    }
}

fn read_paused(word: &str) -> Result<PausedBy> {
    PausedBy::from_word(word).ok_or_else(|| {
        Error::new(
            ErrorKind::Invalid,
            format!("{word:?} is no reason known for a pause"),
        )
        .next("update the client")
    })
}
