//! The scrub: reads every sealed segment again and again, slowly, so that damage is found before
//! somebody needs what it hit. It changes nothing.

use std::sync::Arc;

use posthaste_core::Result;

use crate::format::BLOCK;
use crate::sealed::Sealed;
use crate::segments::Segment;

/// Bytes read in one step, but for the last group of it: with five steps a second, a gigabyte
/// takes some fifteen minutes.
const STEP: usize = 256 * 1024;

/// How far the scrub is.
#[derive(Debug, Default)]
pub(crate) struct Scrub {
    segment: u64,
    offset: usize,
}

impl Scrub {
    /// Reads on in `sealed`, which are in the order of their numbers; behind the last it begins
    /// again.
    ///
    /// # Errors
    /// Damage, named. The scrub goes on behind the damaged segment.
    pub(crate) fn step(&mut self, mut sealed: impl Iterator<Item = Arc<Segment>>) -> Result<()> {
        let Some(segment) = sealed.find(|segment| segment.number >= self.segment) else {
            *self = Self::default();
            return Ok(());
        };
        if segment.number > self.segment {
            (self.segment, self.offset) = (segment.number, BLOCK);
        }
        let read = self.read(&segment);
        if !matches!(read, Ok(false)) {
            (self.segment, self.offset) = (segment.number + 1, BLOCK);
        }
        read.map(|_| ())
    }

    /// Says whether the segment is read to its end.
    fn read(&mut self, segment: &Segment) -> Result<bool> {
        let mut sealed = Sealed::open(segment, self.offset)?;
        let until = self.offset + STEP;
        while self.offset < until {
            if sealed.next()?.is_none() {
                return Ok(true);
            }
            self.offset = sealed.offset;
        }
        Ok(false)
    }
}
