//! Ids for jobs: the edge that accepts a job names it.

use std::time::{SystemTime, UNIX_EPOCH};

use posthaste_core::{Error, ErrorKind, JobId, Result, WallMs};

/// Mints the ids of one request: one reading of the clock and one draw of entropy for all, the
/// ids counting up from there, so that they sort in the order of the request.
#[derive(Debug)]
pub struct Mint {
    wall: WallMs,
    next: u128,
}

/// The bits of an id that entropy fills, as drawn.
const RANDOM_BITS: u32 = 80;

impl Mint {
    /// Draws entropy and reads the clock.
    ///
    /// # Errors
    /// `Io` where the operating system has no entropy to give.
    pub fn new() -> Result<Self> {
        let mut seed = [0; 16];
        getrandom::fill(&mut seed[6..]).map_err(|error| {
            Error::new(ErrorKind::Io, format!("no entropy for ids: {error}"))
                .next("see whether this process may call getrandom")
        })?;
        Ok(Self {
            wall: now(),
            next: u128::from_be_bytes(seed),
        })
    }

    /// The next id.
    pub fn id(&mut self) -> JobId {
        let bytes = self.next.to_be_bytes();
        self.next = (self.next + 1) % (1 << RANDOM_BITS);
        let mut random = [0; 10];
        random.copy_from_slice(&bytes[6..]);
        JobId::new(self.wall.0, random)
    }
}

/// What the wall clock shows.
#[must_use]
pub fn now() -> WallMs {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH);
    let ms = since_1970.unwrap_or_default().as_millis();
    WallMs(u64::try_from(ms).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ids_of_a_request_differ_and_rise() {
        // UUIDv7 keeps 74 of the 80 bits; the lowest are among them.
        let mut mint = Mint {
            wall: now(),
            next: 7,
        };
        let ids: Vec<JobId> = (0..1_000).map(|_| mint.id()).collect();
        assert!(ids.windows(2).all(|pair| pair[0] < pair[1]));
    }
}
