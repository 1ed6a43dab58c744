//! What the numbers of a step mean.

use posthaste_core::command::QueueSettings;
use posthaste_core::ids::{JobId, Token};
use posthaste_core::job::{OnConflict, Priority, RetryRule, Start, StateSet};
use posthaste_core::machine::{
    Action, Ending, Hashes, KeyDigest, KeyLookup, Place, Slot, Summary, UniqueClaim,
};
use posthaste_core::time::WallMs;
use posthaste_core::topic::TopicSettings;

use super::{Step, World};

const QUEUES: [&str; 3] = ["mail", "bills", "rare"];
const KINDS: [&str; 3] = ["send", "print", "odd"];

const fn settings(
    paused: Option<bool>,
    concurrency: Option<u32>,
    strict: Option<bool>,
    priority_step_ms: Option<u64>,
) -> QueueSettings {
    QueueSettings {
        paused,
        concurrency,
        strict,
        priority_step_ms,
    }
}

const SETTINGS: [QueueSettings; 6] = [
    settings(Some(true), None, None, None),
    settings(Some(false), Some(0), None, None),
    settings(Some(false), None, None, None),
    settings(None, Some(1), None, None),
    settings(None, None, Some(true), Some(0)),
    settings(None, None, Some(false), Some(1_000)),
];

const TOPICS: [&str; 4] = ["orders", "mails", "bills", "odd"];

/// The hashes of up to three events.
const HASHES: [u8; 12] = [0, 0, 0, 0, 5, 0, 0, 0, 6, 0, 0, 128];

const fn topic(partitions: Option<u16>, kept_events: Option<u64>) -> TopicSettings {
    TopicSettings {
        partitions,
        kept_events,
        kept_ms: None,
        kept_bytes: None,
        compacted: None,
        tombstones_kept_ms: None,
        compression: None,
    }
}

const TOPIC_SETTINGS: [TopicSettings; 4] = [
    topic(None, None),
    topic(None, Some(7)),
    topic(Some(2), None),
    topic(Some(4), Some(0)),
];

impl World {
    pub(super) fn id(number: u8) -> JobId {
        JobId::from_bytes([number % 9; 16])
    }

    pub(super) fn key(a: u8, b: u8) -> KeyDigest {
        KeyDigest {
            key: [a % 5; 12],
            body: u32::from(b.is_multiple_of(5)),
        }
    }

