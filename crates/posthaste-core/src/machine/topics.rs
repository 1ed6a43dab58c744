//! Topics: who may publish where, and which place an event gets. What an event says is kept
//! elsewhere; here it is a hash and a place in the order.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::machine::action::{Answer, Refusal};
use crate::machine::commit::Course;
use crate::machine::fact::{Fact, Hashes, Place};
use crate::machine::seen::Seen;
use crate::machine::state::Machine;
use crate::machine::undo::Undo;
use crate::time::WallMs;
use crate::topic::{TopicConfig, TopicSettings, partition_of};

/// Everything that outlives the process of one topic, but for its events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SavedTopic {
    /// Its name.
    pub name: Arc<str>,
    /// Its settings.
    pub config: TopicConfig,
    /// When it was made.
    pub created_at: WallMs,
    /// When the last event was published. Publishing never goes back in time.
    pub last_at: WallMs,
    /// How many events were published: the position of the next.
    pub next: u64,
    /// The next offset of each partition.
    pub offsets: Arc<[u64]>,
}

/// Every topic.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SavedTopics {
    /// By number.
    pub by_number: BTreeMap<u32, SavedTopic>,
    /// The number of the topic that was made last: none is given twice.
    pub last_number: u32,
}

/// Events that were published together: one record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// The topic's number.
    pub topic: u32,
    /// The position of the first.
    pub position: u64,
    /// How many.
    pub count: u32,
    /// Where the record is.
    pub place: Place,
    /// When they were published.
    pub at: WallMs,
    /// The next offset of each partition, before the first of them.
    pub firsts: Arc<[u64]>,
    /// The next offset of each partition, behind the last of them.
    pub nexts: Arc<[u64]>,
}

impl Batch {
    /// The position behind the last.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.position + u64::from(self.count)
    }
}

/// What became of topics, for whoever keeps the events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TopicChange {
    /// A topic was made, or has other settings.
    Set {
        /// Its number.
        topic: u32,
        /// What it is now.
        is: SavedTopic,
    },
    /// Events were published.
    Published(Batch),
    /// A topic is forgotten.
    Deleted {
        /// Its number.
        topic: u32,
    },
}

impl SavedTopics {
    /// What a batch made of them whose hashes can't be read any more, so that its fact does not say.
    pub fn pass(&mut self, batch: &Batch) {
        if let Some(is) = self.by_number.get_mut(&batch.topic) {
            is.next = batch.end();
            is.last_at = batch.at;
            is.offsets = Arc::clone(&batch.nexts);
        }
    }

    /// What `fact` makes of them; what changed is told to `each`. Facts come in order.
    pub fn apply(&mut self, fact: &Fact<'_>, mut each: impl FnMut(TopicChange)) {
        match *fact {
            Fact::TopicSet {
                topic,
                name,
                config,
                at,
            } => {
                let is = self.by_number.entry(topic).or_insert_with(|| SavedTopic {
                    name: name.into(),
                    config,
                    created_at: at,
                    last_at: at,
                    next: 0,
                    offsets: vec![0; usize::from(config.partitions)].into(),
                });
                is.config = config;
                self.last_number = self.last_number.max(topic);
                each(TopicChange::Set {
                    topic,
                    is: is.clone(),
                });
            }
            Fact::TopicDeleted { topic } if self.by_number.remove(&topic).is_some() => {
                each(TopicChange::Deleted { topic });
            }
            Fact::Published {
                topic,
                place,
                at,
                position,
                hashes,
            } => {
                let Some(is) = self.by_number.get_mut(&topic) else {
                    return;
                };
                let mut nexts = is.offsets.to_vec();
                for hash in hashes.iter() {
                    let partition = partition_of(hash, is.config.partitions);
                    if let Some(offset) = nexts.get_mut(usize::from(partition)) {
                        *offset += 1;
                    }
                }
                let nexts: Arc<[u64]> = nexts.into();
                let firsts = std::mem::replace(&mut is.offsets, Arc::clone(&nexts));
                let count = hashes.count();
                is.next = position + u64::from(count);
                is.last_at = at;
                each(TopicChange::Published(Batch {
                    topic,
                    position,
                    count,
                    place,
                    at,
                    firsts,
                    nexts,
                }));
            }
            _ => {}
        }
    }
}

impl Machine {
    /// A topic and its number.
    #[must_use]
    pub fn topic(&self, name: &str) -> Option<(u32, &SavedTopic)> {
        let number = *self.topic_ids.get(name)?;
        Some((number, self.topics.by_number.get(&number)?))
    }

    /// Every topic.
    #[must_use]
    pub fn topics(&self) -> &SavedTopics {
        &self.topics
    }

    /// What became of topics since the last call, in order.
    pub fn drain_topics(&mut self, into: &mut Vec<TopicChange>) {
        into.append(&mut self.topic_changes);
    }

