//! Power cuts at any call, and calls that fail: what was shown is there, what was told to be gone
//! stays gone, and the archive goes on.

use std::sync::{Arc, Mutex};

use posthaste_core::WallMs;
use posthaste_testkit::disk::{Call, Chance, Fault, FaultDisk};

use super::bench::{Bench, Event, append, events, read_from};
use crate::archive::retain::{Keep, remove};
use crate::archive::{Archive, Codec, Reader};

const EVENTS: u64 = 1_200;

/// What is known when the power goes.
#[derive(Clone, Copy, Debug, Default)]
struct Known {
    /// Readers have seen as much, which therefore was durable.
    end: u64,
    earliest: u64,
    /// As much had been synced when that was written down elsewhere.
    durable: u64,
    /// Tombstones from before were gone or may be.
    buried_before: u64,
}

struct Image {
    disk: FaultDisk,
    known: Known,
    seed: u64,
}

/// One step of a life: what it did is decided by the seed.
fn step(
    archive: &mut Archive,
    events: &[Event],
    chance: &mut Chance,
    known: &Mutex<Known>,
) -> posthaste_core::Result<()> {
    let end = usize::try_from(archive.end()).expect("small");
    let now = events[end.max(1) - 1].at;
    match chance.below(12) {
        0 => {
            let kept_ms = chance.below(1_500);
            let mut steps = chance.below(60);
            let mut go_on = || {
                steps = steps.saturating_sub(1);
                steps != 1
            };
            known.lock().expect("nobody panicked").buried_before = now;
            let keys_max = 1 + usize::try_from(chance.below(12)).expect("small");
            archive.compact(WallMs(now), kept_ms, keys_max, &mut go_on)?;
        }
        1 => {
            let keep = Keep {
                ms: chance.one_in(2).then_some(chance.below(3_000)),
                bytes: chance.one_in(3).then_some(chance.below(80_000)),
                events: chance.one_in(3).then_some(chance.below(300)),
            };
            archive.retain(WallMs(now), keep)?;
        }
        2 => known.lock().expect("nobody panicked").durable = archive.reader().end(),
        3 => archive.seal()?,
        _ => {
            let more = usize::try_from(chance.below(40)).expect("small");
            append(archive, &events[..(end + more).min(events.len())])?;
            if !chance.one_in(3) {
                archive.sync()?;
            }
        }
    }
    Ok(())
}

fn settings(seed: u64) -> Bench {
    let codec = [Codec::None, Codec::Lz4][usize::try_from(seed % 2).expect("small")];
    let mut bench = Bench::new(codec);
    if seed % 4 > 1 {
        // Files are small against that, and are joined.
        bench.settings.file_bytes = 128 * 1024;
    }
    bench
}

/// Has images taken at about one in `rarely` calls, of what readers had seen at that moment.
fn take_images(
    disk: &FaultDisk,
    reader: Reader,
    known: &Arc<Mutex<Known>>,
    seed: u64,
) -> Arc<Mutex<Vec<Image>>> {
    let images = Arc::new(Mutex::new(Vec::new()));
    let (taken, known) = (Arc::clone(&images), Arc::clone(known));
    let chance = Mutex::new(Chance::new(seed));
    disk.watch(move |disk, call, _| {
        let rarely = match call {
            Call::Read | Call::Len | Call::List | Call::Open => 40,
            _ => 2,
        };
        let seed = {
            let mut chance = chance.lock().expect("nobody panicked");
            if !chance.one_in(rarely) {
                return;
            }
            chance.number()
        };
        let known = Known {
            end: reader.end(),
            earliest: reader.earliest(),
            ..*known.lock().expect("nobody panicked")
        };
        let disk = disk.crash(seed);
        taken
            .lock()
            .expect("nobody panicked")
            .push(Image { disk, known, seed });
    });
    images
}

fn images_of(seed: u64, skip_syncs: bool) -> (Bench, Vec<Image>) {
    let bench = settings(seed);
    let events = events(EVENTS);
    let mut archive = bench.open(0).expect("a new archive");
    bench.disk.skip_syncs(skip_syncs);
    let known = Arc::default();
    let images = take_images(&bench.disk, archive.reader(), &known, seed);
    let mut chance = Chance::new(seed);
    for _ in 0..60 {
        step(&mut archive, &events, &mut chance, &known).expect("nothing fails");
    }
    bench.disk.unwatch();
    let taken = std::mem::take(&mut *images.lock().expect("nobody panicked"));
    (bench, taken)
}

