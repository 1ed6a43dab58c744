//! Who is handed what: members that join, share, go silent, are fenced off, and leave.

use std::collections::BTreeSet;

use posthaste_core::command::{Command, Reply};
use posthaste_core::error::ErrorKind;
use posthaste_core::group::{EventAsk, EventOutcome, GroupSettings, OnExhausted};
use posthaste_core::ids::{Token, WorkerName};
use posthaste_core::limits;

use super::member::{LEASE, Member, ask, ids, with};
use crate::conformance::Bench;
use crate::conformance::words::topic;

/// What was published is handed out, as it was published, and handled once.
pub fn what_is_published_is_handed_out(bench: &Bench<'_>) {
    bench.group(GroupSettings::default());
    let one = Member::joining(bench, "");
    let places = bench.tell("a1 b1 a2");
    one.gets("a1 b1 a2");
    for (place, event) in places.iter().zip(bench.events("orders")) {
        let leased = one.has(&event.id);
        assert_eq!(leased.event, event, "as a read tells it");
        assert_eq!(leased.event.position, place.position);
        assert_eq!((leased.attempt, leased.crashes), (1, 0));
        assert_eq!(leased.max_attempts, limits::ATTEMPTS_DEFAULT);
    }
    one.done("a1 b1 a2");
    one.gets_nothing();
    bench.check_position(3);
    assert_eq!(bench.billing().totals.done, 3);
}

/// Of all members, one is handed each event, and all are handled.
pub fn members_share_the_events(bench: &Bench<'_>) {
    bench.group(GroupSettings::default());
    let members: Vec<_> = (0..3).map(|_| Member::joining(bench, "")).collect();
    let words: Vec<String> = (0..24).map(|n| format!("k{}x{}", n % 8, n / 8)).collect();
    bench.tell(&words.join(" "));
    let mut handled = BTreeSet::new();
    let all = bench.eventually(|| {
        for member in &members {
            let leased = member.asks(2).expect("it is a member");
            for id in ids(&leased) {
                member.done(&id);
                assert!(handled.insert(id), "handled once");
            }
        }
        handled.len() == words.len()
    });
    assert!(all, "{handled:?} of {words:?}");
    bench.check_position(24);
    members.iter().for_each(Member::gets_nothing);
}

/// Groups don't know of one another: each is handed everything, and is as far as it is.
pub fn groups_are_independent(bench: &Bench<'_>) {
    bench.group_named("billing", GroupSettings::default());
    bench.group_named("audit", GroupSettings::default());
    bench.tell("a1 b1 a2");
    let one = Member::joining(bench, "a1 b1 a2");
    let other = Member::joining_as(bench, ask("audit", None, 1), "a1 b1 a2");
    one.ends("a1", super::member::park());
    other.done("a1 b1");
    bench.check_parked("a1 failed, a2 behind");
    let audit = bench.view_of("audit");
    assert_eq!((audit.position.sequence, audit.parked), (2, 0));
    bench.check_position(1);
    // A member of one is none of the other.
    let strange = EventAsk {
        token: Some(one.token),
        ..ask("audit", None, 1)
    };
    bench.check_unasked(strange, ErrorKind::Stale);
    one.done("b1");
    other.done("a2");
    bench.check_position(3);
    assert_eq!(bench.view_of("audit").position.sequence, 3);
}

/// Who joins takes nothing from those who are there, and is handed keys that nobody has.
pub fn who_joins_disturbs_nobody(bench: &Bench<'_>) {
    bench.group(GroupSettings::default());
    bench.tell("a1 a2 b1");
    let one = Member::joining(bench, "a1");
    let two = Member::joining(bench, "b1");
    two.gets_nothing();
    bench.tell("b2 c1");
    let three = Member::joining(bench, "c1");
    three.gets_nothing();
    one.done("a1");
    one.gets("a2");
    two.done("b1");
    two.gets("b2");
    for (member, id) in [(one, "a2"), (two, "b2"), (three, "c1")] {
        member.done(id);
    }
    bench.check_position(5);
}

/// A member that leaves gives back what it has, at once, and that counts as nothing.
pub fn who_leaves_gives_back(bench: &Bench<'_>) {
    bench.group(GroupSettings::default());
    bench.tell("a1 b1 a2");
    let one = Member::joining(bench, "a1 b1 a2");
    one.done("b1");
    one.leaves();
    one.check_unsettled("a1", EventOutcome::Done, ErrorKind::Stale);
    assert_eq!(one.beats().expect_err("gone").kind(), ErrorKind::Stale);
    bench.check_refused(vec![one.leaving()], 0, ErrorKind::Stale);
    let two = Member::joining(bench, "a1 a2");
    let leased = two.has("a1");
    assert_eq!((leased.attempt, leased.crashes), (1, 0));
    let view = bench.billing();
    assert_eq!((view.totals.lapsed, view.members.len()), (0, 1));
}

