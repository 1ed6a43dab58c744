//! How fast a queue goes: arrivals, settles and service times of the last minutes.
//!
//! Counted where facts are decided and not where they are made so: what is read again after a
//! restart happened at another time, and is not counted. Nothing of it is journaled, and nothing is
//! decided by it. A job costs a few additions; once a second of a queue, the counts of that second
//! are folded into sums that fade exponentially.
//!
//! Burstiness is the index of dispersion of counts, the variance of the arrivals in a second over
//! their mean (D. R. Cox and P. A. W. Lewis, *The Statistical Analysis of Series of Events*, 1966).
//! Unlike the gaps between arrivals it needs no clock finer than a second, and sees bursts that
//! several commits make together (K. W. Fendick and W. Whitt, *Measurements and approximations to
//! describe the offered traffic*, Proc. IEEE 77, 1989).

use std::time::Duration;

use crate::job::JobState;
use crate::limits::PACE_MS;
use crate::machine::fact::{Cause, Fact, To};
use crate::machine::state::Machine;
use crate::time::MonoMs;
use crate::view;

/// Counts are folded so often: once a second, so that what a window has is what a second has.
const WINDOW_MS: u64 = 1_000;
/// Windows, arrivals and settles before variability is told.
const ENOUGH: f64 = 10.0;

/// What happened in a queue, counted or faded.
#[derive(Clone, Copy, Debug, Default)]
struct Sums {
    windows: f64,
    arrived: f64,
    arrived_squared: f64,
    settled: f64,
    /// Those of them whose time is known.
    served: f64,
    served_ms: f64,
    served_ms_squared: f64,
}

impl Sums {
    fn fade(&mut self, factor: f64) {
        for sum in [
            &mut self.windows,
            &mut self.arrived,
            &mut self.arrived_squared,
            &mut self.settled,
            &mut self.served,
            &mut self.served_ms,
            &mut self.served_ms_squared,
        ] {
            *sum *= factor;
        }
    }
}

/// What one queue is measured by.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pace {
    /// Which window is counted in; `None` before the first.
    window: Option<u64>,
    now: Sums,
    past: Sums,
    /// The most that ran at once in this span of [`PACE_MS`], and in the one before.
    most: [u64; 2],
    span: u64,
}

/// What one fact says of a queue's pace.
#[derive(Clone, Copy, Debug)]
pub(super) enum Sample {
    /// A job became ready.
    Arrived,
    /// So many run.
    Running(u64),
    /// An attempt ended, after so long where that is known.
    Settled(Option<u32>),
}

impl Pace {
    pub(super) fn take(&mut self, sample: Sample, mono: MonoMs) {
        let window = mono.0 / WINDOW_MS;
        if self.window != Some(window) {
            self.turn(window);
        }
        match sample {
            Sample::Arrived => self.now.arrived += 1.0,
            Sample::Running(running) => self.most[0] = self.most[0].max(running),
            Sample::Settled(after) => {
                self.now.settled += 1.0;
                if let Some(ms) = after.map(f64::from) {
                    self.now.served += 1.0;
                    self.now.served_ms += ms;
                    self.now.served_ms_squared += ms * ms;
                }
            }
        }
    }

    /// Goes on in another window: what was counted is folded, what is past fades.
    #[cold]
    fn turn(&mut self, window: u64) {
        let Some(last) = self.window.replace(window) else {
            self.span = window * WINDOW_MS / PACE_MS;
            return;
        };
        let Some(passed @ 1..) = window.checked_sub(last) else {
            self.window = Some(last); // time does not go back
            return;
        };
        self.past.fade(fading(1));
        let now = std::mem::take(&mut self.now);
        self.past.windows += 1.0;
        self.past.arrived += now.arrived;
        self.past.arrived_squared += now.arrived * now.arrived;
        self.past.settled += now.settled;
        self.past.served += now.served;
        self.past.served_ms += now.served_ms;
        self.past.served_ms_squared += now.served_ms_squared;
        // Windows in which nothing happened: of their own they add nothing but that they were there.
        let empty = fading(passed - 1);
        self.past.fade(empty);
        self.past.windows += (1.0 - empty) / (1.0 - fading(1));
        let span = window * WINDOW_MS / PACE_MS;
        if span != self.span {
            self.most = [
                0,
                if span == self.span + 1 {
                    self.most[0]
                } else {
                    0
                },
            ];
            self.span = span;
        }
    }

