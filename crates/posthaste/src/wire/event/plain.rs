//! Events in the house's own form, as jobs are written.

use posthaste_core::topic::NewEvent;
use posthaste_core::{Error, ErrorKind, JobId, Result, Text, limits};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::wire::Metadata;
use crate::wire::payload::{self, Written, present};

/// An event to publish: `POST /v1/topics/{topic}/events`, one or an array;
/// `{"publish":{"topic":…,"events":[…]}}` in a commit.
///
/// ```json
/// {"type":"order.placed","key":"customer-7","payload":{"order":12}}
/// ```
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlainEvent {
    /// Its id, 1 to 255 bytes. Default: the server mints one, and nothing is deduplicated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Whether an event of the same source and id, published within ten minutes, is this one.
    /// Default: where an id is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deduplicate: Option<bool>,
    /// What happened. Required.
    pub r#type: String,
    /// Who tells it. Default `posthaste`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Events of one key stay in order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Further attributes, at most 32; names of lower-case letters and digits.
    #[serde(default, skip_serializing_if = "Metadata::is_empty")]
    pub headers: Metadata,
    /// What it carries, as JSON. Without a payload an event under a key is a tombstone.
    #[serde(
        default,
        alias = "data",
        deserialize_with = "present",
        skip_serializing_if = "Option::is_none"
    )]
    pub payload: Option<Box<RawValue>>,
    /// What it carries, as bytes in base64; instead of `payload`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload_base64: Option<String>,
    /// What the bytes are. Default `application/octet-stream`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
}

impl PlainEvent {
    /// The port's event, `mint` giving the id where none is given.
    ///
    /// # Errors
    /// `Invalid`, naming the field.
    pub fn read(self, mint: impl FnOnce() -> JobId) -> Result<NewEvent> {
        let written = Written {
            json: self.payload,
            base64: self.payload_base64,
            content_type: self.content_type,
        };
        if self.id.is_none() && self.deduplicate == Some(true) {
            return Err(Error::new(
                ErrorKind::Invalid,
                "an event without an id can't be deduplicated",
            )
            .next("give an id, or leave deduplicate out"));
        }
        let source = self.source.as_deref();
        let headers = self.headers.0.iter();
        Ok(NewEvent {
            deduplicate: self.deduplicate.unwrap_or(self.id.is_some()),
            id: self
                .id
                .map_or_else(|| Text::from(mint().to_string()), Text::from),
            event_type: self.r#type.into(),
            source: Text::from(source.unwrap_or(limits::EVENT_SOURCE_DEFAULT)),
            key: self.key.map(Text::from),
            headers: headers
                .map(|(name, value)| (Text::from(&**name), Text::from(&**value)))
                .collect(),
            payload: written.read("payload")?,
        })
    }

    /// How `event` is written, its id included.
    #[must_use]
    pub fn write(event: &NewEvent) -> Self {
        let payload = event
            .payload
            .as_ref()
            .map(payload::write)
            .unwrap_or_default();
        let text = |text: &Text| text.as_str().to_owned();
        let headers = event.headers.iter();
        Self {
            id: Some(text(&event.id)),
            deduplicate: (!event.deduplicate).then_some(false),
            r#type: text(&event.event_type),
            source: (event.source != limits::EVENT_SOURCE_DEFAULT).then(|| text(&event.source)),
            key: event.key.as_ref().map(text),
            headers: Metadata(
                headers
                    .map(|(name, value)| (name.as_str().into(), value.as_str().into()))
                    .collect(),
            ),
            payload: payload.json,
            payload_base64: payload.base64,
            content_type: payload.content_type,
        }
    }
}
