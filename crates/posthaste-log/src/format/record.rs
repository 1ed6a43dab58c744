//! One record: header, data, padding to 16 bytes.
//!
//! ```text
//!   0  length of the data   u32
//!   4  CRC-32C              u32   of bytes 8 to the end of the data, then of the length
//!   8  tag                  u8
//!   9  version              u8
//!  10  reserved, zero       u16
//!  12  data
//! ```

use super::bytes::{Put, small};
use super::{Damage, round_up};

/// Records start on multiples of this.
pub(crate) const ALIGN: usize = 16;
/// Bytes before the data.
pub(crate) const HEADER: usize = 12;

/// What a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Tag {
    /// A job, as its enqueuer gave it.
    Job = 1,
    /// A result, an error or a reason.
    Note = 2,
    /// The answer of a commit that came with a key.
    Answer = 3,
    /// The facts of a group.
    Facts = 4,
    /// Events that were published together.
    Events = 5,
    /// The copy of an event that a group keeps.
    Kept = 6,
    /// What went wrong with an event, or why it was passed over.
    Why = 7,
    /// How a snapshot begins.
    Head = 16,
    /// Jobs of a snapshot.
    Jobs = 17,
    /// Idempotency keys of a snapshot.
    Keys = 18,
    /// Applied settles of a snapshot.
    Settles = 19,
    /// Published events of a snapshot that are remembered by their ids.
    Seen = 22,
    /// What a snapshot keeps once.
    Meta = 20,
    /// How a snapshot ends.
    End = 21,
}

impl Tag {
    fn read(tag: u8) -> Result<Self, Damage> {
        Ok(match tag {
            1 => Self::Job,
            2 => Self::Note,
            3 => Self::Answer,
            4 => Self::Facts,
            5 => Self::Events,
            6 => Self::Kept,
            7 => Self::Why,
            16 => Self::Head,
            17 => Self::Jobs,
            18 => Self::Keys,
            19 => Self::Settles,
            20 => Self::Meta,
            21 => Self::End,
            22 => Self::Seen,
            _ => return Err(Damage::Bad("tag")),
        })
    }
}

/// A record that was read and whose checksum held.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Record<'a> {
    pub(crate) tag: Tag,
    pub(crate) data: &'a [u8],
    /// Bytes with header and padding.
    pub(crate) size: usize,
}

/// Appends a record whose data `fill` writes. Answers its size with header and padding.
pub(crate) fn write(into: &mut Vec<u8>, tag: Tag, fill: impl FnOnce(&mut Vec<u8>)) -> usize {
    debug_assert_eq!(into.len() % ALIGN, 0, "records start aligned");
    let start = into.len();
    into.extend_from_slice(&[0; 8]);
    into.put(&[tag as u8, 1, 0, 0]);
    fill(into);
    let len = small(into.len() - start - HEADER);
    let crc = checksum(len, &into[start + 8..]);
    into[start..start + 4].copy_from_slice(&len.to_le_bytes());
    into[start + 4..start + 8].copy_from_slice(&crc.to_le_bytes());
    into.resize(round_up(into.len(), ALIGN), 0);
    into.len() - start
}

/// How many bytes the record that starts with `header` takes, with header and padding, as it says
/// itself. Nothing is verified.
pub(crate) fn size_said(header: &[u8]) -> Result<usize, Damage> {
    let len = header.first_chunk::<4>().ok_or(Damage::Short)?;
    Ok(round_up(HEADER + u32::from_le_bytes(*len) as usize, ALIGN))
}

/// Reads and verifies the record at the front of `bytes`.
pub(crate) fn read(bytes: &[u8]) -> Result<Record<'_>, Damage> {
    let len = u32::from_le_bytes(*bytes.first_chunk::<4>().ok_or(Damage::Short)?);
    let end = HEADER.checked_add(len as usize).ok_or(Damage::Short)?;
    let checked = bytes.get(8..end).ok_or(Damage::Short)?;
    let crc = bytes
        .get(4..8)
        .and_then(<[u8]>::first_chunk::<4>)
        .ok_or(Damage::Short)?;
    if checksum(len, checked) != u32::from_le_bytes(*crc) {
        return Err(Damage::Checksum);
    }
    if checked[1] != 1 {
        return Err(Damage::Newer(u16::from(checked[1])));
    }
    Ok(Record {
        tag: Tag::read(checked[0])?,
        data: &checked[4..],
        size: round_up(end, ALIGN),
    })
}

fn checksum(len: u32, checked: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(checked), &len.to_le_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flipped_bit_of_a_record_is_noticed() {
        let mut bytes = Vec::new();
        let size = write(&mut bytes, Tag::Note, |data| data.put(b"seventeen bytes!!"));
        assert_eq!((size, size_said(&bytes)), (32, Ok(32)));
        assert_eq!(
            read(&bytes).map(|record| record.data),
            Ok(&b"seventeen bytes!!"[..])
        );
        for bit in 0..(HEADER + 17) * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(read(&flipped).is_err(), "bit {bit}");
        }
        for len in 0..HEADER + 17 {
            assert_eq!(read(&bytes[..len]).err(), Some(Damage::Short));
        }
    }
}
