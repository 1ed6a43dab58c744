//! Reads records back: from the groups written last, from a segment, or from memory.

use std::collections::VecDeque;
use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use bytes::Bytes;
use posthaste_core::machine::Place;

use crate::format::place::{self, At};
use crate::format::{Damage, record};
use crate::journal::Written;
use crate::segments::{Segment, Segments};

/// Bytes of the groups written last that are kept in memory.
const RECENT_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Bytes read ahead of a record: most are smaller.
const READ: usize = 4096;
/// Records that lie this close are read together.
const COALESCE: u32 = 256 * 1024;

/// Where records are read.
#[derive(Debug)]
pub(crate) enum Bodies {
    /// From a directory.
    Disk(DiskBodies),
    /// From memory.
    Memory(Mutex<Blobs>),
}

/// A record that can't be read.
#[derive(Clone, Debug)]
pub(crate) struct Unreadable {
    pub(crate) path: std::path::PathBuf,
    pub(crate) offset: u32,
    pub(crate) damage: Damage,
}

#[derive(Debug)]
pub(crate) struct DiskBodies {
    segments: Arc<Segments>,
    recent: RwLock<Recent>,
}

#[derive(Debug, Default)]
struct Recent {
    groups: VecDeque<Written>,
    bytes: usize,
}

impl Bodies {
    pub(crate) fn on_disk(segments: Arc<Segments>) -> Self {
        Self::Disk(DiskBodies {
            segments,
            recent: RwLock::default(),
        })
    }

    /// Keeps what was just written, and lets the oldest go.
    pub(crate) fn wrote(&self, written: Vec<Written>) {
        let Self::Disk(disk) = self else { return };
        let mut recent = disk.recent.write().unwrap_or_else(PoisonError::into_inner);
        for group in written {
            recent.bytes += group.bytes.len();
            recent.groups.push_back(group);
        }
        while recent.bytes > RECENT_BYTES_MAX {
            let Some(oldest) = recent.groups.pop_front() else {
                break;
            };
            recent.bytes -= oldest.bytes.len();
        }
    }

    /// The record at `place`, where it is in memory.
    pub(crate) fn at_hand(&self, place: Place) -> Option<Bytes> {
        match self {
            Self::Memory(blobs) => blobs
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .get(place),
            Self::Disk(disk) => disk.at_hand(place::at(place)),
        }
    }

    /// Of these places, each with its roughly known bytes added up: how many there are until `max`
    /// is passed.
    pub(crate) fn count_within(&self, max: u64, places: impl Iterator<Item = [Place; 2]>) -> usize {
        let mut memory = match self {
            Self::Memory(blobs) => Some(blobs.lock().unwrap_or_else(PoisonError::into_inner)),
            Self::Disk(_) => None,
        };
        let mut bytes_of = |place: Place| match &mut memory {
            _ if !place.is_some() => 0,
            Some(blobs) => blobs.get(place).map_or(0, |bytes| bytes.len() as u64),
            None => place::size(place),
        };
        let (mut sum, mut count) = (0, 0);
        for both in places {
            sum += both.map(&mut bytes_of).iter().sum::<u64>();
            if sum > max {
                break;
            }
            count += 1;
        }
        count
    }

    /// Keeps a record in memory, where that is where records are.
    pub(crate) fn keep_in_memory(&self, record: Bytes) -> Place {
        match self {
            Self::Memory(blobs) => blobs
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .keep(record),
            Self::Disk(_) => Place::NONE,
        }
    }

    /// Lets go of what nobody uses, in memory.
    pub(crate) fn drop_unused(&self, places: &[Place]) {
        if let Self::Memory(blobs) = self {
            let mut blobs = blobs.lock().unwrap_or_else(PoisonError::into_inner);
            places.iter().for_each(|place| blobs.drop_unused(*place));
        }
    }

    /// Notes which places came into use or fell out of it, in memory. On disk, says no.
    pub(crate) fn note(&self, changes: &mut Vec<(Place, bool)>) -> bool {
        let Self::Memory(blobs) = self else {
            return false;
        };
        let mut blobs = blobs.lock().unwrap_or_else(PoisonError::into_inner);
        for (place, in_use) in &*changes {
            blobs.count(*place, *in_use);
        }
        // Only now: what moved from one holder to another fell out of use and came into it again.
        for (place, _) in changes.drain(..) {
            blobs.drop_unused(place);
        }
        true
    }

    /// Keeps the segments of these places readable for as long as the answer is held.
    pub(crate) fn pin(&self, places: impl Iterator<Item = Place>) -> Vec<Arc<Segment>> {
        let Self::Disk(disk) = self else {
            return Vec::new();
        };
        let mut pinned: Vec<Arc<Segment>> = Vec::new();
        for number in places.map(|place| place::at(place).segment) {
            if pinned.iter().all(|segment| segment.number != number) {
                pinned.extend(disk.segments.get(number));
            }
        }
        pinned
    }

