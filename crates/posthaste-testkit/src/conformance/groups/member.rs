//! What cases do often with groups: a member that asks and settles, and short words around it.
//!
//! Cases tell events by their ids. An id begins with its key: `a1` and `a2` are the first and the
//! second event under the key `a`. They are of the topic `orders`; the group is `billing` where a
//! case says nothing else.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use posthaste_core::command::{Command, Reply};
use posthaste_core::error::{ErrorKind, Result};
use posthaste_core::group::{
    EventAsk, EventOutcome, GroupSettings, GroupView, KeptEvent, LeasedEvent, LeasedEvents,
    Unparking, Which,
};
use posthaste_core::ids::{GroupName, Token, WorkerName};
use posthaste_core::port::{KeptAsk, TailGroup};
use posthaste_core::topic::{NewEvent, Published, ReadFrom, hash_of};

use crate::block_on;
use crate::conformance::Bench;
use crate::conformance::words::{LEASE_MS, event, topic};

/// How long a membership lasts in silence where a case does not say, in milliseconds.
pub(super) const LEASE: u64 = LEASE_MS as u64;

/// A group's name.
pub(super) fn named(name: &str) -> GroupName {
    GroupName::new(name).expect("a case uses good names")
}

/// The event of that id, under the key that its id begins with.
pub(super) fn keyed(id: &str) -> NewEvent {
    event(id).keyed(key_of(id))
}

fn key_of(id: &str) -> &str {
    id.trim_end_matches(|of: char| of.is_ascii_digit())
}

/// The parked events, or dead letters, of one key.
pub(super) fn of_key(key: &str) -> Which {
    Which::Key(hash_of(key.as_bytes()))
}

/// A failed attempt.
pub(super) fn failed(delay_ms: u64) -> EventOutcome {
    EventOutcome::Retry {
        error: why(),
        delay_ms: Some(delay_ms),
    }
}

/// A failed attempt, after which the group's backoff says when the next is.
pub(super) fn failed_with_backoff() -> EventOutcome {
    let (error, delay_ms) = (why(), None);
    EventOutcome::Retry { error, delay_ms }
}

/// To be parked.
pub(super) fn park() -> EventOutcome {
    EventOutcome::Park { error: why() }
}

/// To the dead letters.
pub(super) fn dead() -> EventOutcome {
    EventOutcome::Dead { error: why() }
}

/// To be passed over.
pub(super) fn skip() -> EventOutcome {
    EventOutcome::Skip { reason: why() }
}

fn why() -> Arc<str> {
    Arc::from("no answer")
}

/// The default settings but for one change.
pub(super) fn with(change: impl FnOnce(&mut GroupSettings)) -> GroupSettings {
    let mut settings = GroupSettings::default();
    change(&mut settings);
    settings
}

/// A change of the group `billing`.
pub(super) fn set_group(settings: GroupSettings, from: Option<ReadFrom>) -> Command {
    set_group_named("billing", settings, from)
}

/// A change of a group.
pub(super) fn set_group_named(
    name: &str,
    settings: GroupSettings,
    from: Option<ReadFrom>,
) -> Command {
    Command::SetGroup {
        topic: topic("orders"),
        group: named(name),
        settings,
        from,
    }
}

/// An end of the group `billing`.
pub(super) fn delete_group() -> Command {
    let (topic, group) = (topic("orders"), named("billing"));
    Command::DeleteGroup { topic, group }
}

/// A reset of the group `billing`.
pub(super) fn reset(to: ReadFrom, force: bool) -> Command {
    Command::ResetGroup {
        topic: topic("orders"),
        group: named("billing"),
        to,
        force,
    }
}

/// What becomes of parked events of the group `billing`.
pub(super) fn unpark(which: Which, how: Unparking) -> Command {
    Command::Unpark {
        topic: topic("orders"),
        group: named("billing"),
        which,
        how,
    }
}

/// Dead letters of the group `billing` are handled again.
pub(super) fn redrive(which: Which) -> Command {
    Command::Redrive {
        topic: topic("orders"),
        group: named("billing"),
        which,
    }
}

/// An ask of a member of `group`, without a wait.
pub(super) fn ask(group: &str, token: Option<Token>, max: u32) -> EventAsk {
    EventAsk {
        topic: topic("orders"),
        group: named(group),
        member: WorkerName::new("member-1").expect("a good name"),
        token,
        max,
        lease_ms: LEASE_MS,
        wait_ms: 0,
        local: false,
    }
}

