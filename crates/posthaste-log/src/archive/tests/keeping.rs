//! What is dropped, what is compacted away, and who still reads meanwhile.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};

use posthaste_core::{ErrorKind, WallMs};

use super::bench::{Bench, Event, append, events, read_all, read_from, store};
use crate::archive::read::Scratch;
use crate::archive::retain::{Dropped, Keep, remove};
use crate::archive::verify::verify;
use crate::archive::{Archive, Codec, Outcome};

fn stored(count: u64) -> (Bench, Vec<Event>, Archive) {
    let bench = Bench::new(Codec::Lz4);
    let events = events(count);
    let mut archive = bench.open(0).expect("a new archive");
    store(&mut archive, &events, 50).expect("stored");
    (bench, events, archive)
}

fn sound(bench: &Bench, archive: &Archive) {
    let found = archive.verify(&mut || true);
    assert_eq!((found.damage, found.torn), (vec![], None));
    assert_eq!(found.files, bench.files().len() as u64);
    assert_eq!(found.events, archive.events());
    assert_eq!(found.bytes, archive.bytes());
}

#[test]
fn the_oldest_files_go_as_long_as_the_rest_is_enough() {
    let check = |keep: Keep, now: u64, enough: &dyn Fn(&Archive, &[Event]) -> bool| {
        let (bench, events, mut archive) = stored(1_000);
        let whole = archive.bytes();
        let dropped = archive.retain(WallMs(now), keep).expect("retained");
        assert!(dropped.files > 0, "{keep:?}: something is dropped");
        assert_eq!(dropped.earliest, archive.earliest());
        assert!(dropped.bytes > 0 && dropped.bytes + archive.bytes() >= whole);
        assert_eq!(dropped.events + archive.events(), 1_000);
        let earliest = usize::try_from(archive.earliest()).expect("small");
        assert!(enough(&archive, &events[earliest..]), "{keep:?}: too much");
        assert_eq!(read_all(&archive).expect("read"), events[earliest..]);
        let gap = archive
            .reader()
            .read(3, None, 9, |_| ControlFlow::Continue(()));
        let earliest = archive.earliest();
        assert_eq!(gap, Ok(Outcome::Gap { earliest }));
        assert_eq!(
            archive.reader().position_of(0, 0),
            Ok(earliest.div_ceil(3) * 3)
        );
        assert_eq!(archive.reader().position_at_time(WallMs(0)), Ok(earliest));
        // Nothing more is over.
        let again = archive.retain(WallMs(now), keep).expect("retained");
        let nothing = Dropped {
            earliest,
            ..Dropped::default()
        };
        assert_eq!(again, nothing);
        sound(&bench, &archive);
        drop(archive);
        let archive = bench.open(1_000).expect("it opens again");
        assert_eq!((archive.earliest(), archive.end()), (earliest, 1_000));
    };
    let keep = Keep::default();
    let events = Some(300);
    check(Keep { events, ..keep }, 0, &|archive, kept| {
        kept.len() >= 300 && archive.events() >= 300
    });
    let bytes = Some(40_000);
    check(Keep { bytes, ..keep }, 0, &|archive, _| {
        archive.bytes() >= 40_000
    });
    let ms = Some(2_000);
    check(Keep { ms, ..keep }, 6_000, &|_, kept| kept[0].at <= 4_000);
}

#[test]
fn an_idle_topic_loses_everything_and_knows_where_it_was() {
    let (bench, _, mut archive) = stored(400);
    let keep = Keep {
        ms: Some(1_000),
        ..Keep::default()
    };
    archive.retain(WallMs(1_000_000), keep).expect("retained");
    assert_eq!((archive.earliest(), archive.end()), (400, 400));
    assert_eq!((archive.events(), bench.files().len()), (0, 1));
    drop(archive);
    let mut archive = bench.open(400).expect("it opens again");
    assert_eq!((archive.earliest(), archive.end()), (400, 400));
    let gap = archive
        .reader()
        .read(399, None, 1, |_| ControlFlow::Break(()));
    assert_eq!(gap, Ok(Outcome::Gap { earliest: 400 }));
    // Offsets go on where they were, and time does not go back.
    let mut next = events(401).pop().expect("the next one");
    let at = std::mem::replace(&mut next.at, 5);
    let error = append(&mut archive, std::slice::from_ref(&next)).expect_err("time fell");
    assert_eq!(error.kind(), ErrorKind::Invalid);
    next.at = at;
    append(&mut archive, &[next]).expect("it follows");
    archive.sync().expect("synced");
    assert_eq!(archive.events(), 1);
    sound(&bench, &archive);
}

