//! Events as JSON: the structured mode, one or a batch.

use std::borrow::Cow;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use posthaste_core::topic::{Event, NewEvent};
use posthaste_core::{Error, Payload, Result};
use serde::de::{self, MapAccess, Visitor};
use serde::ser::SerializeMap as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

use super::attributes::{Attributes, invalid};
use super::{BYTES, JSON, is_json, is_plain_json, is_text};
use crate::wire::{Instant, check_depth};

/// An event of `CloudEvents` 1.0 as it came: one JSON object.
#[derive(Clone, Debug, Default)]
pub struct CloudEvent {
    attributes: Attributes,
    data: Option<Box<RawValue>>,
    base64: Option<String>,
}

impl CloudEvent {
    /// The port's event. Its id was chosen by its publisher.
    ///
    /// # Errors
    /// `Invalid`, naming the attribute.
    pub fn read(self) -> Result<NewEvent> {
        let (data, base64) = (self.data, self.base64);
        self.attributes
            .into_new(|content_type| payload(data, base64, content_type))
    }

    /// The event as it was published, where a server tells it.
    ///
    /// # Errors
    /// `Invalid`, naming the attribute.
    pub fn read_published(self) -> Result<Event> {
        let (data, base64) = (self.data, self.base64);
        self.attributes
            .into_event(|content_type| payload(data, base64, content_type))
    }
}

fn payload(
    data: Option<Box<RawValue>>,
    base64: Option<String>,
    content_type: Option<String>,
) -> Result<Option<Payload>> {
    match (data, base64) {
        (None, None) => Ok(None),
        (Some(data), None) => of_data(data, content_type).map(Some),
        (None, Some(text)) => {
            let bytes = STANDARD.decode(text).map_err(|error| {
                invalid(
                    format!("\"data_base64\" of the event is not base64: {error}"),
                    "use the standard alphabet of RFC 4648, padded with =",
                )
            })?;
            Ok(Some(match content_type {
                Some(of) if is_plain_json(&of) => Payload::json(bytes),
                Some(of) => Payload::bytes(&of, bytes),
                None => Payload::bytes(BYTES, bytes),
            }))
        }
        (Some(_), Some(_)) => Err(invalid(
            "the event has both \"data\" and \"data_base64\"".into(),
            "give one of them",
        )),
    }
}

fn of_data(data: Box<RawValue>, content_type: Option<String>) -> Result<Payload> {
    let other = content_type.filter(|of| !is_plain_json(of));
    if let Some(of) = other.as_ref().filter(|of| !is_json(of)) {
        let text: String = serde_json::from_str(data.get()).map_err(|_| {
            invalid(
                format!("\"data\" of the event is not text, which {of:?} would be"),
                "give a string, or \"data_base64\", or leave \"datacontenttype\" out",
            )
        })?;
        return Ok(Payload::bytes(of, text));
    }
    check_depth(data.get().as_bytes(), "\"data\" of the event")?;
    let bytes = Bytes::from(Box::<str>::from(data).into_boxed_bytes());
    Ok(match other {
        None => Payload::json(bytes),
        Some(of) => Payload::bytes(&of, bytes),
    })
}

impl<'de> Deserialize<'de> for CloudEvent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = CloudEvent;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an event of CloudEvents: an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<CloudEvent, A::Error> {
                let mut event = CloudEvent::default();
                while let Some(name) = map.next_key::<String>()? {
                    let twice = match name.as_str() {
                        "data" => event.data.replace(map.next_value()?).is_some(),
                        "data_base64" => {
                            let value: Option<String> = map.next_value()?;
                            value.is_some_and(|value| event.base64.replace(value).is_some())
                        }
                        _ => {
                            let json: &RawValue = map.next_value()?;
                            if let Some(value) = value(&name, json).map_err(said)? {
                                event.attributes.add(name, value).map_err(said)?;
                            }
                            continue;
                        }
                    };
                    if twice {
                        let twice = format!("{name:?} of the event is given twice; give it once");
                        return Err(de::Error::custom(twice));
                    }
                }
                Ok(event)
            }
        }
        deserializer.deserialize_map(Members)
    }
}

fn said<E: de::Error>(error: Error) -> E {
    E::custom(error)
}

/// The value of an attribute as text; none where it is `null`, which is as if it were absent.
fn value(name: &str, json: &RawValue) -> Result<Option<String>> {
    let text = json.get();
    let whole = text.strip_prefix('-').unwrap_or(text);
    match text.as_bytes().first() {
        Some(b'"') => serde_json::from_str(text).ok().map(Some),
        Some(b'n') => Some(None),
        Some(b't' | b'f') => Some(Some(text.to_owned())),
        _ if whole.bytes().all(|byte| byte.is_ascii_digit()) => Some(Some(text.to_owned())),
        _ => None,
    }
    .ok_or_else(|| {
        invalid(
            format!("the attribute {name:?} is neither text nor true or false nor a whole number"),
            "give one of these; content goes into \"data\"",
        )
    })
}

/// How a published event is written.
#[derive(Clone, Copy, Debug)]
pub struct WrittenEvent<'a>(pub &'a Event);

impl Serialize for WrittenEvent<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let event = self.0;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("specversion", "1.0")?;
        map.serialize_entry("id", event.id.as_str())?;
        map.serialize_entry("source", event.source.as_str())?;
        map.serialize_entry("type", event.event_type.as_str())?;
        if let Some(key) = &event.key {
            map.serialize_entry("partitionkey", key.as_str())?;
        }
        for (name, value) in &event.headers {
            map.serialize_entry(name.as_str(), value.as_str())?;
        }
        map.serialize_entry("partition", &event.partition)?;
        map.serialize_entry("offset", &Shown(event.offset))?;
        map.serialize_entry("cursor", &Shown(event.position.plus(1)))?;
        map.serialize_entry("publishedat", &Instant(event.at))?;
        if let Some(payload) = &event.payload {
            let (content_type, data) = written(payload);
            if let Some(content_type) = content_type {
                map.serialize_entry("datacontenttype", content_type)?;
            }
            match data {
                Data::Json(json) => map.serialize_entry("data", json)?,
                Data::Text(text) => map.serialize_entry("data", text)?,
                Data::Base64(text) => map.serialize_entry("data_base64", &text)?,
            }
        }
        map.end()
    }
}

/// A value as its text.
struct Shown<T>(T);

impl<T: fmt::Display> Serialize for Shown<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

/// Content in JSON.
pub(super) enum Data<'a> {
    Json(&'a RawValue),
    Text(&'a str),
    Base64(Cow<'a, str>),
}

/// The content type of a payload where it is told, and how its content is written. Bytes that call
/// themselves JSON and aren't are written in base64.
fn written(payload: &Payload) -> (Option<&str>, Data<'_>) {
    let content_type = payload.content_type.as_deref();
    let text = std::str::from_utf8(&payload.bytes).ok();
    let json = || text.and_then(|text| serde_json::from_str(text).ok());
    match content_type {
        None => match json() {
            Some(json) => (None, Data::Json(json)),
            None => (Some(JSON), encoded(payload)),
        },
        Some(of) if is_json(of) => match json() {
            Some(json) => (content_type, Data::Json(json)),
            None => (content_type, encoded(payload)),
        },
        Some(of) if is_text(of) => match text {
            Some(text) => (content_type, Data::Text(text)),
            None => (content_type, encoded(payload)),
        },
        Some(_) => (content_type, encoded(payload)),
    }
}

fn encoded(payload: &Payload) -> Data<'_> {
    Data::Base64(STANDARD.encode(&payload.bytes).into())
}
