//! Leases on their way to a client, which are released if they do not get there.
//!
//! The bytes of an answer own the leases that it tells of. A server lets go of them when the
//! operating system has taken the last, or when the connection is over. In the second case the
//! client has not got the whole answer, and the leases are given back. What the operating system
//! took and the client never read is known to nobody: it lapses.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use posthaste_core::{Command, Commit, JobId, Outcome, Store, Token};
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

/// An answer that grants leases.
struct Granted {
    answer: Vec<u8>,
    leases: Vec<(JobId, Token)>,
    line: Line,
    store: Arc<dyn Store>,
}

/// The bytes of `answer`, which grants `leases` of `store` to whoever is at the end of `line`.
pub(super) fn granted(
    answer: Vec<u8>,
    leases: Vec<(JobId, Token)>,
    line: Line,
    store: Arc<dyn Store>,
) -> Bytes {
    Bytes::from_owner(Granted {
        answer,
        leases,
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
        if self.leases.is_empty() || !self.line.is_cut() {
            return;
        }
        let releases = self.leases.drain(..).map(release).collect();
        let store = Arc::clone(&self.store);
        // Without a runtime, or where the store refuses it, the leases lapse.
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(async move { drop(store.commit(releases).await) });
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
