//! What forms are made of: durations, and strategies that may be left out, switched off, or set.

use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use posthaste_core::{Error, ErrorKind, Result, duration};
use serde::de::value::{MapAccessDeserializer, StrDeserializer};
use serde::de::{self, Deserialize, Deserializer, MapAccess, Visitor};
use serde::{Serialize, Serializer};

/// A duration, written as `"200ms"`, `"30s"`, `"1h30m"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wait(pub Duration);

impl Serialize for Wait {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&duration::print(self.0))
    }
}

impl<'de> Deserialize<'de> for Wait {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = Wait;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a duration such as \"200ms\", \"30s\" or \"1h30m\"")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Wait, E> {
                let wrong = |_| E::invalid_value(de::Unexpected::Str(text), &self);
                duration::parse(text).map(Wait).map_err(wrong)
            }
        }
        from.deserialize_str(Text)
    }
}

/// A strategy in a form.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Part<T> {
    /// Nothing is said of it: as the preset has it.
    #[default]
    Unsaid,
    /// `false`: without it.
    Off,
    /// `true`: as the preset has it, else with its defaults.
    On,
    /// What is said of it; the rest as the preset has it, else with its defaults.
    Set(T),
}

impl<T> Part<T> {
    /// Set to something, or off.
    pub(super) fn of(set: Option<T>) -> Self {
        set.map_or(Self::Off, Self::Set)
    }

    pub(super) const fn is_unsaid(&self) -> bool {
        matches!(self, Self::Unsaid)
    }

    /// What holds, where `base` is what the preset has.
    pub(super) fn over<S>(
        &self,
        name: &str,
        base: Option<S>,
        set: impl Fn(&T, Option<S>) -> Result<S>,
    ) -> Result<Option<S>>
    where
        T: Default,
    {
        match self {
            Self::Unsaid => Ok(base),
            Self::Off => Ok(None),
            Self::On if base.is_some() => Ok(base),
            Self::On => set(&T::default(), None).map(Some),
            Self::Set(form) => set(form, base).map(Some),
        }
        .map_err(|error: Error| {
            let next = error.next_step().unwrap_or("look at the documentation");
            let what = error.message();
            let what = match what.starts_with(name) {
                true => what.to_owned(),
                false => format!("{name}: {what}"),
            };
            Error::new(ErrorKind::Invalid, what).next(next.to_owned())
        })
    }
}

impl Default for Wait {
    /// No duration at all: it has no default, and nothing lasts so long.
    fn default() -> Self {
        Self(Duration::ZERO)
    }
}

/// The duration that was said.
pub(super) fn wait(said: &Wait, _: Option<Duration>) -> Result<Duration> {
    if said.0.is_zero() {
        let error = Error::new(ErrorKind::Invalid, "no duration is given");
        return Err(error.next("write one such as \"300ms\", or false for without"));
    }
    Ok(said.0)
}

/// The duration that was said, else the other.
pub(super) fn or(said: Option<Wait>, base: Duration) -> Duration {
    said.map_or(base, |wait| wait.0)
}

impl<T: Serialize> Serialize for Part<T> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Unsaid => to.serialize_none(),
            Self::Off => to.serialize_bool(false),
            Self::On => to.serialize_bool(true),
            Self::Set(set) => set.serialize(to),
        }
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Part<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Any<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Any<T> {
            type Value = Part<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("what it is set to, or true or false")
            }
            fn visit_bool<E: de::Error>(self, on: bool) -> Result<Part<T>, E> {
                Ok(if on { Part::On } else { Part::Off })
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Part<T>, E> {
                T::deserialize(StrDeserializer::new(text)).map(Part::Set)
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Part<T>, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(Part::Set)
            }
        }
        from.deserialize_any(Any(PhantomData))
    }
}
