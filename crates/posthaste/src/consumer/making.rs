//! What a consumer needs before it runs: handlers that go together, numbers that can be, and its group.

use std::sync::Arc;
use std::time::Duration;

use posthaste_core::duration::print_ms;
use posthaste_core::group::GroupSettings;
use posthaste_core::topic::ReadFrom;
use posthaste_core::{Error, ErrorKind, Result, Text, limits};

use super::handler::AnyEventHandler;
use super::service::{Entry, Handlers, Otherwise};
use crate::context::States;
use crate::event::{Group, TopicSettings};
use crate::units::millis_u32;

/// A type of events, and its handler.
pub(super) type Given = (Result<Text>, Entry);

/// Where a group begins that is made by the consumer.
pub(super) enum Start {
    At(Option<ReadFrom>),
    Group(String),
}

/// Makes the group, and the topic, where they are missing.
pub(super) async fn make_missing(
    group: &Group,
    start: Start,
    settings: GroupSettings,
    existing: bool,
) -> Result<()> {
    match group.look().await {
        Err(error) if error.kind() == ErrorKind::NotFound && !existing => {}
        looked => return looked.map(drop),
    }
    let from = match start {
        Start::At(from) => from,
        Start::Group(other) => {
            let other = Group::new(group.hub(), group.names()?.0.as_str(), &other);
            Some(ReadFrom::Position(other.look().await?.position))
        }
    };
    match group.make(from, settings).await {
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        made => return made,
    }
    let (topic, _) = group.names()?;
    let topic = group.hub().topic(topic.as_str());
    topic.set(TopicSettings::default()).await?;
    group.make(from, settings).await
}

pub(super) fn check_timeout(timeout: Duration) -> Result<u32> {
    let timeout_ms = millis_u32(timeout);
    if (1..=limits::ATTEMPT_TIMEOUT_MS_MAX).contains(&timeout_ms) {
        return Ok(timeout_ms);
    }
    let most = print_ms(limits::ATTEMPT_TIMEOUT_MS_MAX.into());
    Err(Error::new(
        ErrorKind::Invalid,
        format!("an attempt can't take {}", print_ms(timeout_ms.into())),
    )
    .next(format!("give 1ms to {most}")))
}

pub(super) fn collect(
    given: Vec<Given>,
    any: Vec<Arc<dyn AnyEventHandler>>,
    otherwise: Otherwise,
    states: &States,
) -> Result<Handlers> {
    if given.is_empty() && any.is_empty() {
        return Err(
            Error::new(ErrorKind::Invalid, "the consumer has no handlers")
                .next("add one with .on(|event: MyEvent| async move { … })"),
        );
    }
    let twice = |named: &str| {
        Error::new(ErrorKind::Invalid, format!("{named} has two handlers")).next("keep one of them")
    };
    let mut handlers = Handlers {
        otherwise,
        ..Handlers::default()
    };
    for (of, entry) in given {
        entry.handler.check(states)?;
        let of = of?;
        if handlers.by_type.insert(of.clone(), entry).is_some() {
            return Err(twice(&format!("the type {}", of.as_str())));
        }
    }
    for handler in any {
        handler.check(states)?;
        if handlers.any.replace(handler).is_some() {
            return Err(twice("every type"));
        }
    }
    Ok(handlers)
}
