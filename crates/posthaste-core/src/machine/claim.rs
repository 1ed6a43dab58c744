//! Choosing whose turn it is.
//!
//! A lane is in order by itself; a claim merges the heads of the lanes it may take. The virtual
//! start (ready time − priority × step) is computed here and stored nowhere, so that a changed step
//! touches no job. Lanes of kinds that the worker doesn't know, of paused queues and of full ones
//! are not looked into: a claim never walks past jobs that it can't have.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::ids::Token;
use crate::job::DeadReason;
use crate::job::JobState;
use crate::limits::TOKEN_MAX;
use crate::machine::action::{Claim, Grant, Moment};
use crate::machine::commit::Course;
use crate::machine::fact::{Cause, Fact, Slot, To};
use crate::machine::rows::NONE;
use crate::machine::state::{Machine, priority};

/// Most jobs past their deadline that one claim clears away.
const EXPIRED_PER_CLAIM: usize = 64;

/// Who goes first: by virtual start, then by order. In strict queues by priority, ready time, and
/// order.
type Rank = (i64, i64, u64);

struct Asked {
    queue: u32,
    weight: u64,
    /// Of each lane its head, the first in front.
    heads: BinaryHeap<Reverse<(Rank, u32)>>,
}

impl Machine {
    /// Hands out ready jobs under new leases, at most `claim.max`. Facts and grants are appended;
    /// a job that is found past its deadline is dead instead.
    pub fn lease<'a>(
        &mut self,
        claim: &Claim<'a>,
        moment: Moment,
        facts: &mut Vec<Fact<'a>>,
        grants: &mut Vec<Grant>,
    ) {
        let mut course = Course { moment, facts };
        let kinds = self.kinds_of(claim);
        if kinds.as_ref().is_some_and(Vec::is_empty) {
            return;
        }
        let mut asked = self.asked(claim, kinds.as_deref());
        let (mut left, mut expired) = (claim.max, 0);
        while left > 0 && self.ends.len() < self.bounds.leases && self.last_token < TOKEN_MAX {
            asked.retain(|of| !of.heads.is_empty() && self.has_room(of.queue));
            let Some(at) = pick(&asked, claim.strict, &mut course) else {
                break;
            };
            let Some(Reverse((_, lane))) = asked[at].heads.pop() else {
                break;
            };
            let slot = self.first_of(lane);
            if self.is_expired(slot, moment.wall) {
                let to = To::Dead(DeadReason::Expired);
                self.change(slot, Cause::Expired, to, &mut course);
                expired += 1;
                if expired == EXPIRED_PER_CLAIM {
                    // Who waits has not seen what lies behind them.
                    let queue = asked[at].queue;
                    self.mark(queue);
                    break;
                }
            } else {
                grants.push(self.grant(slot, claim, &mut course));
                left -= 1;
            }
            asked[at].heads.extend(self.head(lane));
        }
        self.trim(&mut course, expired + 2);
    }

    /// The numbers of the kinds asked for, sorted; `None` is every kind.
    fn kinds_of(&self, claim: &Claim<'_>) -> Option<Vec<u32>> {
        if claim.kinds.is_empty() {
            return None;
        }
        let known = claim.kinds.iter().filter_map(|kind| self.kinds.find(*kind));
        let mut kinds: Vec<u32> = known.collect();
        kinds.sort_unstable();
        Some(kinds)
    }

    fn asked(&self, claim: &Claim<'_>, kinds: Option<&[u32]>) -> Vec<Asked> {
        let mut asked: Vec<Asked> = Vec::new();
        for (name, weight) in claim.queues {
            let Some(queue) = self.queue_id(name) else {
                continue;
            };
            if !self.has_room(queue) || asked.iter().any(|other| other.queue == queue) {
                continue;
            }
            let lanes = self.queues[queue as usize].lanes.iter();
            let mine = lanes.filter(|lane| {
                let kind = self.lane_ids.get(**lane).kind;
                kinds.is_none_or(|kinds| kinds.binary_search(&kind).is_ok())
            });
            let heads: BinaryHeap<_> = mine.filter_map(|lane| self.head(*lane)).collect();
            asked.push(Asked {
                queue,
                weight: u64::from(*weight).max(1),
                heads,
            });
        }
        asked
    }

    /// Whether the queue hands out another job.
    fn has_room(&self, queue: u32) -> bool {
        let queue = &self.queues[queue as usize];
        let limit = u64::from(queue.config.concurrency);
        !queue.config.paused && (limit == 0 || queue.held[JobState::Running as usize] < limit)
    }

    fn head(&self, lane: u32) -> Option<Reverse<(Rank, u32)>> {
        let slot = self.first_of(lane);
        if slot == NONE {
            return None;
        }
        let (row, key) = (self.rows.get(slot), self.lane_ids.get(lane));
        let config = &self.queues[key.queue as usize].config;
        let ready = i64::try_from(row.at().0).unwrap_or(i64::MAX);
        let rank = i64::from(key.priority);
        let rank = if config.strict {
            (-rank, ready, row.order())
        } else {
            let step = i64::try_from(config.priority_step_ms).unwrap_or(i64::MAX);
            (
                ready.saturating_sub(step.saturating_mul(rank)),
                0,
                row.order(),
            )
        };
        Some(Reverse((rank, lane)))
    }

    fn grant<'a>(&mut self, slot: u32, claim: &Claim<'a>, course: &mut Course<'_, 'a>) -> Grant {
        let token = Token(self.last_token + 1);
        let fact = Fact::Leased {
            slot: Slot(slot),
            token,
            lease_ms: claim.lease_ms,
            local: claim.local,
            worker: claim.worker,
        };
        self.put(fact, course);
        let row = self.rows.get(slot);
        Grant {
            slot: Slot(slot),
            id: row.id,
            token,
            place: row.place(),
            attempt: row.life().attempt.saturating_add(1),
            priority: priority(self.lane_ids.get(row.lane).priority),
            deadline: self.deadline(slot, row),
        }
    }
}

/// Which queue's turn it is: the first in a strict claim, otherwise by weight and chance.
fn pick(asked: &[Asked], strict: bool, course: &mut Course<'_, '_>) -> Option<usize> {
    if strict || asked.len() < 2 {
        return (!asked.is_empty()).then_some(0);
    }
    let sum: u64 = asked.iter().map(|of| of.weight).sum();
    let mut drawn = course.draw() % sum;
    asked.iter().position(|of| {
        let here = drawn < of.weight;
        drawn = drawn.saturating_sub(of.weight);
        here
    })
}
