//! Payloads: JSON as it is, anything else in base64.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use posthaste_core::{Error, ErrorKind, Payload, Result};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::parse::check_depth;

const JSON: &str = "application/json";
const BYTES: &str = "application/octet-stream";

/// A payload as it is written: one of the first two, and what the second is.
#[derive(Default)]
pub(super) struct Written {
    pub(super) json: Option<Box<RawValue>>,
    pub(super) base64: Option<String>,
    pub(super) content_type: Option<String>,
}

impl Written {
    /// The payload, or none where nothing is written. `field` is what errors call it.
    pub(super) fn read(self, field: &str) -> Result<Option<Payload>> {
        match (self.json, self.base64, self.content_type) {
            (None, None, None) => Ok(None),
            (Some(json), None, None) => read_json(json, field).map(Some),
            (Some(json), None, Some(of)) if of == JSON => read_json(json, field).map(Some),
            (Some(_), None, Some(of)) => Err(Error::new(
                ErrorKind::Invalid,
                format!("{field} is JSON, but its content type says {of:?}"),
            )
            .next(format!("put other content in base64 under {field}_base64"))),
            (None, Some(text), of) => read_base64(&text, of, field).map(Some),
            (Some(_), Some(_), _) => Err(Error::new(
                ErrorKind::Invalid,
                format!("both {field} and {field}_base64 are given"),
            )
            .next("give one of them")),
            (None, None, Some(_)) => Err(Error::new(
                ErrorKind::Invalid,
                format!("a content type is given without {field}_base64"),
            )
            .next(format!("put the content in base64 under {field}_base64"))),
        }
    }
}

fn read_json(json: Box<RawValue>, field: &str) -> Result<Payload> {
    check_depth(json.get().as_bytes(), field)?;
    Ok(Payload::json(Bytes::from(
        Box::<str>::from(json).into_boxed_bytes(),
    )))
}

fn read_base64(text: &str, content_type: Option<String>, field: &str) -> Result<Payload> {
    let bytes = STANDARD.decode(text).map_err(|error| {
        Error::new(
            ErrorKind::Invalid,
            format!("{field}_base64 is not base64: {error}"),
        )
        .next("use the standard alphabet of RFC 4648, padded with =")
    })?;
    Ok(match content_type {
        Some(of) if of == JSON => Payload::json(bytes),
        Some(of) => Payload::bytes(&of, bytes),
        None => Payload::bytes(BYTES, bytes),
    })
}

/// How `payload` is written. Bytes that call themselves JSON and aren't are written in base64.
pub(super) fn write(payload: &Payload) -> Written {
    match &payload.content_type {
        None => match json(&payload.bytes) {
            Some(json) => Written {
                json: Some(json),
                ..Written::default()
            },
            None => encoded(payload, JSON),
        },
        Some(of) => encoded(payload, of),
    }
}

fn encoded(payload: &Payload, content_type: &str) -> Written {
    Written {
        json: None,
        base64: Some(STANDARD.encode(&payload.bytes)),
        content_type: Some(content_type.to_owned()),
    }
}

/// `bytes` as raw JSON, where they are JSON.
pub(super) fn json(bytes: &[u8]) -> Option<Box<RawValue>> {
    let text = std::str::from_utf8(bytes).ok()?;
    RawValue::from_string(text.to_owned()).ok()
}

/// Reads a field that is there: `null` is a value like any other, and not an absence.
pub(super) fn present<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    T::deserialize(deserializer).map(Some)
}
