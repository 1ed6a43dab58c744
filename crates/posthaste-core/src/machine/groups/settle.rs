//! Ending the handling of events.
//!
//! What counts is the membership: who is no member any longer settles nothing. Of one key, events
//! are settled in order, so that none is finished before an earlier one that would come again.

use crate::group::{KeptReason, OnExhausted};
use crate::ids::Token;
use crate::machine::action::{Answer, Refusal};
use crate::machine::commit::Course;
use crate::machine::fact::{Fact, Place};
use crate::machine::groups::saved::{Finish, Unfinished};
use crate::machine::state::Machine;

/// How the handling of an event ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventEnding {
    /// Done.
    Done,
    /// Failed; instead of the backoff, this delay.
    Retry {
        /// In milliseconds.
        delay_ms: Option<u64>,
    },
    /// To be parked, and the later events of its key behind it.
    Park,
    /// To the dead letters.
    Dead,
    /// To be passed over.
    Skip,
    /// Given back.
    Release,
}

impl Machine {
    pub(super) fn settle_events(
        &mut self,
        (topic, group): (&str, &str),
        token: Token,
        ends: &[(u64, EventEnding, Place)],
        course: &mut Course<'_, '_>,
    ) -> Result<Answer, Refusal> {
        let group = self.group_of(topic, group)?;
        if self.groups.member(group, token).is_none() {
            return Err(Refusal::MemberGone);
        }
        let (mut rest, mut repeated) = (ends, 0);
        while let Some(((position, ending, note), others)) = rest.split_first() {
            if *ending == EventEnding::Done && self.is_finished(group, *position) {
                (rest, repeated) = (others, repeated + 1);
                continue;
            }
            let event = self.in_hands(group, token, *position)?;
            if *ending == EventEnding::Release {
                self.hold(group, *position, 0, course);
                self.take_run(group, event.hash, *position, course);
                rest = others;
                continue;
            }
            self.in_order(group, *position, &event, *position)?;
            rest = match ending {
                EventEnding::Done => self.done(group, token, rest, course),
                EventEnding::Skip => {
                    self.finished(group, *position, *position + 1, Finish::Skipped, course);
                    others
                }
                ending => {
                    self.failed(group, *position, &event, *ending, *note, course);
                    others
                }
            };
        }
        Ok(Answer::EventsSettled {
            repeated: repeated > 0 && repeated == ends.len(),
        })
    }

    /// Whether settling these would say that they had been settled so before.
    #[must_use]
    pub fn are_events_settled(
        &self,
        (topic, group): (&str, &str),
        token: Token,
        ends: &[(u64, EventEnding, Place)],
    ) -> bool {
        let group = self.group_of(topic, group).ok();
        let group = group.filter(|group| self.groups.member(*group, token).is_some());
        let done = |(position, ending, _): &(u64, EventEnding, Place)| {
            *ending == EventEnding::Done
                && group.is_some_and(|group| self.is_finished(group, *position))
        };
        !ends.is_empty() && ends.iter().all(done)
    }

    /// Whether a group is through with an event, and has not given it up.
    fn is_finished(&self, group: u32, position: u64) -> bool {
        let is = self.groups.saved.by_number.get(&group);
        is.is_some_and(|is| {
            position < is.head
                && !is.unfinished.contains_key(&position)
                && !is.parked.contains_key(&position)
                && !is.dead.contains_key(&position)
        })
    }

    fn in_hands(&self, group: u32, token: Token, position: u64) -> Result<Unfinished, Refusal> {
        let event = self.groups.event(group, position);
        let held = event.filter(|event| event.holder() == Some(token));
        held.ok_or(Refusal::NotLeased { position })
    }

