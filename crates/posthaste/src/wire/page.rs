//! Pages of events, gaps, and where to read on.

use std::fmt;
use std::str::FromStr;

use posthaste_core::topic::{
    EventPage as CorePage, Gap as CoreGap, GapReason, ReadFrom as CoreFrom,
};
use posthaste_core::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};

use super::Instant;
use super::event::{CloudEvent, WrittenEvent};

/// A page of events as a server writes it: the answer to `GET /v1/topics/{topic}/events`.
#[derive(Clone, Debug, Serialize)]
pub struct WrittenPage<'a> {
    /// What was found.
    pub events: Vec<WrittenEvent<'a>>,
    /// Where to go on.
    pub next: String,
    /// The oldest place that can be read from.
    pub earliest: String,
    /// Where the next event will be published. `next` reaches it when everything was read.
    pub end: String,
}

impl<'a> WrittenPage<'a> {
    /// How `page` is written.
    #[must_use]
    pub fn write(page: &'a CorePage) -> Self {
        Self {
            events: page.events.iter().map(WrittenEvent).collect(),
            next: page.next.to_string(),
            earliest: page.earliest.to_string(),
            end: page.end.to_string(),
        }
    }
}

/// A page of events as a client reads it.
#[derive(Clone, Debug, Deserialize)]
pub struct EventPage {
    /// What was found.
    pub events: Vec<CloudEvent>,
    /// Where to go on.
    pub next: String,
    /// The oldest place that can be read from.
    pub earliest: String,
    /// Where the next event will be published.
    pub end: String,
}

impl EventPage {
    /// The port's page.
    ///
    /// # Errors
    /// `Invalid`, naming the attribute that can't be read.
    pub fn read(self) -> Result<CorePage> {
        let events = self.events.into_iter().map(CloudEvent::read_published);
        Ok(CorePage {
            events: events.collect::<Result<_>>()?,
            next: self.next.parse()?,
            earliest: self.earliest.parse()?,
            end: self.end.parse()?,
        })
    }
}

/// What was asked for can't be read any more: a problem of the type `gap`, with status 410.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    /// `gap`.
    pub r#type: String,
    /// What failed.
    pub title: String,
    /// 410.
    pub status: u16,
    /// What to do next.
    pub detail: String,
    /// `retention`; `history`: the cursor is of another one; or `damage`.
    pub reason: String,
    /// The oldest place behind it that can be read from.
    pub earliest: String,
    /// Where the next event will be published.
    pub end: String,
}

impl Gap {
    /// The word that a gap is told by.
    pub const SLUG: &'static str = "gap";

    /// How `gap` is written.
    #[must_use]
    pub fn write(gap: &CoreGap) -> Self {
        let title = match gap.reason {
            GapReason::Retention => "what lay there is gone: it was older than is kept",
            GapReason::History => {
                "the cursor is of another history of the topic, or of another one"
            }
            GapReason::Damage => "what lay there is damaged on the disk, and can't be read",
        };
        Self {
            r#type: Self::SLUG.to_owned(),
            title: title.to_owned(),
            status: 410,
            detail: "read on from earliest, and take what is yours from there to be incomplete"
                .to_owned(),
            reason: gap.reason.as_str().to_owned(),
            earliest: gap.earliest.to_string(),
            end: gap.end.to_string(),
        }
    }

    /// The port's gap.
    ///
    /// # Errors
    /// `Invalid` for a reason or a cursor that can't be one.
    pub fn read(&self) -> Result<CoreGap> {
        let reason = GapReason::from_word(&self.reason).ok_or_else(|| {
            Error::new(
                ErrorKind::Invalid,
                format!("the reason {:?} is unknown", self.reason),
            )
            .next("update the client")
        })?;
        Ok(CoreGap {
            reason,
            earliest: self.earliest.parse()?,
            end: self.end.parse()?,
        })
    }
}

/// Where to read from, as it is written: `earliest`, `latest`, a cursor,
/// `time:2026-01-31T12:00:00Z`, or `offset:PARTITION:OFFSET`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadFrom(pub CoreFrom);

impl fmt::Display for ReadFrom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            CoreFrom::Earliest => f.write_str("earliest"),
            CoreFrom::Latest => f.write_str("latest"),
            CoreFrom::Position(position) => position.fmt(f),
            CoreFrom::Time(at) => write!(f, "time:{}", Instant(at)),
            CoreFrom::Offset { partition, offset } => write!(f, "offset:{partition}:{offset}"),
        }
    }
}

impl FromStr for ReadFrom {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let unreadable = || {
            Error::new(
                ErrorKind::Invalid,
                format!("{text:?} is no place to read from"),
            )
            .next(
                "give earliest, latest, a cursor as it was told, time:2026-01-31T12:00:00Z, or \
                 offset:PARTITION:OFFSET",
            )
        };
        Ok(Self(match text.split_once(':') {
            None if text == "earliest" => CoreFrom::Earliest,
            None if text == "latest" => CoreFrom::Latest,
            None => CoreFrom::Position(text.parse().map_err(|_| unreadable())?),
            Some(("time", at)) => CoreFrom::Time(at.parse::<Instant>()?.0),
            Some(("offset", place)) => {
                let place = place.split_once(':');
                let read = place.and_then(|(partition, offset)| {
                    Some((partition.parse().ok()?, offset.parse().ok()?))
                });
                let (partition, offset) = read.ok_or_else(unreadable)?;
                CoreFrom::Offset { partition, offset }
            }
            Some(_) => return Err(unreadable()),
        }))
    }
}
