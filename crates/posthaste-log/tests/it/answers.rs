//! What is kept under idempotency keys, whole, however close together the commits come.

use posthaste_core::command::CommitKey;
use posthaste_core::{Command, Commit, Reply, Store};
use posthaste_log::Log;
use posthaste_testkit::disk::FaultDisk;
use posthaste_testkit::{block_on, poll_once};

use crate::bench::{clock, open};
use crate::life::job;

/// A commit of one job with a key of its own; under `whole`, the commit has one too.
fn keyed(whole: Option<&str>) -> Commit {
    let mut job = job(1);
    job.idempotency_key = Some("one".into());
    let mut commit = Commit::one(Command::Enqueue(Box::new(job)));
    commit.key = whole.map(|key| CommitKey {
        key: key.into(),
        digest: [1; 16],
    });
    commit
}

fn replies(store: &Log, commits: Vec<Commit>) -> Vec<Vec<Reply>> {
    let done = block_on(store.commit(commits)).expect("it answers");
    done.into_iter()
        .map(|commit| commit.expect("it is accepted").replies)
        .collect()
}

#[test]
fn an_answer_that_rests_on_a_job_of_the_same_group_is_kept_whole() {
    let (disk, clock) = (FaultDisk::new(), clock());
    let store = open(&disk, &clock).expect("it opens");
    let told = replies(&store, vec![keyed(None), keyed(Some("all"))]);
    assert_eq!(told[1].len(), 1);
    assert_eq!(replies(&store, vec![keyed(Some("all"))]), told[1..]);
}

/// The commits are asked for one behind the other without waiting, so that the first is pending,
/// on its way to the disk or there when the second is decided.
#[test]
fn an_answer_that_rests_on_a_job_on_its_way_to_the_disk_is_kept_whole() {
    for round in 0..40 {
        let (disk, clock) = (FaultDisk::new(), clock());
        let store = open(&disk, &clock).expect("it opens");
        let fill = (10..10 + round).map(|number| Command::Enqueue(Box::new(job(number))));
        let mut first = keyed(None);
        first.commands.extend(fill);
        let mut asked: Vec<_> = [first, keyed(Some("all"))]
            .into_iter()
            .map(|commit| store.commit(vec![commit]))
            .collect();
        let early: Vec<_> = asked
            .iter_mut()
            .map(|answer| poll_once(answer.as_mut()))
            .collect();
        let told: Vec<_> = asked
            .into_iter()
            .zip(early)
            .map(|(answer, early)| early.unwrap_or_else(|| block_on(answer)))
            .map(|answer| answer.expect("it answers").remove(0).expect("accepted"))
            .collect();
        let again = replies(&store, vec![keyed(Some("all"))]);
        assert_eq!(again, [told[1].replies.clone()], "round {round}");
    }
}
