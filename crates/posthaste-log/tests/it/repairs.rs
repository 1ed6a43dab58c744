//! A damaged store is made to open again: what is said to be lost is lost, and nothing else is.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use posthaste_core::{ErrorKind, Store};
use posthaste_log::{Disk, Error, RepairReport, repair};
use posthaste_testkit::block_on;
use posthaste_testkit::disk::{Chance, FaultDisk};

use crate::bench::{Life, dir, open};
use crate::ledger::everything;
use crate::sweeps::{Small, files, segment};

const BLOCK: usize = 4096;

fn repaired(disk: &FaultDisk, dry_run: bool) -> Result<RepairReport, Error> {
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    repair(&disk, dir(), dry_run)
}

/// Repairs a damaged copy of `small`, and holds the result against what was said. Answers how many
/// jobs were lost.
fn check(small: &Small, disk: &FaultDisk, what: &str) -> usize {
    let before = files(disk);
    let said = repaired(disk, true).unwrap_or_else(|error| panic!("{what}: {error}"));
    assert!(
        !said.done && files(disk) == before,
        "{what}: a dry run changed something"
    );
    let done = repaired(disk, false).unwrap_or_else(|error| panic!("{what}: {error}"));
    let expected = RepairReport { done: true, ..said };
    assert_eq!(
        done, expected,
        "{what}: it did something else than it had said"
    );

    let store = open(disk, &small.clock).unwrap_or_else(|error| panic!("{what}: {error}"));
    let jobs = everything(&store).unwrap_or_else(|wrong| panic!("{what}: {wrong}"));
    for (number, job) in &jobs {
        let Some(was) = small.jobs.get(number) else {
            assert!(
                done.groups_lost > 0,
                "{what}: job {number} was deleted, and is back"
            );
            continue;
        };
        assert_eq!(
            (&job.payload, job.id),
            (&was.payload, was.id),
            "{what}: job {number}"
        );
    }
    let there = small.jobs.keys().filter(|number| jobs.contains_key(number));
    let lost = small.jobs.len() - there.count();
    assert!(
        lost == 0 || done.groups_lost > 0,
        "{what}: {lost} jobs lost unsaid"
    );
    let mut life = Life::new(store, &small.clock, Arc::new(Mutex::default()), 1);
    life.number_from(1_000_000);
    life.add(3);
    block_on(life.store.close()).unwrap_or_else(|error| panic!("{what}: {error}"));
    drop(life);
    let report = small.verified(disk).expect("it verifies");
    assert!(
        report.is_sound(),
        "{what}: {:?} after {:?}",
        report.damage,
        done.steps
    );
    lost
}

fn damaged(small: &Small, change: impl FnOnce(&FaultDisk)) -> FaultDisk {
    let disk = small.disk.copy();
    change(&disk);
    disk
}

#[test]
fn a_sound_store_needs_no_repair() {
    let small = Small::new();
    let report = repaired(&small.disk, true).expect("it looks");
    assert_eq!(report.steps, Vec::<String>::new());
}

#[test]
fn what_holds_no_commit_is_written_anew_without_loss() {
    let small = Small::new();
    let flip = |path: PathBuf, byte: usize| damaged(&small, |disk| disk.flip(&path, byte * 8));
    let superblock = dir().join("superblock");
    let last = small.disk.contents(&segment(1)).expect("it is there").len() - BLOCK;
    for (disk, what) in [
        (flip(superblock.clone(), 20), "a slot of the superblock"),
        (flip(segment(1), 9), "the header of a segment"),
        (flip(segment(1), last + 9), "the footer of a segment"),
        (
            damaged(&small, |disk| disk.truncate(&segment(1), last)),
            "a footer cut off",
        ),
        (
            damaged(&small, |disk| disk.remove(&superblock).expect("it goes")),
            "no superblock",
        ),
    ] {
        assert_eq!(check(&small, &disk, what), 0, "{what}");
    }
}

#[test]
fn what_lies_behind_a_damaged_group_is_lost_and_said_to_be() {
    let small = Small::new();
    let bytes = small.disk.contents(&segment(1)).expect("it is there");
    let mut blocks = bytes.chunks(BLOCK);
    let last = blocks.rposition(|block| block.starts_with(b"PHGR"));
    let byte = last.expect("it has groups") * BLOCK + 100;
    let disk = damaged(&small, |disk| disk.flip(&segment(1), byte * 8));
    let lost = check(&small, &disk, "a group in the middle");
    assert!(lost > 0 && lost < small.jobs.len(), "{lost} lost");
    let lost_and_found = dir().join("lost+found");
    let kept = disk
        .paths()
        .into_iter()
        .filter(|path| path.starts_with(&lost_and_found));
    let kept = kept.count();
    assert!(
        kept >= 3,
        "{kept} kept: whatever was changed or moved is there as it was"
    );
}

#[test]
fn a_store_without_its_beginning_is_not_repaired() {
    let small = Small::new();
    let disk = damaged(&small, |disk| disk.remove(&segment(1)).expect("it goes"));
    let error = repaired(&disk, false).expect_err("there is nothing to go on from");
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.to_string().contains("backup"), "{error}");
}

#[test]
fn any_flipped_bit_and_any_cut_is_repaired() {
    let small = Small::new();
    let all = files(&small.disk);
    let mut chance = Chance::new(5);
    for _ in 0..150 {
        let which = usize::try_from(chance.below(all.len() as u64)).expect("small");
        let (path, bytes) = &all[which];
        let at = usize::try_from(chance.below(bytes.len() as u64)).expect("small");
        let cut = chance.one_in(4);
        let disk = damaged(&small, |disk| match cut {
            true => disk.truncate(path, at),
            false => disk.flip(path, at * 8 + at % 8),
        });
        check(
            &small,
            &disk,
            &format!("{} at {at}, cut: {cut}", path.display()),
        );
    }
}