#[test]
fn old_events_go_while_new_ones_trickle_in() {
    let mut bench = Bench::new(Codec::None);
    bench.settings.file_bytes = 1024 * 1024;
    let events = events(400);
    let mut archive = bench.open(0).expect("a new archive");
    let keep = Keep {
        ms: Some(400),
        ..Keep::default()
    };
    for event in &events {
        append(&mut archive, std::slice::from_ref(event)).expect("appended");
        archive.sync().expect("synced");
        let now = WallMs(event.at);
        archive.retain(now, keep).expect("retained");
        let oldest = usize::try_from(archive.earliest()).expect("small");
        let age = event.at - events[oldest].at;
        assert!(age <= 400 + 60, "{age} ms are kept at {now}");
    }
    assert!(bench.files().len() < 14, "{} files", bench.files().len());
}

/// What compaction leaves of `events`, all of which are sealed below `sealed`.
pub(super) fn compacted(events: &[Event], sealed: u64, buried_before: u64) -> Vec<Event> {
    let mut latest = BTreeMap::new();
    for event in events.iter().filter(|event| event.position < sealed) {
        latest.insert(event.key.clone(), event.position);
    }
    let stays = |event: &&Event| {
        let buried = event.tombstone && event.at < buried_before;
        event.position >= sealed
            || event.key.is_none()
            || (latest[&event.key] == event.position && !buried)
    };
    events.iter().filter(stays).cloned().collect()
}

/// Position up to which an archive is sealed.
pub(super) fn sealed_until(archive: &Archive) -> u64 {
    let state = archive.shared.read();
    state
        .newest
        .as_ref()
        .map_or(state.end, |newest| newest.first)
}

#[test]
fn the_latest_entry_of_each_key_stays() {
    for keys_max in [1, 3, 1_000] {
        let (bench, events, mut archive) = stored(1_000);
        let sealed = sealed_until(&archive);
        assert!(sealed > 800);
        let before = archive.bytes();
        let done = archive
            .compact(WallMs(4_000), 1_000, keys_max, &mut || true)
            .expect("compacted");
        let kept = compacted(&events, sealed, 3_000);
        assert!(done.complete);
        assert_eq!(done.passes == 1, keys_max == 1_000);
        assert_eq!(done.events_removed, (events.len() - kept.len()) as u64);
        assert_eq!(
            before - archive.bytes(),
            done.bytes_before - done.bytes_after
        );
        assert_eq!(read_all(&archive).expect("read"), kept);
        assert_eq!((archive.earliest(), archive.end()), (0, 1_000));
        sound(&bench, &archive);
        // Holes are passed, by position, partition, time and offset.
        let reader = archive.reader();
        for from in 0..1_000 {
            let next = kept.iter().find(|event| event.position >= from);
            let mut found = None;
            let each = |entry: crate::archive::Entry<'_>| {
                found = Some(Event::of(&entry));
                ControlFlow::Break(())
            };
            reader.read(from, None, 1, each).expect("read");
            assert_eq!(found.as_ref(), next, "from {from}");
            let next = kept
                .iter()
                .find(|event| event.partition == 1 && event.offset >= from / 3);
            let expected = next.map_or(1_000, |event| event.position);
            assert_eq!(reader.position_of(1, from / 3), Ok(expected));
            let next = kept.iter().find(|event| event.at >= 1_000 + from * 5);
            let expected = next.map_or(1_000, |event| event.position);
            assert_eq!(
                reader.position_at_time(WallMs(1_000 + from * 5)),
                Ok(expected)
            );
        }
        // The same again once it is opened, and nothing is left to do.
        drop(archive);
        let mut archive = bench.open(1_000).expect("it opens again");
        assert_eq!(read_all(&archive).expect("read"), kept);
        let again = archive
            .compact(WallMs(4_000), 1_000, 1_000, &mut || true)
            .expect("compacted");
        assert_eq!(again.events_removed, 0);
    }
}

