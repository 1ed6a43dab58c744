//! Minting ids: wall time from a clock, and entropy drawn once for each hub.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use posthaste_core::{Error, ErrorKind, JobId, Result, WallMs};
use posthaste_log::Clock;

/// Mints the ids of one hub.
///
/// 74 bits tell an id from its neighbours of the same millisecond: 62 come from a counter that
/// starts at a random place and is scattered so that two ids of one hub differ, the rest is the
/// hub's own.
#[derive(Debug)]
pub(crate) struct Mint {
    clock: Arc<dyn Clock>,
    counter: AtomicU64,
    own: [u8; 2],
}

impl Mint {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Result<Self> {
        let mut seed = [0; 10];
        getrandom::fill(&mut seed).map_err(|error| {
            Error::new(ErrorKind::Io, format!("no entropy for ids: {error}"))
                .next("check the system's random number source")
        })?;
        let [a, b, c, d, e, f, g, h, own @ ..] = seed;
        Ok(Self {
            clock,
            counter: AtomicU64::new(u64::from_le_bytes([a, b, c, d, e, f, g, h])),
            own,
        })
    }

    pub(crate) fn now(&self) -> WallMs {
        self.clock.now().wall
    }

    pub(crate) fn id(&self) -> JobId {
        let count = self.counter.fetch_add(1, Ordering::Relaxed);
        let mut random = [0; 10];
        random[..2].copy_from_slice(&self.own);
        random[2..].copy_from_slice(&scatter(count).to_be_bytes());
        JobId::new(self.clock.now().wall.0, random)
    }
}

/// One to one, and without a pattern that shows (the finaliser of SplitMix64).
fn scatter(count: u64) -> u64 {
    let mut bits = count.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use posthaste_log::ManualClock;

    use super::*;

    #[test]
    fn ids_of_one_millisecond_differ() {
        let clock = Arc::new(ManualClock::at(WallMs(1_700_000_000_000)));
        let mint = Mint::new(clock).expect("entropy");
        let ids: BTreeSet<JobId> = (0..100_000).map(|_| mint.id()).collect();
        assert_eq!(ids.len(), 100_000);
        assert!(
            ids.iter()
                .all(|id| id.to_string().starts_with("018bcfe5-6800-7"))
        );
    }
}
