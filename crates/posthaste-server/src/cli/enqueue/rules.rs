//! What can be said of a job's tries and of its uniqueness, as HTTP says it.

use posthaste::wire;
use posthaste_core::backoff::Backoff;
use posthaste_core::job::Unique;
use posthaste_core::{Error, ErrorKind, Result, suggest};

/// At most one such job at a time.
#[derive(Debug, clap::Args)]
pub(super) struct Uniqueness {
    /// At most one unfinished job of this kind and key; the one that is there is answered
    #[arg(long, value_name = "KEY", group = "unique")]
    unique_key: Option<String>,
    /// At most one unfinished job of this kind and payload
    #[arg(long, group = "unique")]
    unique_payload: bool,
    /// With --unique-…: for how long after the enqueue [default: as long as its state is one of
    /// --unique-states]
    #[arg(long, value_name = "DURATION", requires = "unique")]
    unique_period: Option<wire::Span>,
    /// With --unique-…: the states in which it counts [default:
    /// scheduled,available,running,retryable]
    #[arg(
        long,
        value_name = "STATE,…",
        value_delimiter = ',',
        requires = "unique"
    )]
    unique_states: Option<Vec<String>>,
    /// With --unique-…: what becomes of the later job: existing answers with the one that is there,
    /// reject refuses it [default: existing]
    #[arg(long, value_name = "WHAT", requires = "unique", value_parser = on_conflict)]
    on_conflict: Option<wire::OnConflict>,
}

impl Uniqueness {
    /// The rule, where there is one.
    pub(super) fn rule(&self) -> Result<Option<Unique>> {
        if self.unique_key.is_none() && !self.unique_payload {
            return Ok(None);
        }
        let rule = wire::Unique {
            key: self.unique_key.clone(),
            payload: self.unique_payload,
            period: self.unique_period,
            states: self.unique_states.clone(),
            on_conflict: self.on_conflict.unwrap_or_default(),
        };
        rule.read().map(Some)
    }
}

fn on_conflict(word: &str) -> Result<wire::OnConflict> {
    match word {
        "existing" => Ok(wire::OnConflict::Existing),
        "reject" => Ok(wire::OnConflict::Reject),
        _ => Err(Error::new(
            ErrorKind::Invalid,
            format!("{word:?} is neither existing nor reject"),
        )),
    }
}

/// The fields of a backoff.
const FIELDS: [&str; 4] = ["base", "factor", "max", "jitter"];

/// One duration for the same delay each time, or fields with commas between.
pub(in crate::cli) fn backoff(text: &str) -> Result<Backoff> {
    if !text.contains('=') {
        let delay: wire::Span = text.parse()?;
        let fixed = wire::Backoff {
            base: Some(delay),
            factor: Some(1),
            max: Some(delay),
            jitter_percent: Some(0),
        };
        return fixed.read();
    }
    let mut rule = wire::Backoff::default();
    for field in text.split(',') {
        let (name, value) = field.split_once('=').unwrap_or((field, ""));
        match name {
            "base" => rule.base = Some(value.parse()?),
            "max" => rule.max = Some(value.parse()?),
            "factor" => rule.factor = Some(number(field, value)?),
            "jitter" => rule.jitter_percent = Some(number(field, value.trim_end_matches('%'))?),
            _ => return Err(unknown(name)),
        }
    }
    rule.read()
}

fn number(field: &str, value: &str) -> Result<u8> {
    value.parse().map_err(|_| {
        Error::new(
            ErrorKind::Invalid,
            format!("{field:?} is no number from 0 to 255"),
        )
        .next("write it as factor=2 or jitter=25")
    })
}

fn unknown(name: &str) -> Error {
    let error = Error::new(ErrorKind::Invalid, format!("a backoff has no {name:?}"));
    match suggest::nearest(name, FIELDS) {
        Some(near) => error.next(format!("did you mean {near:?}?")),
        None => error.next("write it as 10s, or as base=1s,factor=2,max=6h,jitter=25"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backoffs_are_read() {
        assert_eq!(backoff("10s"), Ok(Backoff::fixed(10_000)));
        let doubled = Backoff {
            base_ms: 5_000,
            jitter_percent: 10,
            ..Backoff::default()
        };
        assert_eq!(backoff("base=5s,jitter=10%"), Ok(doubled));
        let grown = Backoff {
            factor: 3,
            max_ms: 60_000,
            ..Backoff::default()
        };
        assert_eq!(backoff("factor=3,max=1m"), Ok(grown));
        for bad in [
            "",
            "5",
            "base=",
            "factor=256",
            "fcator=2",
            "base=1s,",
            "base=50d",
        ] {
            assert!(backoff(bad).is_err(), "{bad}");
        }
        let error = backoff("fcator=2").expect_err("unknown");
        assert!(error.to_string().contains("\"factor\""), "{error}");
    }
}