/// A member that is silent for its lease is lost, and not before: what it had is handed out again,
/// in order, and the loss is counted. No attempt was spent.
pub fn what_a_lost_member_had_comes_again(bench: &Bench<'_>) {
    bench.group(GroupSettings::default());
    bench.tell("a1 a2 b1");
    let one = Member::joining(bench, "a1 a2 b1");
    one.done("b1");
    one.gets_nothing(); // its last sign of life, also after a restart at the settle
    bench.advance(LEASE - 1);
    let two = Member::joining(bench, "");
    two.gets_nothing();
    bench.advance(1);
    two.gets("a1 a2");
    let (first, second) = (two.has("a1"), two.has("a2"));
    assert_eq!((first.attempt, first.crashes), (1, 1));
    assert_eq!((second.attempt, second.crashes), (1, 0), "not begun");
    two.done("a1 a2");
    bench.check_position(3);
    let totals = bench.billing().totals;
    assert_eq!((totals.lapsed, totals.redelivered), (2, 1));
}

/// A member that was lost is fenced off: whatever it says is refused and changes nothing, also when
/// nobody else has its events yet.
pub fn a_lost_member_is_fenced_off(bench: &Bench<'_>) {
    bench.group(GroupSettings::default());
    bench.tell("a1");
    let one = Member::joining(bench, "a1");
    bench.advance(LEASE + 1);
    let check = || {
        one.check_unsettled("a1", EventOutcome::Done, ErrorKind::Stale);
        one.check_unsettled("a1", EventOutcome::Release, ErrorKind::Stale);
        bench.check_refused(vec![one.leaving()], 0, ErrorKind::Stale);
        assert_eq!(one.beats().expect_err("lost").kind(), ErrorKind::Stale);
        let again = EventAsk {
            token: Some(one.token),
            ..ask("billing", None, 1)
        };
        bench.check_unasked(again, ErrorKind::Stale);
    };
    let two = Member::joining(bench, "a1");
    assert!(two.token > one.token);
    check();
    two.leaves();
    check();
    let two = Member::joining(bench, "a1");
    two.done("a1");
    bench.check_position(1);
    check();
}

/// A member keeps what it has for as long as it says that it is alive.
pub fn beats_keep_a_membership(bench: &Bench<'_>) {
    bench.group(GroupSettings::default());
    bench.tell("a1");
    let one = Member::joining(bench, "a1");
    for _ in 0..5 {
        bench.advance(LEASE - 1);
        let extended = Reply::Extended { cancelled: false };
        assert_eq!(one.beats(), Ok(extended));
    }
    bench.advance(LEASE - 1);
    one.done("a1");
    bench.check_position(1);
    assert_eq!(bench.billing().totals.lapsed, 0);
}

/// An ask is a sign of life too.
pub fn asks_keep_a_membership(bench: &Bench<'_>) {
    bench.group(GroupSettings::default());
    bench.tell("a1");
    let one = Member::joining(bench, "a1");
    for _ in 0..5 {
        bench.advance(LEASE - 1);
        one.asks(1).expect("it is a member");
    }
    one.done("a1");
    bench.check_position(1);
}

/// A membership lasts as long as was asked for when joining.
pub fn a_membership_is_as_long_as_asked_for(bench: &Bench<'_>) {
    bench.group(GroupSettings::default());
    bench.tell("a1 b1");
    let short = EventAsk {
        lease_ms: limits::LEASE_MS_MIN,
        ..ask("billing", None, 1)
    };
    let one = Member::joining_as(bench, short, "a1");
    let two = Member::joining(bench, "b1");
    bench.advance(u64::from(limits::LEASE_MS_MIN));
    two.gets("a1");
    one.check_unsettled("a1", EventOutcome::Done, ErrorKind::Stale);
    two.done("a1 b1");
}

/// Tokens of members rise, and are shared with nobody.
pub fn members_have_tokens_of_their_own(bench: &Bench<'_>) {
    bench.group(GroupSettings::default());
    let mut last = Token(0);
    for _ in 0..4 {
        let one = Member::joining(bench, "");
        assert!(one.token > last, "{} after {last}", one.token);
        bench.enqueue(bench.job());
        let leased = bench.must_lease();
        assert!(leased.token > one.token);
        one.leaves();
        last = leased.token;
    }
}