/// What is there is what was published; what is not there had a successor or was a tombstone.
fn check(archive: &Archive, events: &[Event], known: &Known) -> Result<(), String> {
    let (earliest, end) = (archive.earliest(), archive.end());
    if end < known.end {
        return Err(format!("{} were shown, and {end} are there", known.end));
    }
    if earliest < known.earliest {
        return Err(format!("{earliest} is back, of {} gone", known.earliest));
    }
    let found = archive.verify(&mut || true);
    if !found.damage.is_empty() {
        return Err(format!("{:?}", found.damage));
    }
    let read = read_from(&archive.reader(), earliest, None, 2_000);
    let read = read.map_err(|error| format!("it can't be read: {error}"))?;
    let mut there = read.iter().peekable();
    let all =
        &events[usize::try_from(earliest).expect("small")..usize::try_from(end).expect("small")];
    for (number, event) in all.iter().enumerate() {
        if there.next_if_eq(&event).is_some() {
            continue;
        }
        let later = |later: &&Event| later.key.is_some() && later.key == event.key;
        let succeeded = all[number + 1..].iter().find(later).is_some();
        let buried = event.tombstone && event.at < known.buried_before && event.key.is_some();
        if !succeeded && !buried {
            return Err(format!("event {} is lost", event.position));
        }
        // Nothing that a tombstone buried comes back once that is gone.
        let risen = |other: &&Event| other.position < event.position && later(other);
        if event.tombstone && read.iter().any(|other| risen(&other)) {
            return Err(format!("what event {} buried is back", event.position));
        }
    }
    match there.next() {
        None => Ok(()),
        Some(event) => Err(format!("event {} is not what it was", event.position)),
    }
}

/// Opens what a power cut left, goes on, has the power cut again, and opens that.
fn survives(bench: &Bench, image: &Image) -> Result<(), String> {
    let events = events(EVENTS);
    let bench = bench.on(&image.disk);
    let opened = bench.open(image.known.durable);
    let mut archive = opened.map_err(|error| format!("it does not open: {error}"))?;
    check(&archive, &events, &image.known)?;
    let known = Mutex::new(image.known);
    let mut chance = Chance::new(image.seed);
    for _ in 0..6 {
        step(&mut archive, &events, &mut chance, &known).map_err(|error| error.to_string())?;
    }
    let known = Known {
        end: archive.reader().end(),
        earliest: archive.earliest(),
        ..*known.lock().expect("nobody panicked")
    };
    let again = bench.on(&bench.disk.crash(image.seed + 1));
    let opened = again.open(known.durable);
    let mut archive = opened.map_err(|error| format!("it opens once only: {error}"))?;
    check(&archive, &events, &known).map_err(|wrong| format!("the second time: {wrong}"))?;
    let rest = append(&mut archive, &events).and_then(|()| archive.sync());
    rest.map_err(|error| error.to_string())?;
    let known = Known {
        end: EVENTS,
        ..known
    };
    check(&archive, &events, &known)
}

#[test]
fn what_was_shown_survives_a_power_cut_at_any_moment() {
    let wanted = std::env::var("POSTHASTE_CAMPAIGN").map_or(400, |count| {
        count.parse().expect("POSTHASTE_CAMPAIGN is a count")
    });
    let (mut life, mut seen, mut cut) = (1, 0, 0);
    while seen < wanted {
        let (bench, images) = images_of(life, false);
        for image in images {
            let outcome = survives(&bench, &image);
            assert_eq!(outcome, Ok(()), "life {life}, image {:#x}", image.seed);
            seen += 1;
            cut += usize::from(!bench.on(&image.disk).lost().is_empty());
        }
        life += 1;
    }
    assert!(cut > 10, "{cut} of {seen} had a torn tail");
}

/// The harness must notice an archive that shows what is not synced.
#[test]
fn a_disk_that_does_not_sync_is_found_out() {
    let (bench, images) = images_of(1, true);
    let wrong = images
        .iter()
        .filter(|image| survives(&bench, image).is_err());
    assert!(wrong.count() > 0, "losses went unnoticed");
}

