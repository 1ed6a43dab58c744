//! Reading a body within its limits, before anything is made of it.

use std::error::Error as _;
use std::time::Duration;

use axum::body::{Body, HttpBody as _, to_bytes};
use axum::extract::Request;
use axum::http::HeaderMap;
use axum::http::request::Parts;
use bytes::Bytes;
use http_body_util::LengthLimitError;
use posthaste::policy::Context;
use posthaste::wire::event::HEADER_PREFIX;
use posthaste_core::command::CommitKey;
use posthaste_core::{Error, ErrorKind, Result, limits};
use sha2::{Digest, Sha256};
use tokio::sync::SemaphorePermit;

use super::Served;

/// Longest time for a body, from the head to its last byte.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Longest time for a small body that is thrown away.
const THROWING_AWAY: Duration = Duration::from_secs(1);
/// A body up to this many bytes is read at once; larger ones take turns.
const SMALL_BYTES: u64 = 64 * 1024;
/// Most larger bodies held at once: together at most half a gibibyte.
pub(super) const LARGE_BODIES_MAX: usize = 64;

/// A request whose body has come in. A large one holds its turn until the answer is ready.
pub(super) struct Input<'a> {
    pub(super) parts: Parts,
    pub(super) body: Bytes,
    _turn: Option<SemaphorePermit<'a>>,
}

/// Reads the body of `request`, which is JSON.
///
/// # Errors
/// As [`read_bytes`]; `Invalid` where it has half a character in it.
pub(super) async fn read(served: &Served, request: Request) -> Result<Input<'_>> {
    let input = read_bytes(served, request).await?;
    refuse_half_characters(&input.body)?;
    Ok(input)
}

/// Reads the body of `request`, whatever it is.
///
/// # Errors
/// `TooLarge` past 8 MiB; `Invalid` where it breaks off or takes longer than 30 s; `Busy` where too
/// many large ones are being worked on.
pub(super) async fn read_bytes(served: &Served, request: Request) -> Result<Input<'_>> {
    let (parts, body) = request.into_parts();
    let size = body.size_hint();
    if size.lower() > limits::COMMIT_BYTES_MAX as u64 {
        return Err(too_large());
    }
    let has_come = parts.extensions.get::<Gathered>().is_some();
    let turn = if has_come || !is_large(&body) {
        None
    } else {
        Some(take_turn(served).await?)
    };
    let body = tokio::time::timeout(TIMEOUT, read_all(body))
        .await
        .map_err(|_| {
            Error::new(ErrorKind::Invalid, "the body did not come within 30s")
                .next("send less at once")
        })??;
    Ok(Input {
        parts,
        body,
        _turn: turn,
    })
}

/// Says of a request that its body has come, and that it has its turn where it needs one.
#[derive(Clone, Copy, Debug)]
struct Gathered;

/// The same request with its whole body, and the turn of a large one, to be held until the answer is
/// ready.
///
/// # Errors
/// As [`read_bytes`].
pub(super) async fn gathered(
    served: &Served,
    request: Request,
) -> Result<(Request, Option<SemaphorePermit<'_>>)> {
    if request.body().is_end_stream() {
        return Ok((request, None));
    }
    let Input {
        mut parts,
        body,
        _turn: turn,
    } = read_bytes(served, request).await?;
    parts.extensions.insert(Gathered);
    Ok((Request::from_parts(parts, Body::from(body)), turn))
}

/// Whether a body is read only when it is its turn.
pub(super) fn is_large(body: &Body) -> bool {
    body.size_hint()
        .upper()
        .is_none_or(|bytes| bytes > SMALL_BYTES)
}

/// Reads a small body to its end, for nothing. Says whether that could be done; a large one is left.
pub(super) async fn thrown_away(body: Body) -> bool {
    if is_large(&body) {
        return false;
    }
    let read = tokio::time::timeout(THROWING_AWAY, to_bytes(body, limits::COMMIT_BYTES_MAX));
    matches!(read.await, Ok(Ok(_)))
}

async fn take_turn(served: &Served) -> Result<SemaphorePermit<'_>> {
    let turn = tokio::time::timeout(TIMEOUT, served.large_bodies.acquire()).await;
    turn.ok().and_then(Result::ok).ok_or_else(|| {
        Error::new(
            ErrorKind::Busy,
            format!("{LARGE_BODIES_MAX} large requests are being worked on"),
        )
        .next("try again in 1s, or send less at once")
        .retry_after_ms(1_000)
    })
}

