//! Groups on the embedded store: events are handed out, settled, retried, parked and read back.

use std::path::Path;
use std::sync::Arc;

use posthaste_core::group::{
    EventAsk, EventOutcome, GroupSettings, KeptReason, LeasedEvents, Unparking, Which,
};
use posthaste_core::port::{KeptAsk, TailGroup};
use posthaste_core::topic::ReadFrom;
use posthaste_core::{
    Command, Commit, Error, ErrorKind, GroupName, NewEvent, Payload, Position, Reply, Result,
    Store, Token, TopicName, WallMs,
};
use posthaste_log::{Location, Log, ManualClock, Options};
use posthaste_testkit::block_on;

struct Bench {
    store: Log,
    clock: ManualClock,
    topic: TopicName,
    group: GroupName,
}

impl Bench {
    fn new(location: Location, clock: &ManualClock) -> Self {
        let mut options = Options::new(location);
        options.segment_bytes = 64 * 1024;
        options.reserve_bytes = 0;
        options.clock = Arc::new(clock.clone());
        Self {
            store: Log::open(options).expect("it opens"),
            clock: clock.clone(),
            topic: TopicName::new("orders").expect("a name"),
            group: GroupName::new("billing").expect("a name"),
        }
    }

    fn at(dir: &Path, clock: &ManualClock) -> Self {
        Self::new(Location::Directory(dir.to_owned()), clock)
    }

    fn run(&self, command: Command) -> Result<Reply> {
        let mut done = block_on(self.store.commit(vec![Commit::one(command)]))?;
        Ok(done.remove(0)?.replies.remove(0))
    }

    fn publish(&self, keys: &[&str]) -> Vec<Position> {
        let events = keys.iter().enumerate().map(|(number, key)| {
            let payload = Payload::json(format!("{{\"n\":{number}}}"));
            NewEvent::new(format!("{key}-{number}"), "placed", payload).keyed(*key)
        });
        let publish = Command::Publish {
            topic: self.topic.clone(),
            events: events.collect(),
        };
        match self.run(publish).expect("published") {
            Reply::Published(places) => places.iter().map(|at| at.position).collect(),
            other => panic!("{other:?}"),
        }
    }

    fn set(&self, settings: GroupSettings, from: Option<ReadFrom>) {
        let set = Command::SetGroup {
            topic: self.topic.clone(),
            group: self.group.clone(),
            settings,
            from,
        };
        assert_eq!(self.run(set).expect("it is set"), Reply::Configured);
    }

    fn ask(&self, token: Option<Token>, max: u32) -> Result<LeasedEvents> {
        block_on(self.store.lease_events(EventAsk {
            topic: self.topic.clone(),
            group: self.group.clone(),
            member: "m".parse().expect("a name"),
            token,
            max,
            lease_ms: 10_000,
            wait_ms: 0,
            local: false,
        }))
    }

    fn settle(&self, token: Token, ends: Vec<(u64, EventOutcome)>) -> Result<Reply> {
        self.run(Command::SettleEvents {
            topic: self.topic.clone(),
            group: self.group.clone(),
            token,
            ends,
        })
    }

    fn position(&self) -> u64 {
        let ask = TailGroup {
            topic: self.topic.clone(),
            group: self.group.clone(),
            passed: None,
            wait_ms: 0,
        };
        let view = block_on(self.store.tail_group(ask)).expect("there is a group");
        view.position.sequence
    }

    fn parked(&self, dead: bool) -> Vec<(u64, KeptReason, Option<String>)> {
        let ask = KeptAsk {
            topic: self.topic.clone(),
            group: self.group.clone(),
            dead,
            cursor: None,
            max: 100,
        };
        let page = block_on(self.store.kept(ask)).expect("an answer");
        let kept = page.events.into_iter();
        kept.map(|kept| {
            (
                kept.event.position.sequence,
                kept.reason,
                kept.error.map(|error| error.to_string()),
            )
        })
        .collect()
    }
}

fn told(leased: &LeasedEvents) -> Vec<u64> {
    leased
        .events
        .iter()
        .map(|of| of.event.position.sequence)
        .collect()
}

fn done(positions: &[u64]) -> Vec<(u64, EventOutcome)> {
    positions
        .iter()
        .map(|at| (*at, EventOutcome::Done))
        .collect()
}

