//! Two blocks, written in turn, that say how far the store was durable and how it was left.

use super::bytes::{Put, Take};
use super::{BLOCK, Damage, FORMAT};

const MAGIC: u32 = u32::from_le_bytes(*b"PHSB");

/// How the store was left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Superblock {
    /// Rises with each writing; the higher of two valid slots counts.
    pub(crate) generation: u64,
    pub(crate) epoch: u32,
    /// Highest sequence number known durable when this was written.
    pub(crate) durable: u64,
    /// The segment it was in.
    pub(crate) segment: u64,
    /// The store was closed in order, and nothing has been written since.
    pub(crate) clean: bool,
}

impl Superblock {
    /// Where the slot of this generation is in the file.
    pub(crate) fn offset(&self) -> u64 {
        (self.generation % 2) * BLOCK as u64
    }

    pub(crate) fn write(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(BLOCK);
        bytes.u32(MAGIC);
        bytes.u16(FORMAT);
        bytes.u64(self.generation);
        bytes.u32(self.epoch);
        bytes.u64(self.durable);
        bytes.u64(self.segment);
        bytes.u8(u8::from(self.clean));
        bytes.resize(BLOCK - 4, 0);
        let crc = crc32c::crc32c(&bytes);
        bytes.u32(crc);
        bytes
    }

    pub(crate) fn read(block: &[u8]) -> Result<Self, Damage> {
        let block = block.get(..BLOCK).ok_or(Damage::Short)?;
        let mut take = Take(block);
        if take.u32()? != MAGIC {
            return Err(Damage::Bad("magic number"));
        }
        if crc32c::crc32c(&block[..BLOCK - 4]) != Take(&block[BLOCK - 4..]).u32()? {
            return Err(Damage::Checksum);
        }
        let version = take.u16()?;
        if version > FORMAT {
            return Err(Damage::Newer(version));
        }
        Ok(Self {
            generation: take.u64()?,
            epoch: take.u32()?,
            durable: take.u64()?,
            segment: take.u64()?,
            clean: take.u8()? == 1,
        })
    }
}
