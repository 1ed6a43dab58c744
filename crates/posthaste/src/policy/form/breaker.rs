//! A circuit breaker in a form.

use std::fmt;

use posthaste_core::Result;
use posthaste_core::policy::settings::{Breaker, Trip, Window};
use serde::de::{self, Deserializer, Visitor};
use serde::{Deserialize, Serialize, Serializer};

use super::invalid;
use super::parts::{Wait, or};

/// As [`Breaker`]: either so many failures in a row (`consecutive`), or a share in a window.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[expect(missing_docs, reason = "each is what the setting of that name is")]
pub struct BreakerForm {
    pub consecutive: Option<u32>,
    /// A number of calls, or a duration.
    pub window: Option<WindowForm>,
    pub failures: Option<f64>,
    /// What counts as slow.
    pub slow: Option<Wait>,
    /// What share must be slow.
    pub slow_share: Option<f64>,
    pub calls_min: Option<u32>,
    pub open_for: Option<Wait>,
    pub probes: Option<u32>,
    pub probe_lease: Option<Wait>,
    pub ramp: Option<Wait>,
}

/// As [`Window`]: `100` or `"10s"`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct WindowForm(pub Window);

impl BreakerForm {
    pub(super) fn over(&self, base: Option<Breaker>) -> Result<Breaker> {
        let base = base.unwrap_or_default();
        Ok(Breaker {
            trip: self.trip(base.trip)?,
            open_for: or(self.open_for, base.open_for),
            probes: self.probes.unwrap_or(base.probes),
            probe_lease: or(self.probe_lease, base.probe_lease),
            ramp: or(self.ramp, base.ramp),
        })
    }

    fn trip(&self, base: Trip) -> Result<Trip> {
        let of_rate = self.window.is_some()
            || self.failures.is_some()
            || self.slow.is_some()
            || self.slow_share.is_some()
            || self.calls_min.is_some();
        if let Some(failures) = self.consecutive {
            if of_rate {
                return Err(invalid("breaker counts failures in a row and in a window")
                    .next("give either consecutive, or window, failures, slow and calls_min"));
            }
            return Ok(Trip::Consecutive(failures));
        }
        let base = match base {
            Trip::Consecutive(_) if of_rate => Trip::default(),
            base => base,
        };
        let Trip::Rate {
            window,
            failures,
            slow,
            calls_min,
        } = base
        else {
            return Ok(base);
        };
        let slow = match (self.slow, self.slow_share, slow) {
            (Some(Wait(slow)), share, base) => {
                Some((slow, share.or(base.map(|base| base.1)).unwrap_or(0.5)))
            }
            (None, Some(share), Some((slow, _))) => Some((slow, share)),
            (None, Some(_), None) => {
                return Err(invalid("breaker.slow_share is given, and not what is slow")
                    .next("give breaker.slow too, such as \"500ms\""));
            }
            (None, None, base) => base,
        };
        Ok(Trip::Rate {
            window: self.window.map_or(window, |window| window.0),
            failures: self.failures.unwrap_or(failures),
            slow,
            calls_min: self.calls_min.unwrap_or(calls_min),
        })
    }

    pub(super) fn of(set: Breaker) -> Self {
        let rest = Self {
            open_for: Some(Wait(set.open_for)),
            probes: Some(set.probes),
            probe_lease: Some(Wait(set.probe_lease)),
            ramp: Some(Wait(set.ramp)),
            ..Self::default()
        };
        match set.trip {
            Trip::Consecutive(failures) => Self {
                consecutive: Some(failures),
                ..rest
            },
            Trip::Rate {
                window,
                failures,
                slow,
                calls_min,
            } => Self {
                window: Some(WindowForm(window)),
                failures: Some(failures),
                slow: slow.map(|slow| Wait(slow.0)),
                slow_share: slow.map(|slow| slow.1),
                calls_min: Some(calls_min),
                ..rest
            },
        }
    }
}

impl Serialize for WindowForm {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Window::Count(calls) => to.serialize_u32(calls),
            Window::Time(time) => Wait(time).serialize(to),
        }
    }
}

impl<'de> Deserialize<'de> for WindowForm {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Either;
        impl Visitor<'_> for Either {
            type Value = WindowForm;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number of calls such as 100, or a duration such as \"10s\"")
            }
            fn visit_u64<E: de::Error>(self, calls: u64) -> Result<WindowForm, E> {
                let wrong = |_| E::invalid_value(de::Unexpected::Unsigned(calls), &self);
                let calls = u32::try_from(calls).map_err(wrong)?;
                Ok(WindowForm(Window::Count(calls)))
            }
            fn visit_i64<E: de::Error>(self, calls: i64) -> Result<WindowForm, E> {
                let wrong = |_| E::invalid_value(de::Unexpected::Signed(calls), &self);
                let calls = u64::try_from(calls).map_err(wrong)?;
                self.visit_u64(calls)
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<WindowForm, E> {
                let wrong = |_| E::invalid_value(de::Unexpected::Str(text), &self);
                let time = posthaste_core::duration::parse(text).map_err(wrong)?;
                Ok(WindowForm(Window::Time(time)))
            }
        }
        from.deserialize_any(Either)
    }
}
