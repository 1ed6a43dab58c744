//! What a circuit breaker remembers of the calls that ended.
//!
//! Everything is allocated when a window is made. It refuses to judge: what counts as failed, and how
//! many are too many, is the breaker's.

use std::time::Duration;

use crate::policy::settings::{Trip, Window};
use crate::time::{MonoNs, ns};

/// How many calls there were, and of which kinds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) calls: u32,
    pub(super) failed: u32,
    pub(super) slow: u32,
}

/// The calls that a breaker looks at.
#[derive(Clone, Debug)]
pub(super) enum Seen {
    /// The last so many.
    Last(Ring),
    /// Those of the last so long.
    Since(Slices),
    /// How many failed since the last that did not.
    Run(u32),
}

impl Seen {
    pub(super) fn new(trip: &Trip, now: MonoNs) -> Self {
        match trip {
            Trip::Rate { window, .. } => match window {
                Window::Count(calls) => Self::Last(Ring::new(*calls)),
                Window::Time(length) => Self::Since(Slices::new(*length, now)),
            },
            Trip::Consecutive(_) => Self::Run(0),
        }
    }

    /// Whether a window made for `trip` would be of the same shape.
    pub(super) fn fits(&self, trip: &Trip) -> bool {
        match (self, trip) {
            (Self::Last(ring), Trip::Rate { window, .. }) => *window == Window::Count(ring.size()),
            (Self::Since(slices), Trip::Rate { window, .. }) => {
                matches!(window, Window::Time(length) if slice_ns(*length) == slices.slice_ns)
            }
            (Self::Run(_), Trip::Consecutive(_)) => true,
            _ => false,
        }
    }

    pub(super) fn clear(&mut self, now: MonoNs) {
        match self {
            Self::Last(ring) => ring.clear(),
            Self::Since(slices) => slices.clear(now),
            Self::Run(run) => *run = 0,
        }
    }
}

/// The last so many calls: two bits for each, written in a circle.
#[derive(Clone, Debug)]
pub(super) struct Ring {
    /// 32 calls in each word: 32 bits for failed, 32 for slow.
    words: Box<[(u32, u32)]>,
    size: u32,
    next: u32,
    counts: Counts,
}

impl Ring {
    fn new(calls: u32) -> Self {
        let size = calls.max(1);
        Self {
            words: vec![(0, 0); size.div_ceil(32) as usize].into_boxed_slice(),
            size,
            next: 0,
            counts: Counts::default(),
        }
    }

    pub(super) const fn size(&self) -> u32 {
        self.size
    }

    fn clear(&mut self) {
        self.words.fill((0, 0));
        self.next = 0;
        self.counts = Counts::default();
    }

    pub(super) fn push(&mut self, failed: bool, slow: bool) -> Counts {
        let bit = self.next % 32;
        let word = &mut self.words[(self.next / 32) as usize];
        let counts = &mut self.counts;
        if counts.calls < self.size {
            counts.calls += 1;
        } else {
            counts.failed -= word.0 >> bit & 1;
            counts.slow -= word.1 >> bit & 1;
        }
        word.0 = word.0 & !(1 << bit) | u32::from(failed) << bit;
        word.1 = word.1 & !(1 << bit) | u32::from(slow) << bit;
        counts.failed += u32::from(failed);
        counts.slow += u32::from(slow);
        self.next += 1;
        if self.next == self.size {
            self.next = 0;
        }
        *counts
    }
}

const SLICES: usize = 10;

/// The calls of the last so long, in ten slices: between nine and ten tenths of it are looked at.
#[derive(Clone, Debug)]
pub(super) struct Slices {
    slices: [Counts; SLICES],
    current: usize,
    /// When the current slice ends.
    ends: MonoNs,
    slice_ns: u64,
    sum: Counts,
}

fn slice_ns(length: Duration) -> u64 {
    (ns(length) / SLICES as u64).max(1)
}

impl Slices {
    fn new(length: Duration, now: MonoNs) -> Self {
        let slice_ns = slice_ns(length);
        Self {
            slices: [Counts::default(); SLICES],
            current: 0,
            ends: now.plus(slice_ns),
            slice_ns,
            sum: Counts::default(),
        }
    }

    fn clear(&mut self, now: MonoNs) {
        self.slices = [Counts::default(); SLICES];
        self.sum = Counts::default();
        self.ends = now.plus(self.slice_ns);
    }

    pub(super) fn push(&mut self, now: MonoNs, failed: bool, slow: bool) -> Counts {
        // A `now` from before the current slice, read by a thread that came late, counts in it.
        if now >= self.ends {
            self.pass(now);
        }
        for counts in [&mut self.slices[self.current], &mut self.sum] {
            counts.calls = counts.calls.saturating_add(1);
            counts.failed = counts.failed.saturating_add(u32::from(failed));
            counts.slow = counts.slow.saturating_add(u32::from(slow));
        }
        self.sum
    }

    fn pass(&mut self, now: MonoNs) {
        let steps = now.since(self.ends) / self.slice_ns + 1;
        if steps >= SLICES as u64 {
            self.clear(now);
            return;
        }
        for _ in 0..steps {
            self.current = (self.current + 1) % SLICES;
            let gone = std::mem::take(&mut self.slices[self.current]);
            self.sum.calls = self.sum.calls.saturating_sub(gone.calls);
            self.sum.failed = self.sum.failed.saturating_sub(gone.failed);
            self.sum.slow = self.sum.slow.saturating_sub(gone.slow);
        }
        self.ends = self.ends.plus(steps * self.slice_ns);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::collection::vec;
    use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};

    use super::*;

    fn count<'a>(calls: impl Iterator<Item = &'a (bool, bool)>) -> Counts {
        calls.fold(Counts::default(), |sum, (failed, slow)| Counts {
            calls: sum.calls + 1,
            failed: sum.failed + u32::from(*failed),
            slow: sum.slow + u32::from(*slow),
        })
    }

    proptest! {
        #[test]
        fn the_ring_counts_the_last_calls_as_a_list_does(
            size in 1u32..100,
            calls in vec(any::<(bool, bool)>(), 1..400),
        ) {
            let mut ring = Ring::new(size);
            let mut model = VecDeque::new();
            for call in calls {
                model.push_back(call);
                if model.len() > size as usize {
                    model.pop_front();
                }
                prop_assert_eq!(ring.push(call.0, call.1), count(model.iter()));
            }
        }

        #[test]
        fn the_slices_hold_what_is_young_and_nothing_that_is_old(
            calls in vec((0u64..40, any::<(bool, bool)>()), 1..400),
        ) {
            let mut slices = Slices::new(Duration::from_nanos(100), MonoNs(7));
            let mut model = Vec::new();
            let mut now = 7;
            for (pause, call) in calls {
                now += pause;
                model.push((now, call));
                let seen = slices.push(MonoNs(now), call.0, call.1);
                let within = |age: u64| {
                    count(model.iter().filter(|(at, _)| now - at < age).map(|(_, call)| call))
                };
                let (least, most) = (within(90), within(100));
                prop_assert!((least.calls..=most.calls).contains(&seen.calls));
                prop_assert!((least.failed..=most.failed).contains(&seen.failed));
                prop_assert!((least.slow..=most.slow).contains(&seen.slow));
            }
        }
    }

    #[test]
    fn a_time_before_the_current_slice_counts_in_it() {
        let mut slices = Slices::new(Duration::from_nanos(100), MonoNs(0));
        slices.push(MonoNs(55), true, false);
        assert_eq!(slices.push(MonoNs(3), true, false).failed, 2);
        assert_eq!(slices.push(MonoNs(160), false, false).failed, 0);
    }
}
