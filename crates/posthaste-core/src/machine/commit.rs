//! The commit: every action in turn, all of them or none.
//!
//! A later action sees what an earlier one did. An action checks everything before it changes
//! anything, so that a refused commit of one action needs no undoing.

use crate::command::QueueSettings;
use crate::job::JobState;
use crate::machine::action::{Action, Answer, KeyLookup, Moment, Refusal, Refused};
use crate::machine::fact::{Cause, Fact, KeyDigest, Place, QueueConfig, Slot, To};
use crate::machine::rows::NONE;
use crate::machine::state::Machine;
use crate::time::WallMs;

/// Facts under way: where they go, when they become true, and by what chance.
pub(super) struct Course<'f, 'a> {
    pub(super) moment: Moment,
    pub(super) facts: &'f mut Vec<Fact<'a>>,
}

impl<'a> Course<'_, 'a> {
    /// A number drawn from the moment's entropy, another each time.
    pub(super) fn draw(&mut self) -> u64 {
        self.moment.entropy = self.moment.entropy.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.moment.entropy;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }

    pub(super) fn now(&self) -> WallMs {
        self.moment.wall
    }
}

/// Whether an action belongs to the settle before it in its commit. It was applied with it, so
/// where that settle is repeated it is not done again: its digest covers both.
fn follows_a_settle(action: &Action<'_>) -> bool {
    !matches!(
        action,
        Action::Settle { .. }
            | Action::Heartbeat { .. }
            | Action::SettleEvents { .. }
            | Action::MemberBeat { .. }
    )
}

/// Whether an action changes something before it has checked everything.
fn needs_undo(action: &Action<'_>) -> bool {
    matches!(action, Action::SettleEvents { ends, .. } if ends.len() > 1)
}

impl Machine {
    /// Applies every action in order, or none. Facts and answers are appended, one answer for each
    /// action.
    ///
    /// # Errors
    /// [`Refused`]: why, and which action. The machine is then as it was, and so are both buffers.
    pub fn commit<'a>(
        &mut self,
        actions: &[Action<'a>],
        moment: Moment,
        facts: &mut Vec<Fact<'a>>,
        answers: &mut Vec<Answer>,
    ) -> Result<(), Refused> {
        let (facts_before, answers_before) = (facts.len(), answers.len());
        let begun = self.begin(actions.len() > 1 || actions.iter().any(needs_undo));
        let mut course = Course { moment, facts };
        let mut done_before = false;
        for (index, action) in actions.iter().enumerate() {
            if done_before && follows_a_settle(action) {
                answers.push(Answer::Repeated);
                continue;
            }
            match self.act(action, &mut course) {
                Ok(answer) => {
                    done_before = matches!(
                        answer,
                        Answer::Settled { repeated: true, .. }
                            | Answer::EventsSettled { repeated: true }
                    );
                    answers.push(answer);
                }
                Err(refusal) => {
                    self.take_back(&begun);
                    facts.truncate(facts_before);
                    answers.truncate(answers_before);
                    return Err(Refused { index, refusal });
                }
            }
        }
        self.keep();
        self.keep_samples(moment.mono);
        self.trim(&mut course, 2 * actions.len() + 2);
        Ok(())
    }

