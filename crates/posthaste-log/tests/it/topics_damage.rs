//! A store with archives of topics whose files are flipped, cut off and removed: the damage is
//! named, or nothing is different; and what repairing it costs is said.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use posthaste_core::{ErrorKind, Store};
use posthaste_log::{Disk, Log, ManualClock, RepairReport, VerifyReport, repair, verify};
use posthaste_testkit::block_on;
use posthaste_testkit::disk::{Call, Chance, FaultDisk};

use crate::bench::{clock, dir, open, options};
use crate::space::eventually;
use crate::sweeps::files;
use crate::topics_crash::is_archive;
use crate::topics_ledger::{Held, commit, event, hold, number_of, topic};

/// A closed store: three topics of which most was moved, the second let go of some, the last is
/// compacted; and what each holds.
struct Small {
    disk: FaultDisk,
    clock: ManualClock,
    held: Vec<Vec<(u64, u32)>>,
    ends: Vec<u64>,
}

fn publish(store: &Log, which: usize, numbers: std::ops::Range<u32>) {
    let events = numbers.map(event).collect();
    let topic = topic(which);
    let publish = posthaste_core::Command::Publish { topic, events };
    commit(store, posthaste_core::Commit::one(publish)).expect("published");
}

/// Opens a store on which nothing happens by itself.
fn still(disk: &FaultDisk, clock: &ManualClock) -> Result<Log, posthaste_log::Error> {
    let mut options = options(disk, clock);
    options.maintenance = false;
    Log::open(options)
}

fn contents(held: &Held) -> Vec<(u64, u32)> {
    let of = |event: &posthaste_core::Event| {
        let number = number_of(event).expect("ours");
        assert_eq!(event.payload, crate::topics_ledger::event(number).payload);
        (event.position.sequence, number)
    };
    held.events.iter().map(of).collect()
}

impl Small {
    fn new() -> Self {
        let (disk, clock) = (FaultDisk::new(), clock());
        let store = open(&disk, &clock).expect("it opens");
        let life = crate::topics_life::Life::new(store.clone(), &clock, Arc::default(), 1);
        let mut life = life;
        life.begin();
        let mut next = 0;
        let archives = || {
            let paths = disk.paths();
            paths.into_iter().filter(|path| is_archive(path)).count()
        };
        eventually("events leave the journal", || {
            for which in 0..3 {
                publish(&store, which, next..next + 7);
                next += 7;
            }
            clock.advance(50);
            archives() >= 9
        });
        drop(life);
        block_on(store.close()).expect("it closes");
        drop(store);
        let store = still(&disk, &clock).expect("it opens");
        publish(&store, 0, next..next + 3);
        block_on(store.close()).expect("it closes");
        drop(store);
        let store = still(&disk.copy(), &clock).expect("it opens");
        let of = |which| {
            hold(&store, &topic(which))
                .expect("it reads")
                .expect("it is there")
        };
        let all: Vec<Held> = (0..3).map(of).collect();
        Self {
            disk,
            clock,
            held: all.iter().map(contents).collect(),
            ends: all.iter().map(|held| held.end).collect(),
        }
    }

    fn files(&self) -> Vec<(PathBuf, Vec<u8>)> {
        files(&self.disk)
    }

    /// Opens a damaged copy and reads everything: the same answers, or the damage by its name, or the
    /// oldest are gone.
    fn check(&self, disk: &FaultDisk, may_be_gone: bool, what: &str) {
        let named = |told: &str| assert!(told.contains("/srv/data"), "{what}: {told}");
        let store = match still(disk, &self.clock) {
            Ok(store) => store,
            Err(error) => {
                let kinds = [ErrorKind::Corrupt, ErrorKind::NewerFormat];
                assert!(kinds.contains(&error.kind()), "{what}: {error}");
                return named(error.message());
            }
        };
        for (which, due) in self.held.iter().enumerate() {
            match hold(&store, &topic(which)) {
                Ok(Some(held)) => {
                    assert_eq!(held.end, self.ends[which], "{what}: another end");
                    let due = due.iter().filter(|(at, _)| *at >= held.earliest);
                    let due: Vec<_> = due.copied().collect();
                    assert_eq!(contents(&held), due, "{what}: silently different");
                    assert!(may_be_gone || due.len() == self.held[which].len(), "{what}");
                }
                Ok(None) => panic!("{what}: a topic is gone"),
                Err(told) => named(&told),
            }
        }
    }
}

fn verified(disk: &FaultDisk) -> VerifyReport {
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    verify(&disk, dir(), &mut |_| {}).expect("it verifies")
}

fn repaired(disk: &FaultDisk, dry_run: bool) -> RepairReport {
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    repair(&disk, dir(), dry_run).expect("it repairs")
}

