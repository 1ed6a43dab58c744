//! An event that isn't published yet, and what its publisher says of it.

use posthaste_core::{Error, ErrorKind, JobId, NewEvent, Payload, Result, Text, TopicName};

use super::typed::{DATA_VERSION, Event};
use crate::carry::{CRITICALITY, TRACEPARENT};
use crate::policy::Criticality;

/// An event and what its publisher says of it, to be published later or together with others.
///
/// What can't be said of an event is reported when it is published.
///
/// ```
/// use posthaste::event::EventDraft;
/// use posthaste::{Event, Payload};
/// # use serde::{Deserialize, Serialize};
/// # #[derive(Serialize, Deserialize, Event)]
/// # struct OrderPlaced { order: u64 }
/// let typed = EventDraft::new(OrderPlaced { order: 7 }).header("subject", "order/7");
/// let raw = EventDraft::raw("photos", "photo.taken", Payload::bytes("image/png", &b"\x89PNG"[..]));
/// let gone = EventDraft::tombstone("customers", "customer.left", "42");
/// ```
#[derive(Clone, Debug)]
#[must_use = "a draft does nothing until it is published"]
pub struct EventDraft(pub(super) Result<Parts>);

/// An event and its topic. An empty id is one that is not minted yet.
#[derive(Clone, Debug)]
pub(super) struct Parts {
    pub(super) topic: TopicName,
    pub(super) event: NewEvent,
}

impl EventDraft {
    /// An event of a type.
    pub fn new<E: Event>(event: E) -> Self {
        Self(typed(&event))
    }

    /// An event without a type of ours: of any `CloudEvents` type, with any payload, told by
    /// `posthaste` unless a [`source`](Self::source) is given.
    pub fn raw(topic: &str, event_type: &str, payload: Payload) -> Self {
        let event = NewEvent::new(Text::default(), event_type, payload);
        Self(TopicName::new(topic).map(|topic| Parts { topic, event }))
    }

    /// The end of a key, without a payload: compaction forgets what was published under it.
    pub fn tombstone(topic: &str, event_type: &str, key: &str) -> Self {
        let draft = Self::raw(topic, event_type, Payload::json("null")).key(key);
        draft.map(|parts| {
            parts.event.payload = None;
            Ok(())
        })
    }

    /// An event as a [`Store`](crate::Store) takes it. One whose id was minted and not chosen
    /// (`deduplicate`) gets another where it is published [later](Self::into_job).
    pub fn of(topic: TopicName, event: NewEvent) -> Self {
        Self(Ok(Parts { topic, event }))
    }

    /// The event and its topic as a [`Store`](crate::Store) takes them, its id minted where none was
    /// chosen: for whoever speaks to one without a hub.
    ///
    /// # Errors
    /// `Invalid` for what can't be said of an event.
    pub fn build(self, mint: impl FnOnce() -> JobId) -> Result<(TopicName, NewEvent)> {
        let Parts { topic, mut event } = self.0?;
        if event.id.is_empty() && !event.deduplicate {
            event.id = mint().to_string().into();
        }
        Ok((topic, event))
    }

    pub(super) fn map(self, change: impl FnOnce(&mut Parts) -> Result<()>) -> Self {
        Self(
            self.0
                .and_then(|mut parts| change(&mut parts).map(|()| parts)),
        )
    }
}

fn typed<E: Event>(event: &E) -> Result<Parts> {
    let bytes = serde_json::to_vec(event).map_err(|error| {
        Error::new(
            ErrorKind::Invalid,
            format!(
                "an event of type {} can't be written as JSON: {error}",
                E::TYPE
            ),
        )
        .next("check its Serialize: maps need string keys")
    })?;
    let version = match E::VERSION {
        1 => Text::from_static("1"),
        other => other.to_string().into(),
    };
    let event = NewEvent {
        id: Text::default(),
        deduplicate: false,
        event_type: Text::from_static(E::TYPE),
        source: Text::from_static(E::SOURCE),
        key: event.key().map(Text::from),
        headers: vec![(Text::from_static(DATA_VERSION), version)],
        payload: Some(Payload::json(bytes)),
    };
    let topic = TopicName::new(E::TOPIC)?;
    Ok(Parts { topic, event })
}

/// Whatever can be published: an event, or an [`EventDraft`] that says more of one.
pub trait IntoEvent {
    /// The draft.
    fn into_event(self) -> EventDraft;
}

impl<E: Event> IntoEvent for E {
    fn into_event(self) -> EventDraft {
        EventDraft::new(self)
    }
}

impl IntoEvent for EventDraft {
    fn into_event(self) -> EventDraft {
        self
    }
}

/// Writes the setters of an event once, for [`EventDraft`] and for [`Publish`](super::Publish).
macro_rules! setters {
    () => {
        /// Its id, 1 to 255 bytes, and one effect for it: an event of the same source and id that is
        /// published again to this topic within ten minutes is not published twice, whatever it
        /// carries. The answer tells where the first one lies. Default: an id that is minted.
        pub fn id(self, id: &str) -> Self {
            self.change(|parts| {
                parts.event.id = id.into();
                parts.event.deduplicate = true;
                Ok(())
            })
        }

        /// Its key, 1 to 255 bytes: events of one key are handled in order. Default: the type's.
        pub fn key(self, key: &str) -> Self {
            self.change(|parts| {
                parts.event.key = Some(key.into());
                Ok(())
            })
        }

        /// Where it is published. Default: the type's.
        pub fn topic(self, topic: &str) -> Self {
            self.change(|parts| {
                parts.topic = TopicName::new(topic)?;
                Ok(())
            })
        }

        /// Who tells it, 1 to 255 bytes. Default: the type's.
        pub fn source(self, source: &str) -> Self {
            self.change(|parts| {
                parts.event.source = source.into();
                Ok(())
            })
        }

        /// A further attribute, such as `CloudEvents`' `subject`; at most 32 of them. The name has
        /// lower-case letters and digits, the value at most 1024 bytes. A name given before is
        /// replaced.
        pub fn header(self, name: &str, value: &str) -> Self {
            self.change(|parts| {
                set_header(&mut parts.event.headers, name, value);
                Ok(())
            })
        }

        /// The W3C trace context to go on from, as header `traceparent`.
        pub fn traceparent(self, value: &str) -> Self {
            self.header(TRACEPARENT, value)
        }

        /// How much it matters, as header `criticality`: what its handlers call is refused by it
        /// under pressure. Default: that of the context in which it is published.
        pub fn criticality(self, tier: Criticality) -> Self {
            self.header(CRITICALITY, tier.word())
        }
    };
}

impl EventDraft {
    setters!();

    fn change(self, change: impl FnOnce(&mut Parts) -> Result<()>) -> Self {
        self.map(change)
    }
}

impl super::Publish {
    setters!();

    fn change(mut self, change: impl FnOnce(&mut Parts) -> Result<()>) -> Self {
        self.draft = self.draft.map(change);
        self
    }
}

fn set_header(headers: &mut Vec<(Text, Text)>, name: &str, value: &str) {
    headers.retain(|(known, _)| known != name);
    headers.push((name.into(), value.into()));
}
