//! The first block of a segment, and the last one once it is sealed.

use super::bytes::{Put, Take};
use super::{BLOCK, Damage, FORMAT};

const MAGIC: u32 = u32::from_le_bytes(*b"PHSG");
const FOOTER_MAGIC: u32 = u32::from_le_bytes(*b"PHEN");

/// What a segment says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) number: u64,
    pub(crate) epoch: u32,
    /// Bytes of the file.
    pub(crate) bytes: u32,
}

/// What a sealed segment holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Footer {
    pub(crate) number: u64,
    pub(crate) groups: u64,
    pub(crate) first_seq: u64,
    pub(crate) last_seq: u64,
    /// Offset at which the groups end.
    pub(crate) end: u32,
    /// Header CRC of the last group: the link of the next segment's first.
    pub(crate) link: u32,
}

fn block(fill: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(BLOCK);
    fill(&mut bytes);
    bytes.resize(BLOCK - 4, 0);
    let crc = crc32c::crc32c(&bytes);
    bytes.u32(crc);
    bytes
}

fn open(block: &[u8], magic: u32) -> Result<Take<'_>, Damage> {
    let block = block.get(..BLOCK).ok_or(Damage::Short)?;
    let mut take = Take(block);
    if take.u32()? != magic {
        return Err(Damage::Bad("magic number"));
    }
    let crc = Take(&block[BLOCK - 4..]).u32()?;
    if crc32c::crc32c(&block[..BLOCK - 4]) != crc {
        return Err(Damage::Checksum);
    }
    let version = take.u16()?;
    if version > FORMAT {
        return Err(Damage::Newer(version));
    }
    Ok(take)
}

impl Header {
    pub(crate) fn write(&self) -> Vec<u8> {
        block(|bytes| {
            bytes.u32(MAGIC);
            bytes.u16(FORMAT);
            bytes.u64(self.number);
            bytes.u32(self.epoch);
            bytes.u32(self.bytes);
        })
    }

    pub(crate) fn read(block: &[u8]) -> Result<Self, Damage> {
        let mut take = open(block, MAGIC)?;
        Ok(Self {
            number: take.u64()?,
            epoch: take.u32()?,
            bytes: take.u32()?,
        })
    }
}

impl Footer {
    pub(crate) fn write(&self) -> Vec<u8> {
        block(|bytes| {
            bytes.u32(FOOTER_MAGIC);
            bytes.u16(FORMAT);
            bytes.u64(self.number);
            bytes.u64(self.groups);
            bytes.u64(self.first_seq);
            bytes.u64(self.last_seq);
            bytes.u32(self.end);
            bytes.u32(self.link);
        })
    }

    pub(crate) fn read(block: &[u8]) -> Result<Self, Damage> {
        let mut take = open(block, FOOTER_MAGIC)?;
        Ok(Self {
            number: take.u64()?,
            groups: take.u64()?,
            first_seq: take.u64()?,
            last_seq: take.u64()?,
            end: take.u32()?,
            link: take.u32()?,
        })
    }
}
