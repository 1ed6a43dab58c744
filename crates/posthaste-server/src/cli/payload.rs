//! What jobs and events carry, as it is given on the command line.

use std::io::{self, Read};

use posthaste_core::{Error, ErrorKind, Payload, Result};

/// The bytes of a file, or of standard input (`-`).
///
/// # Errors
/// `Invalid` where it can't be read.
pub(super) fn read(path: &str, most: usize) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    // One byte more than there may be: the store then says that it is too large.
    let most = most as u64 + 1;
    let read = if path == "-" {
        io::stdin().lock().take(most).read_to_end(&mut bytes)
    } else {
        std::fs::File::open(path).and_then(|file| file.take(most).read_to_end(&mut bytes))
    };
    read.map_err(|error| {
        Error::new(ErrorKind::Invalid, format!("cannot read {path}: {error}"))
            .next("name a file that can be read, or - for standard input")
    })?;
    Ok(bytes)
}

/// Bytes that are JSON.
///
/// # Errors
/// `Invalid` where they aren't.
pub(super) fn json(bytes: Vec<u8>) -> Result<Payload> {
    serde_json::from_slice::<serde::de::IgnoredAny>(&bytes).map_err(|error| {
        Error::new(
            ErrorKind::Invalid,
            format!("the payload is not JSON: {error}"),
        )
        .next("quote it for the shell, or give it as --text")
    })?;
    Ok(Payload::json(bytes))
}

/// Bytes that are text, as far as they are.
pub(super) fn text(bytes: Vec<u8>) -> Payload {
    match std::str::from_utf8(&bytes) {
        Ok(_) => Payload::bytes("text/plain; charset=utf-8", bytes),
        Err(_) => Payload::bytes("application/octet-stream", bytes),
    }
}

/// Bytes of a content type.
///
/// # Errors
/// `Invalid` where they are to be JSON and aren't.
pub(super) fn of_type(content_type: &str, bytes: Vec<u8>) -> Result<Payload> {
    if content_type == "application/json" {
        json(bytes)
    } else {
        Ok(Payload::bytes(content_type, bytes))
    }
}

/// A payload for people: text as it is, anything else by its size.
pub(super) fn shown(payload: &Payload) -> String {
    match (std::str::from_utf8(&payload.bytes), &payload.content_type) {
        (Ok(text), None) => text.to_owned(),
        (Ok(text), Some(kind)) if kind.starts_with("text/") => text.trim_end().to_owned(),
        (_, Some(kind)) => format!("{} bytes of {kind}", payload.bytes.len()),
        (Err(_), None) => format!("{} bytes", payload.bytes.len()),
    }
}
