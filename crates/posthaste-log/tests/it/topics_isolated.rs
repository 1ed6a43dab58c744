//! An event that is damaged is told as a gap, and waited for by nobody: neither by those who read
//! on, nor by groups, nor by what leaves the journal after it.

use std::path::{Path, PathBuf};

use posthaste_core::group::{EventAsk, EventOutcome, GroupSettings, LeasedEvents, Which};
use posthaste_core::port::TailGroup;
use posthaste_core::topic::{Gap, GapReason, ReadFrom, TailTopic, TopicRead};
use posthaste_core::{
    Command, Commit, Error, ErrorKind, GroupName, NewEvent, Payload, Store, Token, TopicName,
};
use posthaste_log::{Log, ManualClock};
use posthaste_testkit::disk::{Call, Fault, FaultDisk};
use posthaste_testkit::{block_on, poll_once};

use crate::bench::{clock, open, options};
use crate::space::eventually;
use crate::topics_crash::is_archive;

/// Events of one commit.
const BATCH: u64 = 5;

struct Bench {
    disk: FaultDisk,
    clock: ManualClock,
    store: Log,
    topic: TopicName,
    group: GroupName,
    next: u64,
}

/// What a reader is told, from the earliest on.
#[derive(Debug, PartialEq, Eq)]
enum Told {
    Events(u64, u64),
    Gap(u64),
}

impl Bench {
    fn new() -> Self {
        let (disk, clock) = (FaultDisk::new(), clock());
        let store = open(&disk, &clock).expect("it opens");
        Self {
            disk,
            clock,
            store,
            topic: TopicName::new("orders").expect("a name"),
            group: GroupName::new("billing").expect("a name"),
            next: 0,
        }
    }

    fn run(&self, command: Command) {
        let mut done = block_on(self.store.commit(vec![Commit::one(command)])).expect("it answers");
        done.remove(0).expect("it is done");
    }

    /// Publishes one commit's events, which nobody takes for others; some twelve of these fill a
    /// segment.
    fn publish(&mut self) {
        let events = (self.next..self.next + BATCH).map(|number| {
            let text = format!("\"<{number:06}>{}\"", "x".repeat(1_000));
            let key = format!("k{}", number % 7);
            NewEvent::new(format!("e{number}"), "placed", Payload::json(text)).keyed(key)
        });
        let (topic, events) = (self.topic.clone(), events.collect());
        self.run(Command::Publish { topic, events });
        self.next += BATCH;
    }

    /// Flips a bit of an event, in the file where it is.
    fn damage(&self, number: u64) -> PathBuf {
        let mark = format!("<{number:06}>");
        let paths = self.disk.paths().into_iter();
        let found = paths.filter_map(|path| {
            let bytes = self.disk.contents(&path)?;
            let mut all = bytes.windows(mark.len());
            Some((all.position(|of| of == mark.as_bytes())?, path))
        });
        // The archive comes after the journal.
        let (at, path) = found
            .max_by_key(|(_, path)| is_archive(path))
            .expect("it is somewhere");
        self.disk.flip(&path, at * 8);
        path
    }

    /// Publishes until events left the journal, those that were published so far among them.
    fn move_out(&mut self) {
        let moved = self.next;
        eventually("events leave the journal", || {
            self.publish();
            self.clock.advance(50);
            let journal = self.disk.paths().into_iter().filter(|path| {
                let bytes = self.disk.contents(path).unwrap_or_default();
                let mark = format!("<{:06}>", moved - 1);
                path.extension().is_some_and(|it| it == "seg")
                    && bytes.windows(mark.len()).any(|of| of == mark.as_bytes())
            });
            journal.count() == 0
        });
    }

    /// Has the disk not give out what is read of such files.
    fn fail_reads(&self, of: impl Fn(&Path) -> bool + Send + Sync + 'static) {
        self.disk.watch(move |disk, call, path| {
            if call == Call::Read && of(path) {
                disk.fail(Fault {
                    call,
                    nth: disk.count(call) + 1,
                    error: std::io::ErrorKind::Other,
                    short: false,
                });
            }
        });
    }

    /// Has the store opened again, so that it reads what it needs from the disk.
    fn reopen(&mut self) {
        // One store at a time may have the directory.
        let other = Log::open(options(&FaultDisk::new(), &self.clock)).expect("it opens");
        drop(std::mem::replace(&mut self.store, other));
        self.store = open(&self.disk, &self.clock).expect("it opens again");
    }

