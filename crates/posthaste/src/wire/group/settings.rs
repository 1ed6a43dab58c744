//! Settings of groups, and where they go on.

use posthaste_core::group::{GroupSettings as CoreSettings, OnExhausted};
use posthaste_core::topic::ReadFrom as CoreFrom;
use posthaste_core::{Command as Core, Error, ErrorKind, GroupName, Result, TopicName, suggest};
use serde::{Deserialize, Serialize};

use crate::event::Replay as CoreReplay;
use crate::wire::{Backoff, ReadFrom};

/// What to change of a group: `PUT /v1/groups/{topic}/{group}`. What is absent stays as it is, or is
/// the default of a new one.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GroupSettings {
    /// Most events in the hands of members at once, 1 to 10,000. Default 1,000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_flight: Option<u32>,
    /// Attempts of one event in all, 1 to 1,000. Default 25.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_attempts: Option<u16>,
    /// Delay after a failed attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backoff: Option<Backoff>,
    /// What becomes of an event whose last attempt failed: `park` (the default) or `dead`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_exhausted: Option<String>,
    /// Most parked events, 1 to 10,000. Default 1,000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parked_max: Option<u32>,
    /// Hand out nothing (true), or go on (false).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused: Option<bool>,
    /// Where a new group starts: `latest` (the default), `earliest`, a cursor, `time:…` or
    /// `offset:P:N`. No effect on one that is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
}

impl GroupSettings {
    /// The port's settings, and where a new group starts.
    ///
    /// # Errors
    /// `Invalid` for a word, a place or a length that can't be one.
    pub fn read(self) -> Result<(CoreSettings, Option<CoreFrom>)> {
        let on_exhausted = self.on_exhausted.as_deref().map(read_exhausted);
        let settings = CoreSettings {
            in_flight: self.in_flight,
            max_attempts: self.max_attempts,
            backoff: self.backoff.map(Backoff::read).transpose()?,
            on_exhausted: on_exhausted.transpose()?,
            parked_max: self.parked_max,
            paused: self.paused,
        };
        let from = self.from.as_deref().map(read_place).transpose()?;
        Ok((settings, from))
    }

    /// How `settings` are written.
    #[must_use]
    pub fn write(settings: &CoreSettings, from: Option<CoreFrom>) -> Self {
        Self {
            in_flight: settings.in_flight,
            max_attempts: settings.max_attempts,
            backoff: settings.backoff.as_ref().map(Backoff::write),
            on_exhausted: settings.on_exhausted.map(|of| of.as_str().to_owned()),
            parked_max: settings.parked_max,
            paused: settings.paused,
            from: from.map(|from| ReadFrom(from).to_string()),
        }
    }
}

pub(super) fn read_exhausted(word: &str) -> Result<OnExhausted> {
    OnExhausted::from_word(word).ok_or_else(|| {
        let known = [OnExhausted::Park, OnExhausted::Dead].map(OnExhausted::as_str);
        let error = Error::new(
            ErrorKind::Invalid,
            format!("on_exhausted {word:?} is unknown"),
        );
        match suggest::nearest(word, known) {
            Some(near) => error.next(format!("did you mean {near:?}?")),
            None => error.next(format!("known: {}", known.join(", "))),
        }
    })
}

fn read_place(text: &str) -> Result<CoreFrom> {
    text.parse::<ReadFrom>().map(|from| from.0)
}

/// [`GroupSettings`] in a commit, with the names of the topic and the group.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SetGroup {
    /// Of which topic.
    pub topic: String,
    /// Which group. Made where there is none.
    pub group: String,
    /// Most events in the hands of members at once, 1 to 10,000. Default 1,000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_flight: Option<u32>,
    /// Attempts of one event in all, 1 to 1,000. Default 25.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_attempts: Option<u16>,
    /// Delay after a failed attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backoff: Option<Backoff>,
    /// What becomes of an event whose last attempt failed: `park` (the default) or `dead`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_exhausted: Option<String>,
    /// Most parked events, 1 to 10,000. Default 1,000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parked_max: Option<u32>,
    /// Hand out nothing (true), or go on (false).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused: Option<bool>,
    /// Where a new group starts. Default `latest`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
}

