//! Not asking a callee that keeps refusing: each tier by itself counts what it asked and what was
//! accepted, and stops asking for a part of what it would be refused.
//!
//! Google, "Site Reliability Engineering", chapter 21, "Client-Side Throttling". What differs: calls
//! count when they are answered, so that a burst that is under way does not look refused; and a
//! recovery is believed as soon as nothing was refused for a tenth of the window, rather than when
//! the refusals have left it; and the first few refusals of a window are let pass.
//!
//! This room refuses to draw chance, and to tell a refusal from a failure.

use super::criticality::Criticality;
use super::refusal::Refusal;
use super::settings;
use crate::time::{MonoNs, ns};

const SLICES: usize = 10;
const TIERS: usize = Criticality::ALL.len();
/// So many accepted in a row, over a slice at least, are a recovery.
const RECOVERED: u32 = 5;

/// So many refused calls in a window say nothing yet: one refusal must not hold back who asks seldom.
const FEW: f64 = 5.0;

/// See the module.
#[derive(Clone, Debug)]
pub struct Throttle {
    ratio: f64,
    most: f64,
    slice_ns: u64,
    tiers: [Tier; TIERS],
}

#[derive(Clone, Copy, Debug, Default)]
struct Count {
    asked: u32,
    accepted: u32,
}

#[derive(Clone, Debug)]
struct Tier {
    slices: [Count; SLICES],
    sum: Count,
    at: usize,
    /// When the slice `at` began.
    began: MonoNs,
    /// How many were accepted since the last refusal, and when the first of them was.
    run: u32,
    run_began: MonoNs,
}

impl Tier {
    const fn new(now: MonoNs) -> Self {
        Self {
            slices: [Count {
                asked: 0,
                accepted: 0,
            }; SLICES],
            sum: Count {
                asked: 0,
                accepted: 0,
            },
            at: 0,
            began: now,
            run: 0,
            run_began: now,
        }
    }

    fn turn(&mut self, now: MonoNs, slice_ns: u64) {
        for _ in 0..SLICES {
            if now.since(self.began) < slice_ns {
                return;
            }
            self.at = (self.at + 1) % SLICES;
            let gone = std::mem::take(&mut self.slices[self.at]);
            self.sum.asked -= gone.asked;
            self.sum.accepted -= gone.accepted;
            self.began = self.began.plus(slice_ns);
        }
        // Everything is older than the window.
        if now.since(self.began) >= slice_ns {
            self.began = now;
        }
    }

    fn forget(&mut self) {
        self.slices = [Count::default(); SLICES];
        self.sum = Count::default();
    }

    /// A window that holds four billion calls counts no more of them.
    fn count(&mut self, accepted: bool) {
        if self.sum.asked == u32::MAX {
            return;
        }
        self.sum.asked += 1;
        self.slices[self.at].asked += 1;
        if accepted {
            self.sum.accepted += 1;
            self.slices[self.at].accepted += 1;
        }
    }

    fn refuses(&self, ratio: f64, most: f64) -> f64 {
        let asked = f64::from(self.sum.asked);
        let over = asked - ratio * f64::from(self.sum.accepted) - FEW;
        (over / (asked + 1.0)).clamp(0.0, most)
    }
}

impl Throttle {
    /// One that refuses nothing yet.
    #[must_use]
    pub fn new(settings: &settings::Throttle, now: MonoNs) -> Self {
        Self {
            ratio: settings.ratio.max(1.0),
            most: settings.most.clamp(0.0, 0.999),
            slice_ns: (ns(settings.window) / SLICES as u64).max(1),
            tiers: std::array::from_fn(|_| Tier::new(now)),
        }
    }

    /// Whether a call of `tier` is sent. `chance` is any number, each equally likely.
    ///
    /// # Errors
    ///
    /// [`Refusal::Throttled`], with the probability that decided.
    pub fn admit(&mut self, now: MonoNs, tier: Criticality, chance: u64) -> Result<(), Refusal> {
        let mine = &mut self.tiers[tier.index()];
        mine.turn(now, self.slice_ns);
        let refuses = mine.refuses(self.ratio, self.most);
        if refuses <= 0.0 || unit(chance) >= refuses {
            return Ok(());
        }
        mine.count(false);
        Err(Refusal::Throttled {
            tier,
            per_mille: per_mille(refuses),
        })
    }

    /// A call of `tier` that was sent was accepted, or was refused by the callee.
    pub fn ended(&mut self, now: MonoNs, tier: Criticality, accepted: bool) {
        let mine = &mut self.tiers[tier.index()];
        mine.turn(now, self.slice_ns);
        if accepted {
            if mine.run == 0 {
                mine.run_began = now;
            }
            mine.run = mine.run.saturating_add(1);
            if mine.run >= RECOVERED && now.since(mine.run_began) >= self.slice_ns {
                mine.run = 0;
                mine.forget();
            }
        } else {
            mine.run = 0;
        }
        mine.count(accepted);
    }

