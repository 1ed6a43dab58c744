//! Whether a store and the model say the same.

use std::fmt::Debug;
use std::thread;
use std::time::Instant;

use posthaste_core::command::{Command, Commit, Committed, Reply};
use posthaste_core::error::{Error, ErrorKind};
use posthaste_core::job::{JobState, Outcome};
use posthaste_core::view::{JobFilter, JobView, QueueView};

use super::{Life, Verdict};
use crate::conformance::PATIENCE;

pub(super) fn same<T: PartialEq + Debug>(what: &str, got: &T, want: &T) -> Verdict {
    if got == want {
        Ok(())
    } else {
        Err(format!("{what}:\n   store {got:?}\n   model {want:?}"))
    }
}

/// The two answers to a commit are the same, as far as the promises go.
pub(super) fn same_answer(
    commit: &Commit,
    got: &Result<Committed, Error>,
    want: &Result<Committed, Error>,
) -> Verdict {
    match (got, want) {
        (Ok(got), Ok(want)) => {
            same("repeated", &got.repeated, &want.repeated)?;
            let loosened = |it: &Committed| it.replies.iter().map(loosened).collect::<Vec<_>>();
            same("the replies", &loosened(got), &loosened(want))
        }
        (Err(got), Err(_)) if is_edit_of_nothing(commit, got) => Ok(()),
        (Err(got), Err(want)) => {
            let told = |it: &Error| (loosened_kind(it.kind()), it.command());
            same("the refusal", &told(got), &told(want))
        }
        _ => Err(format!("the answer:\n   store {got:?}\n   model {want:?}")),
    }
}

/// A payload is put into its job before anything is decided, so a job that isn't there may be told
/// of before another refusal.
fn is_edit_of_nothing(commit: &Commit, error: &Error) -> bool {
    let command = error.command().and_then(|index| commit.commands.get(index));
    let edits = matches!(command, Some(Command::Edit { edit, .. }) if edit.payload.is_some());
    edits && error.kind() == ErrorKind::NotFound
}

/// A job that was there already, and a settle that was applied already, may be told with the
/// state of then or of now.
fn loosened(reply: &Reply) -> Reply {
    let state = JobState::Completed;
    match reply.clone() {
        Reply::Enqueued {
            id, existing: true, ..
        } => Reply::Enqueued {
            id,
            state,
            existing: true,
        },
        Reply::Settled { repeated: true, .. } => Reply::Settled {
            state,
            repeated: true,
        },
        other => other,
    }
}

/// A lease that was lost and one that is not known are told apart where that can be known.
fn loosened_kind(kind: ErrorKind) -> ErrorKind {
    match kind {
        ErrorKind::Stale => ErrorKind::UnknownLease,
        other => other,
    }
}

/// What people are shown, without what the promises leave open: since when a running job was
/// ready.
fn shown(mut view: JobView) -> JobView {
    if view.state == JobState::Running {
        view.at = view.enqueued_at;
    }
    view
}

fn told(mut view: QueueView) -> QueueView {
    view.oldest_ready = None;
    view
}

impl Life<'_> {
    /// Every job, every queue and every topic looks the same in both, at once or soon: timers are the store's
    /// own business.
    pub(super) fn agree(&mut self) -> Verdict {
        let mut want: Vec<JobView> = self.model.views().into_iter().map(shown).collect();
        want.sort_by_key(|view| view.id);
        let queues: Vec<QueueView> = self.model.queue_views().into_iter().map(told).collect();
        let topics = self.model.topic_views();
        self.adopt_parked();
        let start = Instant::now();
        let mut verdict = self.same_groups();
        while verdict.is_err() && start.elapsed() < PATIENCE {
            thread::yield_now();
            verdict = self.same_groups();
        }
        verdict?;
        let mut verdict = Ok(());
        let Self { bench, places, .. } = self;
        bench.eventually(|| {
            let got = bench.list(&JobFilter::default(), 100);
            verdict = same_list("the job", got.into_iter().map(shown).collect(), &want);
            if verdict.is_ok() {
                let got = bench.queues().into_iter().map(told).collect();
                verdict = same_list("the queue", got, &queues);
            }
            if verdict.is_ok() {
                let got = places.our_topics(bench.topics(), &topics);
                verdict = same_list("the topic", got, &topics);
            }
            verdict.is_ok()
        });
        verdict
    }

    /// Takes over when the store means to try those again that failed in `commit`: the jitter is
    /// its choice, within bounds.
    pub(super) fn adopt(&mut self, commit: &Commit) -> Verdict {
        for command in &commit.commands {
            let Command::Settle { id, outcome, .. } = command else {
                continue;
            };
            let chosen = matches!(outcome, Outcome::Retry { delay_ms: None, .. });
            let ours = self.model.view(*id);
            let waits = ours.is_some_and(|view| view.state == JobState::Retryable);
            let fresh = self.model.failed_now(*id);
            let theirs = self.bench.find(*id);
            if let (true, true, true, Some(theirs)) = (chosen, waits, fresh, theirs)
                && let Some((from, to)) = self.model.backoff_window(*id)
            {
                if !(from..=to).contains(&theirs.at) {
                    return Err(format!("due {}, not {from} to {to}", theirs.at));
                }
                self.model.adopt_run_at(*id, theirs.at);
            }
        }
        Ok(())
    }
}

fn same_list<T: PartialEq + Debug>(what: &str, got: Vec<T>, want: &[T]) -> Verdict {
    for (got, want) in got.iter().zip(want) {
        same(what, got, want)?;
    }
    let count = |what: &str| format!("how many of {what}");
    if got.len() != want.len() {
        let extra = got.get(want.len()).or(want.get(got.len()));
        return Err(format!("the last of them: {extra:?}"));
    }
    same(&count(what), &got.len(), &want.len())
}
