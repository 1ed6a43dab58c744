//! A policy as people write it, in TOML or JSON.
//!
//! A form starts from a preset (`policy = "default"`), and what it says changes that: a strategy is a
//! table with its fields, `true` for its defaults, or `false` for without. Durations are text
//! (`"300ms"`). A name that is not known is refused. The names are those of
//! [`Settings`].
//!
//! ```
//! use posthaste::policy::form::PolicyForm;
//!
//! let form: PolicyForm = serde_json::from_str(
//!     r#"{"policy": "default", "attempt_timeout": "300ms", "breaker": false}"#,
//! )?;
//! let settings = form.settings()?;
//! assert!(settings.breaker.is_none() && settings.throttle.is_some());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! This module refuses to judge whether settings make sense together: that is asked of the settings.

mod breaker;
mod concurrency;
mod parts;
#[cfg(test)]
mod tests;

use posthaste_core::policy::settings::{
    Budget, ChaosRule, Fault, Hedge, Jitter, Rate, Retry, Settings, Throttle,
};
use posthaste_core::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};

pub use breaker::BreakerForm;
pub use concurrency::{ConcurrencyForm, LimitForm, QueueForm};
pub use parts::{Part, Wait};
use parts::{or, wait};

/// A policy as it is written.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PolicyForm {
    /// What it starts from: `none` (the default), `default` or `calling`, `serving` or `server`,
    /// `naive`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
    /// The longest a call may take in all.
    #[serde(skip_serializing_if = "Part::is_unsaid")]
    pub deadline: Part<Wait>,
    /// The longest an attempt may take.
    #[serde(skip_serializing_if = "Part::is_unsaid")]
    pub attempt_timeout: Part<Wait>,
    /// Attempts after the first.
    #[serde(skip_serializing_if = "Part::is_unsaid")]
    pub retry: Part<RetryForm>,
    /// What share of the calls may be repeated or hedged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub budget: Option<BudgetForm>,
    /// A second attempt beside one that takes long.
    #[serde(skip_serializing_if = "Part::is_unsaid")]
    pub hedge: Part<HedgeForm>,
    /// Not asking a callee that keeps refusing.
    #[serde(skip_serializing_if = "Part::is_unsaid")]
    pub throttle: Part<ThrottleForm>,
    /// How many attempts a second.
    #[serde(skip_serializing_if = "Part::is_unsaid")]
    pub rate: Part<RateForm>,
    /// How many attempts at once, and who waits.
    #[serde(skip_serializing_if = "Part::is_unsaid")]
    pub concurrency: Part<ConcurrencyForm>,
    /// Not asking a callee that is ill.
    #[serde(skip_serializing_if = "Part::is_unsaid")]
    pub breaker: Part<BreakerForm>,
    /// Faults to inject. Where there are any, they stand for those of the preset.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub chaos: Vec<ChaosForm>,
}

/// As [`Retry`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[expect(missing_docs, reason = "each is what the setting of that name is")]
pub struct RetryForm {
    pub attempts: Option<u32>,
    pub base: Option<Wait>,
    pub max: Option<Wait>,
    /// `full`, `equal`, `decorrelated` or `none`.
    pub jitter: Option<String>,
    pub retry_after_max: Option<Wait>,
    pub force: Option<bool>,
}

/// As [`Budget`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[expect(missing_docs, reason = "each is what the setting of that name is")]
pub struct BudgetForm {
    pub ratio: Option<f64>,
    pub floor_per_second: Option<f64>,
    pub window: Option<Wait>,
}

/// As [`Hedge`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[expect(missing_docs, reason = "each is what the setting of that name is")]
pub struct HedgeForm {
    pub quantile: Option<f64>,
    pub delay_min: Option<Wait>,
    pub warmup: Option<u32>,
}

/// As [`Throttle`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[expect(missing_docs, reason = "each is what the setting of that name is")]
pub struct ThrottleForm {
    pub ratio: Option<f64>,
    pub window: Option<Wait>,
    pub most: Option<f64>,
}

/// As [`Rate`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[expect(missing_docs, reason = "each is what the setting of that name is")]
pub struct RateForm {
    pub count: Option<u32>,
    pub per: Option<Wait>,
    pub burst: Option<u32>,
}

