//! The rules of consumer groups, of settling events, and of asking for them.

use super::{backoff, delay, invalid, too_large};
use crate::duration::print_ms;
use crate::error::Result;
use crate::group::{EventAsk, EventOutcome, GroupSettings};
use crate::limits;

pub(super) fn settings(settings: &GroupSettings) -> Result<()> {
    let counts = [
        ("in_flight", settings.in_flight, limits::IN_FLIGHT_MAX),
        (
            "max_attempts",
            settings.max_attempts.map(u32::from),
            u32::from(limits::ATTEMPTS_MAX),
        ),
        ("parked_max", settings.parked_max, limits::PARKED_MAX),
    ];
    for (word, count, most) in counts {
        if let Some(count) = count
            && !(1..=most).contains(&count)
        {
            return Err(invalid(
                format!("{word} of the group is {count}"),
                format!("give 1 to {most}"),
            ));
        }
    }
    settings.backoff.as_ref().map_or(Ok(()), backoff)
}

pub(super) fn ends(ends: &[(u64, EventOutcome)]) -> Result<()> {
    if ends.is_empty() {
        return Err(invalid(
            "there is no event to settle".into(),
            "give at least one".into(),
        ));
    }
    count(ends.len())?;
    for (_, outcome) in ends {
        if let EventOutcome::Retry {
            delay_ms: Some(ms), ..
        } = outcome
        {
            delay("delay", *ms)?;
        }
    }
    Ok(())
}

/// Whether so many events may be settled by one commit.
pub(super) fn count(ends: usize) -> Result<()> {
    if ends <= limits::SETTLED_EVENTS_MAX {
        return Ok(());
    }
    Err(too_large(
        format!("the commit settles {ends} events"),
        format!(
            "split it into commits of at most {}",
            limits::SETTLED_EVENTS_MAX
        ),
    ))
}

/// Roughly what settling costs on disk, in bytes.
pub(super) fn size(ends: &[(u64, EventOutcome)]) -> usize {
    let text = |text: &str| text.len().min(limits::RESULT_BYTES_MAX);
    let end = |(_, outcome): &(u64, EventOutcome)| match outcome {
        EventOutcome::Retry { error, .. }
        | EventOutcome::Park { error }
        | EventOutcome::Dead { error } => text(error),
        EventOutcome::Done | EventOutcome::Skip { .. } | EventOutcome::Release => 0,
    };
    ends.iter().map(|of| 32 + end(of)).sum()
}

/// Whether an ask for events keeps the rules. A wait that is too long is no error: it is cut.
///
/// # Errors
/// [`Invalid`](crate::ErrorKind::Invalid), naming the field and its value.
pub fn ask(ask: &EventAsk) -> Result<()> {
    if !(1..=limits::LEASE_EVENTS_MAX).contains(&ask.max) {
        return Err(invalid(
            format!("the ask is for {} events", ask.max),
            format!("ask for 1 to {}", limits::LEASE_EVENTS_MAX),
        ));
    }
    if !(limits::LEASE_MS_MIN..=limits::LEASE_MS_MAX).contains(&ask.lease_ms) {
        return Err(invalid(
            format!("the lease is {}", print_ms(ask.lease_ms.into())),
            format!(
                "give {} to {}",
                print_ms(limits::LEASE_MS_MIN.into()),
                print_ms(limits::LEASE_MS_MAX.into())
            ),
        ));
    }
    Ok(())
}
