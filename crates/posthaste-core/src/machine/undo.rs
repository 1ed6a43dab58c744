//! Taking back a commit that is refused half-way.
//!
//! What each change replaced is put back, newest first, so that every list finds its neighbours as
//! they were. A commit of a single action checks before it changes, and writes nothing down.

use std::sync::Arc;

use crate::machine::fact::{KeyDigest, Place, QueueConfig, UniqueClaim};
use crate::machine::groups::GroupUndo;
use crate::machine::rows::{NONE, Row};
use crate::machine::settles::SettleBefore;
use crate::machine::state::{Held, Machine};
use crate::machine::topics::SavedTopic;
use crate::time::{MonoMs, WallMs};
use crate::topic::TopicConfig;
use crate::view::Totals;

/// How one change is taken back.
#[derive(Debug)]
pub(super) enum Undo {
    Row {
        slot: u32,
        old: Row,
    },
    Lease {
        slot: u32,
        old: Option<Held>,
    },
    Extended {
        slot: u32,
        end: MonoMs,
    },
    Deadline {
        slot: u32,
        old: Option<WallMs>,
    },
    Unreadable {
        slot: u32,
        old: Option<WallMs>,
    },
    Claimed {
        slot: u32,
    },
    Unclaimed {
        slot: u32,
        claim: UniqueClaim,
    },
    Totals {
        queue: u32,
        old: Totals,
    },
    Config {
        queue: u32,
        old: QueueConfig,
    },
    QueueMade,
    KeyTaken {
        before: Option<u32>,
    },
    AnswerCopied {
        digest: KeyDigest,
        from: Place,
        to: Place,
    },
    Settled(SettleBefore),
    TopicSet {
        topic: u32,
        old: Option<TopicConfig>,
    },
    TopicDeleted {
        topic: u32,
        is: Box<SavedTopic>,
    },
    Published {
        topic: u32,
        next: u64,
        last_at: WallMs,
        offsets: Arc<[u64]>,
    },
    EventSeen {
        before: Option<u32>,
    },
    Group {
        group: u32,
        step: GroupUndo,
    },
}

/// Where a commit began.
#[derive(Clone, Copy, Debug)]
pub(super) struct Begun {
    last_token: u64,
    last_order: u64,
    last_topic: u32,
    last_group: u32,
    places: usize,
    ready: usize,
    topic_changes: usize,
}

impl Machine {
    pub(super) fn begin(&mut self, recording: bool) -> Begun {
        self.recording = recording;
        self.recorded = NONE;
        Begun {
            last_token: self.last_token,
            last_order: self.last_order,
            last_topic: self.topics.last_number,
            last_group: self.groups.saved.last_number,
            places: self.places.len(),
            topic_changes: self.topic_changes.len(),
            ready: self.ready.len(),
        }
    }

    /// The commit stands.
    pub(super) fn keep(&mut self) {
        self.recording = false;
        self.undo.clear();
        self.rest();
    }

    /// What nobody uses any more may be given away.
    pub(super) fn rest(&mut self) {
        self.kinds.rest();
        self.workers.rest();
        self.profiles.rest();
        self.lane_ids.rest();
    }

    /// The commit never was.
    pub(super) fn take_back(&mut self, begun: &Begun) {
        self.recording = false;
        let mut undo = std::mem::take(&mut self.undo);
        while let Some(step) = undo.pop() {
            self.step_back(step);
        }
        self.undo = undo;
        self.samples.clear();
        self.last_lane = NONE;
        self.last_token = begun.last_token;
        self.last_order = begun.last_order;
        self.topics.last_number = begun.last_topic;
        self.groups.saved.last_number = begun.last_group;
        self.places.truncate(begun.places);
        self.topic_changes.truncate(begun.topic_changes);
        for queue in self.ready.drain(begun.ready..) {
            if let Some(queue) = self.queues.get_mut(queue as usize) {
                queue.marked = false;
            }
        }
        self.rest();
    }

    fn step_back(&mut self, step: Undo) {
        match step {
            Undo::Row { slot, old } => self.exchange(slot, old, Some((old.prev, old.next))),
            Undo::Lease { slot, old } => self.set_lease(slot, old),
            Undo::Extended { slot, end } => self.extend(slot, end),
            Undo::Deadline { slot, old } => drop(self.deadline_of.set(slot, old)),
            Undo::Unreadable { slot, old } => drop(self.unreadable_since.set(slot, old)),
            Undo::Claimed { slot } => drop(self.claims.leave(&mut self.rows, slot)),
            Undo::Unclaimed { slot, claim } => self.claims.take(&mut self.rows, slot, &claim),
            Undo::Totals { queue, old } => self.queues[queue as usize].totals = old,
            Undo::Config { queue, old } => self.queues[queue as usize].config = old,
            Undo::QueueMade => {
                if let Some(queue) = self.queues.pop() {
                    self.queue_ids.remove(&queue.name);
                }
            }
            Undo::KeyTaken { before } => self.keys.untake(before),
            Undo::AnswerCopied { digest, from, to } => {
                self.keys.copied(&digest.key, to, from);
            }
            Undo::Settled(before) => self.settles.undo(&before),
            Undo::Group { group, step } => self.undo_group(group, step),
            topic @ (Undo::TopicSet { .. }
            | Undo::TopicDeleted { .. }
            | Undo::Published { .. }
            | Undo::EventSeen { .. }) => self.undo_topic(topic),
        }
    }

    pub(super) fn record(&mut self, step: Undo) {
        if self.recording {
            self.undo.push(step);
        }
    }
}