impl SetGroup {
    pub(in crate::wire) fn read(self) -> Result<Core> {
        let (topic, group) = (TopicName::new(&self.topic)?, GroupName::new(&self.group)?);
        let (settings, from) = GroupSettings {
            in_flight: self.in_flight,
            max_attempts: self.max_attempts,
            backoff: self.backoff,
            on_exhausted: self.on_exhausted,
            parked_max: self.parked_max,
            paused: self.paused,
            from: self.from,
        }
        .read()?;
        Ok(Core::SetGroup {
            topic,
            group,
            settings,
            from,
        })
    }

    pub(in crate::wire) fn write(
        topic: &TopicName,
        group: &GroupName,
        settings: &CoreSettings,
        from: Option<CoreFrom>,
    ) -> Self {
        let settings = GroupSettings::write(settings, from);
        Self {
            topic: topic.to_string(),
            group: group.to_string(),
            in_flight: settings.in_flight,
            max_attempts: settings.max_attempts,
            backoff: settings.backoff,
            on_exhausted: settings.on_exhausted,
            parked_max: settings.parked_max,
            paused: settings.paused,
            from: settings.from,
        }
    }
}

/// Which group: `{"topic":"…","group":"…"}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GroupRef {
    /// Of which topic.
    pub topic: String,
    /// Its name.
    pub group: String,
}

/// Where a group is to go on: `POST /v1/groups/{topic}/{group}/reset`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reset {
    /// `earliest`, `latest`, a cursor, `time:…` or `offset:P:N`.
    pub to: String,
    /// Also while members hold events: they hold them no longer.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub force: bool,
    /// Change nothing, and say what would come of it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dry_run: bool,
}

impl Reset {
    /// Where the group is to go on.
    ///
    /// # Errors
    /// `Invalid` where that is no place.
    pub fn read(&self) -> Result<CoreFrom> {
        read_place(&self.to)
    }
}

/// What a reset would do: the answer to one with `dry_run`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replay {
    /// Where the group is.
    pub position: String,
    /// Where it would go on.
    pub to: String,
    /// How many events that are finished would be handed out again, at most: those that compaction
    /// took, and those that are parked, are not.
    pub events: u64,
    /// How many events that are not finished would be passed over, at most.
    pub skipped: u64,
    /// How many events members hold now. Where there are any, only `force` resets the group.
    pub leased: u64,
}

impl Replay {
    /// How `replay` is written.
    #[must_use]
    pub fn write(replay: &CoreReplay) -> Self {
        Self {
            position: replay.position.to_string(),
            to: replay.to.to_string(),
            events: replay.again,
            skipped: replay.passed_over,
            leased: replay.leased,
        }
    }
}

/// A reset in a commit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResetGroup {
    /// Of which topic.
    pub topic: String,
    /// Which group.
    pub group: String,
    /// `earliest`, `latest`, a cursor, `time:…` or `offset:P:N`.
    pub to: String,
    /// Also while members hold events: they hold them no longer.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub force: bool,
}

impl ResetGroup {
    pub(in crate::wire) fn read(&self) -> Result<Core> {
        Ok(Core::ResetGroup {
            topic: TopicName::new(&self.topic)?,
            group: GroupName::new(&self.group)?,
            to: read_place(&self.to)?,
            force: self.force,
        })
    }

    pub(in crate::wire) fn write(
        topic: &TopicName,
        group: &GroupName,
        to: CoreFrom,
        force: bool,
    ) -> Self {
        Self {
            topic: topic.to_string(),
            group: group.to_string(),
            to: ReadFrom(to).to_string(),
            force,
        }
    }
}