#[test]
fn small_files_are_joined() {
    let mut bench = Bench::new(Codec::None);
    bench.settings.file_bytes = 256 * 1024;
    let events = events(600);
    let mut archive = bench.open(0).expect("a new archive");
    for batch in events.chunks(20) {
        store(&mut archive, batch, 20).expect("stored");
        archive.seal().expect("sealed");
    }
    assert_eq!(bench.files().len(), 30);
    let reader = archive.reader();
    let done = archive
        .compact(WallMs(0), u64::MAX, 100, &mut || true)
        .expect("compacted");
    assert_eq!((done.files, bench.files().len()), (30, 1));
    assert_eq!(
        read_from(&reader, 0, None, 900).expect("read"),
        compacted(&events, 600, 0)
    );
    sound(&bench, &archive);
    let again = archive
        .compact(WallMs(0), u64::MAX, 100, &mut || true)
        .expect("compacted");
    assert_eq!((again.files, again.complete), (0, true));
}

#[test]
fn a_compaction_that_is_told_to_stop_leaves_what_was_there() {
    let (bench, events, mut archive) = stored(1_000);
    let sealed = sealed_until(&archive);
    let mut steps = 0;
    let mut stopped = 0;
    loop {
        let mut left = steps;
        let mut go_on = || {
            left -= 1;
            left > 0
        };
        let done = archive
            .compact(WallMs(4_000), 0, 1_000, &mut go_on)
            .expect("compacted");
        assert!(!bench.files().iter().any(|path| path.ends_with(".tmp")));
        let kept = read_all(&archive).expect("read");
        assert!(compacted(&kept, sealed, 4_000) == compacted(&events, sealed, 4_000));
        if done.complete {
            break;
        }
        stopped += 1;
        steps += 37;
    }
    assert!(stopped > 3, "stopped {stopped} times");
    sound(&bench, &archive);
}

/// Between two steps events are appended, and the oldest files dropped.
#[test]
fn a_compaction_in_steps_goes_on_while_events_come_and_go() {
    let (bench, mut events, mut archive) = stored(1_000);
    let sealed = sealed_until(&archive);
    let more = super::bench::events(1_400).split_off(1_000);
    let mut compacting = archive.begin_to_compact(WallMs(4_000), 1_000, 3);
    assert_eq!(compacting.end(), sealed);
    let (mut steps, mut dropped) = (0, 0);
    loop {
        let mut left = 3;
        let mut go_on = || {
            left -= 1;
            left >= 0
        };
        if compacting
            .step(&mut archive, &mut go_on, &mut || false)
            .expect("compacted")
        {
            break;
        }
        steps += 1;
        if let Some(next) = more.get(steps - 1).filter(|_| steps <= 400) {
            store(&mut archive, std::slice::from_ref(next), 1).expect("stored");
            events.push(next.clone());
        }
        if steps % 40 == 0 && dropped < 3 {
            let keep = Keep {
                events: Some(archive.events() * 2 / 3),
                ..Keep::default()
            };
            dropped += archive.retain(WallMs(0), keep).expect("retained").files;
        }
    }
    assert!(
        steps > 100 && dropped > 0,
        "{steps} steps, {dropped} dropped"
    );
    assert!(compacting.done().complete && compacting.harm().is_none());
    let mut kept = compacted(&events, sealed, 3_000);
    kept.retain(|event| event.position >= archive.earliest());
    assert_eq!(read_all(&archive).expect("read"), kept);
    sound(&bench, &archive);
}

/// The others are compacted, and it is not read again and again for nothing.
#[test]
fn a_damaged_file_stays_as_it_is_and_keeps_no_other_from_being_compacted() {
    let (bench, events, mut archive) = stored(1_000);
    let sealed = sealed_until(&archive);
    let path = bench.files()[1].clone();
    let before = bench.disk.contents(&path);
    bench.disk.flip(&path, 5_000 * 8);
    let mut compacting = archive.begin_to_compact(WallMs(100_000), 0, 1_000);
    let mut ever = || true;
    while !compacting
        .step(&mut archive, &mut ever, &mut || false)
        .expect("compacted")
    {}
    let harm = compacting.harm().expect("it is told");
    assert_eq!(harm.kind(), ErrorKind::Corrupt);
    let name = path.file_name().and_then(|name| name.to_str());
    assert!(harm.message().contains(name.expect("text")), "{harm}");
    assert!(compacting.done().events_removed > 300);
    bench.disk.flip(&path, 5_000 * 8);
    assert_eq!(bench.disk.contents(&path), before);
    // What stays otherwise is there, and no tombstone went.
    let there = read_all(&archive).expect("read");
    for event in compacted(&events, sealed, 0) {
        assert!(there.contains(&event), "{event:?}");
    }
}