fn kind(result: Result<impl std::fmt::Debug, Error>) -> ErrorKind {
    result.expect_err("it is refused").kind()
}

#[test]
fn a_group_goes_on_where_it_was_after_a_restart_and_parks_what_fails() {
    let dir = tempfile::tempdir().expect("a directory");
    let clock = ManualClock::at(WallMs(1_800_000_000_000));
    let bench = Bench::at(dir.path(), &clock);
    bench.publish(&["a", "b", "a", "c"]);
    let settings = GroupSettings {
        max_attempts: Some(2),
        ..GroupSettings::default()
    };
    bench.set(settings, Some(ReadFrom::Earliest));
    let leased = bench.ask(None, 10).expect("it joins");
    assert_eq!(told(&leased), [0, 1, 2, 3]);
    bench.settle(leased.token, done(&[1])).expect("settled");
    assert_eq!(bench.position(), 0);
    let failed = |delay_ms| EventOutcome::Retry {
        error: "no answer".into(),
        delay_ms,
    };
    bench
        .settle(leased.token, vec![(0, failed(Some(5_000)))])
        .expect("settled");
    block_on(bench.store.close()).expect("it closes");
    drop(bench);

    let bench = Bench::at(dir.path(), &clock);
    assert_eq!(bench.position(), 0);
    // The member is remote, and goes on: its other events are still its own.
    bench.settle(leased.token, done(&[3])).expect("settled");
    clock.advance(5_000);
    let again = bench.ask(Some(leased.token), 10).expect("it is a member");
    assert_eq!(told(&again), [0, 2]);
    assert_eq!(again.events[0].attempt, 2);
    bench
        .settle(leased.token, vec![(0, failed(None))])
        .expect("settled");
    let parked = loop {
        let parked = bench.parked(false);
        if parked.len() == 2 {
            break parked;
        }
        std::thread::yield_now();
    };
    let why = Some(String::from("no answer"));
    assert_eq!(
        parked,
        [
            (0, KeptReason::Exhausted, why),
            (2, KeptReason::Behind, None)
        ]
    );
    assert_eq!(bench.position(), 4);
    let release = Command::Unpark {
        topic: bench.topic.clone(),
        group: bench.group.clone(),
        which: Which::All,
        how: Unparking::Release,
    };
    bench.run(release).expect("released");
    let again = bench.ask(Some(leased.token), 10).expect("it is a member");
    assert_eq!(told(&again), [0, 2]);
    assert_eq!(
        again.events[0].event.payload,
        Some(Payload::json("{\"n\":0}"))
    );
    bench.settle(leased.token, done(&[0, 2])).expect("settled");
    assert_eq!(bench.position(), 4);
    assert_eq!(kind(bench.settle(Token(77), done(&[0]))), ErrorKind::Stale);
    block_on(bench.store.close()).expect("it closes");
}

#[test]
fn who_waits_is_told_when_something_is_published() {
    let clock = ManualClock::at(WallMs(1_800_000_000_000));
    let bench = Bench::new(Location::Memory, &clock);
    bench.publish(&["a"]);
    bench.set(GroupSettings::default(), None);
    let (ask, store) = (
        EventAsk {
            topic: bench.topic.clone(),
            group: bench.group.clone(),
            member: "m".parse().expect("a name"),
            token: None,
            max: 10,
            lease_ms: 10_000,
            wait_ms: 60_000,
            local: false,
        },
        bench.store.clone(),
    );
    let waiting = std::thread::spawn(move || block_on(store.lease_events(ask)));
    let position = bench.publish(&["b"])[0];
    let leased = waiting.join().expect("it ends").expect("an answer");
    assert_eq!(told(&leased), [1]);
    let store = bench.store.clone();
    let ask = TailGroup {
        topic: bench.topic.clone(),
        group: bench.group.clone(),
        passed: Some(position),
        wait_ms: 60_000,
    };
    let waiting = std::thread::spawn(move || block_on(store.tail_group(ask)));
    bench.settle(leased.token, done(&[1])).expect("settled");
    let view = waiting.join().expect("it ends").expect("an answer");
    assert_eq!((view.position.sequence, view.lag), (2, 0));
    bench.clock.advance(10_000);
    assert_eq!(kind(bench.ask(Some(leased.token), 1)), ErrorKind::Stale);
}
