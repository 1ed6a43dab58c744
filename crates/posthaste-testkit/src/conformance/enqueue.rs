//! Accepting jobs: one or many, all of them or none.

use std::sync::Arc;

use posthaste_core::command::{Command, Commit, Edit, QueueSettings, Reply};
use posthaste_core::error::ErrorKind;
use posthaste_core::ids::{JobId, Tag};
use posthaste_core::job::{JobState, NewJob, Payload, RetryRule, Start};
use posthaste_core::limits;

use super::Bench;
use super::words::{done, enqueue, queue, settle};
use crate::block_on;

/// A job is accepted as available, and shown as its enqueuer gave it.
pub fn one(bench: &Bench<'_>) {
    let job = bench.ranked(7);
    let reply = bench.one(enqueue(job.clone())).expect("accepted");
    let Reply::Enqueued {
        id,
        state: JobState::Available,
        existing: false,
    } = reply
    else {
        panic!("a new job was answered with {reply:?}");
    };
    let view = bench.view(id);
    assert_eq!(view.state, JobState::Available);
    assert_eq!((view.kind, view.queue), (job.kind, job.queue));
    assert_eq!((view.priority, view.retry), (job.priority, job.retry));
    assert_eq!((view.attempt, view.crashes), (0, 0));
    assert_eq!((view.reason, view.error, view.result), (None, None, None));
    assert_eq!(view.payload, job.payload);
    assert_eq!((view.enqueued_at, view.at), (bench.wall(), bench.wall()));
}

/// Jobs of one commit are all there, answered in order.
pub fn many_together(bench: &Bench<'_>) {
    let jobs: Vec<Command> = (1..=9).map(|rank| enqueue(bench.ranked(rank))).collect();
    let answer = bench.commit(jobs).expect("accepted");
    assert_eq!((answer.replies.len(), answer.repeated), (9, false));
    for (reply, rank) in answer.replies.iter().zip(1..) {
        let Reply::Enqueued { id, .. } = reply else {
            panic!("a new job was answered with {reply:?}");
        };
        assert_eq!(bench.view(*id).priority.get(), rank);
    }
    assert_eq!(bench.queue("mail").held[JobState::Available as usize], 9);
}

/// A refused command is named by its index, and what came before it is undone, a queue it would
/// have made included.
pub fn a_refusal_undoes_the_whole_commit(bench: &Bench<'_>) {
    bench.enqueue(bench.job());
    let settings = QueueSettings {
        paused: Some(true),
        ..QueueSettings::default()
    };
    let mut other = bench.job();
    other.queue = queue("other");
    let configure = Command::Configure {
        queue: queue("mail"),
        settings,
    };
    let nobody = Command::Cancel(bench.job().id);
    let commands = vec![enqueue(bench.job()), enqueue(other), configure, nobody];
    bench.check_refused(commands, 3, ErrorKind::NotFound);
    assert!(bench.lease().is_some(), "the queue is not paused");
}

/// Settling a job, undone with the rest of its commit, leaves it with its holder.
pub fn a_refusal_undoes_a_settle(bench: &Bench<'_>) {
    bench.enqueue(bench.job());
    let leased = bench.must_lease();
    let nobody = Command::Delete(bench.job().id);
    let commands = vec![settle(&leased, done()), enqueue(bench.job()), nobody];
    bench.check_refused(commands, 2, ErrorKind::NotFound);
    bench.settle_to(&leased, done(), JobState::Completed);
}

/// Commits that are sent together are independent of one another.
pub fn commits_are_independent(bench: &Bench<'_>) {
    let good = || Commit::one(enqueue(bench.job()));
    let bad = Commit::one(Command::Cancel(bench.job().id));
    let commits = vec![good(), bad, good()];
    let answers = block_on(bench.store().commit(commits)).expect("answered");
    let accepted: Vec<bool> = answers.iter().map(Result::is_ok).collect();
    assert_eq!(accepted, [true, false, true]);
    assert_eq!(bench.queue("mail").totals.enqueued, 2);
}

