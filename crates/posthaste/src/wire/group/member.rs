//! What members ask, and what they are handed.

use posthaste_core::group::{
    EventAsk as CoreAsk, LeasedEvent as CoreLeased, LeasedEvents as CoreEvents,
};
use posthaste_core::{GroupName, Result, Token, TopicName, WorkerName, limits};
use serde::{Deserialize, Serialize};

use crate::wire::Span;
use crate::wire::event::{CloudEvent, WrittenEvent};

/// A question for events: `POST /v1/groups/{topic}/{group}/lease`.
///
/// ```json
/// {"member":"billing-1","token":7,"max":100,"wait":"20s"}
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EventAsk {
    /// Who asks. Default `http`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub member: Option<String>,
    /// Under which membership. Absent: joins the group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<u64>,
    /// Most events, 1 to 1000. Default 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<u32>,
    /// For how long the membership lasts without a sign of life, 100 ms to an hour. Counts when
    /// joining. Default `30s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease: Option<Span>,
    /// How long to wait for the first. Default not at all, at most a minute, and half of the lease.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait: Option<Span>,
}

impl EventAsk {
    /// The port's question. The port checks the numbers.
    ///
    /// # Errors
    /// `Invalid` for a name that can't be one, or a length over 49 days.
    pub fn read(&self, topic: TopicName, group: GroupName) -> Result<CoreAsk> {
        let lease = self.lease.map(|lease| lease.short("lease"));
        Ok(CoreAsk {
            topic,
            group,
            member: WorkerName::new(self.member.as_deref().unwrap_or("http"))?,
            token: self.token.map(Token),
            max: self.max.unwrap_or(1),
            lease_ms: lease.transpose()?.unwrap_or(limits::LEASE_MS_DEFAULT),
            wait_ms: self.wait.unwrap_or_default().short("wait")?,
            local: false,
        })
    }

    /// How `ask` is written.
    #[must_use]
    pub fn write(ask: &CoreAsk) -> Self {
        Self {
            member: Some(ask.member.to_string()),
            token: ask.token.map(|token| token.0),
            max: Some(ask.max),
            lease: Some(Span(ask.lease_ms.into())),
            wait: Some(Span(ask.wait_ms.into())),
        }
    }
}

/// Events in the hands of a member, as a server writes them.
#[derive(Clone, Debug, Serialize)]
pub struct WrittenLeasedEvents<'a> {
    token: u64,
    events: Vec<WrittenLeased<'a>>,
}

#[derive(Clone, Debug, Serialize)]
struct WrittenLeased<'a> {
    position: u64,
    attempt: u16,
    max_attempts: u16,
    crashes: u8,
    event: WrittenEvent<'a>,
}

impl<'a> WrittenLeasedEvents<'a> {
    /// How `leased` is written.
    #[must_use]
    pub fn write(leased: &'a CoreEvents) -> Self {
        let event = |leased: &'a CoreLeased| WrittenLeased {
            position: leased.event.position.sequence,
            attempt: leased.attempt,
            max_attempts: leased.max_attempts,
            crashes: leased.crashes,
            event: WrittenEvent(&leased.event),
        };
        Self {
            token: leased.token.0,
            events: leased.events.iter().map(event).collect(),
        }
    }
}

/// Events in the hands of a member, as a client reads them.
#[derive(Clone, Debug, Deserialize)]
pub struct LeasedEvents {
    token: u64,
    events: Vec<LeasedEvent>,
}

#[derive(Clone, Debug, Deserialize)]
struct LeasedEvent {
    attempt: u16,
    max_attempts: u16,
    crashes: u8,
    event: CloudEvent,
}

impl LeasedEvents {
    /// The port's answer.
    ///
    /// # Errors
    /// `Invalid`, naming the attribute that can't be read.
    pub fn read(self) -> Result<CoreEvents> {
        let event = |leased: LeasedEvent| {
            Ok(CoreLeased {
                event: leased.event.read_published()?,
                attempt: leased.attempt,
                max_attempts: leased.max_attempts,
                crashes: leased.crashes,
            })
        };
        Ok(CoreEvents {
            token: Token(self.token),
            events: self.events.into_iter().map(event).collect::<Result<_>>()?,
        })
    }
}

/// A membership: `{"token":7}`, for `…/heartbeat` and `…/leave`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MemberToken {
    /// Its token.
    pub token: u64,
}

/// A membership in a commit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MemberRef {
    /// Of which topic.
    pub topic: String,
    /// Of which group.
    pub group: String,
    /// Under which token.
    pub token: u64,
}

impl MemberRef {
    pub(in crate::wire) fn read(&self) -> Result<(TopicName, GroupName, Token)> {
        let (topic, group) = (TopicName::new(&self.topic)?, GroupName::new(&self.group)?);
        Ok((topic, group, Token(self.token)))
    }

    pub(in crate::wire) fn write(topic: &TopicName, group: &GroupName, token: Token) -> Self {
        Self {
            topic: topic.to_string(),
            group: group.to_string(),
            token: token.0,
        }
    }
}
