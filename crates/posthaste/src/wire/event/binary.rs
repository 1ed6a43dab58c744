//! Events whose attributes are headers and whose data is the body: the binary mode of HTTP.

use bytes::Bytes;
use posthaste_core::topic::NewEvent;
use posthaste_core::{Payload, Result};

use super::attributes::{Attributes, invalid};
use super::{BYTES, HEADER_PREFIX, is_json, is_plain_json};

/// The event of a request: its `ce-` headers, whose names are in lower case, its content type, and
/// its body. An empty body of JSON, or of no type, is none.
///
/// # Errors
/// `Invalid`, naming the attribute.
pub fn read_binary<'a>(
    headers: impl IntoIterator<Item = (&'a str, &'a [u8])>,
    content_type: Option<&str>,
    body: Bytes,
) -> Result<NewEvent> {
    let mut attributes = Attributes::default();
    for (name, value) in headers {
        let Some(name) = name.strip_prefix(HEADER_PREFIX) else {
            continue;
        };
        if name == "datacontenttype" {
            return Err(invalid(
                "the attribute \"datacontenttype\" is given as a header of its own".into(),
                "it is the header Content-Type",
            ));
        }
        attributes.add(name.to_owned(), decode(name, value)?)?;
    }
    attributes.into_new(|_| Ok(payload(content_type, body)))
}

fn payload(content_type: Option<&str>, body: Bytes) -> Option<Payload> {
    match content_type {
        None if body.is_empty() => None,
        Some(of) if body.is_empty() && is_json(of) => None,
        None => Some(Payload::bytes(BYTES, body)),
        Some(of) if is_plain_json(of) => Some(Payload::json(body)),
        Some(of) => Some(Payload::bytes(of, body)),
    }
}

/// A header's value: a quoted string is unquoted, and percent-encoded bytes are decoded once.
/// (`CloudEvents`' HTTP protocol binding 1.0.2, 3.1.3.2.)
fn decode(name: &str, value: &[u8]) -> Result<String> {
    let malformed = || {
        invalid(
            format!("the header \"{HEADER_PREFIX}{name}\" can't be read"),
            "write it in ASCII, with other characters percent-encoded as UTF-8",
        )
    };
    let inner = value.strip_prefix(b"\"");
    let unquoted = match inner.and_then(|inner| inner.strip_suffix(b"\"")) {
        Some(inner) => unescape(inner).ok_or_else(malformed)?,
        None => value.to_vec(),
    };
    let mut decoded = Vec::with_capacity(unquoted.len());
    let mut rest = unquoted.as_slice();
    while let Some((byte, after)) = rest.split_first() {
        let hex = after.get(..2).filter(|_| *byte == b'%').and_then(hex);
        decoded.push(hex.unwrap_or(*byte));
        rest = if hex.is_some() { &after[2..] } else { after };
    }
    String::from_utf8(decoded).map_err(|_| malformed())
}

fn unescape(quoted: &[u8]) -> Option<Vec<u8>> {
    let mut plain = Vec::with_capacity(quoted.len());
    let mut bytes = quoted.iter();
    while let Some(byte) = bytes.next() {
        plain.push(match byte {
            b'\\' => *bytes.next()?,
            b'"' => return None,
            byte => *byte,
        });
    }
    Some(plain)
}

fn hex(digits: &[u8]) -> Option<u8> {
    let digit = |byte: &u8| char::from(*byte).to_digit(16);
    let [high, low] = digits else { return None };
    u8::try_from(digit(high)? * 16 + digit(low)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_values_are_unquoted_and_decoded_once() {
        for (value, expected) in [
            ("plain", "plain"),
            ("Euro%20%E2%82%AC%20%F0%9F%98%80", "Euro \u{20ac} \u{1f600}"),
            ("\"quo\\\"ted\"", "quo\"ted"),
            ("100%", "100%"),
            ("%2520", "%20"),
            ("%zz", "%zz"),
        ] {
            assert_eq!(decode("x", value.as_bytes()).as_deref(), Ok(expected));
        }
        for bad in ["%ff", "\"a\"b\"", "\"a\\\""] {
            assert!(decode("x", bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