    /// Reads the record at `place`, which lies in one of the `pinned` segments.
    pub(crate) fn read(&self, place: Place, pinned: &[Arc<Segment>]) -> Result<Bytes, Unreadable> {
        let mut found = None;
        self.read_all(&[place], pinned, |_, record| found = Some(record));
        found.unwrap_or_else(|| Err(gone(place)))
    }

    /// Reads the records at `places`; neighbours are read together.
    pub(crate) fn read_all(
        &self,
        places: &[Place],
        pinned: &[Arc<Segment>],
        mut each: impl FnMut(usize, Result<Bytes, Unreadable>),
    ) {
        let mut missing: Vec<(At, usize)> = Vec::new();
        for (index, place) in places.iter().enumerate() {
            match self.at_hand(*place) {
                Some(record) => each(index, Ok(record)),
                None => missing.push((place::at(*place), index)),
            }
        }
        missing.sort_unstable();
        let mut rest = missing.as_slice();
        while let Some((first, _)) = rest.first() {
            let near = |(at, _): &(At, usize)| {
                at.segment == first.segment && at.offset - first.offset < COALESCE
            };
            let (together, after) =
                rest.split_at(rest.iter().take_while(|item| near(item)).count());
            match pinned
                .iter()
                .find(|segment| segment.number == first.segment)
            {
                Some(segment) => read_together(segment, together, &mut each),
                None => together
                    .iter()
                    .for_each(|(_, index)| each(*index, Err(gone(places[*index])))),
            }
            rest = after;
        }
    }
}

fn gone(place: Place) -> Unreadable {
    Unreadable::at(place, Damage::Bad("segment: it is gone"))
}

impl Unreadable {
    /// What is wrong with the record at `place`.
    pub(crate) fn at(place: Place, damage: Damage) -> Self {
        let At { segment, offset } = place::at(place);
        Self {
            path: Path::new("segments").join(crate::segments::file_name(segment)),
            offset,
            damage,
        }
    }

    /// Whether it may be read another time: the bytes were not seen, so they are not known to be
    /// damaged.
    pub(crate) fn may_pass(&self) -> bool {
        self.damage == Damage::Device
    }
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            path,
            offset,
            damage,
        } = self;
        write!(f, "{} at offset {offset}: {damage}", path.display())
    }
}

fn read_together(
    segment: &Segment,
    together: &[(At, usize)],
    each: &mut impl FnMut(usize, Result<Bytes, Unreadable>),
) {
    let (Some((first, _)), Some((last, _))) = (together.first(), together.last()) else {
        return;
    };
    let end = (last.offset as usize + READ).min(segment.bytes as usize);
    let whole = read_span(segment, first.offset, end - first.offset as usize);
    if whole.is_err() && together.len() > 1 {
        // What the disk does not give may be one of them, or none.
        for one in together {
            read_together(segment, std::slice::from_ref(one), each);
        }
        return;
    }
    for (at, index) in together {
        let inside = (at.offset - first.offset) as usize;
        let record = whole.clone().and_then(|bytes| {
            let size = record::size_said(&bytes[inside..])?;
            if inside + size <= bytes.len() {
                return Ok(bytes.slice(inside..inside + size));
            }
            if at.offset as usize + size > segment.bytes as usize {
                return Err(Damage::Bad("length"));
            }
            read_span(segment, at.offset, size)
        });
        each(
            *index,
            record.map_err(|damage| unreadable(segment, at.offset, damage)),
        );
    }
}

fn unreadable(segment: &Segment, offset: u32, damage: Damage) -> Unreadable {
    Unreadable {
        path: segment.path.clone(),
        offset,
        damage,
    }
}

fn read_span(segment: &Segment, offset: u32, len: usize) -> Result<Bytes, Damage> {
    let mut bytes = vec![0; len];
    match segment.file.read_at(&mut bytes, u64::from(offset)) {
        Ok(()) => Ok(Bytes::from(bytes)),
        Err(_) => Err(Damage::Device),
    }
}

impl DiskBodies {
    fn at_hand(&self, at: At) -> Option<Bytes> {
        let recent = self.recent.read().unwrap_or_else(PoisonError::into_inner);
        let after = recent.groups.partition_point(|group| group.at <= at);
        let group = recent.groups.get(after.checked_sub(1)?)?;
        let inside = (at.offset - group.at.offset) as usize;
        if group.at.segment != at.segment || inside >= group.bytes.len() {
            return None;
        }
        let size = record::size_said(&group.bytes[inside..]).ok()?;
        (inside + size <= group.bytes.len()).then(|| group.bytes.slice(inside..inside + size))
    }
}

