//! The archive, on a disk in memory: what goes in comes out, from everywhere.

mod bench;
mod crash;
mod disk;
mod keeping;
mod random;
mod sweeps;

use std::ops::ControlFlow;

use posthaste_core::{ErrorKind, WallMs};
use posthaste_testkit::disk::{Call, Fault};

use super::{Codec, Outcome};
use bench::{Bench, append, events, read_all, read_from, store};

#[test]
fn what_is_appended_is_read_back_before_and_after_reopening() {
    for codec in [Codec::None, Codec::Lz4] {
        let bench = Bench::new(codec);
        let events = events(1_000);
        let mut archive = bench.open(0).expect("a new archive");
        store(&mut archive, &events, 70).expect("stored");
        assert!(bench.files().len() > 3, "several files");
        assert_eq!(read_all(&archive).expect("read"), events);
        drop(archive);
        let archive = bench.open(1_000).expect("it opens again");
        assert_eq!((archive.earliest(), archive.end()), (0, 1_000));
        assert_eq!(archive.events(), 1_000);
        assert_eq!(archive.cut(), None);
        assert_eq!(read_all(&archive).expect("read"), events);
        let on_disk: usize = bench.files().iter().map(|path| bench.len(path)).sum();
        assert_eq!(archive.bytes(), on_disk as u64);
    }
}

#[test]
fn appending_goes_on_where_it_was_after_every_reopening() {
    let bench = Bench::new(Codec::None);
    let events = events(300);
    for round in 0..30 {
        let mut archive = bench.open(round * 10).expect("it opens");
        assert_eq!(archive.end(), round * 10);
        // What is there already is passed over.
        let until = usize::try_from(round * 10 + 10).expect("small");
        append(&mut archive, &events[..until]).expect("appended");
        archive.sync().expect("synced");
    }
    assert_eq!(
        read_all(&bench.open(300).expect("it opens")).expect("read"),
        events
    );
}

#[test]
fn what_is_not_synced_is_not_shown() {
    let bench = Bench::new(Codec::None);
    let events = events(20);
    let mut archive = bench.open(0).expect("a new archive");
    let reader = archive.reader();
    append(&mut archive, &events[..10]).expect("appended");
    assert_eq!(archive.end(), 10);
    assert_eq!(reader.end(), 0);
    let none = |_: super::Entry<'_>| panic!("nothing is synced");
    assert_eq!(reader.read(0, None, 1_000, none), Ok(Outcome::Next(0)));
    archive.sync().expect("synced");
    assert_eq!(
        read_from(&reader, 0, None, 1_000).expect("read"),
        events[..10]
    );
}

#[test]
fn reading_begins_and_ends_where_it_is_asked_to() {
    let bench = Bench::new(Codec::Lz4);
    let events = events(500);
    let mut archive = bench.open(0).expect("a new archive");
    store(&mut archive, &events, 100).expect("stored");
    let reader = archive.reader();
    for from in [0, 1, 7, 99, 100, 250, 499, 500, 501] {
        let rest = events.iter().skip(usize::try_from(from).expect("small"));
        let all = read_from(&reader, from, None, 1).expect("read");
        assert!(all.iter().eq(rest.clone()), "from {from}");
        for partition in 0..4 {
            let some = read_from(&reader, from, Some(partition), 300).expect("read");
            let rest = rest.clone().filter(|event| event.partition == partition);
            assert!(some.iter().eq(rest), "{partition} from {from}");
        }
    }
    let one = |_: super::Entry<'_>| ControlFlow::Break(());
    assert_eq!(reader.read(41, None, 9_999, one), Ok(Outcome::Next(42)));
    assert_eq!(reader.read(900, None, 9_999, one), Ok(Outcome::Next(900)));
}

#[test]
fn a_position_is_found_by_time_and_by_offset() {
    let bench = Bench::new(Codec::None);
    let mut events = events(600);
    for event in &mut events[200..400] {
        event.at = 2_500; // over many blocks, and files
    }
    let mut archive = bench.open(0).expect("a new archive");
    store(&mut archive, &events, 50).expect("stored");
    let reader = archive.reader();
    let first = |found: &dyn Fn(&&bench::Event) -> bool| {
        let event = events.iter().find(found);
        event.map_or(600, |event| event.position)
    };
    for at in (0..4_100).step_by(5) {
        let expected = first(&|event| event.at >= at);
        assert_eq!(reader.position_at_time(WallMs(at)), Ok(expected), "at {at}");
    }
    for partition in 0..4 {
        for offset in 0..205 {
            let expected = first(&|event| event.partition == partition && event.offset >= offset);
            let found = reader.position_of(partition, offset);
            assert_eq!(found, Ok(expected), "{partition}/{offset}");
        }
    }
}

