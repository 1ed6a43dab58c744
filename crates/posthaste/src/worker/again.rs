//! What the store refused for now, kept until it is tried again. It knows nothing of what it keeps.

use std::time::Duration;

use tokio::time::Instant;

/// Things that were refused for now, and when they are tried again: after a pause that doubles
/// each time, to the longest.
pub(crate) struct Again<T> {
    kept: Vec<T>,
    at: Instant,
    pause: Duration,
    pauses: (Duration, Duration),
}

impl<T> Again<T> {
    /// Nothing yet; the first pause, and the longest.
    pub(crate) fn new(pauses: (Duration, Duration)) -> Self {
        Self {
            kept: Vec::new(),
            at: Instant::now(),
            pause: pauses.0,
            pauses,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.kept.len()
    }

    /// What is kept, in the order in which it came.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.kept.iter()
    }

    /// Waits until it is time to try again; for ever where there is nothing to try.
    pub(crate) async fn due(&self) {
        if self.kept.is_empty() {
            std::future::pending::<()>().await;
        }
        tokio::time::sleep_until(self.at).await;
    }

    /// What is to be tried now.
    pub(crate) fn take_due(&mut self) -> Option<Vec<T>> {
        let due = !self.kept.is_empty() && self.at <= Instant::now();
        due.then(|| std::mem::take(&mut self.kept))
    }

    /// Keeps what was refused for the first time. It waits as long as what is there already.
    pub(crate) fn keep(&mut self, refused: Vec<T>) {
        if self.kept.is_empty() && !refused.is_empty() {
            self.pause = self.pauses.0;
            self.at = Instant::now() + self.pause;
        }
        self.kept.extend(refused);
    }

    /// Keeps what was refused again, for longer than before.
    pub(crate) fn put_off(&mut self, refused: Vec<T>) {
        self.pause = (self.pause * 2).min(self.pauses.1);
        self.at = Instant::now() + self.pause;
        self.kept = refused;
    }
}