#[test]
fn readers_go_on_while_files_are_written_dropped_and_compacted() {
    let mut bench = Bench::new(Codec::Lz4);
    bench.settings.file_bytes = 8 * 1024;
    let events = events(3_000);
    let mut archive = bench.open(0).expect("a new archive");
    let reader = archive.reader();
    let ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            let (reader, events, ended) = (reader.clone(), &events, &ended);
            scope.spawn(move || {
                let mut last = false;
                while !last {
                    last = ended.load(Ordering::SeqCst);
                    for event in read_from(&reader, reader.earliest(), None, 500).expect("read") {
                        let position = usize::try_from(event.position).expect("small");
                        assert_eq!(event, events[position]);
                    }
                    let at = reader.earliest();
                    let found = reader.position_of(1, at / 3).expect("found");
                    assert!(found >= at);
                }
            });
        }
        for (number, batch) in events.chunks(100).enumerate() {
            store(&mut archive, batch, 10).expect("stored");
            let keep = Keep {
                events: Some(500),
                ..Keep::default()
            };
            match number % 3 {
                0 => archive.retain(WallMs(0), keep).map(|_| ()),
                1 => archive.compact(WallMs(0), 0, 100, &mut || true).map(|_| ()),
                _ => Ok(()),
            }
            .expect("done");
        }
        ended.store(true, Ordering::SeqCst);
    });
    sound(&bench, &archive);
}

#[test]
fn a_reader_that_has_found_a_file_reads_it_though_it_is_dropped() {
    let (_, events, mut archive) = stored(1_000);
    let reader = archive.reader();
    let keep = Keep {
        events: Some(0),
        ..Keep::default()
    };
    let mut read = Vec::new();
    let mut archive = Some(&mut archive);
    let outcome = reader.read(0, None, 2_000, |entry| {
        read.push(Event::of(&entry));
        if let Some(archive) = archive.take() {
            archive.retain(WallMs(0), keep).expect("retained");
        }
        ControlFlow::Continue(())
    });
    assert_eq!(outcome, Ok(Outcome::Next(read.len() as u64)));
    assert!(read.len() > 30);
    assert_eq!(read, events[..read.len()]);
    let gap = reader.read(read.len() as u64, None, 1, |_| ControlFlow::Continue(()));
    assert_eq!(gap, Ok(Outcome::Gap { earliest: 1_000 }));
}

/// What has the name of a file that was replaced is another file.
#[test]
fn a_reader_that_has_found_a_file_reads_it_though_it_is_compacted() {
    let bench = Bench::new(Codec::Lz4);
    let events = events(3_000);
    let mut archive = bench.open(0).expect("a new archive");
    for batch in events.chunks(100) {
        store(&mut archive, batch, 100).expect("stored");
        archive.seal().expect("sealed");
    }
    let sealed = archive.shared.read().sealed.clone();
    assert!(sealed.len() > 20, "more than are open at a time");
    let everything = &mut || true;
    archive
        .compact(WallMs(0), 0, 100, everything)
        .expect("compacted");
    assert!(archive.events() < 2_000);
    for file in &sealed {
        let view = archive.shared.view_of(file).expect("it is open");
        let mut found = Vec::new();
        let mut scratch = Scratch::default();
        for block in 0..view.loaded.index.blocks.len() {
            let each = |entry: crate::archive::Entry<'_>| {
                found.push(Event::of(&entry));
                ControlFlow::Continue(())
            };
            scratch.walk(&view, block, each).expect("read");
        }
        let at = |position| usize::try_from(position).expect("small");
        assert_eq!(found, events[at(file.first)..at(file.end)]);
    }
}

#[test]
fn a_deleted_topic_is_gone_whole_however_often_that_is_asked() {
    let (bench, _, archive) = stored(500);
    let reader = archive.reader();
    archive.remove().expect("removed");
    assert_eq!(bench.files(), Vec::<std::path::PathBuf>::new());
    let error = reader
        .read(0, None, 1, |_| ControlFlow::Continue(()))
        .expect_err("it is gone");
    assert_eq!(error.kind(), ErrorKind::NotFound);
    remove(&bench.place()).expect("removed again");
    remove(&Bench::new(Codec::None).place()).expect("it was never there");
    assert_eq!(verify(&bench.place(), 0, &mut || true).files, 0);
    assert_eq!(bench.open(0).expect("a new archive").end(), 0);
}
