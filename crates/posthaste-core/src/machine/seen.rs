//! Published events whose publishers chose their ids: each by a digest of topic, source and id, with
//! where it was put.

use crate::limits;
use crate::machine::remembered::{Entry, Remembered};

/// Every such event that is remembered.
pub(super) type Events = Remembered<Seen>;

/// Where an event was put that may come again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Of topic, source and id.
    pub digest: [u8; 12],
    /// The topic's number.
    pub topic: u32,
    /// In which partition.
    pub partition: u16,
    /// Where in that.
    pub offset: u64,
    /// Where in the topic.
    pub position: u64,
}

impl Entry for Seen {
    fn key(&self) -> &[u8; 12] {
        &self.digest
    }
}

impl Events {
    /// None yet.
    pub(super) fn none() -> Self {
        Self::new(limits::EVENT_MEMORY_MS)
    }
}
