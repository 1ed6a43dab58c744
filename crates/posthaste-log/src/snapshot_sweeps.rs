//! Every bit of a small snapshot flipped, and every length of it cut off: it is refused, or it says
//! the same. A snapshot stands in for segments that are gone, so nothing else would notice.

use std::io;
use std::path::Path;
use std::sync::Arc;

use posthaste_core::job::{DeadReason, JobState, RetryRule, StateSet};
use posthaste_core::machine::{
    KeyDigest, Life, Place, SavedJob, SavedKey, SavedLease, SavedMeta, SavedSeen, SavedTopic, Seen,
    Settles, Slot, UniqueClaim,
};
use posthaste_core::topic::TopicConfig;
use posthaste_core::{ErrorKind, JobId, Priority, Result, Token, WallMs};

use crate::RealDisk;
use crate::disk::{Disk, DiskFile};
use crate::files::Files;
use crate::snapshot::{Chunk, Reach, Reader, Writer};

/// A file that is its bytes.
#[derive(Debug)]
struct Held(Vec<u8>);

impl DiskFile for Held {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let from = usize::try_from(offset).map_err(|_| io::ErrorKind::UnexpectedEof)?;
        let found = self.0.get(from..from.saturating_add(buffer.len()));
        buffer.copy_from_slice(found.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.len() as u64)
    }

    fn write_at(&self, _bytes: &[u8], _offset: u64) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn sync_data(&self) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn refresh(&self) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn allocate(&self, _len: u64) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// Everything that a snapshot says.
#[derive(Debug, PartialEq)]
struct Said {
    reach: Reach,
    meta: SavedMeta,
    settles: Settles,
    jobs: Vec<SavedJob>,
    keys: Vec<SavedKey>,
    seen: Vec<SavedSeen>,
}

fn read(bytes: &[u8]) -> Result<Said> {
    let file = Arc::new(Held(bytes.to_vec()));
    let mut reader = Reader::open(Path::new("0000000000000007.snap"), file)?;
    let mut said = Said {
        reach: reader.reach,
        meta: reader.meta.clone(),
        settles: std::mem::take(&mut reader.settles),
        jobs: Vec::new(),
        keys: Vec::new(),
        seen: Vec::new(),
    };
    while let Some(chunk) = reader.next()? {
        match chunk {
            Chunk::Jobs(jobs) => said.jobs.extend(jobs),
            Chunk::Keys(keys) => said.keys.extend(keys),
            Chunk::Seen(seen) => said.seen.extend(seen),
        }
    }
    Ok(said)
}

/// A job in each state, with every field that may be there on one of them.
fn jobs() -> impl Iterator<Item = SavedJob> {
    JobState::ALL.into_iter().zip(0_u8..).map(|(state, nth)| {
        let number = u32::from(nth);
        let (full, wide) = (nth % 2 == 1, u64::from(nth));
        let mut life = Life::enqueued(state, WallMs(1_700_000 + wide), wide, Place(77 + wide));
        life.reason = (state == JobState::Dead).then_some(DeadReason::Poison);
        life.note = Place(full.into());
        SavedJob {
            slot: Slot(number * 3),
            id: JobId::new(1_700_000_000_000, [nth; 10]),
            queue: if full { "mail".into() } else { "bills".into() },
            kind: "send".into(),
            priority: Priority::new(1 + nth).expect("a priority"),
            retry: RetryRule {
                max_attempts: if full {
                    3
                } else {
                    RetryRule::default().max_attempts
                },
                ..RetryRule::default()
            },
            keep_result: full,
            deadline: full.then_some(WallMs(9)),
            unique: full.then_some(UniqueClaim {
                digest: [nth; 16],
                until: Some(WallMs(10)),
                states: StateSet::UNFINISHED,
            }),
            unreadable: full.then_some(WallMs(11)),
            lease: (state == JobState::Running).then(|| SavedLease {
                token: Token(12),
                lease_ms: 13,
                local: true,
                worker: "w".into(),
            }),
            life,
        }
    })
}

fn snapshot() -> Vec<u8> {
    let dir = tempfile::tempdir().expect("a directory");
    let snapshots = dir.path().join("snapshots");
    RealDisk.create_dir_all(&snapshots).expect("a directory");
    let files = Files::open(Arc::new(RealDisk), dir.path()).expect("a superblock");
    let mut settles = Settles::default();
    (1..4).for_each(|token| settles.note(Token(token), 0xfeed, WallMs(1_700_000 + token)));
    let reach = Reach {
        segment: 7,
        last_seq: 8,
        link: 9,
    };
    let mut meta = SavedMeta {
        last_token: Token(12),
        last_order: 6,
        ..SavedMeta::default()
    };
    meta.queues.insert("mail".into(), Default::default());
    meta.queues.insert("bills".into(), Default::default());
    let mut writer = Writer::create(&files, reach, &settles).expect("it is created");
    jobs().for_each(|job| writer.job(&job).expect("it is written"));
    for nth in 0..5 {
        let key = SavedKey {
            digest: KeyDigest {
                key: [nth; 12],
                body: 5,
            },
            answer: Place(6),
            at: WallMs(7),
        };
        writer.key(&key).expect("it is written");
    }
    for nth in 0..3 {
        let seen = Seen {
            digest: [nth; 12],
            topic: 4,
            partition: 1,
            offset: 8,
            position: 9,
        };
        let at = WallMs(10);
        writer.seen(&SavedSeen { seen, at }).expect("it is written");
    }
    let topic = SavedTopic {
        name: "orders".into(),
        config: TopicConfig::default(),
        created_at: WallMs(1),
        last_at: WallMs(2),
        next: 10,
        offsets: [1, 2, 3, 4].into(),
    };
    meta.topics.by_number.insert(4, topic);
    meta.topics.last_number = 5;
    meta.archived.insert(4, 6);
    let path = writer.finish(&meta, 7).expect("it is named");
    let file = RealDisk.open(&path).expect("it is there");
    let len = file.len().expect("a length");
    let mut bytes = vec![0; usize::try_from(len).expect("small")];
    file.read_at(&mut bytes, 0).expect("it is read");
    bytes
}

#[test]
fn every_flipped_bit_of_a_snapshot_is_refused_or_without_consequence() {
    let mut bytes = snapshot();
    let sound = read(&bytes).expect("it is sound");
    assert_eq!(
        (sound.jobs.len(), sound.keys.len(), sound.seen.len()),
        (7, 5, 3)
    );
    let mut harmless = 0;
    for bit in 0..bytes.len() * 8 {
        bytes[bit / 8] ^= 1 << (bit % 8);
        match read(&bytes) {
            Ok(said) => {
                assert_eq!(said, sound, "bit {bit}: silently different");
                harmless += 1;
            }
            Err(error) => {
                let kinds = [ErrorKind::Corrupt, ErrorKind::NewerFormat];
                assert!(kinds.contains(&error.kind()), "bit {bit}: {error}");
                assert!(error.message().contains(".snap"), "bit {bit}: {error}");
            }
        }
        bytes[bit / 8] ^= 1 << (bit % 8);
    }
    // Only what fills a record up to the next multiple of sixteen is under no checksum.
    assert!(harmless < 7 * 15 * 8, "{harmless} bits are not checked");
}

#[test]
fn a_snapshot_that_is_cut_at_any_byte_is_refused() {
    let bytes = snapshot();
    for len in 0..bytes.len() {
        let error = read(&bytes[..len]).map(|_| ()).expect_err("it is cut");
        assert_eq!(error.kind(), ErrorKind::Corrupt, "cut to {len}: {error}");
    }
}
