//! The bytes on disk, and nothing but the bytes: no file is touched here.
//!
//! A segment is a header block, then groups, then (once sealed) a footer block. A group is a
//! header and a body on a 4 KiB boundary: bodies and notes first, the facts last. Everything is
//! little-endian; every record has a tag, a version, a length and a CRC-32C of its own, so that one
//! payload can be verified alone. `docs/disk-format.md` has the tables.

pub(crate) mod archive;
pub(crate) mod body;
pub(crate) mod bytes;
pub(crate) mod events;
pub(crate) mod facts;
pub(crate) mod group;
pub(crate) mod place;
pub(crate) mod record;
pub(crate) mod saved;
pub(crate) mod segment;
pub(crate) mod superblock;

/// What a synced write starts and ends on: nothing that was synced is written again.
pub(crate) const BLOCK: usize = 4096;
/// The same, for offsets in a segment.
pub(crate) const BLOCK_U32: u32 = 4096;

/// The version this build writes. It reads every version up to it, and refuses newer ones.
pub(crate) const FORMAT: u16 = 1;

/// `len` rounded up to the next multiple of `to`, a power of two.
pub(crate) const fn round_up(len: usize, to: usize) -> usize {
    (len + to - 1) & !(to - 1)
}

/// Why bytes could not be read as what they should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Damage {
    /// They end too early.
    Short,
    /// A checksum does not match.
    Checksum,
    /// A value that this build never writes.
    Bad(&'static str),
    /// Written by a newer version.
    Newer(u16),
    /// The device does not give it out; it may another time.
    Device,
}

impl std::fmt::Display for Damage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Short => f.write_str("it ends too early"),
            Self::Device => f.write_str("the disk can't read it"),
            Self::Checksum => f.write_str("its checksum does not match"),
            Self::Bad(what) => write!(f, "it has a bad {what}"),
            Self::Newer(version) => {
                write!(f, "it has format version {version}, newer than {FORMAT}")
            }
        }
    }
}
