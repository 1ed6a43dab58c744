//! Read-only answers for people. A listing examines a bounded number of rows.

use crate::ids::QueueName;
use crate::job::JobState;
use crate::limits::{PAGE_EXAMINED_MAX, PAGE_MAX};
use crate::machine::fact::Slot;
use crate::machine::rows::{NONE, Row};
use crate::machine::state::{LaneKey, Machine};
use crate::time::{MonoMs, WallMs};
use crate::view::{JobFilter, QueueView};

/// In a cursor: it walks a list of ended jobs, not the rows.
const ENDED: u64 = 1 << 32;

/// A filter in the machine's own numbers.
struct Wanted {
    state: Option<JobState>,
    queue: Option<u32>,
    kind: Option<u32>,
}

impl Wanted {
    fn fits(&self, row: &Row, lane: &LaneKey) -> bool {
        self.state.is_none_or(|state| row.is(state))
            && self.queue.is_none_or(|queue| queue == lane.queue)
            && self.kind.is_none_or(|kind| kind == lane.kind)
    }
}

impl Machine {
    /// Appends one page of jobs, going on from `cursor`, and tells where to go on; `None` at the
    /// end. Tags are the caller's to look at. Ended jobs come newest first where the filter names
    /// their state; where the job at the cursor is gone meanwhile, the walk starts anew.
    pub fn page(
        &self,
        filter: &JobFilter,
        cursor: Option<u64>,
        max: u32,
        out: &mut Vec<Slot>,
    ) -> Option<u64> {
        let wanted = Wanted {
            state: filter.state,
            queue: match &filter.queue {
                Some(name) => Some(self.queue_id(name.as_str())?),
                None => None,
            },
            kind: match &filter.kind {
                Some(name) => Some(self.kinds.find(name.as_str())?),
                None => None,
            },
        };
        let max = max.clamp(1, PAGE_MAX) as usize;
        match filter.state {
            Some(state) if state.is_final() => self.page_of_ended(&wanted, state, cursor, max, out),
            _ => self.page_of_rows(&wanted, cursor, max, out),
        }
    }

    /// Where a walk by this filter goes on that was broken off before `slot`.
    #[must_use]
    pub fn cursor_before(filter: &JobFilter, slot: Slot) -> u64 {
        let ended = filter.state.is_some_and(JobState::is_final);
        u64::from(slot.0) | if ended { ENDED } else { 0 }
    }

    fn page_of_rows(
        &self,
        wanted: &Wanted,
        cursor: Option<u64>,
        max: usize,
        out: &mut Vec<Slot>,
    ) -> Option<u64> {
        let first = u32::try_from(cursor.unwrap_or(0)).ok()?;
        let full = out.len() + max;
        let end = self.rows.len().min(first.saturating_add(PAGE_EXAMINED_MAX));
        for slot in first..end {
            if out.len() == full {
                return Some(u64::from(slot));
            }
            if let Some(row) = self.rows.job(slot)
                && wanted.fits(row, self.lane_ids.get(row.lane))
            {
                out.push(Slot(slot));
            }
        }
        (end < self.rows.len()).then_some(u64::from(end))
    }

    fn page_of_ended(
        &self,
        wanted: &Wanted,
        state: JobState,
        cursor: Option<u64>,
        max: usize,
        out: &mut Vec<Slot>,
    ) -> Option<u64> {
        let dead = state == JobState::Dead;
        let ended = if dead { &self.dead } else { &self.done };
        let still_there = |slot: &u32| {
            let state = self.rows.job(*slot).and_then(Row::state);
            state.is_some_and(|state| state.is_final() && dead == (state == JobState::Dead))
        };
        let from = cursor.and_then(|cursor| u32::try_from(cursor & (ENDED - 1)).ok());
        let mut slot = from.filter(still_there).unwrap_or(ended.newest());
        let full = out.len() + max;
        for _ in 0..PAGE_EXAMINED_MAX {
            if slot == NONE || out.len() == full {
                break;
            }
            let row = self.rows.get(slot);
            if wanted.fits(row, self.lane_ids.get(row.lane)) {
                out.push(Slot(slot));
            }
            slot = ended.before(&self.rows, slot);
        }
        (slot != NONE).then_some(ENDED | u64::from(slot))
    }

    /// Every queue, by name, and how fast it goes by now.
    #[must_use]
    pub fn queues(&self, mono: MonoMs) -> Vec<QueueView> {
        let by_name = self.queue_ids.values();
        let views = by_name.filter_map(|id| self.queue_view(*id, mono));
        views.collect()
    }

    fn queue_view(&self, id: u32, mono: MonoMs) -> Option<QueueView> {
        let queue = &self.queues[id as usize];
        let ready = |lane: &u32| self.rows.get(self.first_of(*lane)).at();
        let oldest: Option<WallMs> = queue.lanes.iter().map(ready).min();
        Some(QueueView {
            name: QueueName::new(&queue.name).ok()?,
            paused: queue.config.paused,
            concurrency: queue.config.concurrency,
            strict: queue.config.strict,
            priority_step_ms: queue.config.priority_step_ms,
            held: queue.held,
            totals: queue.totals,
            oldest_ready: oldest,
            pace: self.pace(id as usize, mono),
        })
    }
}