async fn read_all(body: Body) -> Result<Bytes> {
    to_bytes(body, limits::COMMIT_BYTES_MAX)
        .await
        .map_err(|error| {
            if error
                .source()
                .is_some_and(|cause| cause.is::<LengthLimitError>())
            {
                return too_large();
            }
            Error::new(ErrorKind::Invalid, format!("the body broke off: {error}"))
                .next("send it again")
        })
}

fn too_large() -> Error {
    Error::new(
        ErrorKind::TooLarge,
        format!(
            "the body is larger than {} MiB",
            limits::COMMIT_BYTES_MAX >> 20
        ),
    )
    .next("send fewer jobs at once, and keep large content elsewhere")
}

/// A `\ud800` without its other half is no character, and no worker could read it: payloads are
/// passed through unparsed, so that it has to be found here.
pub(super) fn refuse_half_characters(body: &[u8]) -> Result<()> {
    let mut rest = body;
    while let Some(at) = rest.iter().position(|byte| *byte == b'\\') {
        let escape = &rest[at..];
        let length = match (unit(escape), escape.get(6..).and_then(unit)) {
            (Some(0xd800..=0xdbff), Some(0xdc00..=0xdfff)) => 12,
            (Some(0xd800..=0xdfff), _) => {
                return Err(Error::new(
                    ErrorKind::Invalid,
                    format!("the body has half a character, {}", text(escape)),
                )
                .next("escape a character beyond the first 65536 as a pair, or send it as UTF-8"));
            }
            _ => 2,
        };
        rest = escape.get(length..).unwrap_or_default();
    }
    Ok(())
}

fn text(escape: &[u8]) -> String {
    String::from_utf8_lossy(escape.get(..6).unwrap_or(escape)).into_owned()
}

/// The UTF-16 unit of a `\uXXXX` at the start of `text`.
fn unit(text: &[u8]) -> Option<u16> {
    let digits = text.strip_prefix(b"\\u")?.get(..4)?;
    let digits = std::str::from_utf8(digits).ok()?;
    u16::from_str_radix(digits, 16).ok()
}

/// The key of a whole request, where its head gives one. The digest stands for the method, the
/// path, the body, and the headers that are attributes of an event.
///
/// # Errors
/// `Invalid` for a key that is empty, too long, or not printable ASCII.
pub(super) fn key(input: &Input<'_>) -> Result<Option<CommitKey>> {
    let Some(value) = input.parts.headers.get("idempotency-key") else {
        return Ok(None);
    };
    let key = value.to_str().ok().map(str::trim);
    let Some(key) = key.filter(|key| !key.is_empty() && key.len() <= limits::KEY_BYTES_MAX) else {
        return Err(
            Error::new(ErrorKind::Invalid, "the Idempotency-Key is not one").next(format!(
                "give 1 to {} printable ASCII characters, such as a UUID",
                limits::KEY_BYTES_MAX
            )),
        );
    };
    let mut hash = Sha256::new();
    for part in [
        input.parts.method.as_str().as_bytes(),
        input.parts.uri.path().as_bytes(),
        &input.body,
    ] {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    for (name, value) in attributes(&input.parts.headers) {
        for part in [name.as_bytes(), value] {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
    }
    let mut digest = [0; 16];
    digest.copy_from_slice(&hash.finalize()[..16]);
    Ok(Some(CommitKey {
        key: key.into(),
        digest,
    }))
}

/// The context that came along with a request: what it enqueues and publishes inherits from it.
pub(super) fn context(headers: &HeaderMap) -> Context {
    let texts = headers.iter().filter_map(|(name, value)| {
        let value = value.to_str().ok()?;
        Some((name.as_str(), value))
    });
    Context::from_headers(texts)
}

/// The headers that are attributes of an event in the binary mode.
pub(super) fn attributes(headers: &HeaderMap) -> impl Iterator<Item = (&str, &[u8])> {
    let all = headers.iter();
    all.map(|(name, value)| (name.as_str(), value.as_bytes()))
        .filter(|(name, _)| name.starts_with(HEADER_PREFIX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_characters_are_refused_and_whole_ones_pass() {
        for whole in [
            r#"{"a":"\ud83d\ude00"}"#,
            r"\\ud800",
            r"\u0000",
            r"\",
            r"\u12",
            "plain",
        ] {
            assert_eq!(refuse_half_characters(whole.as_bytes()), Ok(()), "{whole}");
        }
        for half in [
            r#""\ud800""#,
            r#""\udc00""#,
            r#""\uD83Dx""#,
            r"\ud83d\ud83d",
            r"\\\ud800",
        ] {
            assert!(refuse_half_characters(half.as_bytes()).is_err(), "{half}");
        }
    }
}