/// As [`ChaosRule`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChaosForm {
    /// Only calls with this tag; none for all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag: Option<Box<str>>,
    /// With which probability.
    pub rate: f64,
    /// `delay`, `error` or `abort`.
    pub fault: String,
    /// How long, where it is a delay.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delay: Option<Wait>,
}

impl PolicyForm {
    /// The settings that it says.
    ///
    /// # Errors
    /// `Invalid` for a word that is not known, for what lacks a part, and for settings that make no
    /// sense, with the way out.
    pub fn settings(&self) -> Result<Settings> {
        let base = preset(self.policy.as_deref().unwrap_or("none"))?;
        let chaos = match self.chaos.as_slice() {
            [] => base.chaos,
            rules => rules.iter().map(ChaosForm::rule).collect::<Result<_>>()?,
        };
        let settings = Settings {
            deadline: self.deadline.over("deadline", base.deadline, wait)?,
            attempt_timeout: self.attempt_timeout.over(
                "attempt_timeout",
                base.attempt_timeout,
                wait,
            )?,
            retry: self.retry.over("retry", base.retry, RetryForm::over)?,
            budget: match &self.budget {
                Some(form) => form.over(base.budget),
                None => base.budget,
            },
            hedge: self.hedge.over("hedge", base.hedge, HedgeForm::over)?,
            throttle: self
                .throttle
                .over("throttle", base.throttle, ThrottleForm::over)?,
            rate: self.rate.over("rate", base.rate, RateForm::over)?,
            concurrency: self.concurrency.over(
                "concurrency",
                base.concurrency,
                ConcurrencyForm::over,
            )?,
            breaker: self
                .breaker
                .over("breaker", base.breaker, BreakerForm::over)?,
            chaos,
        };
        settings.check()?;
        Ok(settings)
    }

    /// The form that says these settings, every field of them.
    #[must_use]
    pub fn of(settings: &Settings) -> Self {
        Self {
            policy: None,
            deadline: Part::of(settings.deadline.map(Wait)),
            attempt_timeout: Part::of(settings.attempt_timeout.map(Wait)),
            retry: Part::of(settings.retry.map(RetryForm::of)),
            budget: Some(BudgetForm {
                ratio: Some(settings.budget.ratio),
                floor_per_second: Some(settings.budget.floor_per_second),
                window: Some(Wait(settings.budget.window)),
            }),
            hedge: Part::of(settings.hedge.map(HedgeForm::of)),
            throttle: Part::of(settings.throttle.map(ThrottleForm::of)),
            rate: Part::of(settings.rate.map(RateForm::of)),
            concurrency: Part::of(settings.concurrency.map(ConcurrencyForm::of)),
            breaker: Part::of(settings.breaker.map(BreakerForm::of)),
            chaos: settings.chaos.iter().map(ChaosForm::of).collect(),
        }
    }
}

fn preset(word: &str) -> Result<Settings> {
    Ok(match word {
        "none" => Settings::default(),
        "default" | "calling" => Settings::calling(),
        "server" | "serving" => Settings::serving(),
        "naive" => Settings::naive(),
        _ => {
            return Err(invalid(format!("policy is {word:?}, which is no preset"))
                .next("use default (for callers), server (for what is called), naive, or none"));
        }
    })
}

fn invalid(what: impl Into<String>) -> Error {
    Error::new(ErrorKind::Invalid, what)
}

impl RetryForm {
    fn over(&self, base: Option<Retry>) -> Result<Retry> {
        let base = base.unwrap_or_default();
        let jitter = match self.jitter.as_deref() {
            None => base.jitter,
            Some("full") => Jitter::Full,
            Some("equal") => Jitter::Equal,
            Some("decorrelated") => Jitter::Decorrelated,
            Some("none") => Jitter::None,
            Some(word) => {
                return Err(invalid(format!("retry.jitter is {word:?}"))
                    .next("use full, equal, decorrelated or none"));
            }
        };
        Ok(Retry {
            attempts: self.attempts.unwrap_or(base.attempts),
            base: or(self.base, base.base),
            max: or(self.max, base.max),
            jitter,
            retry_after_max: or(self.retry_after_max, base.retry_after_max),
            force: self.force.unwrap_or(base.force),
        })
    }