#[test]
fn a_sound_store_with_topics_is_found_to_be_sound_and_counted() {
    let small = Small::new();
    let disk: Arc<dyn Disk> = Arc::new(small.disk.clone());
    let (mut told, mut last) = (Vec::new(), (0, 0));
    let report = verify(&disk, dir(), &mut |progress| {
        assert!(progress.done_bytes >= last.0 && progress.done_bytes <= progress.total_bytes);
        last = (progress.done_bytes, progress.total_bytes);
        told.push(progress.path.to_owned());
    });
    let report = report.expect("it verifies");
    assert_eq!(report.damage, Vec::new());
    assert_eq!(report.topics, 3);
    assert!(report.events > 100, "{report:?}");
    for (path, _) in small.files().iter().filter(|(path, _)| is_archive(path)) {
        assert!(told.contains(path), "{} was not told", path.display());
    }
    assert_eq!(repaired(&small.disk, true).steps, Vec::<String>::new());
    // What a deleted topic left is no damage.
    let stray = dir().join("topics/00000077");
    small.disk.create_dir_all(&stray).expect("made");
    let file = small.disk.create(&stray.join("0000000000000000.events"));
    file.expect("made")
        .write_at(b"nonsense", 0)
        .expect("written");
    assert_eq!(verified(&small.disk).damage, Vec::new());
    let store = open(&small.disk, &small.clock).expect("it opens");
    eventually("it goes", || {
        let paths = small.disk.paths();
        !paths.iter().any(|path| path.starts_with(&stray))
    });
    drop(store);
}

/// Some bits of every block of every file that holds events. That each bit of an archive is under a
/// checksum is shown beside it, of the journal in `scan`.
#[test]
fn a_flipped_bit_in_a_store_with_topics_is_named() {
    let small = Small::new();
    let (mut chance, mut read) = (Chance::new(3), 0);
    let mut harmless = 0;
    // A snapshot that was being built when the store was closed is nothing yet.
    let mut files = small.files();
    files.retain(|(path, _)| path.extension().is_none_or(|it| it != "tmp"));
    let is_segment = |path: &Path| path.extension().is_some_and(|it| it == "seg");
    let is_used = |bytes: &[u8]| bytes.iter().skip(4096).any(|byte| *byte != 0);
    let used = files
        .iter()
        .filter(|(path, bytes)| is_segment(path) && is_used(bytes));
    let newest = used.map(|(path, _)| path.clone()).max();
    for (path, bytes) in files {
        for (number, block) in bytes.chunks(4096).enumerate() {
            let written = block.iter().rposition(|byte| *byte != 0);
            let inside = written.map_or(1, |last| last as u64 + 1);
            for _ in 0..2 {
                let byte = number * 4096 + usize::try_from(chance.below(inside)).expect("small");
                let disk = small.disk.copy();
                disk.flip(&path, byte * 8 + byte % 8);
                let report = verified(&disk);
                let what = format!("byte {byte} of {}", path.display());
                let named = report.damage.iter().any(|finding| finding.path == path);
                let torn = report.torn.is_some_and(|torn| torn.path == path);
                harmless += usize::from(!named && !torn);
                read += 1;
                // The newest segment may have been sealed already, and its end torn off by a power
                // cut: it is then as if it had not been.
                let last = Some(&path) == newest.as_ref() && (number + 1) * 4096 == bytes.len();
                if is_archive(&path) || last || read % 8 == 0 {
                    small.check(&disk, false, &what);
                }
                assert!(
                    named || torn || written.is_none() || last,
                    "{what}: {:?}",
                    report.damage
                );
            }
        }
    }
    assert!(harmless * 4 < read, "{harmless} of {read} were not named");
}

#[test]
fn an_archive_that_is_cut_off_or_gone_is_named() {
    let small = Small::new();
    let all = small.files();
    for (path, bytes) in all.iter().filter(|(path, _)| is_archive(path)) {
        let beside = |(other, _): &&(PathBuf, Vec<u8>)| other.parent() == path.parent();
        let first = !all.iter().filter(beside).any(|(other, _)| other < path);
        let newest = !all.iter().filter(beside).any(|(other, _)| other > path);
        let lengths = (0..bytes.len()).step_by(1_021).map(Some);
        for len in lengths.chain([None]) {
            let disk = small.disk.copy();
            match len {
                Some(len) => disk.truncate(path, len),
                None => disk.remove(path).expect("it goes"),
            }
            let what = format!("{} cut to {len:?}", path.display());
            // A missing oldest file can't be told from one that was let go of; the newest may have
            // been sealed or not, its events are what counts.
            let gone = first && len.is_none();
            let named = !verified(&disk).is_sound();
            assert!(named || newest || gone, "{what}");
            assert!(
                !named || still(&disk, &small.clock).is_err() || len.is_some(),
                "{what}"
            );
            small.check(&disk, gone, &what);
        }
    }
}