impl Bench<'_> {
    /// Publishes events to `orders`; each word is an id.
    pub(super) fn tell(&self, words: &str) -> Vec<Published> {
        self.publish("orders", words.split_whitespace().map(keyed).collect())
    }

    /// Makes the group `billing`, which begins with the first event of `orders`.
    pub(super) fn group(&self, settings: GroupSettings) {
        self.group_named("billing", settings);
    }

    /// Makes a group, which begins with the first event of `orders`.
    pub(super) fn group_named(&self, name: &str, settings: GroupSettings) {
        if self.find_topic("orders").is_none() {
            self.set_topic("orders", posthaste_core::topic::TopicSettings::default());
        }
        let set = set_group_named(name, settings, Some(ReadFrom::Earliest));
        assert_eq!(self.one(set), Ok(Reply::Configured));
    }

    /// Changes the group `billing`.
    pub(super) fn set(&self, settings: GroupSettings) {
        let reply = self.one(set_group(settings, None));
        assert_eq!(reply, Ok(Reply::Configured));
    }

    /// The group of that name, which must be there.
    pub(super) fn view_of(&self, name: &str) -> GroupView {
        let groups = self.groups().into_iter();
        let mut found = groups.filter(|it| it.name.as_str() == name);
        found.next().expect("the group is there")
    }

    /// The group `billing`, which must be there.
    pub(super) fn billing(&self) -> GroupView {
        self.view_of("billing")
    }

    /// The group `billing` comes to look so.
    pub(super) fn check_billing<T: PartialEq + std::fmt::Debug>(
        &self,
        of: impl Fn(&GroupView) -> T,
        want: T,
    ) {
        let mut seen = of(&self.billing());
        self.eventually(|| {
            seen = of(&self.billing());
            seen == want
        });
        assert_eq!(seen, want, "{:?}", self.billing());
    }

    /// The position of the group `billing` comes to be that.
    pub(super) fn check_position(&self, want: u64) {
        self.check_billing(|view| view.position.sequence, want);
    }

    /// Whether a group has passed a position, with a wait of at most that.
    pub(super) fn tail_of(&self, ask: TailGroup) -> Result<GroupView> {
        block_on(self.step().tail_group(ask))
    }

    /// Every parked event of `billing`, or every dead letter, over pages of two.
    pub(super) fn kept(&self, dead: bool) -> Vec<KeptEvent> {
        let (mut kept, mut cursor) = (Vec::new(), None);
        loop {
            let ask = KeptAsk {
                topic: topic("orders"),
                group: named("billing"),
                dead,
                cursor,
                max: 2,
            };
            let page = block_on(self.step().kept(ask)).expect("a page");
            assert!(page.events.len() <= 2, "no more than two a page");
            kept.extend(page.events);
            cursor = page.next;
            if cursor.is_none() {
                return kept;
            }
        }
    }

    /// The parked events of `billing` come to be these: `a1 failed, a2 behind`.
    pub(super) fn check_parked(&self, want: &str) {
        self.check_kept(false, want);
    }

    /// The dead letters of `billing` come to be these: `a1 exhausted`.
    pub(super) fn check_dead(&self, want: &str) {
        self.check_kept(true, want);
    }

    fn check_kept(&self, dead: bool, want: &str) {
        let told = || {
            let kept = self.kept(dead).into_iter();
            let each = kept.map(|it| format!("{} {}", it.event.id, it.reason.as_str()));
            each.collect::<Vec<_>>().join(", ")
        };
        let mut seen = told();
        self.eventually(|| {
            seen = told();
            seen == want
        });
        assert_eq!(seen, want, "what is kept");
    }

    /// Moves parked events or dead letters: so many now, and so many are left.
    pub(super) fn moves(&self, command: Command, events: u32, left: u32) {
        let moved = Reply::EventsMoved { events, left };
        assert_eq!(self.one(command), Ok(moved));
    }

    /// The ask of a member is refused as `kind`.
    pub(super) fn check_unasked(&self, ask: EventAsk, kind: ErrorKind) {
        match block_on(self.store().lease_events(ask)) {
            Err(error) => assert_eq!(error.kind(), kind, "{error}"),
            Ok(leased) => panic!("{leased:?} where it should be refused"),
        }
    }
}

/// A member of a group, and what it was handed.
pub(super) struct Member<'b, 'f> {
    bench: &'b Bench<'f>,
    group: &'static str,
    pub(super) token: Token,
    known: RefCell<BTreeMap<String, LeasedEvent>>,
}

impl<'b, 'f> Member<'b, 'f> {
    /// Joins `billing` and is handed these events, in this order. Nothing of them may be missing;
    /// what comes without being told of is left out by asking for no more.
    pub(super) fn joining(bench: &'b Bench<'f>, want: &str) -> Self {
        Self::joining_as(bench, ask("billing", None, 1), want)
    }

    /// Joins by that ask.
    pub(super) fn joining_as(bench: &'b Bench<'f>, by: EventAsk, want: &str) -> Self {
        let names = ["billing", "audit"];
        let group = names.into_iter().find(|name| *name == by.group.as_str());
        let max = u32::try_from(want.split_whitespace().count()).unwrap_or(1);
        let max = max.max(1);
        let first = block_on(bench.store().lease_events(EventAsk { max, ..by }));
        let first = first.expect("it joins");
        let member = Self {
            bench,
            group: group.expect("a group of the cases"),
            token: first.token,
            known: RefCell::default(),
        };
        member.gets_after(first, want);
        member
    }