    /// The figures at `mono`; `None` before a whole window has passed. `running` jobs run.
    fn view(mut self, running: u64, mono: MonoMs) -> Option<view::Pace> {
        self.window?;
        self.turn(mono.0 / WINDOW_MS);
        let past = self.past;
        if past.windows < 0.5 {
            return None;
        }
        let mean_ms = past.served_ms / past.served;
        Some(view::Pace {
            measured: seconds(past.windows),
            arrivals_per_second: past.arrived / past.windows,
            arrival_cv2: dispersion(&past),
            settled_per_second: past.settled / past.windows,
            service_mean: (past.served > 0.0).then(|| seconds(mean_ms / 1_000.0)),
            service_cv2: (past.served >= ENOUGH && mean_ms > 0.0).then(|| {
                let squared = past.served_ms_squared / past.served;
                (squared / (mean_ms * mean_ms) - 1.0).max(0.0)
            }),
            running_most: self.most[0].max(self.most[1]).max(running),
        })
    }
}

/// What is left of a weight after so many windows.
fn fading(windows: u64) -> f64 {
    let span = PACE_MS / WINDOW_MS;
    // What is not exact here is nothing to begin with.
    let windows = u32::try_from(windows).unwrap_or(u32::MAX);
    let span = u32::try_from(span).unwrap_or(u32::MAX);
    (-f64::from(windows) / f64::from(span)).exp()
}

/// Variance of the arrivals of a window over their mean. The variance is of a sample with weights,
/// and corrected as such.
fn dispersion(past: &Sums) -> Option<f64> {
    if past.windows < ENOUGH * 0.98 || past.arrived < ENOUGH {
        return None;
    }
    let fade = fading(1);
    let unseen = 1.0 - past.windows * (1.0 - fade);
    let weights_squared = (1.0 - unseen * unseen) / (1.0 - fade * fade);
    let mean = past.arrived / past.windows;
    let variance = past.arrived_squared / past.windows - mean * mean;
    let correction = 1.0 - weights_squared / (past.windows * past.windows);
    Some((variance / correction / mean).max(0.0))
}

fn seconds(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or_default()
}

/// When a lease began, in half the bits: a job that runs for more than 49 days is told as shorter.
/// 0 is not known: it was leased before the store was opened.
pub(super) fn stamp(mono: MonoMs) -> u32 {
    u32::try_from((mono.0 + 1) & u64::from(u32::MAX)).unwrap_or(0)
}

impl Machine {
    /// Counts what a fact that was just decided says; `before` is from [`Machine::served_ms`].
    pub(super) fn measure(&mut self, fact: &Fact<'_>, before: Option<u32>, mono: MonoMs) {
        match *fact {
            Fact::Enqueued {
                slot,
                state: JobState::Available,
                ..
            } => self.sample(slot.0, Sample::Arrived, mono),
            Fact::Leased { slot, .. } => {
                let Some(queue) = self.queue_of(slot.0) else {
                    return;
                };
                let running = self.queues[queue].held[JobState::Running as usize];
                self.sample(slot.0, Sample::Running(running), mono);
            }
            Fact::Changed {
                slot, cause, to, ..
            } => {
                if matches!(cause, Cause::Settled { .. }) {
                    self.sample(slot.0, Sample::Settled(before), mono);
                }
                if matches!(to, To::Available { .. }) {
                    self.sample(slot.0, Sample::Arrived, mono);
                }
            }
            _ => {}
        }
    }

    /// How long the job that a fact settles was leased, before that fact is made so.
    pub(super) fn served_ms(&self, fact: &Fact<'_>, mono: MonoMs) -> Option<u32> {
        let Fact::Changed {
            slot,
            cause: Cause::Settled { .. },
            ..
        } = *fact
        else {
            return None;
        };
        let since = self.lease_of.get(slot.0)?.since;
        (since != 0).then(|| stamp(mono).wrapping_sub(since))
    }

    fn queue_of(&self, slot: u32) -> Option<usize> {
        let row = self.rows.job(slot)?;
        Some(self.lane_ids.get(row.lane).queue as usize)
    }

    /// Counts it now, or where a commit may yet be taken back, once that stands.
    fn sample(&mut self, slot: u32, sample: Sample, mono: MonoMs) {
        let Some(queue) = self.queue_of(slot) else {
            return;
        };
        if self.recording {
            self.samples.push((queue, sample));
        } else {
            self.queues[queue].pace.take(sample, mono);
        }
    }

    /// A commit stands: what was counted in it counts.
    pub(super) fn keep_samples(&mut self, mono: MonoMs) {
        for (queue, sample) in self.samples.drain(..) {
            self.queues[queue].pace.take(sample, mono);
        }
    }

    /// How fast a queue goes.
    pub(super) fn pace(&self, queue: usize, mono: MonoMs) -> Option<view::Pace> {
        let queue = &self.queues[queue];
        queue
            .pace
            .view(queue.held[JobState::Running as usize], mono)
    }
}
