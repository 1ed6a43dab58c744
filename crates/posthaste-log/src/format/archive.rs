//! The files to which a topic's events move out of the journal: header, blocks, index, footer.
//!
//! A header block comes first and a footer block last, once the file is sealed; between them lie
//! blocks of entries, and behind the blocks an index of them. Checksums of blocks start from the
//! file's salt, which is drawn by chance: no bytes in an event pass for a block or for a footer.

pub(crate) mod block;

use super::bytes::{Put, Take};
use super::{BLOCK, Damage, FORMAT};

const HEADER_MAGIC: u32 = u32::from_le_bytes(*b"PHAR");
const FOOTER_MAGIC: u32 = u32::from_le_bytes(*b"PHAF");

/// Most partitions of a topic.
pub(crate) const PARTITIONS_MAX: usize = 256;

/// What a file says of itself before its first block.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) topic: u64,
    pub(crate) salt: u32,
    /// Position of the first entry that may be in it.
    pub(crate) first: u64,
    /// Publish time of the entry before that one.
    pub(crate) at: u64,
    /// For each partition its next offset at `first`.
    pub(crate) offsets: Vec<u64>,
}

/// What a sealed file holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Footer {
    pub(crate) topic: u64,
    pub(crate) salt: u32,
    pub(crate) first: u64,
    /// Position behind the last entry that may be in it: where the next file begins.
    pub(crate) end: u64,
    /// Publish time of the last entry that was ever in it.
    pub(crate) at: u64,
    /// Entries that are in it.
    pub(crate) events: u64,
    pub(crate) blocks: u32,
    /// File offset at which the blocks end.
    pub(crate) blocks_end: u64,
    pub(crate) index_at: u64,
    pub(crate) index_len: u32,
    pub(crate) index_crc: u32,
    /// For each partition its next offset at `end`.
    pub(crate) offsets: Vec<u64>,
}

/// Fills a block of its own, with its checksum at its end.
fn page(magic: u32, fill: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(BLOCK);
    bytes.u32(magic);
    bytes.u16(FORMAT);
    fill(&mut bytes);
    bytes.resize(BLOCK - 4, 0);
    let crc = crc32c::crc32c(&bytes);
    bytes.u32(crc);
    bytes
}

fn open(page: &[u8], magic: u32) -> Result<Take<'_>, Damage> {
    let (data, crc) = page
        .get(..BLOCK)
        .and_then(|page| page.split_last_chunk::<4>())
        .ok_or(Damage::Short)?;
    let mut take = Take(data);
    if take.u32()? != magic {
        return Err(Damage::Bad("magic number"));
    }
    if crc32c::crc32c(data) != u32::from_le_bytes(*crc) {
        return Err(Damage::Checksum);
    }
    let version = take.u16()?;
    if version > FORMAT {
        return Err(Damage::Newer(version));
    }
    Ok(take)
}

fn put_offsets(into: &mut Vec<u8>, offsets: &[u64]) {
    into.u16(u16::try_from(offsets.len()).unwrap_or(u16::MAX));
    offsets.iter().for_each(|offset| into.u64(*offset));
}

fn take_offsets(take: &mut Take<'_>) -> Result<Vec<u64>, Damage> {
    let count = usize::from(take.u16()?);
    if count > PARTITIONS_MAX {
        return Err(Damage::Bad("number of partitions"));
    }
    (0..count).map(|_| take.u64()).collect()
}

impl Header {
    pub(crate) fn write(&self) -> Vec<u8> {
        page(HEADER_MAGIC, |bytes| {
            bytes.u64(self.topic);
            bytes.u32(self.salt);
            bytes.u64(self.first);
            bytes.u64(self.at);
            put_offsets(bytes, &self.offsets);
        })
    }

    pub(crate) fn read(page: &[u8]) -> Result<Self, Damage> {
        let mut take = open(page, HEADER_MAGIC)?;
        Ok(Self {
            topic: take.u64()?,
            salt: take.u32()?,
            first: take.u64()?,
            at: take.u64()?,
            offsets: take_offsets(&mut take)?,
        })
    }
}