    pub(super) fn publish<'a>(
        &mut self,
        name: &'a str,
        place: Place,
        hashes: Hashes<'a>,
        seen: Option<[u8; 12]>,
        course: &mut Course<'_, 'a>,
    ) -> Result<Answer, Refusal> {
        let now = course.now();
        let known = self.topic_ids.get(name).copied();
        if let Some((digest, topic)) = seen.zip(known)
            && let Some(seen) = self.events.lookup(&digest, now)
            && seen.topic == topic
        {
            return Ok(Answer::Seen(seen));
        }
        let topic = match known {
            Some(topic) => topic,
            None if !self.bounds.create_topics => return Err(Refusal::NoSuchTopic),
            None => self.make_topic(name, TopicConfig::default(), course)?,
        };
        let Some(is) = self.topics.by_number.get(&topic) else {
            return Err(Refusal::NoSuchTopic);
        };
        let position = is.next;
        let fact = Fact::Published {
            topic,
            place,
            at: now.max(is.last_at),
            position,
            hashes,
        };
        let first = hashes.iter().next().unwrap_or_default();
        let partition = partition_of(first, is.config.partitions);
        let offset = is.offsets.get(usize::from(partition)).copied();
        let seen = seen.map(|digest| Seen {
            digest,
            topic,
            partition,
            offset: offset.unwrap_or_default(),
            position,
        });
        self.put(fact, course);
        if let Some(seen) = seen {
            let at = self.events.instant(now);
            self.put(Fact::EventSeen { seen, at }, course);
        }
        Ok(Answer::Published {
            topic,
            position,
            count: hashes.count(),
        })
    }

    fn make_topic<'a>(
        &mut self,
        name: &'a str,
        config: TopicConfig,
        course: &mut Course<'_, 'a>,
    ) -> Result<u32, Refusal> {
        if self.topics.by_number.len() >= self.bounds.topics {
            return Err(Refusal::TopicsFull);
        }
        let next = self.topics.last_number.checked_add(1);
        let topic = next.ok_or(Refusal::TopicsFull)?;
        let fact = Fact::TopicSet {
            topic,
            name,
            config,
            at: course.now(),
        };
        self.put(fact, course);
        Ok(topic)
    }

    pub(super) fn set_topic<'a>(
        &mut self,
        name: &'a str,
        settings: &TopicSettings,
        course: &mut Course<'_, 'a>,
    ) -> Result<Answer, Refusal> {
        let Some((topic, is)) = self.topic(name) else {
            let config = settings.over(TopicConfig::default());
            self.make_topic(name, config, course)?;
            return Ok(Answer::Configured);
        };
        let (config, created_at) = (settings.over(is.config), is.created_at);
        if config.partitions != is.config.partitions {
            return Err(Refusal::PartitionsFixed {
                partitions: is.config.partitions,
            });
        }
        if config != is.config {
            let fact = Fact::TopicSet {
                topic,
                name,
                config,
                at: created_at,
            };
            self.put(fact, course);
        }
        Ok(Answer::Configured)
    }

    pub(super) fn delete_topic(
        &mut self,
        name: &str,
        course: &mut Course<'_, '_>,
    ) -> Result<Answer, Refusal> {
        let (topic, _) = self.topic(name).ok_or(Refusal::NoSuchTopic)?;
        self.put(Fact::TopicDeleted { topic }, course);
        Ok(Answer::Deleted)
    }

    /// Makes a fact about topics so.
    pub(super) fn evolve_topics(&mut self, fact: &Fact<'_>) {
        match *fact {
            Fact::TopicSet { topic, name, .. } => {
                let old = self.topics.by_number.get(&topic).map(|is| is.config);
                self.record(Undo::TopicSet { topic, old });
                if old.is_none() {
                    self.topic_ids.insert(name.into(), topic);
                }
            }
            Fact::TopicDeleted { topic } => {
                if let Some(is) = self.topics.by_number.get(&topic) {
                    self.topic_ids.remove(&is.name);
                    let is = Box::new(is.clone());
                    self.record(Undo::TopicDeleted { topic, is });
                }
            }
            Fact::Published { topic, .. } if self.recording => {
                if let Some(is) = self.topics.by_number.get(&topic) {
                    let (next, last_at) = (is.next, is.last_at);
                    let offsets = Arc::clone(&is.offsets);
                    self.record(Undo::Published {
                        topic,
                        next,
                        last_at,
                        offsets,
                    });
                }
            }
            _ => {}
        }
        let changes = &mut self.topic_changes;
        self.topics.apply(fact, |change| changes.push(change));
    }

    pub(super) fn evolve_seen(&mut self, seen: Seen, at: WallMs) {
        let before = self.events.take(seen, at);
        self.record(Undo::EventSeen { before });
    }

    /// Puts back what a topic was.
    pub(super) fn undo_topic(&mut self, step: Undo) {
        match step {
            Undo::TopicSet { topic, old } => match old {
                Some(config) => {
                    if let Some(is) = self.topics.by_number.get_mut(&topic) {
                        is.config = config;
                    }
                }
                None => {
                    if let Some(is) = self.topics.by_number.remove(&topic) {
                        self.topic_ids.remove(&is.name);
                    }
                }
            },
            Undo::TopicDeleted { topic, is } => {
                self.topic_ids.insert(Arc::clone(&is.name), topic);
                self.topics.by_number.insert(topic, *is);
            }
            Undo::Published {
                topic,
                next,
                last_at,
                offsets,
            } => {
                if let Some(is) = self.topics.by_number.get_mut(&topic) {
                    (is.next, is.last_at, is.offsets) = (next, last_at, offsets);
                }
                self.unpublished(topic, next);
            }
            Undo::EventSeen { before } => self.events.untake(before),
            _ => {}
        }
    }
}