/// Every call fails once; what is opened after it has lost nothing and goes on.
#[test]
fn any_call_may_fail() {
    let mut failed = 0;
    for call in Call::ALL {
        for nth in 1.. {
            let bench = settings(nth);
            bench.disk.fail(Fault {
                call,
                nth: bench.disk.count(call) + nth,
                error: std::io::ErrorKind::Other,
                short: nth % 2 == 0,
            });
            let (events, known) = (events(EVENTS), Mutex::default());
            let mut chance = Chance::new(3);
            let mut shown = Known::default();
            let lived = bench.open(0).and_then(|mut archive| {
                (0..35).try_for_each(|_| {
                    let stepped = step(&mut archive, &events, &mut chance, &known);
                    shown.end = archive.reader().end();
                    shown.earliest = archive.earliest();
                    stepped
                })
            });
            if bench.disk.failed().is_none() {
                assert_eq!(lived, Ok(()));
                break;
            }
            failed += u64::from(lived.is_err());
            bench.disk.mend();
            let known = Known {
                end: shown.end,
                earliest: shown.earliest,
                ..*known.lock().expect("nobody panicked")
            };
            let what = format!("{call:?} {nth}");
            let image = Image {
                disk: bench.disk.clone(),
                known,
                seed: nth,
            };
            assert_eq!(survives(&bench, &image), Ok(()), "{what}");
        }
    }
    assert!(failed > 100, "{failed} failed");
}

/// One file comes to stand for many, which are removed.
#[test]
fn files_that_are_joined_lose_nothing_at_any_moment() {
    let mut bench = Bench::new(Codec::None);
    bench.settings.file_bytes = 256 * 1024;
    let events = events(200);
    let mut archive = bench.open(0).expect("a new archive");
    for batch in events.chunks(40) {
        super::bench::store(&mut archive, batch, 40).expect("stored");
        archive.seal().expect("sealed");
    }
    let images = Arc::new(Mutex::new(Vec::new()));
    let taken = Arc::clone(&images);
    bench.disk.watch(move |disk, call, _| {
        if matches!(call, Call::Remove | Call::Rename | Call::SyncDir) {
            let cut = (0..16).map(|seed| disk.crash(seed));
            taken.lock().expect("nobody panicked").extend(cut);
        }
    });
    let everything = &mut || true;
    archive
        .compact(WallMs(0), 0, 100, everything)
        .expect("compacted");
    bench.disk.unwatch();
    assert_eq!(bench.files().len(), 1);
    let kept = read_from(&archive.reader(), 0, None, 900).expect("read");
    let mut seen = [0, 0, 0];
    for disk in images.lock().expect("nobody panicked").drain(..) {
        let bench = bench.on(&disk);
        let before = bench.files().len();
        let archive = bench.open(200).expect("it opens");
        let read = read_from(&archive.reader(), 0, None, 900).expect("read");
        assert!(read == events || read == kept, "{} are left", read.len());
        let left = read == kept && before > bench.files().len();
        seen[if left { 2 } else { usize::from(read == kept) }] += 1;
        assert_eq!(archive.verify(&mut || true).damage, []);
    }
    let all = seen.iter().all(|count| *count > 0);
    assert!(all, "before, after and with what was left: {seen:?}");
}

#[test]
fn a_topic_that_is_being_deleted_can_be_deleted_again() {
    let bench = Bench::new(Codec::None);
    let mut archive = bench.open(0).expect("a new archive");
    super::bench::store(&mut archive, &events(600), 60).expect("stored");
    let images = Arc::new(Mutex::new(Vec::new()));
    let taken = Arc::clone(&images);
    bench.disk.watch(move |disk, _, _| {
        for seed in 0..8 {
            taken
                .lock()
                .expect("nobody panicked")
                .push(disk.crash(seed));
        }
    });
    archive.remove().expect("removed");
    bench.disk.unwatch();
    for disk in images.lock().expect("nobody panicked").drain(..) {
        let bench = bench.on(&disk);
        remove(&bench.place()).expect("removed again");
        let bench = bench.on(&disk.crash(9));
        assert_eq!(bench.files(), Vec::<std::path::PathBuf>::new());
    }
}
