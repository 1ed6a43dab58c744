//! How fast a queue goes, and what that makes of its workers.

use std::time::Duration;

use posthaste_core::plan::{Load, plan};
use posthaste_core::view;
use serde::{Deserialize, Serialize};

/// How fast a queue goes, as it was measured over the last minutes. What is absent is not known yet.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pace {
    /// Over how many seconds it was measured.
    pub measured_seconds: f64,
    /// Jobs that became ready each second.
    pub arrivals_per_second: f64,
    /// How bursty they are: variance of their count in a second over its mean, 1 at random.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arrival_cv2: Option<f64>,
    /// Attempts that were settled each second.
    pub settled_per_second: f64,
    /// From lease to settle, on average, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_ms: Option<f64>,
    /// Its squared coefficient of variation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_cv2: Option<f64>,
    /// The most jobs that ran at once in the last five to ten minutes.
    pub running_most: u64,
    /// The part of their time that so many workers are busy with what arrives: as many as may run at
    /// once, or without a limit as ran at most. 1 or more is more than they can do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub utilisation: Option<f64>,
    /// How many milliseconds until nothing waits that waits now. Absent too where that is never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drain_ms: Option<f64>,
}

impl Pace {
    /// How the pace of `queue` is written.
    pub(super) fn write(queue: &view::QueueView) -> Option<Self> {
        let pace = queue.pace.as_ref()?;
        let now = Load::measured(queue).and_then(|load| Some(plan(&load).ok()?.now));
        let drain = now.and_then(|now| now.drain);
        Some(Self {
            measured_seconds: short(pace.measured.as_secs_f64()),
            arrivals_per_second: short(pace.arrivals_per_second),
            arrival_cv2: pace.arrival_cv2.map(short),
            settled_per_second: short(pace.settled_per_second),
            service_ms: pace.service_mean.map(ms),
            service_cv2: pace.service_cv2.map(short),
            running_most: pace.running_most,
            utilisation: now.map(|now| short(now.utilisation)),
            drain_ms: drain.map(ms),
        })
    }

    /// The port's pace: what follows from the other figures is left to whoever plans.
    pub(super) fn read(self) -> view::Pace {
        let seconds = |seconds| Duration::try_from_secs_f64(seconds).unwrap_or_default();
        view::Pace {
            measured: seconds(self.measured_seconds),
            arrivals_per_second: self.arrivals_per_second,
            arrival_cv2: self.arrival_cv2,
            settled_per_second: self.settled_per_second,
            service_mean: self.service_ms.map(|ms| seconds(ms / 1e3)),
            service_cv2: self.service_cv2,
            running_most: self.running_most,
        }
    }
}

fn ms(duration: Duration) -> f64 {
    short(duration.as_secs_f64() * 1e3)
}

/// To a millionth: nothing here was measured better.
fn short(value: f64) -> f64 {
    (value * 1e6).round() / 1e6
}
