//! Leases on their way to a client, which are given back if they do not get there.
//!
//! The bytes of an answer own the leases that it tells of. A server lets go of them when the
//! operating system has taken the last, or when the connection is over. In the second case the
//! client has not got the whole answer, and the leases are given back. What the operating system
//! took and the client never read is known to nobody: it lapses.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use posthaste_core::group::EventOutcome;
use posthaste_core::{Command, Commit, GroupName, JobId, Outcome, Store, Token, TopicName};
use tokio::runtime::Handle;

/// The connection that a request came by: whether it is over. A server puts one into the extensions
/// of its requests; without it, what an answer tells of counts as told.
#[derive(Clone, Debug, Default)]
pub(crate) struct Line(Arc<AtomicBool>);

impl Line {
    /// From now on nothing more is written to the client.
    pub(crate) fn cut(&self) {
        self.0.store(true, Ordering::Release);
    }

    fn is_cut(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// What an answer hands out.
pub(super) enum Handed {
    /// Jobs.
    Jobs(Vec<(JobId, Token)>),
    /// Events.
    Events {
        /// Of which topic.
        topic: TopicName,
        /// Of which group.
        group: GroupName,
        /// Under which membership.
        token: Token,
        /// The member joined by this: nobody else knows its token.
        joined: bool,
        /// Which events, those of one key in order.
        positions: Vec<u64>,
    },
}

impl Handed {
    /// What gives it back, each piece by itself: one may be its client's no longer.
    fn back(self) -> Vec<Commit> {
        match self {
            Self::Jobs(leases) => leases.into_iter().map(release).collect(),
            Self::Events {
                topic,
                group,
                token,
                joined: true,
                ..
            } => vec![Commit::one(Command::Leave {
                topic,
                group,
                token,
            })],
            Self::Events {
                topic,
                group,
                token,
                positions,
                ..
            } => {
                // From behind: an event that is given back takes those of its key behind it along.
                let positions = positions.into_iter().rev();
                let release = |position| {
                    Commit::one(Command::SettleEvents {
                        topic: topic.clone(),
                        group: group.clone(),
                        token,
                        ends: vec![(position, EventOutcome::Release)],
                    })
                };
                positions.map(release).collect()
            }
        }
    }
}

/// An answer that hands something out.
struct Granted {
    answer: Vec<u8>,
    handed: Option<Handed>,
    line: Line,
    store: Arc<dyn Store>,
}

/// The bytes of `answer`, which hands out what `store` leased to whoever is at the end of `line`.
pub(super) fn granted(answer: Vec<u8>, handed: Handed, line: Line, store: Arc<dyn Store>) -> Bytes {
    Bytes::from_owner(Granted {
        answer,
        handed: Some(handed),
        line,
        store,
    })
}

impl AsRef<[u8]> for Granted {
    fn as_ref(&self) -> &[u8] {
        &self.answer
    }
}

impl Drop for Granted {
    fn drop(&mut self) {
        if !self.line.is_cut() {
            return;
        }
        let back = self.handed.take().map(Handed::back).unwrap_or_default();
        let store = Arc::clone(&self.store);
        // Without a runtime, or where the store refuses it, what was handed out lapses.
        if let Ok(runtime) = Handle::try_current()
            && !back.is_empty()
        {
            runtime.spawn(async move { drop(store.commit(back).await) });
        }
    }
}

fn release((id, token): (JobId, Token)) -> Commit {
    Commit::one(Command::Settle {
        id,
        token,
        outcome: Outcome::Release {
            delay_ms: 0,
            undecodable: false,
            error: None,
        },
    })
}