/// Repairs a damaged copy, and holds the result against what was said.
fn check_repair(small: &Small, disk: &FaultDisk, may_be_gone: bool, what: &str) {
    let before = files(disk);
    let said = repaired(disk, true);
    assert!(
        !said.done && files(disk) == before,
        "{what}: a dry run changed something"
    );
    let done = repaired(disk, false);
    let salted = |report: RepairReport| RepairReport {
        done: true,
        ..report
    };
    assert_eq!(
        done,
        salted(said),
        "{what}: it did something else than it had said"
    );
    let store = still(disk, &small.clock).unwrap_or_else(|error| panic!("{what}: {error}"));
    let mut lost = 0;
    for (which, due) in small.held.iter().enumerate() {
        let held = match hold(&store, &topic(which)) {
            Ok(Some(held)) => held,
            Ok(None) => {
                assert!(done.groups_lost > 0, "{what}: a topic is gone");
                continue;
            }
            // What can be opened stays, and is named.
            Err(told) => {
                assert!(told.contains("/srv/data"), "{what}: {told}");
                continue;
            }
        };
        assert!(
            held.end == small.ends[which] || done.groups_lost > 0,
            "{what}"
        );
        let rest = due
            .iter()
            .filter(|(at, _)| (held.earliest..held.end).contains(at));
        let rest: Vec<_> = rest.copied().collect();
        // What was let go of or compacted may be back, where the journal is an older one.
        let was = |(at, number): &(u64, u32)| {
            due.binary_search_by_key(at, |(at, _)| *at)
                .map_or(done.groups_lost > 0, |found| due[found].1 == *number)
        };
        let there = contents(&held);
        assert!(there.iter().all(was), "{what}: {there:?}");
        let is_there = |at: &(u64, u32)| there.contains(at);
        assert!(rest.iter().all(is_there), "{what}: {rest:?}");
        lost += due.iter().filter(|(at, _)| *at < held.earliest).count() as u64;
    }
    assert!(
        lost <= done.events_lost || may_be_gone,
        "{what}: {lost} lost, {} said",
        done.events_lost
    );
    // It goes on where it was, in the order of publication.
    for which in 0..3 {
        let end = hold(&store, &topic(which))
            .ok()
            .flatten()
            .map(|held| held.end);
        let command = posthaste_core::Command::Publish {
            topic: topic(which),
            events: vec![event(1_000_001)],
        };
        let told = commit(&store, posthaste_core::Commit::one(command)).expect("published");
        assert!(
            end.is_none_or(|end| told[0].position.sequence == end),
            "{what}"
        );
    }
    drop(store);
    let store = open(disk, &small.clock).unwrap_or_else(|error| panic!("{what}: {error}"));
    block_on(store.close()).unwrap_or_else(|error| panic!("{what}: {error}"));
}

#[test]
fn an_archive_that_does_not_open_is_repaired_at_the_price_that_is_said() {
    let small = Small::new();
    let all = small.files();
    let archives: Vec<_> = all.iter().filter(|(path, _)| is_archive(path)).collect();
    for (path, bytes) in &archives {
        for (byte, what) in [
            (9, "header"),
            (bytes.len() - 4080, "footer"),
            (5_000, "block"),
        ] {
            let disk = small.disk.copy();
            disk.flip(path, byte.min(bytes.len() - 1) * 8);
            check_repair(
                &small,
                &disk,
                false,
                &format!("{what} of {}", path.display()),
            );
        }
        let disk = small.disk.copy();
        disk.remove(path).expect("it goes");
        let first = path.file_name()
            == archives
                .iter()
                .find_map(|(other, _)| (other.parent() == path.parent()).then(|| other.file_name()))
                .flatten();
        check_repair(&small, &disk, first, &format!("{} is gone", path.display()));
    }
    let disk = small.disk.copy();
    for (path, _) in &archives {
        disk.remove(path).expect("it goes");
    }
    check_repair(&small, &disk, false, "every archive is gone");
}

#[test]
fn any_damage_of_a_store_with_topics_is_repaired() {
    let small = Small::new();
    let all = small.files();
    let mut chance = Chance::new(9);
    for _ in 0..60 {
        let which = usize::try_from(chance.below(all.len() as u64)).expect("small");
        let (path, bytes) = &all[which];
        let at = usize::try_from(chance.below(bytes.len() as u64)).expect("small");
        let (disk, cut) = (small.disk.copy(), chance.one_in(4));
        match cut {
            true => disk.truncate(path, at),
            false => disk.flip(path, at * 8 + at % 8),
        }
        check_repair(
            &small,
            &disk,
            false,
            &format!("{} at {at}, cut: {cut}", path.display()),
        );
    }
}

