//! One file: what a reader sees, what would be there after a power cut, and what lies between.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Chance;
use super::tree::Cut;

/// What a disk writes whole or not at all.
const SECTOR: usize = 512;

/// A file's bytes. Contents are shared until somebody writes, so that copies are cheap.
#[derive(Clone, Debug, Default)]
pub(super) struct File {
    now: Arc<Vec<u8>>,
    durable: Arc<Vec<u8>>,
    /// Written since the last sync, the oldest first: offset and bytes.
    pending: Vec<(usize, Vec<u8>)>,
    /// Sectors whose sync failed: there or not, and no later sync brings them.
    limbo: BTreeMap<usize, Vec<u8>>,
}

impl File {
    pub(super) fn bytes(&self) -> &[u8] {
        &self.now
    }

    pub(super) fn write(&mut self, bytes: &[u8], offset: usize) {
        let now = Arc::make_mut(&mut self.now);
        let end = offset + bytes.len();
        if now.len() < end {
            now.resize(end, 0);
        }
        now[offset..end].copy_from_slice(bytes);
        self.pending.push((offset, bytes.to_vec()));
    }

    pub(super) fn extend(&mut self, len: usize) {
        if self.now.len() < len {
            Arc::make_mut(&mut self.now).resize(len, 0);
        }
    }

    pub(super) fn sync(&mut self) {
        let durable = Arc::make_mut(&mut self.durable);
        durable.resize(self.now.len(), 0);
        for (offset, bytes) in self.pending.drain(..) {
            for sector in sectors(offset, bytes.len()) {
                let span = span(sector, self.now.len());
                durable[span.clone()].copy_from_slice(&self.now[span]);
                self.limbo.remove(&sector);
            }
        }
    }

    pub(super) fn fail_sync(&mut self) {
        for (offset, bytes) in self.pending.drain(..) {
            for sector in sectors(offset, bytes.len()) {
                let now = self.now[span(sector, self.now.len())].to_vec();
                self.limbo.insert(sector, now);
            }
        }
    }

    /// What a reader sees is what the device has: every other sector of those in doubt.
    pub(super) fn refresh(&mut self) {
        let durable = Arc::make_mut(&mut self.durable);
        for (sector, bytes) in std::mem::take(&mut self.limbo) {
            if sector % 2 == 0 {
                put(durable, sector * SECTOR, &bytes);
            }
        }
        if self.pending.is_empty() {
            self.now = Arc::clone(&self.durable);
        }
    }

    /// The file as a power cut leaves it.
    pub(super) fn cut(&self, cut: Cut, chance: &mut Chance) -> Self {
        if self.pending.is_empty() && self.limbo.is_empty() && self.now.len() == self.durable.len()
        {
            return Self::of(Arc::clone(&self.durable));
        }
        let mut left = Vec::clone(&self.durable);
        if self.now.len() > left.len() && cut.keeps(chance) {
            left.resize(self.now.len(), 0);
        }
        for (sector, bytes) in &self.limbo {
            if cut.keeps(chance) {
                put(&mut left, sector * SECTOR, bytes);
            }
        }
        let writes = self.pending.len() as u64;
        let in_order = chance.below(writes + 1);
        let mut reached = BTreeMap::new();
        for (number, (offset, bytes)) in (0_u64..).zip(&self.pending) {
            for sector in sectors(*offset, bytes.len()) {
                let kept = *reached.entry(sector).or_insert_with(|| match cut {
                    Cut::Lost => 0,
                    Cut::Kept => writes,
                    Cut::InOrder => in_order,
                    Cut::Any if chance.one_in(2) => chance.below(2) * writes,
                    Cut::Any => chance.below(writes + 1),
                });
                if number < kept {
                    let from = (sector * SECTOR).max(*offset);
                    let to = ((sector + 1) * SECTOR).min(offset + bytes.len());
                    put(&mut left, from, &bytes[from - offset..to - offset]);
                }
            }
        }
        Self::of(Arc::new(left))
    }

    /// The same contents, all of them durable.
    pub(super) fn settled(&self) -> Self {
        Self::of(Arc::clone(&self.now))
    }

    fn of(bytes: Arc<Vec<u8>>) -> Self {
        Self {
            now: Arc::clone(&bytes),
            durable: bytes,
            ..Self::default()
        }
    }

    /// Changes bytes behind everybody's back, as a failing medium does.
    pub(super) fn damage(&mut self, change: impl FnOnce(&mut Vec<u8>)) {
        change(Arc::make_mut(&mut self.now));
        *self = Self::of(Arc::clone(&self.now));
    }
}

fn sectors(offset: usize, len: usize) -> std::ops::Range<usize> {
    offset / SECTOR..(offset + len).div_ceil(SECTOR)
}

fn span(sector: usize, len: usize) -> std::ops::Range<usize> {
    (sector * SECTOR).min(len)..((sector + 1) * SECTOR).min(len)
}

/// Puts bytes where the file reaches; what lies behind its end was lost with its length.
fn put(into: &mut [u8], offset: usize, bytes: &[u8]) {
    if let Some(room) = into.get_mut(offset..) {
        let len = room.len().min(bytes.len());
        room[..len].copy_from_slice(&bytes[..len]);
    }
}