    fn read_all(&self) -> Vec<Told> {
        let mut ask = TailTopic::new(self.topic.clone(), ReadFrom::Earliest);
        let mut told = Vec::new();
        loop {
            match block_on(self.store.read(ask.clone())).expect("an answer") {
                TopicRead::Page(page) => {
                    for event in &page.events {
                        let at = event.position.sequence;
                        let mark = format!("\"<{at:06}>");
                        let said = event.payload.as_ref().expect("a payload");
                        assert!(said.bytes.starts_with(mark.as_bytes()), "{event:?}");
                        match told.last_mut() {
                            Some(Told::Events(_, to)) if *to == at => *to += 1,
                            _ => told.push(Told::Events(at, at + 1)),
                        }
                    }
                    if page.next == page.end {
                        return told;
                    }
                    ask.from = ReadFrom::Position(page.next);
                }
                TopicRead::Gap(Gap {
                    reason, earliest, ..
                }) => {
                    assert_eq!(reason, GapReason::Damage);
                    told.push(Told::Gap(earliest.sequence));
                    ask.from = ReadFrom::Position(earliest);
                }
            }
        }
    }

    fn problems(&self) -> Vec<String> {
        block_on(self.store.health()).expect("an answer").problems
    }

    fn names(&self, path: &Path) {
        let file = path
            .file_name()
            .and_then(|name| name.to_str())
            .expect("text");
        let problems = self.problems();
        assert!(
            problems
                .iter()
                .any(|told| told.contains(file) && told.contains("offset")),
            "{file} in {problems:?}"
        );
    }

    fn make_group(&self) {
        self.run(Command::SetGroup {
            topic: self.topic.clone(),
            group: self.group.clone(),
            settings: GroupSettings::default(),
            from: Some(ReadFrom::Earliest),
        });
    }

    fn ask(&self, token: Option<Token>) -> EventAsk {
        EventAsk {
            topic: self.topic.clone(),
            group: self.group.clone(),
            member: "m".parse().expect("a name"),
            token,
            max: 100,
            lease_ms: 600_000,
            wait_ms: 0,
            local: false,
        }
    }

    fn lease(&self, token: Option<Token>) -> Result<LeasedEvents, Error> {
        block_on(self.store.lease_events(self.ask(token)))
    }

    fn settle(&self, token: Token, positions: Vec<u64>, how: &EventOutcome) {
        let ends = positions.into_iter().map(|at| (at, how.clone()));
        self.run(Command::SettleEvents {
            topic: self.topic.clone(),
            group: self.group.clone(),
            token,
            ends: ends.collect(),
        });
    }

    fn view(&self) -> posthaste_core::group::GroupView {
        let ask = TailGroup {
            topic: self.topic.clone(),
            group: self.group.clone(),
            passed: None,
            wait_ms: 0,
        };
        block_on(self.store.tail_group(ask)).expect("there is a group")
    }

    /// Has one member handle everything; what it was handed.
    fn handle_all(&self) -> Vec<u64> {
        let (mut handled, mut token) = (Vec::new(), None);
        eventually("everything is handled", || {
            let leased = self.lease(token).expect("an answer");
            token = Some(leased.token);
            let events = leased.events.iter();
            let positions: Vec<u64> = events.map(|of| of.event.position.sequence).collect();
            handled.extend_from_slice(&positions);
            if !positions.is_empty() {
                self.settle(leased.token, positions, &EventOutcome::Done);
            }
            self.view().position.sequence == self.next
        });
        handled.sort_unstable();
        handled
    }
}

fn but(next: u64, gone: std::ops::Range<u64>) -> Vec<u64> {
    (0..next).filter(|at| !gone.contains(at)).collect()
}

#[test]
fn events_that_are_damaged_in_the_journal_hold_up_no_others() {
    let mut bench = Bench::new();
    (0..14).for_each(|_| bench.publish());
    bench.reopen();
    let path = bench.damage(12);
    let end = bench.next;
    let expected = |end| vec![Told::Events(0, 10), Told::Gap(15), Told::Events(15, end)];
    assert_eq!(bench.read_all(), expected(end), "in the journal");
    bench.names(&path);
    bench.make_group();
    assert_eq!(bench.handle_all(), but(end, 10..15), "in the journal");
    assert_eq!(bench.view().totals.lost_to_retention, BATCH);
    bench.move_out();
    assert_eq!(bench.read_all(), expected(bench.next), "in the archive");
    // What was damaged is in no file that is read when the store is opened.
    bench.reopen();
    assert_eq!(bench.read_all(), expected(bench.next), "opened again");
    bench.names(&path);
    bench.publish();
    assert_eq!(bench.read_all(), expected(bench.next), "positions go on");
    let reset = Command::ResetGroup {
        topic: bench.topic.clone(),
        group: bench.group.clone(),
        to: ReadFrom::Earliest,
        force: true,
    };
    bench.run(reset);
    assert_eq!(
        bench.handle_all(),
        but(bench.next, 10..15),
        "from the archive"
    );
}