    fn of(set: Retry) -> Self {
        let jitter = match set.jitter {
            Jitter::Full => "full",
            Jitter::Equal => "equal",
            Jitter::Decorrelated => "decorrelated",
            Jitter::None => "none",
        };
        Self {
            attempts: Some(set.attempts),
            base: Some(Wait(set.base)),
            max: Some(Wait(set.max)),
            jitter: Some(jitter.to_owned()),
            retry_after_max: Some(Wait(set.retry_after_max)),
            force: Some(set.force),
        }
    }
}

impl BudgetForm {
    fn over(&self, base: Budget) -> Budget {
        Budget {
            ratio: self.ratio.unwrap_or(base.ratio),
            floor_per_second: self.floor_per_second.unwrap_or(base.floor_per_second),
            window: or(self.window, base.window),
        }
    }
}

impl HedgeForm {
    fn over(&self, base: Option<Hedge>) -> Result<Hedge> {
        let base = base.unwrap_or_default();
        Ok(Hedge {
            quantile: self.quantile.unwrap_or(base.quantile),
            delay_min: or(self.delay_min, base.delay_min),
            warmup: self.warmup.unwrap_or(base.warmup),
        })
    }

    fn of(set: Hedge) -> Self {
        Self {
            quantile: Some(set.quantile),
            delay_min: Some(Wait(set.delay_min)),
            warmup: Some(set.warmup),
        }
    }
}

impl ThrottleForm {
    fn over(&self, base: Option<Throttle>) -> Result<Throttle> {
        let base = base.unwrap_or_default();
        Ok(Throttle {
            ratio: self.ratio.unwrap_or(base.ratio),
            window: or(self.window, base.window),
            most: self.most.unwrap_or(base.most),
        })
    }

    fn of(set: Throttle) -> Self {
        Self {
            ratio: Some(set.ratio),
            window: Some(Wait(set.window)),
            most: Some(set.most),
        }
    }
}

impl RateForm {
    fn over(&self, base: Option<Rate>) -> Result<Rate> {
        let count = self.count.or(base.map(|base| base.count));
        let per = self.per.map(|per| per.0).or(base.map(|base| base.per));
        let (Some(count), Some(per)) = (count, per) else {
            return Err(invalid("rate lacks its count or its per")
                .next("write rate = { count = 100, per = \"1s\" }"));
        };
        let burst = self.burst.or(base.map(|base| base.burst));
        Ok(Rate {
            count,
            per,
            burst: burst.unwrap_or(1),
        })
    }

    fn of(set: Rate) -> Self {
        Self {
            count: Some(set.count),
            per: Some(Wait(set.per)),
            burst: Some(set.burst),
        }
    }
}

impl ChaosForm {
    fn rule(&self) -> Result<ChaosRule> {
        let fault =
            match (self.fault.as_str(), self.delay) {
                ("error", None) => Fault::Error,
                ("abort", None) => Fault::Abort,
                ("delay", Some(Wait(delay))) => Fault::Delay(delay),
                ("delay", None) => {
                    return Err(invalid("chaos has a delay without saying how long")
                        .next("write fault = \"delay\" and delay = \"100ms\""));
                }
                ("error" | "abort", Some(_)) => {
                    return Err(invalid("chaos has a delay beside another fault")
                        .next("write it as two rules"));
                }
                (word, _) => {
                    return Err(invalid(format!("chaos.fault is {word:?}"))
                        .next("use delay, error or abort"));
                }
            };
        Ok(ChaosRule {
            tag: self.tag.clone(),
            rate: self.rate,
            fault,
        })
    }

    fn of(rule: &ChaosRule) -> Self {
        let (fault, delay) = match rule.fault {
            Fault::Delay(delay) => ("delay", Some(Wait(delay))),
            Fault::Error => ("error", None),
            Fault::Abort => ("abort", None),
        };
        Self {
            tag: rule.tag.clone(),
            rate: rule.rate,
            fault: fault.to_owned(),
            delay,
        }
    }
}
