//! The embedded store: one writer, one journal, one state machine.

mod archive;
mod background;
mod bodies;
pub mod clock;
mod commits;
pub mod disk;
mod edge;
mod effect;
mod files;
mod format;
mod inbox;
mod journal;
mod live;
mod members;
mod merge;
mod opening;
mod progress;
mod reclaim;
mod recovery;
mod repair;
mod scan;
mod scrub;
mod sealed;
mod segments;
mod sequencer;
mod snapshot;
#[cfg(test)]
mod snapshot_sweeps;
#[cfg(test)]
mod snapshot_tests;
mod store;
mod survey;
mod threads;
mod topics;
mod verify;
mod waiting;

use std::path::PathBuf;
use std::sync::Arc;

pub use clock::{Clock, ManualClock, SystemClock};
pub use disk::{Disk, DiskFile, FileSystem, RealDisk};
pub use posthaste_core::machine::Kept;
pub use posthaste_core::{Error, ErrorKind, Result};
pub use repair::{RepairReport, repair};
pub use store::Log;
pub use verify::{FINDINGS_MAX, Finding, Progress, VerifyReport, verify};

/// Where a store keeps itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    /// In memory: it ends with the process.
    Memory,
    /// In a directory, which is created if it isn't there.
    Directory(PathBuf),
}

/// What an acknowledgement means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// Synced to the disk. The default.
    #[default]
    Sync,
    /// Written; synced within this many milliseconds. Survives kill -9, not a power cut.
    Interval(u32),
}

/// How to open a store.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where it is.
    pub location: Location,
    /// What an acknowledgement means.
    pub durability: Durability,
    /// How long to wait for another process to let go of it, in milliseconds. Default 0.
    pub lock_wait_ms: u64,
    /// How long completed and cancelled jobs are kept, and how many: a second and a thousand at
    /// least. Default 24 hours, the newest 100,000.
    pub completed_kept: Kept,
    /// How long dead jobs are kept, and how many: a second and a thousand at least. Default 90 days,
    /// the newest million.
    pub dead_kept: Kept,
    /// Whether publishing makes a topic that isn't there. Default true.
    pub create_topics: bool,
    /// Bytes of a segment. Default 64 MiB; tests use 64 KiB.
    pub segment_bytes: u32,
    /// Segments that stand ready, written through, for what comes next. Default 2.
    pub segments_ready: usize,
    /// Whether a directory on a network file system is taken all the same. Default false.
    pub allow_network: bool,
    /// Whether snapshots are merged and space is given back while the store is open. Default true;
    /// tests that count every file or every write turn it off.
    pub maintenance: bool,
    /// Bytes to leave free on the disk for settles and deletes before new work is refused.
    pub reserve_bytes: u64,
    /// Where time comes from.
    pub clock: Arc<dyn Clock>,
    /// Where files go.
    pub disk: Arc<dyn Disk>,
}

impl Options {
    /// The defaults, at `location`.
    #[must_use]
    pub fn new(location: Location) -> Self {
        Self {
            location,
            durability: Durability::Sync,
            lock_wait_ms: 0,
            completed_kept: Kept::COMPLETED,
            dead_kept: Kept::DEAD,
            create_topics: true,
            segment_bytes: 64 * 1024 * 1024,
            segments_ready: 2,
            allow_network: false,
            maintenance: true,
            reserve_bytes: 192 * 1024 * 1024,
            clock: Arc::new(SystemClock::new()),
            disk: Arc::new(RealDisk),
        }
    }
}
