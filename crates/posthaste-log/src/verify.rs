//! Reads everything that a store keeps and names each damage with file and offset.
//!
//! It changes nothing: what is wrong is said, and what to do about it is for `repair`. It
//! works on a closed store, whose lock it holds meanwhile, so that nothing moves under its eyes.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use posthaste_core::machine::Place;
use posthaste_core::view::JobFilter;
use posthaste_core::{Error, ErrorKind, JobId, MonoMs, Result, limits};

use crate::disk::Disk;
use crate::files::{self, Files, io_error};
use crate::format::{Damage, body, place, record};
use crate::scan::Scan;
use crate::segments::Segment;
use crate::snapshot;
use crate::survey::{Survey, look};

/// Most damages that are named; more are counted.
pub const FINDINGS_MAX: usize = 1_000;

/// Something that is not as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// In which file.
    pub path: PathBuf,
    /// Where in it, in bytes from its beginning.
    pub offset: u64,
    /// What is wrong there.
    pub what: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, offset, what } = self;
        write!(f, "{} at offset {offset}: {what}", path.display())
    }
}

/// What was read, and what was wrong with it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VerifyReport {
    /// Segments, those that stand ready included.
    pub segments: u64,
    /// Groups in them.
    pub groups: u64,
    /// Bodies, notes and answers in the groups.
    pub records: u64,
    /// Facts in the groups.
    pub facts: u64,
    /// Snapshots.
    pub snapshots: u64,
    /// Jobs in the index. Only counted where nothing is damaged before they can be.
    pub jobs: u64,
    /// Archives of topics.
    pub topics: u64,
    /// Events in them.
    pub events: u64,
    /// Bytes that were read.
    pub bytes: u64,
    /// The store was closed in order.
    pub clean: bool,
    /// Every damage, [`FINDINGS_MAX`] at most.
    pub damage: Vec<Finding>,
    /// Damages beyond those.
    pub more: u64,
    /// Unfinished writing at the end: never acknowledged, cut off when the store is opened.
    pub torn: Option<Finding>,
}

impl VerifyReport {
    /// Whether nothing is damaged. Unfinished writing at the end is no damage.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.damage.is_empty()
    }
}

/// How far a verification is.
#[derive(Clone, Copy, Debug)]
pub struct Progress<'a> {
    /// The file that is read next.
    pub path: &'a Path,
    /// Bytes that were read.
    pub done_bytes: u64,
    /// Bytes of all files.
    pub total_bytes: u64,
}

/// Reads the whole store in `dir`, whose lock is held meanwhile, and changes nothing. `progress`
/// is told before each file.
///
/// # Errors
/// `NotFound` where there is no store, `Locked` where somebody has it open, `Io` where a file
/// can't be opened. Damage is no error but part of the report.
pub fn verify(
    disk: &Arc<dyn Disk>,
    dir: &Path,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<VerifyReport> {
    there_is_a_store(&**disk, dir)?;
    let _lock = crate::opening::lock(&**disk, dir, 0)?;
    Ok(look(disk, dir, progress)?.report)
}

/// Refuses a directory in which nothing of a store is to be found.
pub(crate) fn there_is_a_store(disk: &dyn Disk, dir: &Path) -> Result<()> {
    let found = match disk.list(dir) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        listed => listed.map_err(|error| io_error("list", dir, &error))?,
    };
    if found.contains(&dir.join("superblock")) || found.contains(&files::segments_dir(dir)) {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::NotFound,
        format!("{} holds no store", dir.display()),
    )
    .next("name the data directory that the server was started with"))
}

impl Survey<'_> {
    /// Builds the index, and reads what each job in it points to.
    pub(crate) fn index(&mut self, segments: &[Arc<Segment>]) -> Result<()> {
        let files = Files::open(Arc::clone(self.disk), self.dir)?;
        let loaded = snapshot::load(&files, MonoMs(0), |_| false)?;
        let (mut machine, newest) = (loaded.machine, loaded.reach);
        let (mut seq, mut link) = (newest.last_seq + 1, newest.link);
        for segment in segments
            .iter()
            .filter(|segment| segment.number > newest.segment)
        {
            let mut bytes = vec![0; segment.bytes as usize];
            let read = segment.file.read_at(&mut bytes, 0);
            read.map_err(|error| io_error("read", &segment.path, &error))?;
            let mut scan = Scan::new(&bytes, segment.number, Some(seq), Some(link));
            while let Ok(group) = scan.next() {
                let evolved = group.facts(|fact| machine.evolve(&fact, MonoMs(0)));
                evolved.map_err(|damage| files::corrupt(&segment.path, group.offset, &damage))?;
                (seq, link) = (group.header.seq + 1, group.header.crc);
            }
        }
        let (mut cursor, mut slots) = (None, Vec::new());
        loop {
            slots.clear();
            cursor = machine.page(&JobFilter::default(), cursor, limits::PAGE_MAX, &mut slots);
            for row in slots.iter().filter_map(|slot| machine.view(*slot)) {
                self.report.jobs += 1;
                for (which, place) in [("body", row.place), ("note", row.note)] {
                    if let Err((path, offset, damage)) = self.record_of(segments, row.id, place) {
                        self.found(
                            &path,
                            offset,
                            format!("the {which} of job {}: {damage}", row.id),
                        );
                    }
                }
            }
            if cursor.is_none() {
                return Ok(());
            }
        }
    }

    fn record_of(
        &self,
        segments: &[Arc<Segment>],
        id: JobId,
        place: Place,
    ) -> Result<(), (PathBuf, usize, Damage)> {
        if !place.is_some() {
            return Ok(());
        }
        let at = place::at(place);
        let named = files::segments_dir(self.dir).join(crate::segments::file_name(at.segment));
        let bad = |damage| (named.clone(), at.offset as usize, damage);
        let segment = segments.binary_search_by_key(&at.segment, |segment| segment.number);
        let segment = segment.map_err(|_| bad(Damage::Bad("segment: it is gone")))?;
        let segment = &segments[segment];
        let mut bytes = vec![0; record::ALIGN];
        let read = |bytes: &mut Vec<u8>| {
            let read = segment.file.read_at(bytes, u64::from(at.offset));
            read.map_err(|_| bad(Damage::Short))
        };
        read(&mut bytes)?;
        let size = record::size_said(&bytes).map_err(bad)?;
        if at.offset as usize + size > segment.bytes as usize {
            return Err(bad(Damage::Bad("length")));
        }
        bytes.resize(size, 0);
        read(&mut bytes)?;
        let record = record::read(&bytes).map_err(bad)?;
        match body::owner(&record).map_err(bad)? {
            Some(body::Owner::Job(owner)) if owner == id => Ok(()),
            _ => Err(bad(Damage::Bad("owner"))),
        }
    }
}
