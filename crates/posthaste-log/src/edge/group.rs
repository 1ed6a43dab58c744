//! What is done to consumer groups, as the sequencer takes it.

use posthaste_core::command::Command;
use posthaste_core::group::EventOutcome;
use posthaste_core::limits;
use posthaste_core::machine::{EventEnding, Place};

use super::light::OnGroup;
use super::{Light, append};
use crate::format::bytes::floor_char;
use crate::format::events;

/// A command about a group; `None` for any other. `start` is the position that it names,
/// which is the end of its topic where it names none.
pub(super) fn light(command: &Command, start: Option<u64>, records: &mut Vec<u8>) -> Option<Light> {
    Some(match command {
        Command::SetGroup {
            topic,
            group,
            settings,
            ..
        } => Light::Group(topic.clone(), group.clone(), OnGroup::Set(*settings, start)),
        Command::DeleteGroup { topic, group } => {
            Light::Group(topic.clone(), group.clone(), OnGroup::Delete)
        }
        Command::SettleEvents {
            topic,
            group,
            token,
            ends,
        } => {
            let names = events::names_of(topic.as_str(), group.as_str());
            let (mut settled, mut notes) = (Vec::with_capacity(ends.len()), Vec::new());
            for (position, outcome) in ends {
                let (ending, why) = ending(outcome);
                if let Some(why) = why {
                    let why = floor_char(why, limits::RESULT_BYTES_MAX);
                    let note = append(records, |into| {
                        events::write_why(into, names, *position, why)
                    });
                    notes.push((settled.len(), note));
                }
                settled.push((*position, ending, Place::NONE));
            }
            let on = OnGroup::Settle {
                token: *token,
                ends: settled,
                notes,
            };
            Light::Group(topic.clone(), group.clone(), on)
        }
        Command::Beat {
            topic,
            group,
            token,
        } => Light::Group(topic.clone(), group.clone(), OnGroup::Beat(*token)),
        Command::Leave {
            topic,
            group,
            token,
        } => Light::Group(topic.clone(), group.clone(), OnGroup::Leave(*token)),
        Command::ResetGroup {
            topic,
            group,
            force,
            ..
        } => {
            let on = OnGroup::Reset(start, *force);
            Light::Group(topic.clone(), group.clone(), on)
        }
        Command::Unpark {
            topic,
            group,
            which,
            how,
        } => Light::Group(topic.clone(), group.clone(), OnGroup::Unpark(*which, *how)),
        Command::Redrive {
            topic,
            group,
            which,
        } => Light::Group(topic.clone(), group.clone(), OnGroup::Redrive(*which)),
        _ => return None,
    })
}

/// How an event ended, and what is noted of it.
fn ending(outcome: &EventOutcome) -> (EventEnding, Option<&str>) {
    match outcome {
        EventOutcome::Done => (EventEnding::Done, None),
        EventOutcome::Retry { error, delay_ms } => {
            let delay_ms = *delay_ms;
            (EventEnding::Retry { delay_ms }, Some(error))
        }
        EventOutcome::Park { error } => (EventEnding::Park, Some(error)),
        EventOutcome::Dead { error } => (EventEnding::Dead, Some(error)),
        EventOutcome::Skip { .. } => (EventEnding::Skip, None),
        EventOutcome::Release => (EventEnding::Release, None),
    }
}
