//! What an engine is asked and what it answers: a call, leave for an attempt, what comes next.

use std::sync::Arc;

use super::{Refusal, Stop};
use crate::policy::breaker;
use crate::policy::criticality::Criticality;
use crate::policy::gate::{Place, Ticket};
use crate::policy::pause::Pauses;
use crate::policy::settings::Fault;
use crate::time::MonoNs;

/// What is known of a call when it begins.
#[derive(Clone, Debug, Default)]
pub struct Ask {
    /// How much it matters.
    pub tier: Criticality,
    /// Who calls, as a number: those of one caller wait in one line.
    pub caller: u64,
    /// When the time of what it works for ends.
    pub deadline: Option<MonoNs>,
    /// Whether repeating it is safe.
    pub idempotent: bool,
    /// What chaos rules know it by.
    pub tag: Option<Arc<str>>,
}

/// A call under way.
#[derive(Clone, Debug)]
pub struct Call {
    pub(super) ask: Ask,
    pub(super) deadline: Option<MonoNs>,
    pub(super) made: u32,
    pub(super) pauses: Pauses,
}

impl Call {
    /// A call that has not begun.
    #[inline]
    #[must_use]
    pub const fn new(ask: Ask) -> Self {
        Self {
            deadline: ask.deadline,
            ask,
            made: 0,
            pauses: Pauses::new(),
        }
    }

    /// When its time ends.
    #[must_use]
    #[inline]
    pub const fn deadline(&self) -> Option<MonoNs> {
        self.deadline
    }

    /// How many attempts have ended or were hedges.
    #[must_use]
    #[inline]
    pub const fn made(&self) -> u32 {
        self.made
    }
}

/// Leave for one attempt. It must be given back with [`Engine::ended`](super::Engine::ended).
#[derive(Clone, Copy, Debug)]
#[must_use = "a permit that never ends holds its place for ever"]
pub struct Permit {
    pub(super) started: MonoNs,
    pub(super) must_end: Option<MonoNs>,
    pub(super) tier: Criticality,
    pub(super) place: Option<Place>,
    pub(super) pass: Option<breaker::Pass>,
    pub(super) fault: Option<(u16, Fault)>,
}

impl Permit {
    /// When the attempt was admitted.
    #[must_use]
    #[inline]
    pub const fn started(&self) -> MonoNs {
        self.started
    }

    /// When the attempt has to be given up.
    #[must_use]
    #[inline]
    pub const fn must_end(&self) -> Option<MonoNs> {
        self.must_end
    }

    /// The fault to inject, and the place of the rule that says so.
    #[must_use]
    #[inline]
    pub const fn fault(&self) -> Option<(u16, Fault)> {
        self.fault
    }
}

/// What becomes of an attempt that wants to start.
#[derive(Clone, Copy, Debug)]
#[must_use]
pub enum Admit {
    /// It starts.
    Run(Permit),
    /// It waits: the answer comes from [`Engine::next`](super::Engine::next), and a place from there is taken with
    /// [`Engine::enter`](super::Engine::enter).
    Wait(Ticket),
    /// It is not made.
    Refused(Refusal),
}

/// What comes after an attempt.
#[derive(Clone, Copy, Debug, PartialEq)]
#[must_use]
pub enum Next {
    /// Nothing: it worked, or nobody waits for it any more.
    Done,
    /// Another one, at this instant. It has been charged.
    Retry {
        /// When.
        at: MonoNs,
    },
    /// Nothing, and why not another one.
    Stop(Stop),
}

/// How often what was decided, since the policy was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counts {
    /// Calls that began.
    pub calls: u64,
    /// Attempts that started, hedges among them.
    pub attempts: u64,
    /// Attempts that worked.
    pub ok: u64,
    /// Attempts that failed.
    pub failed: u64,
    /// Attempts that the callee refused.
    pub throttled: u64,
    /// Attempts that took too long.
    pub timed_out: u64,
    /// Attempts that were dropped before they ended.
    pub dropped: u64,
    /// Retries decided.
    pub retries: u64,
    /// Hedges decided.
    pub hedges: u64,
    /// Attempts not started, by [`Refusal::index`].
    pub refused: [u64; Refusal::SLUGS.len()],
    /// Calls not repeated, by [`Stop::index`].
    pub stopped: [u64; Stop::SLUGS.len()],
}