    /// An event is settled before those behind it; `from` on, all are settled together.
    fn in_order(
        &self,
        group: u32,
        position: u64,
        event: &Unfinished,
        from: u64,
    ) -> Result<(), Refusal> {
        let lines = self.groups.lines.get(&group);
        match lines.and_then(|lines| lines.first_leased(event.hash)) {
            Some(first) if first < from => Err(Refusal::OutOfOrder { position, first }),
            _ => Ok(()),
        }
    }

    /// Finishes the first of these, and as many of the next as lie side by side with it.
    fn done<'e>(
        &mut self,
        group: u32,
        token: Token,
        ends: &'e [(u64, EventEnding, Place)],
        course: &mut Course<'_, '_>,
    ) -> &'e [(u64, EventEnding, Place)] {
        let Some(((from, ..), mut rest)) = ends.split_first() else {
            return ends;
        };
        let mut last = *from;
        let is = self.groups.saved.by_number.get(&group).into_iter();
        let first = last + 1;
        let mut next = is.flat_map(|is| is.unfinished.range(first..));
        while let Some(((position, EventEnding::Done, _), others)) = rest.split_first() {
            let fits = next.next().is_some_and(|(at, event)| {
                at == position
                    && event.holder() == Some(token)
                    && self.in_order(group, *position, event, *from).is_ok()
            });
            if !fits {
                break;
            }
            (last, rest) = (*position, others);
        }
        self.finished(group, *from, last + 1, Finish::Done, course);
        rest
    }

    pub(super) fn finished(
        &mut self,
        group: u32,
        from: u64,
        to: u64,
        how: Finish,
        course: &mut Course<'_, '_>,
    ) {
        let fact = Fact::EventsFinished {
            group,
            from,
            to,
            how,
        };
        self.put(fact, course);
    }

    fn failed(
        &mut self,
        group: u32,
        position: u64,
        event: &Unfinished,
        ending: EventEnding,
        note: Place,
        course: &mut Course<'_, '_>,
    ) {
        let is = self.groups.saved.by_number.get(&group);
        let Some(config) = is.map(|is| is.config) else {
            return;
        };
        let attempts = event.attempts.saturating_add(1);
        match ending {
            EventEnding::Retry { delay_ms } if attempts < config.max_attempts => {
                let delay =
                    delay_ms.unwrap_or_else(|| config.backoff.delay_ms(attempts, course.draw()));
                let fact = Fact::EventRetried {
                    group,
                    position,
                    attempts,
                    until: course.now().plus(delay),
                };
                self.put(fact, course);
                self.take_run(group, event.hash, position, course);
            }
            EventEnding::Retry { .. } => {
                let dead = config.on_exhausted == OnExhausted::Dead;
                let why = KeptReason::Exhausted;
                self.end_event(group, position, dead, why, attempts, note, course);
            }
            ending => {
                let dead = ending == EventEnding::Dead;
                let why = KeptReason::Failed;
                self.end_event(group, position, dead, why, attempts, note, course);
            }
        }
    }

    /// An event is given up on. Where it is parked, so are those of its key that its member has;
    /// those that wait follow with time.
    #[expect(clippy::too_many_arguments, reason = "it is what the fact says")]
    pub(super) fn end_event(
        &mut self,
        group: u32,
        position: u64,
        dead: bool,
        why: KeptReason,
        attempts: u16,
        note: Place,
        course: &mut Course<'_, '_>,
    ) {
        let Some(event) = self.groups.event(group, position) else {
            return;
        };
        let fact = Fact::EventEnding {
            group,
            position,
            hash: event.hash,
            dead,
            why,
            attempts,
            note,
        };
        self.put(fact, course);
        if dead {
            return;
        }
        for position in self.groups.run_after(group, event.hash, position) {
            let Some(event) = self.groups.event(group, position) else {
                continue;
            };
            let fact = Fact::EventEnding {
                group,
                position,
                hash: event.hash,
                dead: false,
                why: KeptReason::Behind,
                attempts: event.attempts,
                note: Place::NONE,
            };
            self.put(fact, course);
        }
    }
}
