//! What is simulated: who calls, what is called, and what goes wrong. Plain data.

use std::time::Duration;

use posthaste_core::policy::Settings;
use posthaste_core::time::{MonoNs, ns};
use posthaste_core::{Error, ErrorKind, Result};

use crate::chance::Chance;

/// Callers, a network, and a server with workers.
#[derive(Clone, Debug, PartialEq)]
pub struct Rig {
    /// How many work at once. Default 50.
    pub workers: u32,
    /// How long a call takes a worker. Default exponential, 10 ms.
    pub service: Service,
    /// What part of a mean service time a refusal costs a worker. Default 0.02.
    pub refusal_cost: f64,
    /// How long a message takes, one way. Default 1 ms.
    pub network: Duration,
    /// How many processes call, each with a policy of its own. Default 10.
    pub clients: u32,
    /// What part of the calls each tier makes up, the highest first. Default 5, 60, 25 and 10 %.
    pub mix: [f64; 4],
    /// Within what time a caller needs the answer. Default 1 s.
    pub deadline: Duration,
    /// Who is served next. Default the one who came first.
    pub order: Order,
    /// Whether what nobody waits for any more is thrown away before it is begun, without a policy in
    /// front of the server. With one, it is. Default no.
    pub drop_expired: bool,
    /// How long it runs before anything is measured. Default 3 s.
    pub warmup: Duration,
    /// How long it is measured; with triggers, before the first and after the last of them. Default
    /// 5 s.
    pub measured: Duration,
}

impl Default for Rig {
    fn default() -> Self {
        Self {
            workers: 50,
            service: Service::Exponential(Duration::from_millis(10)),
            refusal_cost: 0.02,
            network: Duration::from_millis(1),
            clients: 10,
            mix: [0.05, 0.6, 0.25, 0.1],
            deadline: Duration::from_secs(1),
            order: Order::Fifo,
            drop_expired: false,
            warmup: Duration::from_secs(3),
            measured: Duration::from_secs(5),
        }
    }
}

/// Who of those who were let in is served next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// The one who came first.
    #[default]
    Fifo,
    /// The one who came last.
    Lifo,
}

/// How long a call takes a worker.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Service {
    /// Always as long.
    Constant(Duration),
    /// Exponentially distributed with this mean.
    Exponential(Duration),
    /// Lognormally distributed.
    Lognormal {
        /// The mean.
        mean: Duration,
        /// Deviation ÷ mean.
        cv: f64,
    },
    /// Either fast or slow, each always as long.
    Bimodal {
        /// How long the fast ones take.
        fast: Duration,
        /// How long the slow ones take.
        slow: Duration,
        /// What part is slow.
        share: f64,
    },
}

impl Service {
    /// The mean, in nanoseconds.
    #[must_use]
    pub fn mean_ns(&self) -> f64 {
        match *self {
            Self::Constant(mean) | Self::Exponential(mean) | Self::Lognormal { mean, .. } => {
                float(mean)
            }
            Self::Bimodal { fast, slow, share } => {
                float(fast).mul_add(1.0 - share, float(slow) * share)
            }
        }
    }

    pub(crate) fn draw_ns(&self, chance: &mut Chance) -> f64 {
        match *self {
            Self::Constant(mean) => float(mean),
            Self::Exponential(mean) => float(mean) * chance.exponential(),
            Self::Lognormal { mean, cv } => {
                let variance = cv.mul_add(cv, 1.0).ln();
                let normal = chance.normal() * variance.sqrt();
                float(mean) * (normal - variance / 2.0).exp()
            }
            Self::Bimodal { fast, slow, share } => {
                float(if chance.unit() < share { slow } else { fast })
            }
        }
    }
}

/// What goes wrong for a while.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Trigger {
    /// What.
    pub kind: TriggerKind,
    /// By how much.
    pub factor: f64,
    /// How long after the warm-up it begins.
    pub at: Duration,
    /// How long it lasts.
    pub lasts: Duration,
}

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TriggerKind {
    /// Only this part of the workers is there.
    Capacity,
    /// Each call takes a worker this many times as long.
    Latency,
    /// This part of the calls fails, after its whole service time.
    Errors,
    /// This many times as many calls come.
    Load,
    /// Of each call this many more copies come that nobody waits for, from clients without a policy
    /// that repeat at once.
    Storm,
}

impl TriggerKind {
    /// Every kind.
    pub const ALL: [Self; 5] = [
        Self::Capacity,
        Self::Latency,
        Self::Errors,
        Self::Load,
        Self::Storm,
    ];

    /// The stable word.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Capacity => "capacity",
            Self::Latency => "latency",
            Self::Errors => "errors",
            Self::Load => "load",
            Self::Storm => "storm",
        }
    }

    /// The kind whose [`word`](Self::word) this is.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.word() == word)
    }

    /// The highest factor that means something.
    const fn most(self) -> f64 {
        match self {
            Self::Capacity | Self::Errors => 1.0,
            Self::Latency | Self::Load | Self::Storm => 100.0,
        }
    }
}