    /// Joins `billing`, and gives back what it is handed by that.
    pub(super) fn joins(bench: &'b Bench<'f>) -> Self {
        let first = block_on(bench.store().lease_events(ask("billing", None, 1)));
        let first = first.expect("it joins");
        let member = Self {
            bench,
            group: "billing",
            token: first.token,
            known: RefCell::default(),
        };
        member.learn(&first);
        for id in ids(&first) {
            member.ends(&id, EventOutcome::Release);
        }
        member
    }

    /// Asks once.
    pub(super) fn asks(&self, max: u32) -> Result<LeasedEvents> {
        let leased = block_on(self.bench.store().lease_events(ask(
            self.group,
            Some(self.token),
            max,
        )));
        if let Ok(leased) = &leased {
            assert_eq!(leased.token, self.token, "the membership goes on");
            assert!(leased.events.len() <= max as usize, "no more than {max}");
            self.learn(leased);
        }
        leased
    }

    fn learn(&self, leased: &LeasedEvents) {
        for of in &leased.events {
            let id = of.event.id.as_str().to_owned();
            self.known.borrow_mut().insert(id, of.clone());
        }
    }

    /// Asks until it has these, in this order, and nothing before them.
    pub(super) fn gets(&self, want: &str) {
        let nothing = LeasedEvents {
            token: self.token,
            events: Vec::new(),
        };
        self.gets_after(nothing, want);
    }

    fn gets_after(&self, first: LeasedEvents, want: &str) {
        self.learn(&first);
        let count = want.split_whitespace().count();
        let mut got: Vec<String> = ids(&first);
        self.bench.eventually(|| {
            let more = u32::try_from(count.saturating_sub(got.len())).unwrap_or(0);
            if more > 0 {
                got.extend(ids(&self.asks(more).expect("it is a member")));
            }
            got.len() >= count
        });
        assert_eq!(got.join(" "), want, "what the member is handed");
    }

    /// There is nothing for it now.
    pub(super) fn gets_nothing(&self) {
        for _ in 0..3 {
            let leased = self.asks(10).expect("it is a member");
            assert_eq!(ids(&leased), [""; 0], "what the member is handed");
        }
    }

    /// What it was told of an event when it was handed that last.
    pub(super) fn has(&self, id: &str) -> LeasedEvent {
        let known = self.known.borrow();
        known.get(id).cloned().expect("it was handed this")
    }

    /// Where an event is that it was handed.
    pub(super) fn at(&self, id: &str) -> u64 {
        self.has(id).event.position.sequence
    }

    /// Settles these alike.
    pub(super) fn settling(&self, words: &str, outcome: EventOutcome) -> Command {
        let ids = words.split_whitespace();
        self.settling_each(ids.map(|id| (id, outcome.clone())).collect())
    }

    /// Settles each as it is told.
    pub(super) fn settling_each(&self, ends: Vec<(&str, EventOutcome)>) -> Command {
        let ends = ends.into_iter();
        Command::SettleEvents {
            topic: topic("orders"),
            group: named(self.group),
            token: self.token,
            ends: ends.map(|(id, how)| (self.at(id), how)).collect(),
        }
    }

    /// Settles these alike, which must be accepted for the first time.
    pub(super) fn ends(&self, words: &str, outcome: EventOutcome) {
        let reply = self.bench.one(self.settling(words, outcome));
        assert_eq!(reply, Ok(Reply::EventsSettled { repeated: false }));
    }

    /// Handlers of these were done.
    pub(super) fn done(&self, words: &str) {
        self.ends(words, EventOutcome::Done);
    }

    /// The settle is refused as `kind`, and changes nothing.
    pub(super) fn check_unsettled(&self, words: &str, outcome: EventOutcome, kind: ErrorKind) {
        let settle = self.settling(words, outcome);
        self.bench.check_refused(vec![settle], 0, kind);
    }

    /// Says that it is alive. No restart: that would start the membership afresh by itself.
    pub(super) fn beats(&self) -> Result<Reply> {
        let beat = Command::Beat {
            topic: topic("orders"),
            group: named(self.group),
            token: self.token,
        };
        let commit = posthaste_core::Commit::one(beat);
        let mut answers = block_on(self.bench.store().commit(vec![commit])).expect("answers");
        answers.remove(0).map(|answer| answer.replies[0].clone())
    }

    /// Its leave.
    pub(super) fn leaving(&self) -> Command {
        Command::Leave {
            topic: topic("orders"),
            group: named(self.group),
            token: self.token,
        }
    }

    /// Leaves.
    pub(super) fn leaves(&self) {
        assert_eq!(self.bench.one(self.leaving()), Ok(Reply::Left));
    }
}

/// The ids of what was handed out.
pub(super) fn ids(leased: &LeasedEvents) -> Vec<String> {
    let events = leased.events.iter();
    events.map(|of| of.event.id.as_str().to_owned()).collect()
}
