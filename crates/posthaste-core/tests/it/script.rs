//! Stories about jobs, one action a line, each with what it became.

use posthaste_core::ids::{JobId, Token};
use posthaste_core::job::{OnConflict, Priority, RetryRule, Start};
use posthaste_core::machine::*;
use posthaste_core::time::{MonoMs, WallMs};

#[test]
fn a_job_is_enqueued_leased_and_settled_once() {
    let mut m = Machine::new();
    let (mut facts, mut answers, mut grants) = (vec![], vec![], vec![]);
    let moment = Moment {
        wall: WallMs(1_000),
        mono: MonoMs(5),
        entropy: 1,
    };
    let id = JobId::from_bytes([7; 16]);
    let job = Summary {
        id,
        queue: "mail",
        kind: "welcome",
        priority: Priority::default(),
        retry: RetryRule::default(),
        deadline: None,
        unique: None,
        keep_result: true,
    };
    let enqueue = Action::Enqueue {
        job,
        place: Place(9),
        start: Start::Now,
        key: None,
        on_conflict: OnConflict::Existing,
    };
    m.commit(&[enqueue], moment, &mut facts, &mut answers)
        .expect("accepted");
    let claim = Claim {
        queues: &[("mail", 1)],
        strict: false,
        kinds: &[],
        max: 10,
        lease_ms: 100,
        worker: "w",
        local: true,
    };
    m.lease(&claim, moment, &mut facts, &mut grants);
    assert_eq!(grants.len(), 1);
    let settle = Action::Settle {
        id,
        token: Token(1),
        digest: 3,
        ending: Ending::Completed,
        note: Place::NONE,
    };
    m.commit(&[settle, settle], moment, &mut facts, &mut answers)
        .expect("settled");
    assert_eq!(
        answers[2],
        Answer::Settled {
            state: posthaste_core::job::JobState::Completed,
            repeated: true
        }
    );
}