impl Footer {
    pub(crate) fn write(&self) -> Vec<u8> {
        page(FOOTER_MAGIC, |bytes| {
            bytes.u64(self.topic);
            bytes.u32(self.salt);
            bytes.u64(self.first);
            bytes.u64(self.end);
            bytes.u64(self.at);
            bytes.u64(self.events);
            bytes.u32(self.blocks);
            bytes.u64(self.blocks_end);
            bytes.u64(self.index_at);
            bytes.u32(self.index_len);
            bytes.u32(self.index_crc);
            put_offsets(bytes, &self.offsets);
        })
    }

    /// Reads the footer of a file whose header is known, and which is `len` long.
    pub(crate) fn read(page: &[u8], header: &Header, len: u64) -> Result<Self, Damage> {
        let mut take = open(page, FOOTER_MAGIC)?;
        let footer = Self {
            topic: take.u64()?,
            salt: take.u32()?,
            first: take.u64()?,
            end: take.u64()?,
            at: take.u64()?,
            events: take.u64()?,
            blocks: take.u32()?,
            blocks_end: take.u64()?,
            index_at: take.u64()?,
            index_len: take.u32()?,
            index_crc: take.u32()?,
            offsets: take_offsets(&mut take)?,
        };
        let same = |one: &Self| {
            (one.topic, one.salt, one.first) == (header.topic, header.salt, header.first)
        };
        if !same(&footer) {
            return Err(Damage::Bad("footer: it is another file's"));
        }
        let index_end = footer.index_at.checked_add(footer.index_len.into());
        let ordered = footer.blocks_end >= BLOCK as u64 && footer.index_at >= footer.blocks_end;
        if !ordered || index_end.map(|end| end + BLOCK as u64) != Some(len) {
            return Err(Damage::Bad("place of the index"));
        }
        if footer.end < footer.first || footer.events > footer.end - footer.first {
            return Err(Damage::Bad("count of entries"));
        }
        Ok(footer)
    }
}

/// Where a block lies. 24 bytes in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BlockAt {
    /// Position of its first entry.
    pub(crate) position: u64,
    /// Publish time of that entry.
    pub(crate) at: u64,
    pub(crate) offset: u64,
}

/// The blocks of one file, by position and time; by the offsets of partitions through what each
/// block moves them on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Index {
    pub(crate) salt: u32,
    pub(crate) blocks: Vec<BlockAt>,
    /// Position behind the last entry.
    pub(crate) end: u64,
    /// File offset at which the blocks end.
    pub(crate) blocks_end: u64,
    /// Next offsets of the partitions before the first block.
    pub(crate) firsts: Vec<u64>,
    /// For each block: count, then pairs of partition and distance, as they are on disk.
    pub(crate) moves: Vec<u8>,
}

impl Index {
    /// Of a file without blocks.
    pub(crate) fn new(header: &Header) -> Self {
        Self {
            salt: header.salt,
            blocks: Vec::new(),
            end: header.first,
            blocks_end: BLOCK as u64,
            firsts: header.offsets.clone(),
            moves: Vec::new(),
        }
    }

    /// The file offset behind block `number`.
    pub(crate) fn behind(&self, number: usize) -> u64 {
        let next = self.blocks.get(number + 1);
        next.map_or(self.blocks_end, |next| next.offset)
    }

    /// Notes that a block moves a partition on, for each in turn behind their count.
    pub(crate) fn add(&mut self, block: BlockAt, behind: u64, moves: &[(u16, u64)]) {
        self.blocks.push(block);
        self.blocks_end = behind;
        put_varint(&mut self.moves, moves.len() as u64);
        for (partition, distance) in moves {
            put_varint(&mut self.moves, (*partition).into());
            put_varint(&mut self.moves, *distance);
        }
    }

