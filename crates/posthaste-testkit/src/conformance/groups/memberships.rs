//! What holds of groups over a restart. These need a store that can be opened again.

use posthaste_core::command::Reply;
use posthaste_core::error::ErrorKind;
use posthaste_core::group::{EventAsk, EventOutcome, GroupSettings, PausedBy, Unparking, Which};
use posthaste_core::ids::Token;

use super::member::{LEASE, Member, ask, dead, failed, park, unpark, with};
use crate::conformance::{Bench, Ending};

const BOTH: [Ending; 2] = [Ending::Clean, Ending::Crash];

/// A member goes on over a restart of its store: it is alive, has what it had, and settles.
pub fn a_member_outlives_its_store(bench: &Bench<'_>) {
    bench.group(GroupSettings::default());
    for (ending, words) in BOTH.into_iter().zip(["a1 b1", "a2 b2"]) {
        bench.tell(words);
        let one = Member::joining(bench, words);
        bench.restart(ending);
        let extended = Reply::Extended { cancelled: false };
        assert_eq!(one.beats(), Ok(extended));
        one.gets_nothing();
        one.done(words);
        bench.restart(ending);
        one.gets_nothing();
        one.leaves();
    }
    bench.check_position(4);
    assert_eq!(bench.billing().totals.lapsed, 0);
}

/// A membership starts afresh with a restart, and lapses then.
pub fn a_membership_starts_afresh(bench: &Bench<'_>) {
    bench.group(GroupSettings::default());
    bench.tell("a1");
    for ending in BOTH {
        let one = Member::joining(bench, "a1");
        bench.advance(LEASE - 1);
        bench.restart(ending);
        bench.advance(LEASE - 1);
        assert_eq!(bench.billing().leased, 1);
        bench.advance(2);
        let two = Member::joining(bench, "a1");
        assert_eq!(two.has("a1").crashes, 1);
        assert!(two.token > one.token);
        two.ends("a1", EventOutcome::Release);
        two.leaves();
    }
}

/// Members inside the process that held the store are gone when it is opened again: at once, and
/// counted as lost after a crash alone.
pub fn local_members_are_gone(bench: &Bench<'_>) {
    if !bench.capabilities().local_leases {
        return; // every member lives elsewhere
    }
    bench.group(GroupSettings::default());
    bench.tell("a1");
    let local = || EventAsk {
        local: true,
        ..ask("billing", None, 1)
    };
    let mut last = Token(0);
    for (ending, crashes) in [(Ending::Clean, 0), (Ending::Crash, 0), (Ending::Clean, 1)] {
        let one = Member::joining_as(bench, local(), "a1");
        assert_eq!(one.has("a1").crashes, crashes);
        assert!(one.token > last);
        last = one.token;
        bench.restart(ending);
        one.check_unsettled("a1", EventOutcome::Done, ErrorKind::Stale);
    }
    assert_eq!(bench.billing().totals.lapsed, 1);
    Member::joining(bench, "a1").done("a1");
}

/// Everything of a group is as it was: its position, what waits and for how long, what is kept.
pub fn a_group_is_as_it_was(bench: &Bench<'_>) {
    bench.group(with(|it| it.parked_max = Some(2)));
    bench.tell("a1 b1 c1 d1 e1 f1");
    let one = Member::joining(bench, "a1 b1 c1 d1 e1");
    one.done("a1 d1");
    one.ends("b1", failed(60_000));
    one.ends("c1", dead());
    one.ends("e1", park());
    bench.check_parked("e1 failed");
    bench.check_dead("c1 failed");
    for ending in BOTH {
        let before = (bench.look(), bench.kept(false), bench.kept(true));
        bench.restart(ending);
        let after = (bench.look(), bench.kept(false), bench.kept(true));
        assert_eq!(after, before, "{ending:?}");
    }
    one.gets("f1");
    bench.advance(60_000);
    one.beats().expect_err("the last restart was long ago");
    let two = Member::joining(bench, "b1 f1");
    assert_eq!(two.has("b1").attempt, 2);
    two.ends("f1", park());
    for ending in BOTH {
        bench.check_parked("e1 failed, f1 failed");
        bench.check_billing(|view| view.paused, Some(PausedBy::ParkedFull));
        bench.restart(ending);
    }
    bench.moves(unpark(Which::All, Unparking::Release), 2, 0);
    bench.restart(Ending::Crash);
    two.done("b1");
    two.gets("e1 f1");
    two.done("e1 f1");
    bench.check_position(6);
}

/// Killed at any moment, a group hands out again what was not settled, and nothing that was.
pub fn nothing_is_lost_or_handled_twice(bench: &Bench<'_>) {
    bench.group(GroupSettings::default());
    let words: Vec<String> = (0..20).map(|n| format!("k{}x{n}", n % 4)).collect();
    bench.tell(&words.join(" "));
    let mut handled = Vec::new();
    let all = bench.eventually(|| {
        let one = Member::joins(bench);
        let leased = one.asks(5).expect("it is a member");
        let ids = super::member::ids(&leased);
        for id in ids.iter().take(3) {
            one.done(id);
            assert!(!handled.contains(id), "{id} was done");
            handled.push(id.clone());
        }
        bench.restart(Ending::Crash);
        bench.advance(LEASE + 1);
        handled.len() == words.len()
    });
    assert!(all, "{handled:?}");
    bench.check_position(20);
    for key in 0..4 {
        let of: Vec<&String> = handled
            .iter()
            .filter(|id| id.starts_with(&format!("k{key}")))
            .collect();
        let want: Vec<&String> = words
            .iter()
            .filter(|id| id.starts_with(&format!("k{key}")))
            .collect();
        assert_eq!(of, want, "in order");
    }
}
