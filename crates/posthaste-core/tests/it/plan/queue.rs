//! A queue that is played: every job in turn, to the one of its workers that is free first.
//!
//! That is the recursion of J. Kiefer and J. Wolfowitz (1955), with a heap for their sorted vector:
//! exact for first in, first out, whatever the arrivals and services are.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Numbers by chance, the same for the same seed: splitmix64.
pub(super) struct Chance(pub(super) u64);

impl Chance {
    fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }

    /// Above 0, and 1 at most.
    #[expect(
        clippy::cast_precision_loss,
        reason = "53 bits are all that a float has"
    )]
    pub(super) fn part(&mut self) -> f64 {
        ((self.draw() >> 11) + 1) as f64 / (1_u64 << 53) as f64
    }

    /// Of mean 1.
    pub(super) fn exponential(&mut self) -> f64 {
        -self.part().ln()
    }

    fn normal(&mut self) -> f64 {
        // G. E. P. Box and M. E. Muller (1958).
        (-2.0 * self.part().ln()).sqrt() * (std::f64::consts::TAU * self.part()).cos()
    }
}

/// How long something takes, of mean 1.
#[derive(Clone, Copy, Debug)]
pub(super) enum Spread {
    Constant,
    Exponential,
    /// Lognormal, with this squared coefficient of variation.
    Lognormal(f64),
    /// One of two exponentials of equal share in the sum, with this squared coefficient of
    /// variation above 1: many short ones and then a long one. As gaps between arrivals, bursts.
    Bursts(f64),
}

impl Spread {
    pub(super) fn cv2(self) -> f64 {
        match self {
            Self::Constant => 0.0,
            Self::Exponential => 1.0,
            Self::Lognormal(cv2) | Self::Bursts(cv2) => cv2,
        }
    }

    fn draw(self, chance: &mut Chance) -> f64 {
        match self {
            Self::Constant => 1.0,
            Self::Exponential => chance.exponential(),
            Self::Lognormal(cv2) => {
                let variance = (1.0 + cv2).ln();
                (variance.sqrt() * chance.normal() - variance / 2.0).exp()
            }
            Self::Bursts(cv2) => {
                let often = f64::midpoint(1.0, ((cv2 - 1.0) / (cv2 + 1.0)).sqrt());
                let one = if chance.part() < often {
                    often
                } else {
                    1.0 - often
                };
                chance.exponential() / (2.0 * one)
            }
        }
    }
}

/// What is played.
#[derive(Clone, Copy, Debug)]
pub(super) struct Play {
    pub(super) workers: u32,
    pub(super) utilisation: f64,
    pub(super) gaps: Spread,
    pub(super) services: Spread,
}

/// What came of it, in services.
#[derive(Debug)]
pub(super) struct Played {
    pub(super) waited: f64,
    pub(super) mean: f64,
    pub(super) p99: f64,
}

impl Play {
    /// Plays so many jobs, after a tenth of them that warm it up.
    #[expect(clippy::cast_precision_loss, reason = "counts of jobs are small")]
    pub(super) fn run(&self, jobs: usize, chance: &mut Chance) -> Played {
        let each = |_| Reverse(Instant(0.0));
        let mut free: BinaryHeap<_> = (0..self.workers).map(each).collect();
        let (mut now, mut waits) = (0.0, Vec::with_capacity(jobs));
        let gap = 1.0 / (f64::from(self.workers) * self.utilisation);
        for job in 0..jobs + jobs / 10 {
            now += gap * self.gaps.draw(chance);
            let mut first = free.peek_mut().expect("there is a worker");
            let begin = first.0.0.max(now);
            *first = Reverse(Instant(begin + self.services.draw(chance)));
            if job >= jobs / 10 {
                waits.push(begin - now);
            }
        }
        waits.sort_unstable_by(f64::total_cmp);
        Played {
            waited: waits.iter().filter(|wait| **wait > 0.0).count() as f64 / jobs as f64,
            mean: waits.iter().sum::<f64>() / jobs as f64,
            p99: waits[jobs * 99 / 100],
        }
    }
}

#[derive(Clone, Copy, PartialEq)]
struct Instant(f64);

impl Eq for Instant {}

impl Ord for Instant {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.total_cmp(&other.0)
    }
}

impl PartialOrd for Instant {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