    fn enqueue(&mut self, [_, a, b, c, d]: Step) -> Action<'static> {
        let now = self.moment.wall;
        let unique = (d % 3 == 0).then(|| UniqueClaim {
            digest: [b % 2; 16],
            until: (c % 2 == 0).then(|| now.plus(700)),
            states: StateSet::UNFINISHED,
        });
        let retry = RetryRule {
            max_attempts: 1 + u16::from(c % 4),
            ..RetryRule::default()
        };
        Action::Enqueue {
            job: Summary {
                id: Self::id(a),
                queue: QUEUES[usize::from(b % 16) / 7],
                kind: KINDS[usize::from(c % 16) / 7],
                priority: Priority::new(1 + b / 16 % 3 * 4).expect("1, 5 or 9"),
                retry,
                deadline: (d % 5 == 0).then(|| now.plus(u64::from(c % 8) * 300)),
                unique,
                keep_result: true,
            },
            place: self.fresh_place(),
            answer: self.fresh_place(),
            start: match d / 8 % 8 {
                0 => Start::After(900),
                1 => Start::At(WallMs(5)),
                2 => Start::At(now.plus(300)),
                _ => Start::Now,
            },
            key: (a % 4 == 0).then(|| Self::key(b, c)),
            on_conflict: if a % 2 == 0 {
                OnConflict::Existing
            } else {
                OnConflict::Reject
            },
        }
    }

    fn lease_known(&self, a: u8, b: u8) -> (JobId, Token) {
        let recent = self.granted.iter().rev().nth(usize::from(a % 6));
        let (id, token) = recent.copied().unwrap_or((Self::id(a), Token(99_999)));
        match b % 16 {
            0 => (Self::id(b), token),
            1 => (id, Token(token.0 + 40)),
            _ => (id, token),
        }
    }

    fn settle(&mut self, [_, a, b, c, _]: Step) -> Action<'static> {
        let (id, token) = self.lease_known(a, b);
        let ending = match c % 11 {
            0 => Ending::Completed,
            10 => Ending::Retry {
                delay_ms: Some(6_000),
            },
            1 => Ending::Retry { delay_ms: None },
            2 => Ending::Retry { delay_ms: Some(0) },
            3 => Ending::Snooze { delay_ms: 0 },
            4 => Ending::Snooze { delay_ms: 50 },
            5 => Ending::Cancel,
            6 => Ending::Dead,
            7 => Ending::Release {
                delay_ms: 0,
                undecodable: false,
            },
            _ => Ending::Release {
                delay_ms: 100,
                undecodable: true,
            },
        };
        Action::Settle {
            id,
            token,
            digest: 1 + u32::from(c % 11),
            ending,
            note: if c % 3 == 0 {
                Place::NONE
            } else {
                self.fresh_place()
            },
        }
    }

    fn edit(&mut self, [_, a, b, c, _]: Step) -> Action<'static> {
        Action::Edit {
            id: Self::id(a),
            place: if b % 2 == 0 {
                Place::NONE
            } else {
                self.fresh_place()
            },
            priority: (b % 3 == 0).then_some(Priority::new(1 + c % 9).expect("1 to 9")),
            run_at: (c % 2 == 0).then(|| self.moment.wall.plus(u64::from(c) * 20 % 600)),
        }
    }

    fn keep_house(&mut self, [_, a, b, c, _]: Step) -> Action<'static> {
        let slot = Slot(u32::from(a % 9));
        let view = self.machine.view(slot);
        let place = view.map_or(Place(3), |view| {
            if c % 3 == 0 && view.note.is_some() {
                view.note
            } else {
                view.place
            }
        });
        match b % 8 {
            0 => Action::Condemn { slot, place },
            1 | 2 => Action::Copied {
                slot,
                from: place,
                to: self.fresh_place(),
            },
            3 | 4 => {
                let digest = Self::key(a, c);
                let from = match self.machine.key(digest, self.moment.wall) {
                    KeyLookup::Taken(answer) => answer,
                    KeyLookup::Free | KeyLookup::Reused => Place(1),
                };
                let to = self.fresh_place();
                Action::AnswerCopied { digest, from, to }
            }
            _ => Action::Configure {
                queue: QUEUES[usize::from(a % 16) / 7],
                settings: &SETTINGS[usize::from(c % 6)],
            },
        }
    }

    /// A digest of topic, source and id, of one of a few events.
    pub(super) fn event(topic: &str, c: u8) -> [u8; 12] {
        let mut digest = [c % 3; 12];
        digest[0] = topic.as_bytes()[0];
        digest
    }

    fn about_topics(&mut self, [_, a, b, c, d]: Step) -> Action<'static> {
        let topic = TOPICS[usize::from(a % 16) / 5];
        match b % 8 {
            0 => Action::DeleteTopic { topic },
            1 => Action::SetTopic {
                topic,
                settings: &TOPIC_SETTINGS[usize::from(c % 4)],
            },
            2 => Action::Publish {
                topic,
                place: self.fresh_place(),
                hashes: Hashes(&HASHES[..usize::from(1 + c % 3) * 4]),
                seen: None,
            },
            _ => Action::Publish {
                topic,
                place: self.fresh_place(),
                hashes: Hashes(&HASHES[usize::from(c % 3) * 4..][..4]),
                seen: (d % 4 != 0).then(|| Self::event(topic, d)),
            },
        }
    }

    pub(super) fn action(&mut self, step: Step) -> Action<'static> {
        let [_, a, b, ..] = step;
        match step[0] % 14 {
            0..=3 => self.enqueue(step),
            4..=6 => self.settle(step),
            7 => {
                let (id, token) = self.lease_known(a, b);
                Action::Heartbeat { id, token }
            }
            8 if b % 2 == 0 => Action::Cancel(Self::id(a)),
            8 => Action::Retry(Self::id(a)),
            9 if b % 2 == 0 => Action::Delete(Self::id(a)),
            9 => Action::Retry(Self::id(a)),
            10 => self.edit(step),
            11 | 12 => self.about_topics(step),
            _ => self.keep_house(step),
        }
    }
}