/// A rig, the policies on both sides, and what goes wrong.
#[derive(Clone, Debug, PartialEq)]
pub struct Scenario {
    /// What it is called in tables and charts.
    pub name: String,
    /// Who calls, and what is called.
    pub rig: Rig,
    /// The policy under which each client calls.
    pub client: Settings,
    /// The policy that stands in front of the workers, if one does.
    pub server: Option<Settings>,
    /// What goes wrong.
    pub triggers: Vec<Trigger>,
}

/// Most workers, clients, and seconds of one run.
const MOST: u32 = 10_000;
/// The longest run, so that a slip of the pen does not fill the memory.
const LONGEST: Duration = Duration::from_secs(3_600);
/// Most calls of one run.
const CALLS_MOST: f64 = 1e8;

impl Scenario {
    /// How many calls a second the workers can do.
    #[must_use]
    pub fn capacity(&self) -> f64 {
        f64::from(self.rig.workers) * 1e9 / self.rig.service.mean_ns()
    }

    /// When measuring begins.
    #[must_use]
    pub fn measured_from(&self) -> MonoNs {
        MonoNs(0).after(self.rig.warmup)
    }

    /// When the last call arrives: after the last trigger four times as long as before the first, so
    /// that who does not recover is seen not to.
    #[must_use]
    pub fn ends(&self) -> MonoNs {
        let from = self.measured_from();
        match self.calm_from() {
            None => from.after(self.rig.measured),
            Some(calm) => calm.after(self.rig.measured.saturating_mul(4)),
        }
    }

    /// When the last trigger is over.
    #[must_use]
    pub fn calm_from(&self) -> Option<MonoNs> {
        let from = self.measured_from();
        let ends = self.triggers.iter();
        ends.map(|trigger| from.after(trigger.at).after(trigger.lasts))
            .max()
    }

    /// Refuses what cannot be simulated.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`], naming what is wrong.
    pub fn check(&self, load: f64) -> Result<()> {
        let rig = &self.rig;
        within("workers", f64::from(rig.workers), 1.0, f64::from(MOST))?;
        within("clients", f64::from(rig.clients), 1.0, f64::from(MOST))?;
        within("refusal_cost", rig.refusal_cost, 0.0, 1.0)?;
        within(
            "the mean service time in ms",
            rig.service.mean_ns() / 1e6,
            0.001,
            3.6e6,
        )?;
        within("the offered load", load, 0.001, 1_000.0)?;
        for part in rig.mix {
            within("a part of the mix", part, 0.0, 1e6)?;
        }
        within("the sum of the mix", rig.mix.iter().sum(), 1e-9, 1e7)?;
        match rig.service {
            Service::Lognormal { cv, .. } => within("cv", cv, 0.0, 100.0)?,
            Service::Bimodal { share, .. } => within("share", share, 0.0, 1.0)?,
            Service::Constant(_) | Service::Exponential(_) => {}
        }
        for trigger in &self.triggers {
            let name = format!("the factor of the trigger {}", trigger.kind.word());
            within(&name, trigger.factor, 0.0, trigger.kind.most())?;
        }
        let seconds = Duration::from_nanos(self.ends().0);
        if rig.measured.is_zero() || seconds > LONGEST {
            return Err(wrong("a run lasts between nothing and an hour")
                .next("shorten warmup, measured, or the triggers"));
        }
        if self.capacity() * load * seconds.as_secs_f64() > CALLS_MOST {
            return Err(
                wrong("more than a hundred million calls would be simulated")
                    .next("take fewer workers, a lower load, or a shorter time"),
            );
        }
        Ok(())
    }
}

fn within(what: &str, value: f64, least: f64, most: f64) -> Result<()> {
    if (least..=most).contains(&value) {
        return Ok(());
    }
    Err(wrong(&format!("{what} is {value}")).next(format!("take something from {least} to {most}")))
}

fn wrong(what: &str) -> Error {
    Error::new(ErrorKind::Invalid, what)
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a service time is far under 2⁵³ ns"
)]
fn float(duration: Duration) -> f64 {
    ns(duration) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_mean(service: Service) {
        let mut chance = Chance::new(3, 3);
        let count = 200_000;
        let sum: f64 = (0..count).map(|_| service.draw_ns(&mut chance)).sum();
        let ratio = sum / f64::from(count) / service.mean_ns();
        assert!((ratio - 1.0).abs() < 0.02, "{service:?}: {ratio}");
    }

    #[test]
    fn service_times_have_the_mean_that_they_are_said_to_have() {
        let mean = Duration::from_millis(10);
        check_mean(Service::Constant(mean));
        check_mean(Service::Exponential(mean));
        check_mean(Service::Lognormal { mean, cv: 2.0 });
        check_mean(Service::Bimodal {
            fast: Duration::from_millis(1),
            slow: Duration::from_millis(100),
            share: 0.1,
        });
    }
}
