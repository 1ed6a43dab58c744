//! One error for every port: what failed, on what, and what to do next.

use std::fmt;

/// The result of a port's verb.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, as a value to decide by. The slug is stable and outside code may match on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The input breaks a rule; the same input will be refused again.
    Invalid,
    /// A payload, result or commit is over its limit.
    TooLarge,
    /// There is no such job, queue or route.
    NotFound,
    /// The thing is in a state in which this can't be done to it.
    Conflict,
    /// The idempotency key was used with another body.
    KeyReused,
    /// A job with this unique key exists, and the job asked to be rejected then.
    UniqueConflict,
    /// The token is not the job's current one: the lease was lost.
    Stale,
    /// The lease was never granted, or its settling was forgotten.
    UnknownLease,
    /// The lease was settled already, with another outcome.
    SettledOtherwise,
    /// A limit on what is kept or in flight is reached; there is room later.
    Busy,
    /// The disk is nearly full: new work is refused, settling goes on.
    DiskFull,
    /// More is asked at once than can be done well: this was turned away, and nothing was done.
    Overloaded,
    /// The time that its caller had for it was over: nothing was done.
    Deadline,
    /// Whether it happened is not known: a sync failed, or the connection broke.
    Uncertain,
    /// The store is closed or closing.
    Closed,
    /// The server or the store can't be reached.
    Unavailable,
    /// Stored bytes are damaged.
    Corrupt,
    /// Another process holds the store.
    Locked,
    /// The store was written by a newer version.
    NewerFormat,
    /// The store can't do this.
    Unsupported,
    /// The operating system refused an operation on a file or a socket.
    Io,
}

impl ErrorKind {
    /// Stable name, as in a problem's `type`.
    #[must_use]
    pub const fn slug(self) -> &'static str {
        match self {
            Self::Invalid => "invalid",
            Self::TooLarge => "too-large",
            Self::NotFound => "not-found",
            Self::Conflict => "conflict",
            Self::KeyReused => "key-reused",
            Self::UniqueConflict => "unique-conflict",
            Self::Stale => "stale",
            Self::UnknownLease => "unknown-lease",
            Self::SettledOtherwise => "settled-otherwise",
            Self::Busy => "busy",
            Self::DiskFull => "disk-full",
            Self::Overloaded => "overloaded",
            Self::Deadline => "deadline-exceeded",
            Self::Uncertain => "uncertain",
            Self::Closed => "closed",
            Self::Unavailable => "unavailable",
            Self::Corrupt => "corrupt",
            Self::Locked => "locked",
            Self::NewerFormat => "newer-format",
            Self::Unsupported => "unsupported",
            Self::Io => "io",
        }
    }

    /// The kind whose [`slug`](Self::slug) this is.
    #[must_use]
    pub fn from_slug(slug: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|kind| kind.slug() == slug)
    }

    /// Every kind.
    pub const ALL: [Self; 21] = [
        Self::Invalid,
        Self::TooLarge,
        Self::NotFound,
        Self::Conflict,
        Self::KeyReused,
        Self::UniqueConflict,
        Self::Stale,
        Self::UnknownLease,
        Self::SettledOtherwise,
        Self::Busy,
        Self::DiskFull,
        Self::Overloaded,
        Self::Deadline,
        Self::Uncertain,
        Self::Closed,
        Self::Unavailable,
        Self::Corrupt,
        Self::Locked,
        Self::NewerFormat,
        Self::Unsupported,
        Self::Io,
    ];
}

/// What failed, on what, and what to do next.
///
/// The message is lowercase and names the thing; `next_step` tells a person what to do. For debugging
/// it is written as for people, with its kind: that is what `main` prints of one that it returns.
#[derive(Clone, PartialEq, Eq)]
pub struct Error(Box<Parts>);

#[derive(Clone, PartialEq, Eq)]
struct Parts {
    kind: ErrorKind,
    message: String,
    next: Option<String>,
    command: Option<usize>,
    retry_after_ms: Option<u64>,
}

impl Error {
    /// An error of `kind`; `message` says what failed and on what.
    #[must_use]
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        let message = message.into();
        Self(Box::new(Parts {
            kind,
            message,
            next: None,
            command: None,
            retry_after_ms: None,
        }))
    }

    /// The same, with what to do next.
    #[must_use]
    pub fn next(mut self, step: impl Into<String>) -> Self {
        self.0.next = Some(step.into());
        self
    }

    /// The same, naming the refused command by its index in the commit, from 0.
    #[must_use]
    pub fn at_command(mut self, index: usize) -> Self {
        self.0.command = Some(index);
        self
    }

    /// The same, with how long to wait before trying again, in milliseconds.
    #[must_use]
    pub fn retry_after_ms(mut self, ms: u64) -> Self {
        self.0.retry_after_ms = Some(ms);
        self
    }

    /// What went wrong.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// What failed, and on what, without the next step.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// What to do next.
    #[must_use]
    pub fn next_step(&self) -> Option<&str> {
        self.0.next.as_deref()
    }

    /// Which command of the commit was refused.
    #[must_use]
    pub fn command(&self) -> Option<usize> {
        self.0.command
    }

    /// How long to wait before trying again, in milliseconds, where that is known.
    #[must_use]
    pub fn retry_after(&self) -> Option<u64> {
        self.0.retry_after_ms
    }

    /// Whether the same request may succeed later, unchanged. An [`ErrorKind::Uncertain`] one is
    /// retried safely only under an idempotency key.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        use ErrorKind::{Busy, Closed, DiskFull, Locked, Overloaded, Unavailable, Uncertain};
        matches!(
            self.0.kind,
            Busy | DiskFull | Overloaded | Uncertain | Closed | Unavailable | Locked
        )
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)?;
        if let Some(index) = self.0.command {
            write!(f, " (command {index})")?;
        }
        match &self.0.next {
            Some(next) => write!(f, "; {next}"),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {self}", self.kind().slug())
    }
}

impl std::error::Error for Error {}