    /// The first block in which `partition` has an entry at or behind `offset`.
    pub(crate) fn block_of(&self, partition: u16, offset: u64) -> Result<Option<usize>, Damage> {
        let mut next = offset_of(&self.firsts, partition);
        let mut take = Take(&self.moves);
        for number in 0..self.blocks.len() {
            let moves = take_varint(&mut take)?;
            for _ in 0..moves {
                let (of, distance) = (take_varint(&mut take)?, take_varint(&mut take)?);
                if of == u64::from(partition) {
                    next = next.saturating_add(distance);
                    if next > offset {
                        return Ok(Some(number));
                    }
                }
            }
        }
        Ok(None)
    }

    pub(crate) fn write(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.blocks.len() * 8 + self.moves.len());
        let (mut position, mut at, mut offset) = (0, 0, 0);
        for block in &self.blocks {
            put_varint(&mut bytes, block.position - position);
            put_varint(&mut bytes, block.at - at);
            put_varint(&mut bytes, block.offset - offset);
            (position, at, offset) = (block.position, block.at, block.offset);
        }
        bytes.put(&self.moves);
        bytes
    }

    pub(crate) fn read(bytes: &[u8], header: &Header, footer: &Footer) -> Result<Self, Damage> {
        if crc32c::crc32c(bytes) != footer.index_crc {
            return Err(Damage::Checksum);
        }
        let mut take = Take(bytes);
        let (mut position, mut at, mut offset) = (0_u64, 0_u64, 0_u64);
        // Three bytes a block at least: the count is held against what is there.
        if footer.blocks as usize > bytes.len() / 3 {
            return Err(Damage::Bad("number of blocks"));
        }
        let mut blocks = Vec::with_capacity(footer.blocks as usize);
        for _ in 0..footer.blocks {
            position = position.saturating_add(take_varint(&mut take)?);
            at = at.saturating_add(take_varint(&mut take)?);
            offset = offset.saturating_add(take_varint(&mut take)?);
            blocks.push(BlockAt {
                position,
                at,
                offset,
            });
        }
        let rises = |pair: &[BlockAt]| {
            pair[0].position < pair[1].position && pair[0].offset < pair[1].offset
        };
        let inside = blocks
            .first()
            .is_none_or(|block| block.position >= header.first && block.offset >= BLOCK as u64)
            && blocks.last().is_none_or(|block| {
                block.position < footer.end && block.offset < footer.blocks_end
            });
        if !inside || !blocks.windows(2).all(rises) {
            return Err(Damage::Bad("index"));
        }
        Ok(Self {
            salt: header.salt,
            blocks,
            end: footer.end,
            blocks_end: footer.blocks_end,
            firsts: header.offsets.clone(),
            moves: take.0.to_vec(),
        })
    }
}

/// The offset that is noted for `partition`; 0 where none is.
pub(crate) fn offset_of(offsets: &[u64], partition: u16) -> u64 {
    offsets.get(usize::from(partition)).copied().unwrap_or(0)
}

/// Notes the offset of `partition`.
pub(crate) fn set_offset(offsets: &mut Vec<u64>, partition: u16, offset: u64) {
    let partition = usize::from(partition);
    if offsets.len() <= partition {
        offsets.resize(partition + 1, 0);
    }
    offsets[partition] = offset;
}

/// Appends a number in seven bits a byte, the lowest first.
pub(crate) fn put_varint(into: &mut Vec<u8>, mut value: u64) {
    loop {
        let low = u8::try_from(value & 0x7f).unwrap_or(0);
        value >>= 7;
        if value == 0 {
            return into.push(low);
        }
        into.push(low | 0x80);
    }
}

pub(crate) fn take_varint(take: &mut Take<'_>) -> Result<u64, Damage> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let byte = take.u8()?;
        let bits = u64::from(byte & 0x7f);
        if bits << shift >> shift != bits {
            break;
        }
        value |= bits << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(Damage::Bad("number"))
}
