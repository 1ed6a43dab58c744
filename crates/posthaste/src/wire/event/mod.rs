//! Events as they are written: `CloudEvents` 1.0 (structured, batch and binary), and a plain form.
//!
//! What has an attribute of its own goes there; `subject`, `time`, `dataschema` and extensions are
//! headers. An event that is read carries four extensions more, which tell where it lies:
//!
//! - `partition`, a number, and `offset`, its place in that (text, because a number of `CloudEvents`
//!   has 32 bits);
//! - `cursor`, which is where to read on behind it;
//! - `publishedat`, when it was published.
//!
//! They are passed over on the way in, so that an event of one topic can be published to another.
//! (`CloudEvents` 1.0.2; its JSON format; its HTTP protocol binding.)

mod attributes;
mod binary;
mod cloud;
mod plain;
#[cfg(test)]
mod tests;

pub use binary::read_binary;
pub use cloud::{CloudEvent, WrittenEvent};
pub use plain::PlainEvent;

/// The media type of one event as JSON.
pub const STRUCTURED: &str = "application/cloudevents+json";
/// The media type of an array of events as JSON.
pub const BATCH: &str = "application/cloudevents-batch+json";
/// What the headers of a binary event begin with.
pub const HEADER_PREFIX: &str = "ce-";

const JSON: &str = "application/json";
const BYTES: &str = "application/octet-stream";

/// The type and subtype of a media type in lower case, without its parameters.
fn essence(content_type: &str) -> String {
    let (essence, _) = content_type.split_once(';').unwrap_or((content_type, ""));
    essence.trim().to_ascii_lowercase()
}

/// Whether content of that type is JSON.
fn is_json(content_type: &str) -> bool {
    let essence = essence(content_type);
    let subtype = essence.split_once('/').map_or("", |(_, subtype)| subtype);
    subtype == "json" || subtype.ends_with("+json")
}

/// Whether content of that type is text.
fn is_text(content_type: &str) -> bool {
    essence(content_type).starts_with("text/")
}

/// Whether it is the plain type of JSON, which is not kept with a payload.
fn is_plain_json(content_type: &str) -> bool {
    let parameters = content_type
        .split_once(';')
        .map_or("", |(_, parameters)| parameters);
    let parameters = parameters.trim().to_ascii_lowercase();
    essence(content_type) == JSON
        && matches!(
            parameters.as_str(),
            "" | "charset=utf-8" | "charset=\"utf-8\""
        )
}