/// Events are moved before the snapshot says so. Where the journal is then cut short by a repair, the
/// archive must not go on where the journal does not.
#[test]
fn an_archive_never_reaches_further_than_a_repaired_journal() {
    let (disk, clock) = (FaultDisk::new(), clock());
    let mut small = Small::new();
    let image = Arc::new(Mutex::new(None));
    let taken = Arc::clone(&image);
    disk.watch(move |disk, call, path| {
        let published = call == Call::Rename && path.ends_with("snapshots/building.tmp");
        let renamed = disk
            .log()
            .iter()
            .any(|(call, path)| *call == Call::Rename && path.ends_with("snapshots/building.tmp"));
        let mut taken = taken.lock().expect("nobody panicked");
        if published && renamed && taken.is_none() {
            *taken = Some(disk.copy());
        }
    });
    let store = open(&disk, &clock).expect("it opens");
    let mut next = 0;
    eventually("a second snapshot is begun", || {
        publish(&store, 0, next..next + 7);
        next += 7;
        image.lock().expect("nobody panicked").is_some()
    });
    disk.unwatch();
    drop(store);
    let disk = image
        .lock()
        .expect("nobody panicked")
        .take()
        .expect("taken");
    assert_eq!(verified(&disk).damage, Vec::new(), "it is no damage yet");
    // The first group behind the first snapshot.
    let reach = disk
        .paths()
        .into_iter()
        .filter(|path| path.extension().is_some_and(|it| it == "snap"));
    let reach = reach.max().expect("a snapshot");
    let reach = u64::from_str_radix(
        reach.file_stem().and_then(|it| it.to_str()).expect("text"),
        16,
    );
    let segment = crate::sweeps::segment(reach.expect("a number") + 1);
    disk.flip(&segment, (4096 + 200) * 8);
    let report = repaired(&disk, false);
    assert!(report.groups_lost > 0, "{report:?}");
    small.disk = disk.copy();
    let store = still(&disk, &clock).expect("it opens");
    let held = hold(&store, &topic(0))
        .expect("it reads")
        .expect("it is there");
    let numbers: Vec<_> = contents(&held);
    assert!(
        numbers.iter().all(|(at, number)| *at == u64::from(*number)),
        "{numbers:?}"
    );
    assert_eq!(numbers.len() as u64, held.end);
    publish(&store, 0, 2_000_001..2_000_020);
    let again = hold(&store, &topic(0))
        .expect("it reads")
        .expect("it is there");
    assert_eq!(contents(&again)[numbers.len()].1, 2_000_001);
    drop(store);
    // What was published since is moved too.
    let store = open(&disk, &clock).expect("it opens");
    let mut more = 3_000_000;
    let snapshots = || {
        disk.log()
            .iter()
            .filter(|(call, path)| {
                *call == Call::Rename && path.ends_with("snapshots/building.tmp")
            })
            .count()
    };
    eventually("it is moved", || {
        publish(&store, 0, more..more + 20);
        more += 20;
        snapshots() >= 2
    });
    let last = hold(&store, &topic(0))
        .expect("it reads")
        .expect("it is there");
    assert_eq!(contents(&last)[numbers.len()].1, 2_000_001);
    assert_eq!(last.events.len() as u64, last.end);
}

#[test]
fn an_archive_that_reaches_further_than_the_journal_is_refused() {
    let small = Small::new();
    let disk = small.disk.copy();
    let is = |path: &&PathBuf| is_archive(path);
    // Another store's journal, of a topic with the same number.
    let (other, clock) = (FaultDisk::new(), clock());
    let store = still(&other, &clock).expect("it opens");
    publish(&store, 0, 0..3);
    block_on(store.close()).expect("it closes");
    drop(store);
    let one = dir().join("topics/00000001");
    other.create_dir_all(&one).expect("made");
    for path in disk
        .paths()
        .iter()
        .filter(is)
        .filter(|path| path.starts_with(&one))
    {
        let file = other.create(path).expect("made");
        let bytes = disk.contents(path).expect("it is there");
        file.write_at(&bytes, 0).expect("written");
    }
    let named = |told: &str| assert!(told.contains("topics/00000001"), "{told}");
    let error = still(&other, &clock)
        .map(|_| ())
        .expect_err("it is refused");
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    named(error.message());
    let report = verified(&other);
    named(&report.damage[0].to_string());
    let _done = repaired(&other, false);
    let store = still(&other, &clock).expect("it opens");
    let held = hold(&store, &topic(0))
        .expect("it reads")
        .expect("it is there");
    assert_eq!(contents(&held), [(0, 0), (1, 1), (2, 2)]);
}
