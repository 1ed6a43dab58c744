//! The header of a group: what was decided together and is synced together.
//!
//! ```text
//!   0  magic "PHGR"                              u32
//!   4  format version                            u16
//!   6  reserved, zero                            u16
//!   8  bytes of the body, without the padding    u32
//!  12  offset of the facts record in the body    u32
//!  16  sequence number                           u64   dense
//!  24  segment                                   u64
//!  32  highest sequence number known durable     u64
//!  40  epoch                                     u32
//!  44  link: header CRC of the group before      u32
//!  48  wall clock, ms since 1970                 u64
//!  56  CRC-32C of the body and its padding       u32
//!  60  CRC-32C of bytes 0 to 59                  u32
//!  64  body, padded with zeros to 4 KiB
//! ```

use super::bytes::{Put, Take};
use super::{BLOCK, Damage, FORMAT, round_up};

/// Bytes of the header.
pub(crate) const HEADER: usize = 64;
const MAGIC: u32 = u32::from_le_bytes(*b"PHGR");

/// A group's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) body_len: u32,
    pub(crate) facts_at: u32,
    pub(crate) seq: u64,
    pub(crate) segment: u64,
    pub(crate) durable: u64,
    pub(crate) epoch: u32,
    pub(crate) link: u32,
    pub(crate) at: u64,
    pub(crate) body_crc: u32,
    /// Of this header: the next group's link.
    pub(crate) crc: u32,
}

impl Header {
    /// Bytes of the whole group, padding included.
    pub(crate) fn size(&self) -> usize {
        round_up(HEADER + self.body_len as usize, BLOCK)
    }
}

/// Pads `group` (room for the header, then the body) and writes its header. `header`'s lengths
/// and checksums are filled in.
pub(crate) fn seal(group: &mut Vec<u8>, mut header: Header) -> Header {
    header.body_len = super::bytes::small(group.len() - HEADER);
    group.resize(round_up(group.len(), BLOCK), 0);
    header.body_crc = crc32c::crc32c(&group[HEADER..]);
    let mut bytes = Vec::with_capacity(HEADER);
    bytes.u32(MAGIC);
    bytes.u16(FORMAT);
    bytes.u16(0);
    bytes.u32(header.body_len);
    bytes.u32(header.facts_at);
    bytes.u64(header.seq);
    bytes.u64(header.segment);
    bytes.u64(header.durable);
    bytes.u32(header.epoch);
    bytes.u32(header.link);
    bytes.u64(header.at);
    bytes.u32(header.body_crc);
    header.crc = crc32c::crc32c(&bytes);
    bytes.u32(header.crc);
    group[..HEADER].copy_from_slice(&bytes);
    header
}

/// Reads a group's header and verifies it, the body not yet.
pub(crate) fn read_header(block: &[u8]) -> Result<Header, Damage> {
    let bytes = block.get(..HEADER).ok_or(Damage::Short)?;
    let mut take = Take(bytes);
    if take.u32()? != MAGIC {
        return Err(Damage::Bad("magic number"));
    }
    let crc = u32::from_le_bytes([bytes[60], bytes[61], bytes[62], bytes[63]]);
    if crc32c::crc32c(&bytes[..60]) != crc {
        return Err(Damage::Checksum);
    }
    let version = take.u16()?;
    if version > FORMAT {
        return Err(Damage::Newer(version));
    }
    take.u16()?;
    let header = Header {
        body_len: take.u32()?,
        facts_at: take.u32()?,
        seq: take.u64()?,
        segment: take.u64()?,
        durable: take.u64()?,
        epoch: take.u32()?,
        link: take.u32()?,
        at: take.u64()?,
        body_crc: take.u32()?,
        crc,
    };
    if header.facts_at > header.body_len {
        return Err(Damage::Bad("offset of the facts"));
    }
    Ok(header)
}

/// Whether a block starts as a group does.
pub(crate) fn has_magic(block: &[u8]) -> bool {
    block.starts_with(&MAGIC.to_le_bytes())
}

/// Verifies the body of a whole group.
pub(crate) fn verify_body(header: &Header, group: &[u8]) -> Result<(), Damage> {
    let body = group.get(HEADER..header.size()).ok_or(Damage::Short)?;
    if crc32c::crc32c(body) == header.body_crc {
        Ok(())
    } else {
        Err(Damage::Checksum)
    }
}
