//! Every bit of a small archive flipped, and every length of each file cut off: it is named, or it
//! is a tail that was not durable yet. Nothing else has what is in these files.

use std::path::{Path, PathBuf};

use posthaste_core::{ErrorKind, WallMs};

use super::bench::{Bench, Event, events, read_all, store};
use crate::archive::Codec;
use crate::archive::verify::verify;

/// Two sealed files, one of them compacted, and one that is written to.
fn small(codec: Codec) -> (Bench, Vec<Event>, u64) {
    let mut bench = Bench::new(codec);
    bench.settings.file_bytes = 8 * 1024;
    let events = events(60);
    let mut archive = bench.open(0).expect("a new archive");
    store(&mut archive, &events[..20], 20).expect("stored");
    archive
        .compact(WallMs(5_000), 0, 100, &mut || true)
        .expect("compacted");
    store(&mut archive, &events[20..40], 20).expect("stored");
    archive.settings.file_bytes = 64 * 1024;
    store(&mut archive, &events[40..], 10).expect("stored");
    let kept = read_all(&archive).expect("read");
    assert!(kept.len() < events.len(), "something was compacted");
    assert_eq!(bench.files().len(), 3);
    (bench, kept, archive.end())
}

/// What is found at `byte` of `path` names the file, and a place that is not behind it.
fn check_named(bench: &Bench, path: &Path, byte: usize, durable: u64, what: &str) {
    let found = verify(&bench.place(), durable, &mut || true);
    let at = found.damage.iter().find(|finding| finding.path == path);
    let at = at.unwrap_or_else(|| panic!("{what}: {found:?}"));
    assert!(at.offset <= byte as u64, "{what}: named at {}", at.offset);
}

/// Opening and reading either say what is damaged, or give what was stored.
fn check_opened(bench: &Bench, path: &Path, kept: &[Event], durable: u64, what: &str) {
    let bench = bench.on(&bench.disk.copy());
    match bench.open(durable).and_then(|archive| read_all(&archive)) {
        Ok(read) => assert_eq!(read, kept, "{what}: silently different"),
        Err(error) => {
            let kinds = [ErrorKind::Corrupt, ErrorKind::NewerFormat];
            assert!(kinds.contains(&error.kind()), "{what}: {error}");
            let path = path.display().to_string();
            assert!(error.message().contains(&path), "{what}: {error}");
        }
    }
}

fn each_file(codec: Codec, mut each: impl FnMut(&Bench, &PathBuf, &[Event], u64)) {
    let (bench, kept, end) = small(codec);
    assert_eq!(verify(&bench.place(), end, &mut || true).damage, []);
    for path in bench.files() {
        each(&bench, &path, &kept, end);
    }
}

/// Whether every bit, byte and length is asked for, and not one in some.
fn all() -> bool {
    std::env::var_os("POSTHASTE_CAMPAIGN").is_some()
}

#[test]
fn every_flipped_bit_is_named() {
    each_file(Codec::None, |bench, path, kept, end| {
        for bit in 0..bench.len(path) * 8 {
            // Of a page that is mostly zeros, one in each byte: checksums find any single one.
            let one = bit % 8 == bit / 8 % 8;
            if !(one || bit / 8 % 4096 < 100 || all()) {
                continue;
            }
            let what = format!("{} bit {bit}", path.display());
            bench.disk.flip(path, bit);
            check_named(bench, path, bit / 8, end, &what);
            if one {
                check_opened(bench, path, kept, end, &what);
            }
            bench.disk.flip(path, bit);
        }
    });
}

#[test]
fn every_damaged_byte_is_named_where_blocks_are_compressed() {
    each_file(Codec::Lz4, |bench, path, kept, end| {
        for byte in (0..bench.len(path)).step_by(if all() { 1 } else { 7 }) {
            let what = format!("{} byte {byte}", path.display());
            let before = bench.disk.contents(path).expect("it is there");
            bench.disk.damage(path, |bytes| bytes[byte] ^= 0xff);
            check_named(bench, path, byte, end, &what);
            check_opened(bench, path, kept, end, &what);
            bench.disk.damage(path, |bytes| *bytes = before);
        }
    });
}

