//! Snapshots: the index as it was at the end of a sealed segment.

use posthaste_core::machine::Machine;
use posthaste_core::{MonoMs, Result};

use crate::files::Files;

/// The newest snapshot that was loaded.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Newest {
    /// Every segment up to this one is in it.
    pub(crate) segment: u64,
    /// Sequence number of the last group in it.
    pub(crate) last_seq: u64,
    /// Header CRC of that group.
    pub(crate) link: u32,
}

/// Loads the newest snapshot into `machine`.
pub(crate) fn load_newest(
    _files: &Files,
    _machine: &mut Machine,
    _mono: MonoMs,
) -> Result<Option<Newest>> {
    Ok(None)
}