/// Records that are kept in memory, each under a number.
#[derive(Debug, Default)]
pub(crate) struct Blobs {
    /// Chunks of fixed length, so that growing moves nothing.
    chunks: Vec<Vec<Blob>>,
    free: Vec<u64>,
    used: u64,
}

#[derive(Clone, Debug, Default)]
struct Blob {
    bytes: Bytes,
    uses: u32,
}

const CHUNK: u64 = 4096;
const CHUNK_LEN: usize = 4096;

impl Blobs {
    /// Keeps a record. It is not in use yet.
    pub(crate) fn keep(&mut self, bytes: Bytes) -> Place {
        let index = self.free.pop().unwrap_or_else(|| {
            if self.used.is_multiple_of(CHUNK) {
                self.chunks.push(vec![Blob::default(); CHUNK_LEN]);
            }
            self.used += 1;
            self.used - 1
        });
        if let Some(blob) = self.blob(index) {
            *blob = Blob { bytes, uses: 0 };
        }
        Place(index + 1)
    }

    /// Counts that a place came into use, or fell out of it.
    fn count(&mut self, place: Place, in_use: bool) {
        let index = place.0 - 1;
        let Some(blob) = self.blob(index) else { return };
        blob.uses = if in_use {
            blob.uses + 1
        } else {
            blob.uses.saturating_sub(1)
        };
    }

    /// Lets a record go that nobody uses.
    pub(crate) fn drop_unused(&mut self, place: Place) {
        let index = place.0 - 1;
        let Some(blob) = self.blob(index) else { return };
        if blob.uses == 0 && !blob.bytes.is_empty() {
            blob.bytes = Bytes::new();
            self.free.push(index);
        }
    }

    fn get(&mut self, place: Place) -> Option<Bytes> {
        let bytes = self.blob(place.0.checked_sub(1)?)?.bytes.clone();
        (!bytes.is_empty()).then_some(bytes)
    }

    fn blob(&mut self, index: u64) -> Option<&mut Blob> {
        let chunk = usize::try_from(index / CHUNK).ok()?;
        let inside = usize::try_from(index % CHUNK).ok()?;
        self.chunks.get_mut(chunk)?.get_mut(inside)
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;
    use crate::disk::DiskFile;
    use crate::format::record::Tag;

    /// A file of records of 16 KiB, of which one lies where the disk can't read.
    #[derive(Debug)]
    struct Scratched(Vec<u8>);

    const RECORD: usize = 16 * 1024;
    const SCRATCH: std::ops::Range<usize> = 2 * RECORD + 100..2 * RECORD + 612;

    impl DiskFile for Scratched {
        fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
            let from = usize::try_from(offset).expect("small");
            if from < SCRATCH.end && SCRATCH.start < from + buffer.len() {
                return Err(io::Error::other("a scratch"));
            }
            buffer.copy_from_slice(&self.0[from..from + buffer.len()]);
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

    #[test]
    fn what_moves_from_one_holder_to_another_stays_in_memory() {
        let bodies = Bodies::Memory(Mutex::default());
        let place = bodies.keep_in_memory(Bytes::from_static(b"why"));
        assert!(bodies.note(&mut vec![(place, true)]));
        assert!(bodies.note(&mut vec![(place, false), (place, true)]));
        assert_eq!(bodies.at_hand(place), Some(Bytes::from_static(b"why")));
        assert!(bodies.note(&mut vec![(place, false)]));
        assert_eq!(bodies.at_hand(place), None);
    }

    #[test]
    fn what_lies_beside_a_bad_sector_is_read_all_the_same() {
        let mut bytes = Vec::new();
        for _ in 0..4 {
            record::write(&mut bytes, Tag::Note, |data| {
                data.resize(data.len() + RECORD - record::HEADER, 7);
            });
        }
        let segment = Segment {
            number: 1,
            path: Path::new("1.seg").to_owned(),
            bytes: u32::try_from(bytes.len()).expect("small"),
            file: Arc::new(Scratched(bytes)),
        };
        let at = |index: usize| At {
            segment: 1,
            offset: u32::try_from(index * RECORD).expect("small"),
        };
        let together: Vec<_> = (0..4).map(|index| (at(index), index)).collect();
        let mut read = [false; 4];
        read_together(
            &segment,
            &together,
            &mut |index, record: Result<_, Unreadable>| match record {
                Ok(bytes) => read[index] = record::read(&bytes).is_ok(),
                Err(unreadable) => assert!(unreadable.may_pass()),
            },
        );
        assert_eq!(read, [true, true, false, true]);
    }
}