/// An event that takes its members down five times in a row is parked.
pub fn poison_is_parked(bench: &Bench<'_>) {
    bench.group(GroupSettings::default());
    bench.tell("a1 a2 b1");
    lose_members(bench, "a1 a2");
    let last = Member::joining(bench, "b1");
    last.gets_nothing();
    bench.check_parked("a1 poison, a2 behind");
    let kept = bench.kept(false);
    assert_eq!((kept[0].attempts, kept[0].error.as_deref()), (0, None));
    last.done("b1");
    bench.check_position(3);
}

/// Where the group declares it, such an event goes to the dead letters, and its key moves on.
pub fn poison_is_dead_where_declared(bench: &Bench<'_>) {
    bench.group(with(|it| it.on_exhausted = Some(OnExhausted::Dead)));
    bench.tell("a1 a2");
    lose_members(bench, "a1 a2");
    let last = Member::joining(bench, "a2");
    assert_eq!(last.has("a2").crashes, 0);
    bench.check_dead("a1 poison");
    last.done("a2");
    bench.check_position(2);
}

fn lose_members(bench: &Bench<'_>, words: &str) {
    for lost in 0..limits::CRASHES_MAX {
        let one = Member::joining(bench, words);
        let first = words.split_whitespace().next().expect("a word");
        assert_eq!(one.has(first).crashes, lost);
        bench.advance(LEASE + 1);
    }
}

/// Any settle says that the member lives, and the losses are counted afresh.
pub fn a_settle_resets_the_losses(bench: &Bench<'_>) {
    bench.group(GroupSettings::default());
    bench.tell("a1");
    for _ in 0..2 {
        for _ in 1..limits::CRASHES_MAX {
            Member::joining(bench, "a1");
            bench.advance(LEASE + 1);
        }
        let one = Member::joining(bench, "a1");
        assert_eq!(one.has("a1").crashes, limits::CRASHES_MAX - 1);
        one.ends("a1", EventOutcome::Release);
        one.leaves();
    }
    let one = Member::joining(bench, "a1");
    assert_eq!((one.has("a1").crashes, one.has("a1").attempt), (0, 1));
    bench.check_parked("");
}

/// Members are told of by name, with what they hold.
pub fn members_are_shown(bench: &Bench<'_>) {
    bench.group(GroupSettings::default());
    bench.tell("a1 a2 b1");
    let one = Member::joining(bench, "a1 a2");
    let named = EventAsk {
        member: WorkerName::new("member-2").expect("a good name"),
        ..ask("billing", None, 1)
    };
    Member::joining_as(bench, named, "b1");
    one.done("a1");
    let members = bench.billing().members;
    let told = members.iter().map(|it| (it.name.as_str(), it.leased));
    assert_eq!(told.collect::<Vec<_>>(), [("member-1", 1), ("member-2", 1)]);
}

/// An ask with a number out of its bounds is refused, and makes nobody a member.
pub fn bad_asks_of_a_group(bench: &Bench<'_>) {
    bench.group(GroupSettings::default());
    bench.tell("a1");
    let good = ask("billing", None, 1);
    #[rustfmt::skip]
    let bad = [
        EventAsk { max: 0, ..good.clone() },
        EventAsk { max: limits::LEASE_EVENTS_MAX + 1, ..good.clone() },
        EventAsk { lease_ms: limits::LEASE_MS_MIN - 1, ..good.clone() },
        EventAsk { lease_ms: limits::LEASE_MS_MAX + 1, ..good.clone() },
    ];
    for ask in bad {
        bench.check_unasked(ask, ErrorKind::Invalid);
    }
    let never = Some(Token(1 << 51));
    bench.check_unasked(ask("billing", never, 1), ErrorKind::Stale);
    assert_eq!(bench.billing().members, []);
}

/// There are no events of a group, or of a topic, that is not there, and asking makes none.
pub fn no_such_group(bench: &Bench<'_>) {
    bench.check_unasked(ask("billing", None, 1), ErrorKind::NotFound);
    bench.tell("a1");
    bench.check_unasked(ask("billing", None, 1), ErrorKind::NotFound);
    assert_eq!(bench.groups(), []);
    let group = super::member::named("billing");
    let token = Token(1);
    let settle = Command::SettleEvents {
        topic: topic("orders"),
        group: group.clone(),
        token,
        ends: vec![(0, EventOutcome::Done)],
    };
    bench.check_refused(vec![settle], 0, ErrorKind::NotFound);
    let topic = topic("nowhere");
    let beat = Command::Beat {
        topic,
        group,
        token,
    };
    bench.check_refused(vec![beat], 0, ErrorKind::NotFound);
}
