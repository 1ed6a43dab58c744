//! What was acknowledged, counted by those who were told, and written down beside the store: so
//! that after a kill -9 the next run can say whether everything is still there.
//!
//! The notes are not synced. They survive the end of the process, not a power cut, after which
//! they may be behind the store, and never ahead of what was really said.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Mutex;
use std::sync::PoisonError;

use posthaste_core::{Error, ErrorKind, JobState, Result};

use super::followers::Told;
use super::totals::Totals;

/// Jobs by what was said of them, since the store was created.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    /// Accepted.
    pub(super) accepted: u64,
    /// Completed.
    pub(super) completed: u64,
    /// Given up on.
    pub(super) dead: u64,
    /// Called off.
    pub(super) cancelled: u64,
    /// Events that were published.
    pub(super) published: u64,
}

/// Bytes of the notes: five numbers, little-endian.
const NOTE_BYTES: usize = 40;

impl Counts {
    fn read(bytes: [u8; NOTE_BYTES]) -> Self {
        let at = |index: usize| {
            let mut number = [0; 8];
            number.copy_from_slice(&bytes[index * 8..index * 8 + 8]);
            u64::from_le_bytes(number)
        };
        Self {
            accepted: at(0),
            completed: at(1),
            dead: at(2),
            cancelled: at(3),
            published: at(4),
        }
    }

    fn write(self) -> [u8; NOTE_BYTES] {
        let mut bytes = [0; NOTE_BYTES];
        let numbers = [
            self.accepted,
            self.completed,
            self.dead,
            self.cancelled,
            self.published,
        ];
        for (place, number) in bytes.chunks_exact_mut(8).zip(numbers) {
            place.copy_from_slice(&number.to_le_bytes());
        }
        bytes
    }
}

/// The counts of this run and of those before it.
#[derive(Debug)]
pub(super) struct Acknowledged {
    before: Counts,
    now: Mutex<Counts>,
    notes: Option<File>,
}

impl Acknowledged {
    /// Reads what earlier runs wrote down; without a file, nothing is.
    ///
    /// # Errors
    /// `Io` where the file can't be opened.
    pub(super) fn open(path: Option<&Path>) -> Result<Self> {
        let open = |path: &Path| {
            let mut options = OpenOptions::new();
            options.read(true).write(true).create(true).truncate(false);
            options.open(path).map_err(|error| {
                Error::new(
                    ErrorKind::Io,
                    format!("cannot open {}: {error}", path.display()),
                )
                .next("give a --store in a directory that can be written to")
            })
        };
        let notes = path.map(open).transpose()?;
        let mut bytes = [0; NOTE_BYTES];
        let read = notes
            .as_ref()
            .map(|notes| notes.read_exact_at(&mut bytes, 0));
        // A new file is empty, and nothing was said.
        let before = match read {
            Some(Ok(())) => Counts::read(bytes),
            _ => Counts::default(),
        };
        Ok(Self {
            before,
            now: Mutex::new(before),
            notes,
        })
    }

    /// What was acknowledged to earlier runs.
    pub(super) fn before(&self) -> Counts {
        self.before
    }

    /// What was acknowledged until now, earlier runs included.
    pub(super) fn now(&self) -> Counts {
        *self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Jobs and events that earlier runs were told of and that `found` and `told` don't know.
    pub(super) fn missing(&self, found: &Totals, told: &Told) -> u64 {
        let before = self.before;
        let missing = |said: u64, found: u64| said.saturating_sub(found);
        missing(before.accepted, found.accepted)
            + missing(before.completed, found.completed)
            + missing(before.dead, found.dead)
            + missing(before.cancelled, found.cancelled)
            + missing(before.published, told.published)
    }

    /// So many jobs were accepted, and so many events published with them.
    pub(super) fn accepted(&self, jobs: u64, events: u64) {
        self.note(|counts| {
            counts.accepted += jobs;
            counts.published += events;
        });
    }

    /// A job has come to an end, or not: only ends count.
    pub(super) fn ended(&self, state: JobState) {
        self.note(|counts| match state {
            JobState::Completed => counts.completed += 1,
            JobState::Dead => counts.dead += 1,
            JobState::Cancelled => counts.cancelled += 1,
            _ => {}
        });
    }

    fn note(&self, change: impl FnOnce(&mut Counts)) {
        let mut now = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut now);
        if let Some(notes) = &self.notes {
            // Notes that are behind show less than was said, and accuse nobody.
            drop(notes.write_all_at(&now.write(), 0));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_run_knows_what_the_last_was_told() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("notes");
        let run = Acknowledged::open(Some(&path)).expect("opened");
        run.accepted(5, 2);
        run.ended(JobState::Completed);
        run.ended(JobState::Retryable);
        let next = Acknowledged::open(Some(&path)).expect("opened");
        assert_eq!(next.before(), run.now());
        let mut found = Totals {
            accepted: 5,
            completed: 1,
            waiting: 4,
            ..Totals::default()
        };
        let mut told = Told {
            published: 2,
            ..Told::default()
        };
        assert_eq!(next.missing(&found, &told), 0);
        found.accepted = 3;
        assert_eq!(next.missing(&found, &told), 2);
        told.published = 1;
        assert_eq!(next.missing(&found, &told), 3);
    }
}
