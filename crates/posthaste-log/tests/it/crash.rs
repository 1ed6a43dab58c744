//! Power cuts at random points of random lives: what was acknowledged is there, whole, and the
//! store goes on.

use std::sync::{Arc, Mutex};

use posthaste_core::Store;
use posthaste_log::{Log, ManualClock};
use posthaste_testkit::block_on;
use posthaste_testkit::disk::{Call, Chance, FaultDisk};

use crate::bench::{Life, clock, open, options};
use crate::ledger::Ledger;

/// Images that are looked at in one run; `POSTHASTE_CAMPAIGN` asks for more.
const IMAGES: u64 = 1_000;
const STEPS: u64 = 40;

struct Image {
    disk: FaultDisk,
    ledger: Ledger,
    seed: u64,
}

fn wanted(default: u64) -> u64 {
    std::env::var("POSTHASTE_CAMPAIGN").map_or(default, |count| {
        count.parse().expect("POSTHASTE_CAMPAIGN is a count")
    })
}

/// Has an image taken at about one in `rarely` calls of the disk.
fn take_images(
    disk: &FaultDisk,
    ledger: &Arc<Mutex<Ledger>>,
    rarely: u64,
    seed: u64,
) -> Arc<Mutex<Vec<Image>>> {
    let images = Arc::new(Mutex::new(Vec::new()));
    let (ledger, taken) = (Arc::clone(ledger), Arc::clone(&images));
    let chance = Mutex::new(Chance::new(seed));
    disk.watch(move |disk, call, path| {
        // What happens seldom is looked at more often.
        let seldom = matches!(call, Call::Remove | Call::Rename | Call::SyncDir)
            || path.parent().is_some_and(|dir| dir.ends_with("snapshots"));
        let rarely = if seldom { 3 } else { rarely };
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

/// A random life, and what power cuts at random points of it leave behind.
fn images_of(seed: u64, clock: &ManualClock, skip_syncs: bool) -> Vec<Image> {
    let disk = FaultDisk::new();
    disk.skip_syncs(skip_syncs);
    let ledger = Arc::default();
    let images = take_images(&disk, &ledger, 30, seed);
    let mut options = options(&disk, clock);
    options.segments_ready = usize::from(seed.is_multiple_of(2));
    let store = Log::open(options).expect("a new store opens");
    let mut life = Life::new(store, clock, ledger, seed);
    (0..STEPS).for_each(|_| life.step());
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
    (0..4).for_each(|_| life.step());
    let again = disk.crash(seed + 1);
    drop(life);
    let store = open(&again, clock).map_err(|error| format!("it opens once only: {error}"))?;
    let mut known = ledger.lock().expect("nobody panicked").clone();
    known
        .check(&store)
        .map_err(|wrong| format!("the second time: {wrong}"))?;
    let mut life = Life::new(store, clock, Arc::new(Mutex::new(known)), seed);
    life.drain();
    block_on(life.store.close()).map_err(|error| format!("it does not close: {error}"))
}

/// Names the life and the image when a check panics.
struct Seeds(u64, u64);

impl Drop for Seeds {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("in life {}, image {:#x}", self.0, self.1);
        }
    }
}

#[test]
fn what_was_acknowledged_survives_a_power_cut_at_any_moment() {
    let (mut life, mut seen) = (1, 0);
    while seen < wanted(IMAGES) {
        let clock = clock();
        for image in images_of(life, &clock, false) {
            let seeds = Seeds(life, image.seed);
            survives(image, &clock).expect("it survives");
            seen += 1;
            drop(seeds);
        }
        life += 1;
    }
}

/// Snapshots are merged, live jobs copied forward and segments let go while the power is cut.
#[test]
fn what_was_acknowledged_survives_while_space_is_given_back() {
    for seed in 1..3 {
        let (disk, clock, ledger) = (FaultDisk::new(), clock(), Arc::default());
        let images = take_images(&disk, &ledger, 40, seed);
        let store = open(&disk, &clock).expect("a new store opens");
        let mut life = Life::new(store, &clock, ledger, seed);
        let mut steps = 0;
        // Until segments were removed that a snapshot had made needless.
        while disk.count(Call::Remove) < 6 || steps < 100 {
            life.churn();
            steps += 1;
            assert!(steps < 100_000, "no space was given back");
        }
        drop(life);
        disk.unwatch();
        let taken = std::mem::take(&mut *images.lock().expect("nobody panicked"));
        let every = taken.len().div_ceil(60);
        for image in taken.into_iter().step_by(every) {
            let seeds = Seeds(seed, image.seed);
            survives(image, &clock).expect("it survives");
            drop(seeds);
        }
    }
}

/// The harness must notice a store that acknowledges before it has synced.
#[test]
fn a_disk_that_does_not_sync_is_found_out() {
    let clock = clock();
    let found_out = (1..4)
        .flat_map(|life| images_of(life, &clock, true))
        .filter_map(|image| survives(image, &clock).err())
        .count();
    assert!(found_out > 0, "losses went unnoticed");
}
