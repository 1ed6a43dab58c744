//! Places that are kept free for higher tiers where nobody waits: while calls are being refused, a
//! tier may not use what the tiers above it have lately used at once.

use super::TIERS;
use crate::policy::criticality::Criticality;
use crate::time::MonoNs;

/// For how long at least, and at most twice, a peak is remembered.
const REMEMBER_NS: u64 = 500_000_000;

#[derive(Clone, Debug)]
pub(super) struct Reserve {
    running: [u32; TIERS],
    /// The most that each tier and those above it ran at once, in this slice and in the one before.
    peaks: [[u32; TIERS]; 2],
    slice_began: MonoNs,
    scarce_until: MonoNs,
}

impl Reserve {
    pub(super) const fn new(now: MonoNs) -> Self {
        Self {
            running: [0; TIERS],
            peaks: [[0; TIERS]; 2],
            slice_began: now,
            scarce_until: MonoNs(0),
        }
    }

    #[inline]
    pub(super) fn started(&mut self, now: MonoNs, tier: Criticality) {
        self.running[tier.index()] += 1;
        self.turn(now);
        let mut above = 0;
        for (peak, running) in self.peaks[0].iter_mut().zip(self.running) {
            above += running;
            *peak = (*peak).max(above);
        }
    }

    #[inline]
    pub(super) fn ended(&mut self, tier: Criticality) {
        let running = &mut self.running[tier.index()];
        *running = running.saturating_sub(1);
    }

    /// A call was refused: places are scarce for a while.
    pub(super) fn refused(&mut self, now: MonoNs, for_ns: u64) {
        self.scarce_until = now.plus(for_ns);
    }

    pub(super) fn admits(&mut self, now: MonoNs, tier: Criticality, limit: u32) -> bool {
        let Some(above) = tier.index().checked_sub(1) else {
            return true;
        };
        if now >= self.scarce_until {
            return true;
        }
        self.turn(now);
        let kept = self.peaks[0][above].max(self.peaks[1][above]);
        let mine: u32 = self.running[tier.index()..].iter().sum();
        mine < limit.saturating_sub(kept)
    }

    #[inline]
    fn turn(&mut self, now: MonoNs) {
        let age = now.since(self.slice_began);
        if age < REMEMBER_NS {
            return;
        }
        let before = std::mem::take(&mut self.peaks[0]);
        self.peaks[1] = if age < 2 * REMEMBER_NS {
            before
        } else {
            [0; TIERS]
        };
        self.slice_began = now;
    }
}
