//! Power cuts while topics are published to, moved out of the journal, thinned out and deleted: what
//! was acknowledged or read is there, once and where it was, and commits are whole or not at all.

use std::path::Path;
use std::sync::{Arc, Mutex};

use posthaste_core::Store;
use posthaste_log::ManualClock;
use posthaste_testkit::block_on;
use posthaste_testkit::disk::{Call, Chance, FaultDisk};

use crate::bench::{clock, open};
use crate::space::eventually;
use crate::topics_ledger::Ledger;
use crate::topics_life::Life;

/// Images that are looked at in one run; `POSTHASTE_CAMPAIGN` asks for more.
const IMAGES: usize = 240;

struct Image {
    disk: FaultDisk,
    ledger: Ledger,
    seed: u64,
}

fn wanted() -> usize {
    std::env::var("POSTHASTE_CAMPAIGN").map_or(IMAGES, |count| {
        count.parse().expect("POSTHASTE_CAMPAIGN is a count")
    })
}

pub(crate) fn is_archive(path: &Path) -> bool {
    path.ancestors().any(|dir| dir.ends_with("topics"))
}

/// Has an image taken now and then; more often where events are moved and files go.
fn take_images(disk: &FaultDisk, ledger: &Arc<Mutex<Ledger>>, seed: u64) -> Arc<Mutex<Vec<Image>>> {
    let images = Arc::new(Mutex::new(Vec::new()));
    let (ledger, taken) = (Arc::clone(ledger), Arc::clone(&images));
    let chance = Mutex::new(Chance::new(seed));
    disk.watch(move |disk, call, path| {
        let looks = matches!(call, Call::Read | Call::Len | Call::List | Call::Open);
        let snapshot = path.parent().is_some_and(|dir| dir.ends_with("snapshots"));
        let rarely = match (is_archive(path) || snapshot || call == Call::Remove, looks) {
            (_, true) => 200,
            (true, false) => 2,
            (false, false) => 60,
        };
        let seed = {
            let mut chance = chance.lock().expect("nobody panicked");
            if !chance.one_in(rarely) {
                return;
            }
            chance.number()
        };
        // What was acknowledged is read before the image is taken, and what was asked after it.
        let read = || ledger.lock().expect("nobody panicked").clone();
        let known = read();
        let disk = disk.crash(seed);
        let ledger = known.asked_until(&read());
        let image = Image { disk, ledger, seed };
        taken.lock().expect("nobody panicked").push(image);
    });
    images
}

fn segments(disk: &FaultDisk) -> usize {
    let is = |path: &&std::path::PathBuf| path.extension().is_some_and(|it| it == "seg");
    disk.paths().iter().filter(is).count()
}

/// A random life, and what power cuts at random points of it leave behind.
fn images_of(seed: u64, clock: &ManualClock, skip_syncs: bool) -> Vec<Image> {
    let disk = FaultDisk::new();
    disk.skip_syncs(skip_syncs);
    let ledger = Arc::default();
    let images = take_images(&disk, &ledger, seed);
    let store = open(&disk, clock).expect("a new store opens");
    let mut life = Life::new(store, clock, ledger, seed);
    life.begin();
    let snapshots = || {
        let log = disk.log();
        let made = log.iter().filter(|(call, path)| {
            *call == Call::Rename && path.parent().is_some_and(|dir| dir.ends_with("snapshots"))
        });
        made.count()
    };
    while snapshots() < 4 {
        (0..10).for_each(|_| life.step());
        eventually("events leave the journal", || segments(&disk) < 9);
    }
    drop(life);
    disk.unwatch();
    std::mem::take(&mut *images.lock().expect("nobody panicked"))
}

/// Opens what a power cut left, holds it against the ledger, works on, cuts the power again, and
/// holds that against the ledger too.
fn survives(image: Image, clock: &ManualClock) -> Result<(), String> {
    let Image {
        disk,
        mut ledger,
        seed,
    } = image;
    let store = open(&disk, clock).map_err(|error| format!("it does not open: {error}"))?;
    ledger.check(&store)?;
    let ledger = Arc::new(Mutex::new(ledger));
    let mut life = Life::new(store, clock, Arc::clone(&ledger), seed);
    (0..6).for_each(|_| life.step());
    let again = disk.crash(seed + 1);
    drop(life);
    let store = open(&again, clock).map_err(|error| format!("it opens once only: {error}"))?;
    let mut known = ledger.lock().expect("nobody panicked").clone();
    known
        .check(&store)
        .map_err(|wrong| format!("the second time: {wrong}"))?;
    block_on(store.close()).map_err(|error| format!("it does not close: {error}"))
}

#[test]
fn events_survive_a_power_cut_at_any_moment() {
    let (mut life, mut seen) = (1, 0);
    while seen < wanted() {
        let clock = clock();
        let images = images_of(life, &clock, false);
        let every = images.len().div_ceil(IMAGES / 2).max(1);
        for image in images.into_iter().step_by(every) {
            let seed = image.seed;
            let outcome = survives(image, &clock);
            assert_eq!(outcome, Ok(()), "life {life}, image {seed:#x}");
            seen += 1;
        }
        life += 1;
    }
}

/// The harness must notice a store that acknowledges or moves before it has synced.
#[test]
fn events_on_a_disk_that_does_not_sync_are_found_out() {
    let clock = clock();
    let images = images_of(1, &clock, true);
    let found_out = images
        .into_iter()
        .step_by(7)
        .filter_map(|image| survives(image, &clock).err());
    assert!(found_out.count() > 0, "losses went unnoticed");
}