/// A later command of a commit sees what an earlier one did.
pub fn a_later_command_sees_an_earlier_one(bench: &Bench<'_>) {
    if !bench.capabilities().chosen_ids {
        return; // the id is not known before the answer
    }
    let job = bench.job();
    let id = job.id;
    let edit = Edit {
        payload: Some(Payload::json("\"edited\"")),
        ..Edit::default()
    };
    let commands = vec![
        enqueue(job),
        Command::Cancel(id),
        Command::Retry(id),
        Command::Edit { id, edit },
    ];
    let answer = bench.commit(commands).expect("accepted");
    assert_eq!(bench.view(id).payload, Payload::json("\"edited\""));
    let changed = |state| Reply::Changed { state };
    assert_eq!(answer.replies[1], changed(JobState::Cancelled));
    assert_eq!(answer.replies[2], changed(JobState::Available));
    bench.check_state(id, JobState::Available);
}

/// Whatever a job carries comes back with its lease, byte for byte.
pub fn everything_comes_back(bench: &Bench<'_>) {
    let metadata = |name: &str, value: &str| (Arc::from(name), Arc::from(value));
    let job = NewJob {
        payload: Payload::bytes("application/octet-stream", vec![0, 255, 10, 13, 0]),
        deadline: Some(bench.wall().plus(60_000)),
        retry: RetryRule {
            max_attempts: 3,
            timeout_ms: 1_234,
            ..RetryRule::default()
        },
        tags: vec![
            Tag::new("red").expect("a word"),
            Tag::new("b").expect("a word"),
        ],
        metadata: vec![
            metadata("traceparent", "00-ab-cd-01"),
            metadata("who", "zoë"),
        ],
        ..bench.ranked(2)
    };
    let id = bench.enqueue(job.clone());
    let view = bench.view(id);
    assert_eq!((&view.payload, &view.tags), (&job.payload, &job.tags));
    assert_eq!(view.metadata, job.metadata);
    let leased = bench.must_lease();
    assert_eq!((leased.id, leased.attempt), (id, 1));
    assert_eq!((&leased.kind, &leased.queue), (&job.kind, &job.queue));
    assert_eq!((&leased.payload, &leased.tags), (&job.payload, &job.tags));
    assert_eq!(
        (&leased.metadata, leased.priority),
        (&job.metadata, job.priority)
    );
    assert_eq!((leased.max_attempts, leased.timeout_ms), (3, 1_234));
    assert_eq!(
        (leased.deadline, leased.enqueued_at),
        (job.deadline, bench.wall())
    );
}

/// The largest payload is taken, and one byte more is refused.
pub fn payloads_have_a_limit(bench: &Bench<'_>) {
    let of_size = |bytes: usize| {
        let payload = Payload::bytes("text/plain", vec![b'x'; bytes]);
        enqueue(NewJob {
            payload,
            ..bench.job()
        })
    };
    let most = limits::PAYLOAD_BYTES_MAX;
    assert!(bench.one(of_size(most)).is_ok());
    assert_eq!(bench.must_lease().payload.bytes.len(), most);
    bench.check_refused(vec![of_size(most + 1)], 0, ErrorKind::TooLarge);
}

/// Numbers out of their bounds are refused.
pub fn numbers_have_bounds(bench: &Bench<'_>) {
    let too_far = Start::After(limits::DELAY_MS_MAX + 1);
    let no_attempts = RetryRule {
        max_attempts: 0,
        ..RetryRule::default()
    };
    let late = NewJob {
        start: too_far,
        ..bench.job()
    };
    let never = NewJob {
        retry: no_attempts,
        ..bench.job()
    };
    bench.check_refused(
        vec![enqueue(bench.job()), enqueue(late)],
        1,
        ErrorKind::Invalid,
    );
    bench.check_refused(vec![enqueue(never)], 0, ErrorKind::Invalid);
    let far = NewJob {
        start: Start::At(bench.wall().plus(limits::DELAY_MS_MAX + 1_000)),
        ..bench.job()
    };
    bench.check_refused(vec![enqueue(far)], 0, ErrorKind::Invalid);
}

/// Two jobs can't have one id.
pub fn an_id_is_taken_once(bench: &Bench<'_>) {
    if !bench.capabilities().chosen_ids {
        return; // nobody can choose one
    }
    let job = bench.job();
    let id: JobId = bench.enqueue(job.clone());
    assert_eq!(id, job.id);
    bench.check_refused(vec![enqueue(job)], 0, ErrorKind::Conflict);
}
