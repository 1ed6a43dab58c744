//! What was asked of a store and what it answered, so that a store which is opened again can be
//! held against it: what was acknowledged is there, what was never asked is not, and what is not
//! known is there whole or not at all.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use posthaste_core::command::CommitKey;
use posthaste_core::view::{JobFilter, JobView};
use posthaste_core::{Command, Commit, JobId, JobState, NewJob, Outcome, Payload, Store, Token};
use posthaste_log::Log;
use posthaste_testkit::block_on;

/// One commit, all of it or nothing.
#[derive(Clone, Debug)]
pub(crate) struct Op {
    /// Jobs that it adds.
    pub(crate) adds: Vec<u32>,
    /// Jobs that it completes, and under which token.
    pub(crate) completes: Vec<(u32, Token)>,
    /// Jobs that it deletes.
    pub(crate) deletes: Vec<u32>,
}

/// What became of a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Acknowledged,
    Refused,
    Unknown,
    /// Acknowledged after the image was taken: one commit is asked for after the other was
    /// answered, so that what the image holds of these is the first few of them.
    Later,
}

/// Every commit that was asked for, in order, and what is known of it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ledger {
    pub(crate) ops: Vec<(Op, Fate)>,
    next_job: u32,
}

pub(crate) fn id(number: u32) -> JobId {
    let [a, b, c, d] = number.to_be_bytes();
    JobId::new(1_700_000_000_000, [0, 0, 0, 0, 0, 0, a, b, c, d])
}

pub(crate) fn number(id: JobId) -> u32 {
    let [.., a, b, c, d] = id.to_bytes();
    u32::from_be_bytes([a, b, c, d])
}

/// Some bytes that only this job has; every eighth job is large.
pub(crate) fn payload(number: u32) -> Payload {
    let len = if number % 8 == 7 {
        3_000 + number % 3_000
    } else {
        8 + number % 400
    };
    let bytes: Vec<u8> = (0..len)
        .map(|at| {
            number
                .wrapping_mul(0x9e37_79b9)
                .wrapping_add(at * 7)
                .to_le_bytes()[at as usize % 3]
        })
        .collect();
    Payload::bytes("application/octet-stream", bytes)
}

pub(crate) fn result(number: u32) -> Payload {
    Payload::bytes("text/plain", format!("the result of {number}"))
}

impl Op {
    fn commit(&self, key: usize) -> Commit {
        let adds = self.adds.iter().map(|number| {
            let (queue, kind) = ("mail".parse(), "welcome".parse());
            let queue = queue.expect("a queue");
            let job = NewJob::new(id(*number), queue, kind.expect("a kind"), payload(*number));
            Command::Enqueue(Box::new(job))
        });
        let completes = self
            .completes
            .iter()
            .map(|(number, token)| Command::Settle {
                id: id(*number),
                token: *token,
                outcome: Outcome::Completed {
                    result: Some(result(*number)),
                },
            });
        let deletes = self
            .deletes
            .iter()
            .map(|number| Command::Delete(id(*number)));
        let mut commit = Commit::of(completes.chain(adds).chain(deletes).collect());
        // Only some have a key: they are repeated later, and must have one effect.
        commit.key = key.is_multiple_of(3).then(|| CommitKey {
            key: Arc::from(format!("op {key}")),
            digest: [7; 16],
        });
        commit
    }
}

impl Op {
    /// Whether its first effect is there, where these jobs were there before it.
    fn shows(&self, found: &BTreeMap<u32, JobView>, before: &BTreeMap<u32, bool>) -> bool {
        let added = self.adds.iter().any(|number| found.contains_key(number));
        let is_completed = |job: &JobView| job.state == JobState::Completed;
        let completed = self
            .completes
            .iter()
            .any(|(number, _)| found.get(number).is_some_and(is_completed));
        // That it is gone says something only of a job that was there.
        let deleted = self
            .deletes
            .iter()
            .any(|number| before.contains_key(number) && !found.contains_key(number));
        added || completed || deleted
    }

