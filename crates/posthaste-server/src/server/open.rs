//! The connections that are open, to let go of an idle one where a new one needs its slot.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::OwnedSemaphorePermit;

use super::clocked::Pulse;

/// The pulse of each open connection.
#[derive(Clone, Debug, Default)]
pub(super) struct Open(Arc<Mutex<Connections>>);

#[derive(Debug, Default)]
struct Connections {
    open: BTreeMap<u64, Arc<Pulse>>,
    entered: u64,
}

impl Open {
    /// Adds a connection, which holds its slot for as long as its entry lives.
    pub(super) fn enter(&self, slot: OwnedSemaphorePermit) -> Entry {
        let pulse = Arc::new(Pulse::new());
        let mut all = self.lock();
        all.entered += 1;
        let number = all.entered;
        all.open.insert(number, Arc::clone(&pulse));
        Entry {
            open: self.clone(),
            number,
            pulse,
            _slot: slot,
        }
    }

    /// Lets go of the connection that has been idle for longest. Says whether there was one.
    pub(super) fn let_one_go(&self) -> bool {
        let all = self.lock();
        let open = all.open.values();
        let idle = open.filter_map(|pulse| Some((pulse.idle_since()?, pulse)));
        let longest = idle.min_by_key(|(since, _)| *since);
        if let Some((_, pulse)) = longest {
            pulse.let_go();
        }
        longest.is_some()
    }

    fn lock(&self) -> MutexGuard<'_, Connections> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An open connection.
#[derive(Debug)]
pub(super) struct Entry {
    open: Open,
    number: u64,
    pulse: Arc<Pulse>,
    _slot: OwnedSemaphorePermit,
}

impl Entry {
    pub(super) fn pulse(&self) -> &Arc<Pulse> {
        &self.pulse
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.open.lock().open.remove(&self.number);
    }
}