    fn act<'a>(
        &mut self,
        action: &Action<'a>,
        course: &mut Course<'_, 'a>,
    ) -> Result<Answer, Refusal> {
        match *action {
            Action::Enqueue { .. } => self.enqueue(action, course),
            Action::Settle {
                id,
                token,
                digest,
                ending,
                note,
            } => self.settle(id, token, digest, ending, note, course),
            Action::Heartbeat { id, token } => self.heartbeat(id, token, course),
            Action::Cancel(id) => self.cancel(id, course),
            Action::Retry(id) => self.retry(id, course),
            Action::Delete(id) => self.delete(id, course),
            Action::Edit {
                id,
                place,
                priority,
                run_at,
            } => self.edit(id, place, priority, run_at, course),
            Action::Configure { queue, settings } => self.configure(queue, settings, course),
            Action::Publish {
                topic,
                place,
                hashes,
                seen,
            } => self.publish(topic, place, hashes, seen, course),
            Action::SetTopic { topic, settings } => self.set_topic(topic, settings, course),
            Action::DeleteTopic { topic } => self.delete_topic(topic, course),
            Action::SetGroup { .. }
            | Action::DeleteGroup { .. }
            | Action::SettleEvents { .. }
            | Action::MemberBeat { .. }
            | Action::MemberLeave { .. }
            | Action::ResetGroup { .. }
            | Action::Unpark { .. }
            | Action::Redrive { .. }
            | Action::KeepEvent { .. }
            | Action::LoseEvent { .. }
            | Action::CopyKept { .. } => self.act_on_group(action, course),
            Action::Condemn { slot, place } => Ok(self.condemn(slot, place, course)),
            Action::Copied { slot, from, to } => Ok(self.copied(slot, from, to, course)),
            Action::AnswerCopied { digest, from, to } => {
                if self.key_answer(digest, course.now()) == Some(from) {
                    self.put(Fact::AnswerCopied { digest, from, to }, course);
                }
                Ok(Answer::Noted)
            }
        }
    }

    /// Makes a fact so, and hands it on.
    pub(super) fn put<'a>(&mut self, fact: Fact<'a>, course: &mut Course<'_, 'a>) {
        let mono = course.moment.mono;
        let served_ms = self.served_ms(&fact, mono);
        self.decides = true;
        self.evolve(&fact, mono);
        self.measure(&fact, served_ms, mono);
        course.facts.push(fact);
    }

    /// A job changes, now, without a note.
    pub(super) fn change(&mut self, slot: u32, cause: Cause, to: To, course: &mut Course<'_, '_>) {
        let fact = Fact::Changed {
            slot: Slot(slot),
            cause,
            to,
            at: course.now(),
            note: Place::NONE,
        };
        self.put(fact, course);
    }

    /// Forgets jobs that ended first, where more are kept than may be; at most `most`.
    pub(super) fn trim(&mut self, course: &mut Course<'_, '_>, most: usize) {
        for _ in 0..most {
            let oldest = if self.done.len() > self.bounds.done.most as usize {
                self.done.first(&self.rows)
            } else if self.dead.len() > self.bounds.dead.most as usize {
                self.dead.first(&self.rows)
            } else {
                NONE
            };
            if oldest == NONE {
                return;
            }
            self.put(Fact::Deleted { slot: Slot(oldest) }, course);
        }
    }

    /// What is known of an idempotency key.
    #[must_use]
    pub fn key(&self, digest: KeyDigest, now: WallMs) -> KeyLookup {
        match self.keys.lookup(&digest.key, now) {
            None => KeyLookup::Free,
            Some(key) if key.digest.body == digest.body => KeyLookup::Taken(key.answer),
            Some(_) => KeyLookup::Reused,
        }
    }

    fn key_answer(&self, digest: KeyDigest, now: WallMs) -> Option<Place> {
        Some(self.keys.lookup(&digest.key, now)?.answer)
    }

    /// Whether there is room for one more idempotency key. Ask before a commit whose own key is to
    /// be taken.
    #[must_use]
    pub fn has_room_for_key(&self) -> bool {
        self.keys.len() < self.bounds.keys
    }

    /// Takes the idempotency key of a whole commit, whose answer will be kept at `answer`.
    ///
    /// # Errors
    /// [`Refusal::KeysFull`], [`Refusal::KeyReused`] where it is taken already. Nothing changes
    /// then.
    pub fn take_key<'a>(
        &mut self,
        digest: KeyDigest,
        answer: Place,
        at: WallMs,
        facts: &mut Vec<Fact<'a>>,
    ) -> Result<(), Refusal> {
        if self.key(digest, at) != KeyLookup::Free {
            return Err(Refusal::KeyReused);
        }
        if !self.has_room_for_key() {
            return Err(Refusal::KeysFull);
        }
        let at = self.keys.instant(at);
        let fact = Fact::KeyTaken { digest, answer, at };
        self.evolve(&fact, crate::time::MonoMs(0));
        facts.push(fact);
        Ok(())
    }

    fn configure<'a>(
        &mut self,
        queue: &'a str,
        settings: &QueueSettings,
        course: &mut Course<'_, 'a>,
    ) -> Result<Answer, Refusal> {
        let known = self.queue_id(queue);
        let old = match known {
            Some(id) => self.queues[id as usize].config,
            None if self.queues.len() >= self.bounds.queues => {
                return Err(Refusal::NamesFull);
            }
            None => QueueConfig::default(),
        };
        let new = QueueConfig {
            paused: settings.paused.unwrap_or(old.paused),
            concurrency: settings.concurrency.unwrap_or(old.concurrency),
            strict: settings.strict.unwrap_or(old.strict),
            priority_step_ms: settings.priority_step_ms.unwrap_or(old.priority_step_ms),
        };
        if known.is_none() || new != old {
            let fact = Fact::QueueSet {
                queue,
                settings: new,
            };
            self.put(fact, course);
        }
        Ok(Answer::Configured)
    }

    fn condemn(&mut self, slot: Slot, place: Place, course: &mut Course<'_, '_>) -> Answer {
        let alive = self.rows.job(slot.0).is_some_and(|row| {
            row.place() == place && row.state().is_some_and(|state| !state.is_final())
        });
        if alive {
            let reason = crate::job::DeadReason::Corrupt;
            self.change(slot.0, Cause::Corrupt, To::Dead(reason), course);
        }
        Answer::Noted
    }

    fn copied(
        &mut self,
        slot: Slot,
        from: Place,
        to: Place,
        course: &mut Course<'_, '_>,
    ) -> Answer {
        let there = self
            .rows
            .job(slot.0)
            .is_some_and(|row| from.is_some() && (row.place() == from || row.note() == from));
        if there {
            self.put(Fact::Copied { slot, from, to }, course);
        }
        Answer::Noted
    }

    /// The job's state; final ones where it is gone are the caller's to know.
    pub(super) fn state_of(&self, slot: u32) -> JobState {
        self.rows
            .job(slot)
            .and_then(crate::machine::rows::Row::state)
            .unwrap_or(JobState::Completed)
    }
}
