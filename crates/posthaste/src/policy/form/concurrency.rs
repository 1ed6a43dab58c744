//! How many at once, and who waits, in a form.

use std::fmt;

use posthaste_core::Result;
use posthaste_core::policy::settings::{Concurrency, Limit, Queue};
use serde::de::{self, Deserializer, Visitor};
use serde::{Deserialize, Serialize, Serializer};

use super::invalid;
use super::parts::{Wait, or};

/// As [`Concurrency`]: `limit` is a number, `"aimd"` or `"gradient"`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[expect(missing_docs, reason = "each is what the setting of that name is")]
pub struct ConcurrencyForm {
    pub limit: Option<LimitForm>,
    pub initial: Option<u32>,
    pub min: Option<u32>,
    pub max: Option<u32>,
    pub decrease: Option<f64>,
    pub tolerance: Option<f64>,
    pub queue: QueueForm,
}

/// What limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LimitForm {
    /// So many.
    Static(u32),
    /// `"aimd"`.
    Aimd,
    /// `"gradient"`.
    Gradient,
}

/// As [`Queue`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[expect(missing_docs, reason = "each is what the setting of that name is")]
pub struct QueueForm {
    pub waiting_max: Option<u32>,
    pub target: Option<Wait>,
    pub interval: Option<Wait>,
    pub share: Option<f64>,
}

impl ConcurrencyForm {
    pub(super) fn over(&self, base: Option<Concurrency>) -> Result<Concurrency> {
        let base = base.unwrap_or_default();
        let queue = Queue {
            waiting_max: self.queue.waiting_max.unwrap_or(base.queue.waiting_max),
            target: or(self.queue.target, base.queue.target),
            interval: or(self.queue.interval, base.queue.interval),
            share: self.queue.share.unwrap_or(base.queue.share),
        };
        Ok(Concurrency {
            limit: self.limit(base.limit)?,
            queue,
        })
    }

    fn limit(&self, base: Limit) -> Result<Limit> {
        let base = match (self.limit, base) {
            (Some(LimitForm::Static(places)), _) => Limit::Static(places),
            (Some(LimitForm::Aimd), Limit::Static(_) | Limit::Gradient { .. }) => Limit::aimd(),
            (Some(LimitForm::Gradient), Limit::Static(_) | Limit::Aimd { .. }) => Limit::gradient(),
            (_, base) => base,
        };
        match base {
            Limit::Static(places) => {
                let moves = [self.initial, self.min, self.max];
                self.only(
                    moves.iter().all(Option::is_none),
                    "a fixed limit does not move",
                )?;
                self.only(self.decrease.is_none(), "a fixed limit does not fall")?;
                self.only(
                    self.tolerance.is_none(),
                    "a fixed limit looks at no duration",
                )?;
                Ok(Limit::Static(places))
            }
            Limit::Aimd {
                initial,
                min,
                max,
                decrease,
            } => {
                self.only(self.tolerance.is_none(), "aimd looks at no duration")?;
                Ok(Limit::Aimd {
                    initial: self.initial.unwrap_or(initial),
                    min: self.min.unwrap_or(min),
                    max: self.max.unwrap_or(max),
                    decrease: self.decrease.unwrap_or(decrease),
                })
            }
            Limit::Gradient {
                initial,
                min,
                max,
                tolerance,
            } => {
                self.only(self.decrease.is_none(), "the gradient falls by itself")?;
                Ok(Limit::Gradient {
                    initial: self.initial.unwrap_or(initial),
                    min: self.min.unwrap_or(min),
                    max: self.max.unwrap_or(max),
                    tolerance: self.tolerance.unwrap_or(tolerance),
                })
            }
        }
    }

    fn only(&self, holds: bool, why: &str) -> Result<()> {
        if holds {
            return Ok(());
        }
        Err(invalid(why).next(
            "aimd has initial, min, max and decrease; gradient has initial, min, max and tolerance",
        ))
    }

    pub(super) fn of(set: Concurrency) -> Self {
        let queue = QueueForm {
            waiting_max: Some(set.queue.waiting_max),
            target: Some(Wait(set.queue.target)),
            interval: Some(Wait(set.queue.interval)),
            share: Some(set.queue.share),
        };
        let rest = Self {
            queue,
            ..Self::default()
        };
        match set.limit {
            Limit::Static(places) => Self {
                limit: Some(LimitForm::Static(places)),
                ..rest
            },
            Limit::Aimd {
                initial,
                min,
                max,
                decrease,
            } => Self {
                limit: Some(LimitForm::Aimd),
                initial: Some(initial),
                min: Some(min),
                max: Some(max),
                decrease: Some(decrease),
                ..rest
            },
            Limit::Gradient {
                initial,
                min,
                max,
                tolerance,
            } => Self {
                limit: Some(LimitForm::Gradient),
                initial: Some(initial),
                min: Some(min),
                max: Some(max),
                tolerance: Some(tolerance),
                ..rest
            },
        }
    }
}

impl Serialize for LimitForm {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Static(places) => to.serialize_u32(*places),
            Self::Aimd => to.serialize_str("aimd"),
            Self::Gradient => to.serialize_str("gradient"),
        }
    }
}

impl<'de> Deserialize<'de> for LimitForm {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Either;
        impl Visitor<'_> for Either {
            type Value = LimitForm;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number of places, \"aimd\" or \"gradient\"")
            }
            fn visit_u64<E: de::Error>(self, places: u64) -> Result<LimitForm, E> {
                let wrong = |_| E::invalid_value(de::Unexpected::Unsigned(places), &self);
                u32::try_from(places).map(LimitForm::Static).map_err(wrong)
            }
            fn visit_i64<E: de::Error>(self, places: i64) -> Result<LimitForm, E> {
                let wrong = |_| E::invalid_value(de::Unexpected::Signed(places), &self);
                let places = u64::try_from(places).map_err(wrong)?;
                self.visit_u64(places)
            }
            fn visit_str<E: de::Error>(self, word: &str) -> Result<LimitForm, E> {
                match word {
                    "aimd" => Ok(LimitForm::Aimd),
                    "gradient" => Ok(LimitForm::Gradient),
                    _ => Err(E::invalid_value(de::Unexpected::Str(word), &self)),
                }
            }
        }
        from.deserialize_any(Either)
    }
}
