//! Publishing: where each event was put, and what readers will see once that is durable.

use std::sync::Arc;

use bytes::Bytes;
use posthaste_core::command::Reply;
use posthaste_core::machine::{Action, Answer, Batch, TopicChange};
use posthaste_core::topic::{Published, partition_of};

use super::Sequencer;
use crate::commits::Held;
use crate::edge::{Light, Prepared};
use crate::effect::{Effect, Raw};
use crate::topics::Change;

impl Sequencer {
    /// The answers of a commit that publishes: one for each of its commands, whatever parts it had.
    pub(super) fn answers_with_events(
        &self,
        prepared: &Prepared,
        actions: &[Action<'_>],
        answers: &[Answer],
        changes: &[TopicChange],
    ) -> Vec<Raw> {
        let mut batches = changes.iter().filter_map(|change| match change {
            TopicChange::Published(batch) => Some(batch),
            _ => None,
        });
        let (mut raws, mut events) = (Vec::new(), Vec::new());
        for (index, (answer, action)) in answers.iter().zip(actions).enumerate() {
            let command = prepared.command_of(index);
            let ends = index + 1 == answers.len() || prepared.command_of(index + 1) != command;
            match answer {
                Answer::Published { .. } | Answer::Seen(_) => {
                    self.published(answer, action, &mut batches, &mut events);
                    if ends {
                        let events = std::mem::take(&mut events);
                        raws.push(Raw::Reply(Reply::Published(events.into())));
                    }
                }
                _ if ends => raws.push(self.raw(answer)),
                _ => {}
            }
        }
        raws
    }

    /// Where the events of one action are. `batches` are those of the commit that were not answered
    /// for yet.
    fn published<'a>(
        &self,
        answer: &Answer,
        action: &Action<'_>,
        batches: &mut impl Iterator<Item = &'a Batch>,
        events: &mut Vec<Published>,
    ) {
        let topics = &self.shared.topics;
        match (answer, action) {
            (Answer::Seen(seen), _) => events.push(Published {
                partition: seen.partition,
                offset: seen.offset,
                position: topics.position(seen.topic, seen.position),
                existing: true,
            }),
            (Answer::Published { .. }, Action::Publish { hashes, .. }) => {
                let Some(batch) = batches.next() else { return };
                let partitions = u16::try_from(batch.firsts.len()).unwrap_or(u16::MAX);
                let mut offsets = batch.firsts.to_vec();
                let zero = topics.position(batch.topic, 0);
                for (hash, position) in hashes.iter().zip(batch.position..) {
                    let partition = partition_of(hash, partitions);
                    let next = offsets.get_mut(usize::from(partition));
                    let offset = next.map_or(0, |next| std::mem::replace(next, *next + 1));
                    events.push(Published {
                        partition,
                        offset,
                        position: zero.at(position),
                        existing: false,
                    });
                }
            }
            _ => {}
        }
    }

    /// Has readers see what was published, once it is durable.
    pub(super) fn show(
        &mut self,
        held: &mut Held<'_>,
        changes: Vec<TopicChange>,
        prepared: &Prepared,
        answers: &[Answer],
    ) {
        // Where nothing else keeps the records, the readers' index does.
        let in_memory = held.journal.is_none();
        let mut records =
            prepared
                .commands
                .iter()
                .zip(answers)
                .filter_map(|(light, answer)| match (light, answer) {
                    (Light::Publish { events, .. }, Answer::Published { .. }) => Some(*events),
                    _ => None,
                });
        let changes = changes.into_iter().map(|what| {
            let record = match what {
                TopicChange::Published(_) if in_memory => records.next(),
                _ => None,
            };
            let record = record.map(|span| {
                let record = span.of(&prepared.records);
                // A slice would hold on to everything that came with it.
                if record.len() * 2 < prepared.records.len() {
                    Bytes::copy_from_slice(&record)
                } else {
                    record
                }
            });
            Change { what, record }
        });
        let changes = changes.collect();
        let topics = Arc::clone(&self.shared.topics);
        let now = self.shared.clock.now().wall;
        self.let_out(held, Effect::Shown(topics, changes, now));
    }
}