    /// With which probability a call of `tier` is refused now. 0 to 1.
    pub fn refuses(&mut self, now: MonoNs, tier: Criticality) -> f64 {
        let mine = &mut self.tiers[tier.index()];
        mine.turn(now, self.slice_ns);
        mine.refuses(self.ratio, self.most)
    }

    /// Other settings. What was counted stays, unless the window is another one.
    pub fn reload(&mut self, settings: &settings::Throttle, now: MonoNs) {
        let new = Self::new(settings, now);
        if new.slice_ns == self.slice_ns {
            self.ratio = new.ratio;
            self.most = new.most;
        } else {
            *self = new;
        }
    }
}

/// From 0 up to 1, without 1.
#[expect(clippy::cast_precision_loss, reason = "53 bits fit exactly")]
fn unit(chance: u64) -> f64 {
    (chance >> 11) as f64 / (1_u64 << 53) as f64
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a probability in thousandths"
)]
fn per_mille(probability: f64) -> u16 {
    (probability * 1e3).round() as u16
}

#[cfg(test)]
mod tests {
    use super::super::rig::{Chance, MS, SECOND};
    use super::*;
    use Criticality::{BestEffort, Critical};

    /// A thousand calls a second of one tier, of which `accepts` is the accepted share. How many were
    /// sent of each that came.
    fn calls(throttle: &mut Throttle, from: u64, seconds: u64, accepts: f64) -> f64 {
        let mut chance = Chance(from);
        let mut sent = 0_u32;
        for ms in 0..seconds * 1_000 {
            let now = MonoNs(from + ms * MS);
            if throttle.admit(now, BestEffort, chance.draw()).is_ok() {
                sent += 1;
                throttle.ended(now, BestEffort, chance.unit() < accepts);
            }
        }
        f64::from(sent) / (1e3 * seconds as f64)
    }

    fn throttle() -> Throttle {
        Throttle::new(&settings::Throttle::default(), MonoNs(0))
    }

    #[test]
    fn a_callee_that_refuses_is_asked_a_tenth_as_often_and_only_in_that_tier() {
        let mut throttle = throttle();
        assert!((calls(&mut throttle, 0, 5, 1.0) - 1.0).abs() < 1e-9);
        calls(&mut throttle, 5 * SECOND, 20, 0.0);
        let sent = calls(&mut throttle, 25 * SECOND, 10, 0.0);
        assert!((0.08..0.12).contains(&sent), "{sent}");
        let now = MonoNs(35 * SECOND);
        assert_eq!(throttle.admit(now, Critical, 0), Ok(()));
        let per_mille = 900;
        let refusal = Refusal::Throttled {
            tier: BestEffort,
            per_mille,
        };
        assert_eq!(throttle.admit(now, BestEffort, 0), Err(refusal));
    }

    #[test]
    fn after_a_recovery_everything_is_sent_within_two_seconds() {
        let mut throttle = throttle();
        calls(&mut throttle, 0, 20, 0.0);
        calls(&mut throttle, 20 * SECOND, 2, 1.0);
        let sent = calls(&mut throttle, 22 * SECOND, 5, 1.0);
        assert!(sent > 0.999, "{sent}");
    }

    #[test]
    fn half_refused_is_no_recovery_and_what_is_old_is_forgotten() {
        let mut throttle = throttle();
        calls(&mut throttle, 0, 20, 0.2);
        let refuses = throttle.refuses(MonoNs(20 * SECOND), BestEffort);
        assert!(refuses > 0.3, "{refuses}");
        let later = MonoNs(31 * SECOND);
        assert!(throttle.refuses(later, BestEffort) <= 0.0);
    }

    #[test]
    fn other_settings_keep_the_counts_unless_the_window_is_another() {
        let mut throttle = throttle();
        calls(&mut throttle, 0, 5, 0.0);
        let now = MonoNs(5 * SECOND);
        let refuses = |throttle: &mut Throttle| throttle.refuses(now, BestEffort);
        assert!((refuses(&mut throttle) - 0.9).abs() < 1e-9);
        let capped = settings::Throttle {
            most: 0.5,
            ..settings::Throttle::default()
        };
        throttle.reload(&capped, now);
        assert!((refuses(&mut throttle) - 0.5).abs() < 1e-9);
        let mut half = self::throttle();
        for n in 0..100 {
            half.ended(now, BestEffort, n % 10 < 3);
        }
        assert!((refuses(&mut half) - 35.0 / 101.0).abs() < 1e-9);
        let lenient = settings::Throttle {
            ratio: 3.0,
            ..settings::Throttle::default()
        };
        half.reload(&lenient, now);
        assert!((refuses(&mut half) - 5.0 / 101.0).abs() < 1e-9);
        let longer = settings::Throttle {
            window: std::time::Duration::from_secs(20),
            ..settings::Throttle::default()
        };
        throttle.reload(&longer, now);
        assert!(refuses(&mut throttle) <= 0.0, "it counts anew");
    }
}
