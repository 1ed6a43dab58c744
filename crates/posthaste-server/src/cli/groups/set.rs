//! `groups set`.

use posthaste::wire;
use posthaste_core::backoff::Backoff;
use posthaste_core::group::{GroupSettings, OnExhausted};
use posthaste_core::{Command as Verb, Error, ErrorKind, Result, Store, suggest};

use super::{Names, commit, find, show};
use crate::cli::enqueue;

/// A group's settings. What is not given stays as it is; a new group has the defaults.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Set {
    #[command(flatten)]
    names: Names,
    /// Most events in the hands of members at once, 1 to 10000 [default: 1000]
    #[arg(long, value_name = "N")]
    in_flight: Option<u32>,
    /// Attempts of one event in all, 1 to 1000 [default: 25]
    #[arg(long, value_name = "N")]
    max_attempts: Option<u16>,
    /// Delay after a failed attempt: a duration, or base=1s,factor=2,max=6h,jitter=25
    #[arg(long, value_name = "RULE", value_parser = enqueue::backoff)]
    backoff: Option<Backoff>,
    /// What becomes of an event whose last attempt failed: park or dead [default: park]
    #[arg(long, value_name = "WORD", value_parser = on_exhausted)]
    on_exhausted: Option<OnExhausted>,
    /// Most parked events, 1 to 10000; with so many it hands out nothing [default: 1000]
    #[arg(long, value_name = "N")]
    parked_max: Option<u32>,
    /// Where a new group starts: earliest, latest, a cursor, time:INSTANT, or
    /// offset:PARTITION:OFFSET; no effect on one that is there [default: latest]
    #[arg(long, value_name = "PLACE")]
    from: Option<wire::ReadFrom>,
}

fn on_exhausted(word: &str) -> Result<OnExhausted> {
    OnExhausted::from_word(word).ok_or_else(|| {
        let known = [OnExhausted::Park, OnExhausted::Dead].map(OnExhausted::as_str);
        let error = Error::new(ErrorKind::Invalid, format!("{word:?} is unknown"));
        match suggest::nearest(word, known) {
            Some(near) => error.next(format!("did you mean {near:?}?")),
            None => error.next(format!("known: {}", known.join(", "))),
        }
    })
}

pub(super) async fn run(set: Set, store: &dyn Store, json: bool) -> Result<()> {
    let verb = Verb::SetGroup {
        topic: set.names.topic.clone(),
        group: set.names.group.clone(),
        settings: GroupSettings {
            in_flight: set.in_flight,
            max_attempts: set.max_attempts,
            backoff: set.backoff,
            on_exhausted: set.on_exhausted,
            parked_max: set.parked_max,
            paused: None,
        },
        from: set.from.map(|from| from.0),
    };
    commit(store, verb).await?;
    show::one(&find(store, &set.names).await?, json);
    Ok(())
}
