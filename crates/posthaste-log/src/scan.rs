//! Reads the groups of one segment in order, and tells a torn tail from corruption.
//!
//! Damage is a torn tail only where nothing shows that what is damaged was ever durable: no mark
//! in the superblock, and none in a later group of the same segment. Everything else is
//! corruption, and is named.

use std::ops::Range;

use bytes::Bytes;
use posthaste_core::machine::{Fact, Hashes, Place, Summary};

use crate::format::events::{self, Events};
use crate::format::record::{self, Tag};
use crate::format::segment::{Footer, Header};
use crate::format::{BLOCK, Damage, body, facts, group, place};

/// A segment's bytes, all of them.
pub(crate) struct Scan<'a> {
    bytes: &'a [u8],
    number: u64,
    offset: usize,
    next_seq: Option<u64>,
    link: Option<u32>,
}

/// A group whose header and body were verified.
#[derive(Clone, Copy)]
pub(crate) struct Group<'a> {
    pub(crate) header: group::Header,
    /// The body is what was written. Where it is not, each record is verified alone.
    pub(crate) sound: bool,
    pub(crate) offset: usize,
    /// All of it, header and padding included.
    pub(crate) bytes: &'a [u8],
}

/// Where the groups end, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct End {
    pub(crate) offset: usize,
    pub(crate) damage: Option<Damage>,
}

impl<'a> Scan<'a> {
    /// Scans `bytes` of the segment `number`. The first group must be `next_seq` and follow
    /// `link`, where those are known.
    pub(crate) fn new(
        bytes: &'a [u8],
        number: u64,
        next_seq: Option<u64>,
        link: Option<u32>,
    ) -> Self {
        Self {
            bytes,
            number,
            offset: BLOCK,
            next_seq,
            link,
        }
    }

    /// All of them.
    pub(crate) fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The same, from a group at `offset` on whose predecessors can't be read.
    pub(crate) fn resume(bytes: &'a [u8], number: u64, offset: usize) -> Self {
        Self {
            offset,
            ..Self::new(bytes, number, None, None)
        }
    }

    /// The next group, or where and why there is none.
    pub(crate) fn next(&mut self) -> Result<Group<'a>, End> {
        let end = |damage| End {
            offset: self.offset,
            damage,
        };
        let groups = &self.bytes[..self.bytes.len().saturating_sub(BLOCK)];
        let rest = groups.get(self.offset..).unwrap_or(&[]);
        if rest.len() < BLOCK {
            return Err(end(None));
        }
        let header = match group::read_header(rest) {
            Ok(header) => header,
            Err(newer @ Damage::Newer(_)) => return Err(end(Some(newer))),
            Err(damage) => return Err(end(self.was_ours(rest).then_some(damage))),
        };
        if header.segment != self.number {
            return Err(end(None)); // a removed segment's blocks, where nothing was synced
        }
        if self.next_seq.is_some_and(|seq| seq != header.seq) {
            return Err(end(Some(Damage::Bad("sequence number"))));
        }
        if self.link.is_some_and(|link| link != header.link) {
            return Err(end(Some(Damage::Bad("link to the group before"))));
        }
        if let Err(damage) = group::verify_body(&header, rest) {
            return Err(end(Some(damage)));
        }
        let group = Group {
            header,
            sound: true,
            offset: self.offset,
            bytes: &rest[..header.size()],
        };
        self.offset += header.size();
        self.next_seq = Some(header.seq + 1);
        self.link = Some(header.crc);
        Ok(group)
    }

    /// Whether an unreadable header was once written here as this segment's: by its magic number,
    /// or by its place in the order.
    fn was_ours(&self, block: &[u8]) -> bool {
        let number = |at: usize| {
            block[at..]
                .first_chunk::<8>()
                .map(|bytes| u64::from_le_bytes(*bytes))
        };
        let in_order = self.next_seq.is_some() && number(16) == self.next_seq;
        group::has_magic(block) || (in_order && number(24) == Some(self.number))
    }

    /// The highest durable mark in any group of this segment that lies behind `offset` and can be
    /// read, and where the last such group ends.
    pub(crate) fn marks_behind(&self, offset: usize, epoch: u32) -> Option<(u64, usize)> {
        let groups = &self.bytes[..self.bytes.len().saturating_sub(BLOCK)];
        let mut found: Option<(u64, usize)> = None;
        for at in (offset..groups.len()).step_by(BLOCK) {
            let Ok(header) = group::read_header(&groups[at..]) else {
                continue;
            };
            if header.segment != self.number || header.epoch != epoch {
                continue;
            }
            let (mark, end) = found.unwrap_or((0, 0));
            let reaches = (at + header.size()).min(groups.len());
            // A group behind the damage was begun after what its own mark says was durable.
            let proves = if at > offset { header.durable } else { 0 };
            found = Some((mark.max(proves), end.max(reaches)));
        }
        found
    }

    /// The segment's own header, and its footer where it was sealed.
    pub(crate) fn frame(bytes: &[u8]) -> (Result<Header, Damage>, Result<Footer, Damage>) {
        let footer = bytes
            .len()
            .checked_sub(BLOCK)
            .and_then(|at| bytes.get(at..))
            .unwrap_or(&[]);
        (Header::read(bytes), Footer::read(footer))
    }
}

