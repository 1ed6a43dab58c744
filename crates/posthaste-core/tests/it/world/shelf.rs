//! What a careful bystander writes down of topics: every event, one by one, and every id that may
//! come again.

use std::collections::BTreeMap;

use posthaste_core::limits;
use posthaste_core::machine::{Action, Answer, Batch, Fact, SavedTopics, Seen, TopicChange};
use posthaste_core::time::WallMs;

/// One topic, with the partition of each of its events.
struct Kept {
    name: String,
    partitions: u16,
    events: Vec<u32>,
    last_at: WallMs,
}

impl Kept {
    /// How many events each partition has.
    fn counted(&self) -> Vec<u64> {
        let of = |partition: u16| {
            let events = self.events.iter();
            events.filter(|of| **of == u32::from(partition)).count() as u64
        };
        (0..self.partitions).map(of).collect()
    }
}

/// See the module.
#[derive(Default)]
pub(super) struct Shelf {
    topics: BTreeMap<u32, Kept>,
    seen: Vec<(Seen, WallMs)>,
    /// Everything that was told of topics.
    pub(super) told: Vec<TopicChange>,
}

impl Shelf {
    /// Notes what became true, and what the machine told of it: one thing for each fact about
    /// topics, and in their order.
    pub(super) fn learn(&mut self, facts: &[Fact<'_>], told: Vec<TopicChange>) {
        let mut changes = told.iter();
        for fact in facts {
            match *fact {
                Fact::TopicSet { topic, .. } => {
                    let change = changes.next();
                    let Some(TopicChange::Set { topic: of, is }) = change else {
                        panic!("{change:?} for {fact:?}");
                    };
                    assert_eq!(*of, topic);
                    let kept = self.topics.entry(topic).or_insert_with(|| Kept {
                        name: is.name.to_string(),
                        partitions: is.config.partitions,
                        events: Vec::new(),
                        last_at: is.created_at,
                    });
                    assert_eq!(kept.name, &*is.name, "a number is given once");
                    assert_eq!(kept.partitions, is.config.partitions, "they are fixed");
                }
                Fact::TopicDeleted { topic } => {
                    assert_eq!(changes.next(), Some(&TopicChange::Deleted { topic }));
                    assert!(self.topics.remove(&topic).is_some());
                }
                Fact::Published { .. } => {
                    let batch = self.published(fact);
                    assert_eq!(changes.next(), Some(&TopicChange::Published(batch)));
                }
                _ => {}
            }
        }
        assert_eq!(changes.next(), None, "told, and no fact");
        self.told.extend(told);
    }

    /// The batch that has to be told: of dense positions, and dense offsets in each partition.
    fn published(&mut self, fact: &Fact<'_>) -> Batch {
        let Fact::Published {
            topic,
            place,
            at,
            position,
            hashes,
        } = *fact
        else {
            panic!("{fact:?} publishes nothing");
        };
        let kept = self.topics.get_mut(&topic).expect("it is there");
        assert!(at >= kept.last_at, "published before what was published");
        let (next, firsts) = (kept.events.len() as u64, kept.counted());
        assert_eq!(position, next, "positions are dense");
        kept.last_at = at;
        let partitions = u32::from(kept.partitions);
        let hashes = hashes.0.chunks(4);
        let hashes =
            hashes.map(|bytes| u32::from_le_bytes(bytes.try_into().expect("four bytes each")));
        let count = hashes.len();
        kept.events
            .extend(hashes.map(|hash| hash % 0x8000_0000 % partitions));
        Batch {
            topic,
            position,
            count: u32::try_from(count).expect("few"),
            place,
            at,
            firsts: firsts.into(),
            nexts: kept.counted().into(),
        }
    }

    /// Whether ids that came again were told so, and no others.
    pub(super) fn answered(
        &mut self,
        actions: &[Action<'_>],
        answers: &[Answer],
        facts: &[Fact<'_>],
        now: WallMs,
    ) {
        let mut fresh = facts.iter().filter_map(|fact| match fact {
            Fact::EventSeen { seen, at } => Some((*seen, *at)),
            _ => None,
        });
        for (action, answer) in actions.iter().zip(answers) {
            let Action::Publish {
                seen: Some(digest), ..
            } = action
            else {
                continue;
            };
            let remembered = |topic: u32| {
                let live = self.seen.iter().filter(|(seen, at)| {
                    (seen.digest, seen.topic) == (*digest, topic)
                        && at.plus(limits::EVENT_MEMORY_MS) > now
                });
                live.map(|(seen, _)| *seen).next_back()
            };
            match answer {
                Answer::Seen(seen) => assert_eq!(remembered(seen.topic), Some(*seen)),
                Answer::Published {
                    topic, position, ..
                } => {
                    assert_eq!(remembered(*topic), None, "published twice");
                    let (seen, at) = fresh.next().expect("it may come again");
                    assert_eq!((seen.digest, seen.topic), (*digest, *topic));
                    assert_eq!(seen.position, *position);
                    self.seen.push((seen, at));
                }
                _ => {}
            }
        }
        assert_eq!(fresh.next(), None, "remembered, and not published");
    }

    /// What is forgotten was over, or was too much.
    pub(super) fn forgot(&mut self, facts: &[Fact<'_>], most: u64, now: WallMs) {
        for fact in facts {
            let Fact::EventsForgotten { count } = *fact else {
                continue;
            };
            for _ in 0..count {
                let too_many = self.seen.len() as u64 > most;
                let (seen, at) = self.seen.remove(0);
                let over = at.plus(limits::EVENT_MEMORY_MS) <= now;
                assert!(over || too_many, "{seen:?} was forgotten early");
            }
        }
    }

    /// Whether the machine says the same.
    pub(super) fn check(&self, topics: &SavedTopics) {
        assert_eq!(self.topics.len(), topics.by_number.len());
        for (number, kept) in &self.topics {
            let is = &topics.by_number[number];
            assert_eq!(kept.name, &*is.name);
            assert_eq!(is.offsets.to_vec(), kept.counted(), "offsets are dense");
            assert_eq!(is.next, kept.events.len() as u64);
            assert_eq!(is.last_at, kept.last_at);
        }
    }
}