#[test]
fn what_does_not_follow_is_refused_by_name() {
    let bench = Bench::new(Codec::None);
    let events = events(10);
    let mut archive = bench.open(0).expect("a new archive");
    append(&mut archive, &events[..5]).expect("appended");
    let refuse = |archive: &mut super::Archive, event: &bench::Event, what: &str| {
        let error = archive.append([event.entry()].into_iter()).expect_err(what);
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.message().contains(what), "{error}");
    };
    refuse(&mut archive, &events[6], "position 5 is due");
    let mut event = events[5].clone();
    event.offset = 9;
    refuse(&mut archive, &event, "offset 1 is due in partition 2");
    event.partition = 256;
    refuse(&mut archive, &event, "below 256");
    let mut event = events[5].clone();
    event.at = 7;
    refuse(&mut archive, &event, "published at 1020");
    let mut event = events[5].clone();
    event.bytes = vec![0; 9 * 1024 * 1024];
    let error = append(&mut archive, &[event]).expect_err("too large");
    assert_eq!(error.kind(), ErrorKind::TooLarge);
    store(&mut archive, &events, 3).expect("it goes on");
    assert_eq!(read_all(&archive).expect("read"), events);
}

#[test]
fn no_more_than_a_mebibyte_is_written_between_two_syncs() {
    let mut bench = Bench::new(Codec::None);
    bench.settings = super::Settings::default();
    let mut events = events(3_000);
    for event in &mut events {
        event.bytes.resize(2_000, 7);
    }
    events[1_000].bytes.resize(4_000_000, 8);
    let mut archive = bench.open(0).expect("a new archive");
    let written = std::sync::Arc::new(std::sync::Mutex::new(0));
    let seen = std::sync::Arc::clone(&written);
    bench.disk.watch(move |disk, call, _| {
        let len = |path| disk.contents(path).map_or(0, |bytes| bytes.len());
        let len: usize = disk.paths().iter().map(|path| len(path)).sum();
        let mut synced = seen.lock().expect("nobody panicked");
        if call == Call::Sync {
            assert!(len - *synced <= 1024 * 1024, "{} bytes", len - *synced);
            *synced = len;
        }
    });
    store(&mut archive, &events, 3_000).expect("stored");
    bench.disk.unwatch();
    assert!(*written.lock().expect("nobody panicked") > 9_000_000);
    assert_eq!(read_all(&archive).expect("read"), events);
}

#[test]
fn a_full_disk_is_told_and_forgotten_once_there_is_room() {
    let bench = Bench::new(Codec::None);
    let events = events(800);
    let mut archive = bench.open(0).expect("a new archive");
    let mut refused = 0;
    for (room, batch) in (0_u64..).zip(events.chunks(40)) {
        // A little more room each time, so that every kind of write is hit.
        for extra in 0..40 {
            bench.disk.set_capacity(Some(room * 4_000 + extra * 1_024));
            let stored = append(&mut archive, batch).and_then(|()| archive.sync());
            match stored {
                Ok(()) => break,
                Err(error) => assert_eq!(error.kind(), ErrorKind::DiskFull, "{error}"),
            }
            refused += 1;
        }
        bench.disk.set_capacity(None);
        store(&mut archive, batch, 40).expect("there is room");
    }
    assert!(refused > 20, "{refused} were refused");
    assert_eq!(read_all(&archive).expect("read"), events);
    drop(archive);
    let archive = bench.open(800).expect("it opens");
    assert_eq!(read_all(&archive).expect("read"), events);
}

#[test]
fn after_a_sync_that_failed_nothing_is_taken_until_it_is_opened_again() {
    let events = events(200);
    let failing = [(Call::Sync, 8), (Call::SyncDir, 2), (Call::Rename, 2)];
    for (call, most) in failing {
        for nth in 1..=most {
            let bench = Bench::new(Codec::None);
            let mut archive = bench.open(0).expect("a new archive");
            bench.disk.fail(Fault {
                call,
                nth: bench.disk.count(call) + nth,
                error: std::io::ErrorKind::Other,
                short: false,
            });
            let error = store(&mut archive, &events, 30).expect_err("it fails");
            let again = store(&mut archive, &events, 30).expect_err("it stays so");
            assert!(again.message().contains(error.message()), "{again}");
            let shown = archive.reader().end();
            let kept = read_from(&archive.reader(), 0, None, 900).expect("read");
            assert_eq!(kept.len() as u64, shown);
            let mut archive = bench.open(shown).expect("it opens again");
            store(&mut archive, &events, 30).expect("stored");
            assert_eq!(read_all(&archive).expect("read"), events);
        }
    }
}