#[test]
fn events_that_are_damaged_in_an_archive_hold_up_no_others() {
    let mut bench = Bench::new();
    (0..40).for_each(|_| bench.publish());
    bench.move_out();
    let path = bench.damage(12);
    assert!(is_archive(&path), "{}", path.display());
    let told = bench.read_all();
    let [Told::Gap(behind), Told::Events(first, end)] = told[..] else {
        panic!("{told:?}");
    };
    assert_eq!((first, end), (behind, bench.next));
    assert!((13..200).contains(&behind), "{behind}");
    bench.names(&path);
    bench.make_group();
    assert_eq!(bench.handle_all(), but(bench.next, 0..behind));
    assert_eq!(bench.view().totals.lost_to_retention, behind);
}

/// An event was handed out and given up on, and is damaged when it is to be kept: it is counted as
/// lost and named, and the position goes on.
#[test]
fn an_event_that_is_damaged_before_it_was_kept_is_passed_and_named() {
    let mut bench = Bench::new();
    (0..40).for_each(|_| bench.publish());
    bench.move_out();
    bench.make_group();
    let leased = bench.lease(None).expect("an answer");
    let first = leased.events[0].event.position.sequence;
    assert_eq!(first, 0);
    let path = bench.damage(0);
    bench.settle(
        leased.token,
        vec![0],
        &EventOutcome::Dead { error: "no".into() },
    );
    eventually("it is passed", || bench.view().totals.lost_to_retention > 0);
    assert_eq!(bench.view().dead, 0);
    bench.names(&path);
}

/// What the disk does not give out now is not lost: it is read, or copied, another time.
#[test]
fn a_disk_that_fails_to_read_loses_no_event_that_is_to_be_kept() {
    let mut bench = Bench::new();
    (0..40).for_each(|_| bench.publish());
    bench.move_out();
    bench.make_group();
    let leased = bench.lease(None).expect("an answer");
    bench.fail_reads(is_archive);
    bench.settle(
        leased.token,
        vec![0],
        &EventOutcome::Dead { error: "no".into() },
    );
    eventually("it can't be copied", || bench.disk.failed().is_some());
    bench.disk.unwatch();
    bench.disk.mend();
    eventually("it is copied after all", || {
        bench.clock.advance(2_000);
        bench.view().dead == 1
    });
    assert_eq!(bench.view().totals.lost_to_retention, 0);
    // Its copy is read from the disk, too.
    let others = leased.events.iter().skip(1);
    let others = others.map(|of| of.event.position.sequence).collect();
    bench.settle(leased.token, others, &EventOutcome::Done);
    bench.reopen();
    bench.run(Command::Redrive {
        topic: bench.topic.clone(),
        group: bench.group.clone(),
        which: Which::All,
    });
    bench.fail_reads(|path| path.extension().is_some_and(|it| it == "seg"));
    let mut token = None;
    eventually("it can't be read", || match bench.lease(token) {
        Ok(leased) => {
            token = Some(leased.token);
            false
        }
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
            true
        }
    });
    bench.disk.unwatch();
    bench.disk.mend();
    assert_eq!(bench.handle_all().first(), Some(&0));
    assert_eq!(bench.view().totals.lost_to_retention, 0);
}

/// A wait that is longer than the lease: the member was told of a token that counted no more, or that
/// it was none, when the next event came.
#[test]
fn who_waits_for_events_is_answered_while_it_is_a_member() {
    let mut bench = Bench::new();
    bench.publish();
    bench.make_group();
    assert_eq!(bench.handle_all().len() as u64, BATCH);
    let mut ask = bench.ask(None);
    (ask.lease_ms, ask.wait_ms) = (10_000, 60_000);
    let mut waiting = bench.store.lease_events(ask);
    assert!(poll_once(waiting.as_mut()).is_none(), "it waits");
    // Nobody hears of a clock that is moved: a look has the store look at it.
    let mut told = None;
    eventually("it is answered", || {
        bench.clock.advance(1_000);
        let _looked = bench.view();
        told = poll_once(waiting.as_mut());
        told.is_some()
    });
    let leased = told.expect("an answer").expect("no error");
    assert!(leased.events.is_empty());
    bench.run(Command::Beat {
        topic: bench.topic.clone(),
        group: bench.group.clone(),
        token: leased.token,
    });
}
