//! Enqueuing: one, many, with others; and everything that can be said of a job.

use std::time::{Duration, SystemTime};

use posthaste::{
    Done, Draft, ErrorKind, JobFilter, JobState, Payload, Posthaste, TimeUnits, UniqueRule,
};

use crate::{Ping, memory, run};

#[test]
fn many_in_one_commit_are_all_or_none() {
    run(async {
        let hub = memory().await;
        let jobs = hub
            .enqueue_many((0..3).map(|n| Ping { n }))
            .await
            .expect("enqueued");
        assert_eq!(jobs.len(), 3);
        let drafts = [
            Draft::new(Ping { n: 8 }),
            Draft::new(Ping { n: 9 }).priority(10),
        ];
        let error = hub.enqueue_many(drafts).await.expect_err("priority 10");
        assert_eq!(
            (error.kind(), error.command()),
            (ErrorKind::Invalid, Some(1))
        );
        let page = hub
            .jobs(JobFilter::default(), None, 100)
            .await
            .expect("a page");
        assert_eq!(page.jobs.len(), 3);
        assert!(
            hub.enqueue_many(Vec::<Ping>::new())
                .await
                .expect("nothing to do")
                .is_empty()
        );
    });
}

#[test]
fn one_idempotency_key_has_one_effect() {
    run(async {
        let hub = memory().await;
        let once = |n| hub.enqueue(Ping { n }).idempotency_key("once");
        let (first, second) = (once(1).await.expect("new"), once(1).await.expect("again"));
        assert_eq!(
            (first.id, first.existing, second.existing),
            (second.id, false, true)
        );
        let error = once(2).await.expect_err("another body");
        assert_eq!(error.kind(), ErrorKind::KeyReused);
    });
}

#[test]
fn a_unique_job_is_there_once() {
    run(async {
        let hub = memory().await;
        let first = hub
            .enqueue(Ping { n: 1 })
            .unique_by_key("a")
            .await
            .expect("new");
        let second = hub
            .enqueue(Ping { n: 2 })
            .unique_by_key("a")
            .await
            .expect("held");
        assert_eq!((first.id, second.existing), (second.id, true));
        let rule = UniqueRule::payload().or_reject();
        hub.enqueue(Ping { n: 3 })
            .unique(rule.clone())
            .await
            .expect("new");
        let error = hub
            .enqueue(Ping { n: 3 })
            .unique(rule)
            .await
            .expect_err("held");
        assert_eq!(error.kind(), ErrorKind::UniqueConflict);
    });
}

#[test]
fn a_repeated_commit_answers_as_the_first_time() {
    run(async {
        let hub = memory().await;
        let order = |n| hub.commit().enqueue(Ping { n }).idempotency_key("order 42");
        let first = order(1).await.expect("applied");
        let second = order(1).await.expect("repeated");
        assert_eq!((first.repeated, second.repeated), (false, true));
        assert_eq!(first.replies.len(), second.replies.len());
        let error = order(2).await.expect_err("another body");
        assert_eq!(error.kind(), ErrorKind::KeyReused);
    });
}

#[test]
fn a_refused_command_undoes_its_commit() {
    run(async {
        let hub = memory().await;
        let missing = hub.mint_id();
        let error = hub
            .commit()
            .enqueue(Ping { n: 1 })
            .cancel(missing)
            .await
            .expect_err("no job");
        assert_eq!(
            (error.kind(), error.command()),
            (ErrorKind::NotFound, Some(1))
        );
        let page = hub
            .jobs(JobFilter::default(), None, 100)
            .await
            .expect("a page");
        assert!(page.jobs.is_empty());
    });
}

#[test]
fn what_is_said_of_a_job_is_kept() {
    run(async {
        let hub = memory().await;
        let soon = SystemTime::now() + Duration::from_secs(3_600);
        let job = hub
            .enqueue_raw(
                "resize",
                "images",
                Payload::bytes("image/png", &b"\x89"[..]),
            )
            .at(soon)
            .deadline(soon + Duration::from_secs(1))
            .tag("blue")
            .metadata("a", "1")
            .metadata("a", "2")
            .traceparent("00-aa-bb-01")
            .await
            .expect("enqueued");
        assert_eq!(job.state, JobState::Scheduled);
        let view = hub.job(job.id).await.expect("an answer").expect("the job");
        let metadata: Vec<_> = view
            .metadata
            .iter()
            .map(|(name, value)| (&**name, &**value))
            .collect();
        assert_eq!(metadata, [("a", "2"), ("traceparent", "00-aa-bb-01")]);
        assert_eq!(
            (view.tags[0].as_str(), view.payload.content_type.as_deref()),
            ("blue", Some("image/png"))
        );
        assert!(view.deadline.is_some());
    });
}

#[test]
fn a_result_is_waited_for() {
    run(async {
        let hub = memory().await;
        let job = hub.enqueue(Ping { n: 20 }).await.expect("enqueued");
        let worker = hub
            .worker()
            .on(|job: Ping| async move { Done::with(&(job.n + 1)) });
        let worker = worker.start().await.expect("starts");
        assert_eq!(job.result::<u64>().await, Ok(21));
        let wrong = job.result::<String>().await.expect_err("it is a number");
        assert_eq!(wrong.kind(), ErrorKind::Invalid);
        let off = hub
            .enqueue(Ping { n: 1 })
            .after(1.hours())
            .await
            .expect("enqueued");
        hub.cancel(off.id).await.expect("cancelled");
        let error = off.result::<u64>().await.expect_err("cancelled");
        assert!(error.to_string().contains("is cancelled"), "{error}");
        worker.stop().await.expect("stops");
    });
}

#[test]
fn operating_on_jobs_and_queues() {
    run(async {
        let hub: Posthaste = memory().await;
        let job = hub
            .enqueue(Ping { n: 1 })
            .after(1.hours())
            .await
            .expect("enqueued");
        assert_eq!(hub.retry(job.id).await, Ok(JobState::Available));
        hub.pause("default").await.expect("paused");
        let queues = hub.queues().await.expect("queues");
        assert!(
            queues
                .iter()
                .any(|queue| queue.name.as_str() == "default" && queue.paused)
        );
        hub.resume("default").await.expect("resumed");
        hub.delete(job.id).await.expect("deleted");
        assert_eq!(hub.job(job.id).await, Ok(None));
    });
}