#[test]
fn every_length_that_a_file_is_cut_to_is_named() {
    each_file(Codec::Lz4, |bench, path, kept, end| {
        let before = bench.disk.contents(path).expect("it is there");
        for len in 0..before.len() {
            // What lies around the ends of blocks, and some of what lies within.
            if !(len % 4096 < 80 || len % 4096 > 4090 || len % 13 == 0 || all()) {
                continue;
            }
            let what = format!("{} cut to {len}", path.display());
            bench.disk.truncate(path, len);
            check_named(bench, path, len, end, &what);
            check_opened(bench, path, kept, end, &what);
            bench.disk.damage(path, |bytes| *bytes = before.clone());
        }
    });
}

#[test]
fn a_file_that_is_gone_is_named() {
    let (bench, _, end) = small(Codec::None);
    // A file that the oldest were dropped up to looks like one that was never dropped.
    for path in &bench.files()[1..] {
        let bench = bench.on(&bench.disk.copy());
        let place = bench.place();
        place.disk.remove(path).expect("removed");
        let error = bench.open(end).map(|_| ()).expect_err("it is gone");
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
        assert_eq!(verify(&place, end, &mut || true).damage.len(), 1);
    }
}

#[test]
fn what_was_not_durable_yet_is_cut_and_kept_and_nothing_before_it() {
    let (bench, kept, end) = small(Codec::Lz4);
    let newest = bench.files().pop().expect("a newest file");
    let durable = 50;
    let sound = bench.disk.contents(&newest).expect("it is there");
    let mut cuts = 0;
    for byte in (0..sound.len()).step_by(if all() { 1 } else { 3 }) {
        let bench = bench.on(&bench.disk.copy());
        match byte % 2 {
            0 => bench.disk.flip(&newest, byte * 8 + byte % 7),
            _ => bench.disk.truncate(&newest, byte),
        }
        let damaged = bench.disk.contents(&newest).expect("it is there");
        let torn = verify(&bench.place(), durable, &mut || true).torn;
        match bench.open(durable) {
            Err(error) => assert_eq!(error.kind(), ErrorKind::Corrupt, "byte {byte}: {error}"),
            Ok(mut archive) => {
                let was_cut = archive.cut().is_some();
                assert_eq!(torn.is_some(), was_cut, "byte {byte}");
                let end_now = archive.end();
                if was_cut {
                    let lost = bench.disk.contents(&bench.lost()[0]).expect("it is kept");
                    let from = damaged.len() - lost.len();
                    assert_eq!(damaged[from..], lost, "byte {byte}");
                    assert!(from <= byte, "byte {byte}: kept from {from} on");
                    let left = bench.disk.contents(&newest).expect("it is there");
                    assert!(left[from..].iter().all(|byte| *byte == 0));
                    cuts += 1;
                }
                let before: Vec<_> = kept
                    .iter()
                    .filter(|event| event.position < end_now)
                    .cloned()
                    .collect();
                assert!((durable..=end).contains(&end_now), "byte {byte}: {end_now}");
                match read_all(&archive) {
                    Ok(read) => assert_eq!(read, before, "byte {byte}"),
                    // Only what was durable is not looked at before it is read.
                    Err(error) => assert!(byte < 8_192, "byte {byte}: {error}"),
                }
                // What the journal still has is given again.
                store(&mut archive, &events(60), 20).expect("stored");
                assert_eq!(archive.end(), end);
                drop(archive);
                let archive = bench.open(end).expect("it opens again");
                assert_eq!(archive.cut(), None, "byte {byte}");
            }
        }
    }
    assert!(cuts > 500, "{cuts} cuts");
}
