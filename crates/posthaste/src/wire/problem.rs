//! Errors as RFC 9457 problems.

use posthaste_core::{Error, ErrorKind};
use serde::{Deserialize, Serialize};

use super::Span;

/// What went wrong: `application/problem+json`, RFC 9457.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// A stable slug to match on, such as `stale`.
    pub r#type: String,
    /// What failed, and on what.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What to do next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// Which command of the commit was refused, from 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<usize>,
    /// How long to wait before trying again, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<Span>,
}

impl Problem {
    /// How `error` is written.
    #[must_use]
    pub fn write(error: &Error) -> Self {
        Self {
            r#type: error.kind().slug().to_owned(),
            title: error.message().to_owned(),
            status: status(error.kind()),
            detail: error.next_step().map(str::to_owned),
            command: error.command(),
            retry_after: error.retry_after().map(Span),
        }
    }

    /// The error. A type that this version doesn't know is told apart by its status.
    #[must_use]
    pub fn read(self) -> Error {
        let kind = ErrorKind::from_slug(&self.r#type).unwrap_or(match self.status {
            404 => ErrorKind::NotFound,
            409 => ErrorKind::Conflict,
            413 => ErrorKind::TooLarge,
            429 => ErrorKind::Busy,
            400..=499 => ErrorKind::Invalid,
            503 => ErrorKind::Unavailable,
            _ => ErrorKind::Uncertain,
        });
        let mut error = Error::new(kind, self.title);
        if let Some(detail) = self.detail {
            error = error.next(detail);
        }
        if let Some(command) = self.command {
            error = error.at_command(command);
        }
        if let Some(after) = self.retry_after {
            error = error.retry_after_ms(after.0);
        }
        error
    }
}

/// The HTTP status of an error: 4xx where the request is at fault, 429 and 503 where it may
/// succeed later, 500 where the store is damaged, 504 where its caller's time was over.
#[must_use]
pub fn status(kind: ErrorKind) -> u16 {
    match kind {
        ErrorKind::Invalid => 400,
        ErrorKind::NotFound => 404,
        ErrorKind::Conflict
        | ErrorKind::UniqueConflict
        | ErrorKind::Stale
        | ErrorKind::UnknownLease
        | ErrorKind::SettledOtherwise => 409,
        ErrorKind::TooLarge => 413,
        ErrorKind::KeyReused => 422,
        ErrorKind::Busy => 429,
        ErrorKind::Unsupported => 501,
        ErrorKind::Overloaded
        | ErrorKind::Uncertain
        | ErrorKind::Closed
        | ErrorKind::Unavailable
        | ErrorKind::Locked => 503,
        ErrorKind::Deadline => 504,
        ErrorKind::DiskFull => 507,
        _ => 500,
    }
}