    fn apply(&self, jobs: &mut BTreeMap<u32, bool>) -> Result<(), String> {
        jobs.extend(self.adds.iter().map(|number| (*number, false)));
        for (number, _) in &self.completes {
            if let Some(completed) = jobs.get_mut(number) {
                *completed = true;
            }
        }
        for number in &self.deletes {
            if jobs.remove(number).is_none() {
                return Err(format!("job {number} was deleted and never there"));
            }
        }
        Ok(())
    }
}

/// What must be there, and what became of every commit then.
#[derive(Default)]
struct Resolved {
    jobs: BTreeMap<u32, bool>,
    fates: Vec<Fate>,
}

impl Ledger {
    /// New jobs are numbered behind this from now on.
    pub(crate) fn number_from(&mut self, number: u32) {
        self.next_job = number;
    }

    /// Numbers for `count` new jobs.
    pub(crate) fn new_jobs(&mut self, count: u64) -> Vec<u32> {
        (0..count)
            .map(|_| {
                self.next_job += 1;
                self.next_job
            })
            .collect()
    }

    /// Notes that `op` is asked for, from now on unknown. Answers its number, and the commit.
    pub(crate) fn ask(&mut self, op: Op) -> (usize, Commit) {
        let number = self.ops.len();
        let commit = op.commit(number);
        self.ops.push((op, Fate::Unknown));
        (number, commit)
    }

    pub(crate) fn answered(&mut self, number: usize, fate: Fate) {
        self.ops[number].1 = fate;
    }

    /// The same ledger, with what was asked and answered up to `later` as well.
    pub(crate) fn asked_until(mut self, later: &Self) -> Self {
        let known = self.ops.iter().map(|(_, fate)| *fate);
        let known = known.chain(std::iter::repeat(Fate::Unknown));
        let ops = later.ops.iter().zip(known).map(|((op, later), known)| {
            let fate = match (known, later) {
                (Fate::Unknown, Fate::Acknowledged) => Fate::Later,
                (Fate::Unknown, later) => *later,
                (known, _) => known,
            };
            (op.clone(), fate)
        });
        self.ops = ops.collect();
        self.next_job = later.next_job;
        self
    }

    /// Holds an opened store against the ledger, and settles what was unknown by what is there.
    ///
    /// # Errors
    /// What is wrong, in words.
    pub(crate) fn check(&mut self, store: &Log) -> Result<(), String> {
        let found = everything(store)?;
        let expected = self.resolve(&found)?;
        for (number, state) in &expected {
            let Some(job) = found.get(number) else {
                return Err(format!("job {number} is lost: it should be {state:?}"));
            };
            check_job(*number, *state, job)?;
        }
        if let Some(number) = found.keys().find(|number| !expected.contains_key(number)) {
            return Err(format!("job {number} is there and should not be"));
        }
        self.check_keys(store)?;
        balance(store, found.len() as u64)
    }

    /// Decides what is not known by what is there, and answers what must be there then: `true` for
    /// a job that was completed.
    fn resolve(&mut self, found: &BTreeMap<u32, JobView>) -> Result<BTreeMap<u32, bool>, String> {
        let later = |(_, fate): &&(Op, Fate)| *fate == Fate::Later;
        let later = self.ops.iter().filter(later).count();
        let matches = |resolved: &Result<Resolved, String>| {
            resolved.as_ref().is_ok_and(|resolved| {
                resolved.jobs.len() == found.len()
                    && found.iter().all(|(number, job)| {
                        resolved.jobs.get(number) == Some(&(job.state == JobState::Completed))
                    })
            })
        };
        // As few of the later ones as explain what is there: the others may have had no effect that
        // shows.
        let resolved = (0..=later)
            .map(|first| self.resolved(first, first == later, found))
            .find(matches)
            .unwrap_or_else(|| self.resolved(later, true, found))?;
        for ((_, fate), decided) in self.ops.iter_mut().zip(resolved.fates) {
            *fate = decided;
        }
        Ok(resolved.jobs)
    }

