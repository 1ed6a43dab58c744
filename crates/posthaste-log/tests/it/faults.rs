//! Every call of the disk fails once, for every kind of call: no panic, a clear error, nothing
//! acknowledged after a failed write or sync, and on reopening everything that was acknowledged.

use std::io;
use std::sync::{Arc, Mutex};

use posthaste_core::{ErrorKind, Store};
use posthaste_log::{Log, ManualClock};
use posthaste_testkit::block_on;
use posthaste_testkit::disk::{Call, Fault, FaultDisk};

use crate::bench::{Life, clock, open, options};
use crate::ledger::Ledger;

const STEPS: u64 = 24;

/// A short life, always the same one: opened, filled over several segments, worked on, closed,
/// opened again, worked on.
fn live(disk: &FaultDisk, clock: &ManualClock, ledger: &Arc<Mutex<Ledger>>, ready: usize) {
    for seed in [3, 4] {
        let mut options = options(disk, clock);
        options.segments_ready = ready;
        options.maintenance = false;
        let store = match Log::open(options) {
            Ok(store) => store,
            Err(error) => {
                let known = [ErrorKind::Io, ErrorKind::DiskFull];
                assert!(known.contains(&error.kind()), "refused to open: {error}");
                assert!(error.next_step().is_some(), "what next? {error}");
                return;
            }
        };
        let mut known = ledger.lock().expect("nobody panicked").clone();
        if known.check(&store).is_err() {
            return; // a read failed: whoever opens it next will say more
        }
        *ledger.lock().expect("nobody panicked") = known;
        let mut life = Life::new(store, clock, Arc::clone(ledger), seed);
        (0..STEPS).for_each(|_| life.step());
        if let Err(error) = block_on(life.store.close()) {
            let known = [ErrorKind::Io, ErrorKind::Uncertain];
            assert!(known.contains(&error.kind()), "closed with: {error}");
        }
    }
}

/// Fails one call in a life. Says no where the life has no such call.
fn fail_one(fault: Fault, ready: usize) -> bool {
    let (disk, clock, ledger) = (FaultDisk::new(), clock(), Arc::default());
    disk.fail(fault);
    live(&disk, &clock, &ledger, ready);
    let Some(failed) = disk.failed() else {
        return false;
    };
    disk.mend();
    // What was not synced may be there or not; the next process sees it, a power cut may not.
    let cuts = [disk.crash(fault.nth), disk.crash(fault.nth + 7)];
    for (disk, what) in [(disk, "the next process")]
        .into_iter()
        .chain(cuts.map(|cut| (cut, "a power cut")))
    {
        let store = open(&disk, &clock)
            .unwrap_or_else(|error| panic!("{what} after {fault:?} at {failed:?}: {error}"));
        let mut ledger = ledger.lock().expect("nobody panicked").clone();
        if let Err(wrong) = ledger.check(&store) {
            panic!("{what} after {fault:?} at {failed:?}: {wrong}");
        }
        let ledger = Arc::new(Mutex::new(ledger));
        Life::new(store, &clock, Arc::clone(&ledger), 5).drain();
        // What the next process built upon must be durable, not only seen.
        let store = open(&disk.crash(fault.nth + 3), &clock)
            .unwrap_or_else(|error| panic!("{what} and one more after {fault:?}: {error}"));
        let mut ledger = ledger.lock().expect("nobody panicked").clone();
        if let Err(wrong) = ledger.check(&store) {
            panic!("{what} and one more after {fault:?} at {failed:?}: {wrong}");
        }
    }
    true
}

fn fail_every(call: Call, error: io::ErrorKind, short: bool, ready: usize) {
    for nth in 1.. {
        let fault = Fault {
            call,
            nth,
            error,
            short,
        };
        if !fail_one(fault, ready) {
            assert!(nth > 1, "no {call:?} was ever made");
            return;
        }
    }
}

const EIO: io::ErrorKind = io::ErrorKind::Other;

#[test]
fn every_call_on_names_may_fail() {
    for call in [
        Call::Open,
        Call::Create,
        Call::Rename,
        Call::CreateDir,
        Call::List,
        Call::Lock,
    ] {
        fail_every(call, EIO, false, 0);
    }
    for call in [Call::Allocate, Call::Len, Call::SyncDir] {
        fail_every(call, EIO, false, 0);
    }
}

#[test]
fn every_write_may_fail() {
    fail_every(Call::Write, EIO, false, 0);
}

#[test]
fn every_write_may_be_short() {
    fail_every(Call::Write, EIO, true, 0);
}

#[test]
fn every_sync_may_fail() {
    fail_every(Call::Sync, EIO, false, 0);
}

/// A read that fails says nothing about what is on the disk: no job dies of it.
#[test]
fn every_read_may_fail() {
    fail_every(Call::Read, EIO, false, 0);
}
