//! What an answer means to a policy.

use std::time::Duration;

/// What the result of an attempt means. Made by the caller's classifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It worked.
    Ok,
    /// It failed, and may work when repeated.
    Retry,
    /// It was refused before anything was done (429, or 503 with `Retry-After`): it may be repeated
    /// without a key, after so long where that was said. No sign of illness: a breaker does not count
    /// it, a limit backs off from it.
    Throttled(Option<Duration>),
    /// It failed, and the same request will fail again (400, 404). The callee is well.
    Fatal,
    /// Nobody knows whether it had its effect: a timeout, or a connection lost.
    Unknown,
}

impl Verdict {
    /// Whether it speaks against the health of the callee.
    #[must_use]
    pub const fn is_failure(self) -> bool {
        matches!(self, Self::Retry | Self::Unknown)
    }
}

/// How an attempt ended, as the machines are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It gave a result.
    With(Verdict),
    /// It took longer than it may, and was dropped.
    TimedOut,
    /// It was dropped before it ended, for reasons of the caller's: it says nothing of the callee.
    Dropped,
}

impl Ended {
    /// What it means, where it means anything.
    #[must_use]
    pub const fn verdict(self) -> Option<Verdict> {
        match self {
            Self::With(verdict) => Some(verdict),
            Self::TimedOut => Some(Verdict::Unknown),
            Self::Dropped => None,
        }
    }
}
