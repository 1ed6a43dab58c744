//! Names, lanes and profiles: what many jobs share, looked up or made.

use std::sync::Arc;

use crate::machine::fact::QueueConfig;
use crate::machine::pace::Pace;
use crate::machine::rows::{List, NONE};
use crate::machine::state::{Lane, LaneKey, Machine, Profile, Queue};
use crate::machine::undo::Undo;
use crate::view::Totals;

impl Machine {
    pub(super) fn queue_id(&self, name: &str) -> Option<u32> {
        self.queue_ids.get(name).copied()
    }

    /// The queue of this name; a new one where there is none.
    pub(super) fn queue_made(&mut self, name: &str) -> u32 {
        if let Some(id) = self.queue_id(name) {
            return id;
        }
        let name: Arc<str> = Arc::from(name);
        let id = u32::try_from(self.queues.len()).expect("limits keep queues below 2^32");
        self.queue_ids.insert(name.clone(), id);
        let queue = Queue {
            name,
            config: QueueConfig::default(),
            totals: Totals::default(),
            held: [0; 7],
            lanes: Vec::new(),
            marked: false,
            pace: Pace::default(),
        };
        self.queues.push(queue);
        if self.recording {
            self.undo.push(Undo::QueueMade);
        }
        id
    }

    /// Whether the names of a lane are those, by the lane that was looked up last.
    fn is_last(&self, queue: &str, kind: &str, priority: u8) -> bool {
        if self.last_lane == NONE {
            return false;
        }
        let key = self.lane_ids.get(self.last_lane);
        key.priority == priority
            && *self.queues[key.queue as usize].name == *queue
            && **self.kinds.get(key.kind) == *kind
    }

    /// The lane of these; a new one where there is none.
    pub(super) fn lane_made(&mut self, queue: &str, kind: &str, priority: u8) -> u32 {
        if self.is_last(queue, kind, priority) {
            return self.last_lane;
        }
        let queue = self.queue_made(queue);
        let kind = match self.kinds.find(kind) {
            Some(id) => id,
            None => self.kinds.make(Arc::from(kind)),
        };
        self.last_lane = self.lane_of(LaneKey {
            queue,
            kind,
            priority,
        });
        self.last_lane
    }

    pub(super) fn lane_of(&mut self, key: LaneKey) -> u32 {
        let id = match self.lane_ids.find(&key) {
            Some(id) => id,
            None => self.lane_ids.make(key),
        };
        if id as usize == self.lanes.len() {
            self.lanes.push(Lane {
                list: List::EMPTY,
                returned: 0,
                pos: 0,
            });
        }
        id
    }

    /// Whether a job may be put in that lane without too many of them.
    pub(super) fn lane_fits(&self, queue: &str, kind: &str, priority: u8) -> bool {
        self.lane_ids.held() < self.bounds.lanes || {
            let known = |queue, kind| {
                let key = LaneKey {
                    queue,
                    kind,
                    priority,
                };
                let id = self.lane_ids.find(&key)?;
                Some(self.lane_ids.is_held(id))
            };
            let found = self.queue_id(queue).zip(self.kinds.find(kind));
            found.and_then(|(q, k)| known(q, k)).unwrap_or(false)
        }
    }

    pub(super) fn profile_made(&mut self, profile: Profile) -> u32 {
        let last = self.last_profile;
        if last == NONE || *self.profiles.get(last) != profile {
            self.last_profile = match self.profiles.find(&profile) {
                Some(id) => id,
                None => self.profiles.make(profile),
            };
        }
        self.last_profile
    }
}