    /// What must be there, if so many of the later commits are, and the unknown ones by their first
    /// effect, or not at all.
    fn resolved(
        &self,
        mut later: usize,
        unknown: bool,
        found: &BTreeMap<u32, JobView>,
    ) -> Result<Resolved, String> {
        let mut resolved = Resolved::default();
        for (op, fate) in &self.ops {
            let happened = match fate {
                Fate::Acknowledged => true,
                Fate::Refused => false,
                Fate::Later if later > 0 => {
                    later -= 1;
                    true
                }
                Fate::Later => false,
                Fate::Unknown => unknown && op.shows(found, &resolved.jobs),
            };
            resolved.fates.push(if happened {
                Fate::Acknowledged
            } else {
                Fate::Refused
            });
            if happened {
                op.apply(&mut resolved.jobs)?;
            }
        }
        Ok(resolved)
    }

    /// Repeats a few commits that had a key: each must answer as it did, and change nothing.
    fn check_keys(&self, store: &Log) -> Result<(), String> {
        let keyed = self.ops.iter().enumerate().rev();
        let keyed = keyed.filter(|(number, (op, fate))| {
            number % 3 == 0 && *fate == Fate::Acknowledged && op.completes.is_empty()
        });
        for (number, (op, _)) in keyed.take(3) {
            let answer = block_on(store.commit(vec![op.commit(number)]))
                .map_err(|error| format!("a repeated commit has no answer: {error}"))?;
            match &answer[..] {
                [Ok(done)] if done.repeated => {}
                other => return Err(format!("commit {number} was applied again: {other:?}")),
            }
        }
        Ok(())
    }

    /// Jobs that are there and not completed, by what is known now.
    pub(crate) fn unfinished(&self) -> BTreeSet<u32> {
        let mut left = BTreeSet::new();
        for (op, fate) in &self.ops {
            if *fate == Fate::Acknowledged {
                left.extend(op.adds.iter().copied());
                for (number, _) in &op.completes {
                    left.remove(number);
                }
                for number in &op.deletes {
                    left.remove(number);
                }
            }
        }
        left
    }
}

fn check_job(number: u32, completed: bool, job: &JobView) -> Result<(), String> {
    if job.payload != payload(number) {
        return Err(format!("job {number} has another payload"));
    }
    if completed != (job.state == JobState::Completed) {
        return Err(format!(
            "job {number} is {}, completed: {completed}",
            job.state
        ));
    }
    if completed && job.result != Some(result(number)) {
        return Err(format!("job {number} has another result: {:?}", job.result));
    }
    if !completed && job.state.is_final() {
        return Err(format!("job {number} is {} ({:?})", job.state, job.reason));
    }
    Ok(())
}

/// Every job of a store, by number.
pub(crate) fn everything(store: &Log) -> Result<BTreeMap<u32, JobView>, String> {
    let mut found = BTreeMap::new();
    let mut cursor = None;
    loop {
        let page = block_on(store.jobs(JobFilter::default(), cursor, 1_000))
            .map_err(|error| format!("no page of jobs: {error}"))?;
        for job in page.jobs {
            let number = number(job.id);
            if let Some(told) = job.error.as_ref().filter(|it| it.contains("can't be read"))
                && !job.state.is_final()
            {
                return Err(format!("job {number}: {told}"));
            }
            if found.insert(number, job).is_some() {
                return Err(format!("job {number} is there twice"));
            }
        }
        cursor = page.next;
        if cursor.is_none() {
            return Ok(found);
        }
    }
}

fn balance(store: &Log, held: u64) -> Result<(), String> {
    let queues = block_on(store.queues()).map_err(|error| format!("no queues: {error}"))?;
    let mut all = 0;
    for queue in &queues {
        let here: u64 = queue.held.iter().sum();
        all += here;
        if queue.totals.enqueued != here + queue.totals.deleted {
            return Err(format!("the totals do not balance: {queue:?}"));
        }
    }
    if all == held {
        Ok(())
    } else {
        Err(format!("the queues count {all} jobs, and {held} are there"))
    }
}