impl<'a> Group<'a> {
    /// Reads the group at the front of `bytes`, which lie at `offset` of their segment.
    pub(crate) fn read(bytes: &'a [u8], offset: usize) -> Result<Self, Damage> {
        let header = group::read_header(bytes)?;
        group::verify_body(&header, bytes)?;
        Ok(Self {
            header,
            sound: true,
            offset,
            bytes: &bytes[..header.size()],
        })
    }

    /// The same where something in the body is damaged: its facts can be read, if they are not what
    /// was hit. Events whose record is damaged are told without hashes, which no sound one is.
    pub(crate) fn salvage(bytes: &'a [u8], offset: usize) -> Result<Self, Damage> {
        let header = group::read_header(bytes)?;
        Ok(Self {
            header,
            sound: group::verify_body(&header, bytes).is_ok(),
            offset,
            bytes: bytes.get(..header.size()).ok_or(Damage::Short)?,
        })
    }

    /// Reads the facts in order.
    pub(crate) fn facts(&self, mut each: impl FnMut(Fact<'a>)) -> Result<(), Damage> {
        self.facts_with_spans(|fact, _| each(fact))
    }

    /// The same, each fact with where in the segment it stands.
    pub(crate) fn facts_with_spans(
        &self,
        mut each: impl FnMut(Fact<'a>, Range<usize>),
    ) -> Result<(), Damage> {
        let at = group::HEADER + self.header.facts_at as usize;
        let record = record::read(self.bytes.get(at..).ok_or(Damage::Short)?)?;
        if record.tag != Tag::Facts {
            return Err(Damage::Bad("record where the facts should be"));
        }
        let start = self.offset + at + record::HEADER;
        facts::read_with_spans(record.data, *self, |fact, span| {
            each(fact, start + span.start..start + span.end);
        })
    }

    /// The data of the record at `place`, in this group, which is of that kind.
    fn data(&self, place: Place, tag: Tag) -> Result<&'a [u8], Damage> {
        read_unverified(self.at(place)?, tag)
    }

    /// The bytes from `place`, in this group, on.
    fn at(&self, place: Place) -> Result<&'a [u8], Damage> {
        let offset = place::at(place).offset as usize;
        let inside = offset
            .checked_sub(self.offset)
            .and_then(|at| self.bytes.get(at..));
        inside.ok_or(Damage::Bad("place of a record"))
    }

    /// The record of events at `place`, in this group, whole.
    pub(crate) fn events(&self, place: Place) -> Result<Events, Damage> {
        let bytes = self.at(place)?;
        let size = record::size_said(bytes)?;
        Events::read(&Bytes::copy_from_slice(
            bytes.get(..size).ok_or(Damage::Short)?,
        ))
    }

    /// Every record of the group but the facts, with its offset in the segment.
    pub(crate) fn records(
        &self,
        mut each: impl FnMut(usize, record::Record<'a>),
    ) -> Result<(), Damage> {
        let end = group::HEADER + self.header.facts_at as usize;
        let mut at = group::HEADER;
        while at < end {
            let record = record::read(self.bytes.get(at..end).ok_or(Damage::Short)?)?;
            each(self.offset + at, record);
            at += record.size;
        }
        Ok(())
    }
}

impl<'a> facts::Bodies<'a> for Group<'a> {
    fn summary(&mut self, place: Place) -> Result<Summary<'a>, Damage> {
        if !self.sound {
            record::read(self.at(place)?)?;
        }
        Ok(body::read_job(self.data(place, Tag::Job)?)?.summary)
    }

    fn hashes(&mut self, place: Place) -> Result<Hashes<'a>, Damage> {
        if !self.sound {
            match record::read(self.at(place)?) {
                Ok(_) => {}
                Err(newer @ Damage::Newer(_)) => return Err(newer),
                Err(_) => return Ok(Hashes(&[])),
            }
        }
        events::hashes(self.data(place, Tag::Events)?)
    }
}

/// The data of a record inside a group whose checksum held.
fn read_unverified(bytes: &[u8], tag: Tag) -> Result<&[u8], Damage> {
    let size = record::size_said(bytes)?;
    let len = u32::from_le_bytes(*bytes.first_chunk::<4>().ok_or(Damage::Short)?) as usize;
    if bytes.get(8) != Some(&(tag as u8)) || bytes.len() < size {
        return Err(Damage::Bad("record that a fact points to"));
    }
    bytes
        .get(record::HEADER..record::HEADER + len)
        .ok_or(Damage::Short)
}

#[cfg(test)]
#[path = "scan_tests.rs"]
mod tests;
