//! Reads a sealed segment group by group, in bounded memory: for the merge of snapshots, for space
//! reclaim, and for the scrub. It changes nothing.

use posthaste_core::Result;

use crate::files::{corrupt, io_error};
use crate::format::segment::Footer;
use crate::format::{BLOCK, Damage, group};
use crate::scan::Group;
use crate::segments::Segment;

/// A sealed segment, read from its first group on.
#[derive(Debug)]
pub(crate) struct Sealed<'a> {
    segment: &'a Segment,
    /// Where the next group begins.
    pub(crate) offset: usize,
    end: usize,
    bytes: Vec<u8>,
}

impl<'a> Sealed<'a> {
    /// Begins at `offset`, where a group begins; the first one is at [`BLOCK`].
    ///
    /// # Errors
    /// When the segment has no sound footer, or can't be read.
    pub(crate) fn open(segment: &'a Segment, offset: usize) -> Result<Self> {
        let end = read_footer(segment)?.end as usize;
        let bytes = Vec::new();
        Ok(Self {
            segment,
            offset,
            end,
            bytes,
        })
    }

    /// The next group, verified; `None` behind the last.
    ///
    /// # Errors
    /// Damage, named.
    pub(crate) fn next(&mut self) -> Result<Option<Group<'_>>> {
        self.next_by(|bytes, offset| Group::read(bytes, offset))
    }

    /// The same, and a group whose body is damaged too, as long as its header is sound.
    ///
    /// # Errors
    /// Damage of anything else, named.
    pub(crate) fn next_salvaged(&mut self) -> Result<Option<Group<'_>>> {
        self.next_by(|bytes, offset| Group::salvage(bytes, offset))
    }

    fn next_by(
        &mut self,
        read: for<'g> fn(&'g [u8], usize) -> Result<Group<'g>, Damage>,
    ) -> Result<Option<Group<'_>>> {
        if self.offset >= self.end {
            return Ok(None);
        }
        let (segment, offset) = (self.segment, self.offset);
        let damaged = |damage| corrupt(&segment.path, offset, &damage);
        self.read(offset, BLOCK)?;
        let header = group::read_header(&self.bytes).map_err(damaged)?;
        if header.segment != segment.number || offset + header.size() > self.end {
            return Err(damaged(Damage::Bad("length")));
        }
        self.read(offset, header.size())?;
        self.offset += header.size();
        read(&self.bytes, offset).map(Some).map_err(damaged)
    }

    fn read(&mut self, offset: usize, len: usize) -> Result<()> {
        self.bytes.resize(len, 0);
        let read = self.segment.file.read_at(&mut self.bytes, offset as u64);
        read.map_err(|error| io_error("read", &self.segment.path, &error))
    }
}

/// The footer of a segment that is sealed.
pub(crate) fn read_footer(segment: &Segment) -> Result<Footer> {
    let mut block = vec![0; BLOCK];
    let at = segment.groups_end();
    segment
        .file
        .read_at(&mut block, u64::from(at))
        .map_err(|error| io_error("read", &segment.path, &error))?;
    Footer::read(&block).map_err(|damage| corrupt(&segment.path, at as usize, &damage))
}
