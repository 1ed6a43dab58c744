//! A block of entries: a header with one row for each partition in it, then the entries,
//! compressed or not, then padding where the write that it ends comes to a 4 KiB boundary.

use posthaste_core::WallMs;

use super::{PARTITIONS_MAX, put_varint, take_varint};
use crate::format::bytes::{Put, Take, small};
use crate::format::{BLOCK, Damage, FORMAT, round_up};

const MAGIC: u32 = u32::from_le_bytes(*b"PHAB");
/// Bytes of a header before its rows.
pub(crate) const HEADER: usize = 64;
/// Most bytes of an entry, its key included.
pub(crate) const ENTRY_MAX: usize = 8 * 1024 * 1024;
/// Most bytes of entries in one block before it is ended.
pub(crate) const ENTRIES_MAX: usize = 1024 * 1024;
/// Most bytes of a block's entries: it is ended by the one that fills it.
const BODY_MAX: usize = ENTRIES_MAX + ENTRY_MAX + 64;
/// Most bytes of rows: three numbers each.
const ROWS_MAX: usize = PARTITIONS_MAX * 30;
/// Most bytes of a whole block.
pub(crate) const SIZE_MAX: usize = HEADER + ROWS_MAX + BODY_MAX + BLOCK;

const KEY: u8 = 1;
const TOMBSTONE: u8 = 2;
const HOLE: u8 = 4;

/// How the entries of a block are packed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Codec {
    /// As they are.
    #[default]
    None = 0,
    /// By LZ4, where that makes them smaller.
    Lz4 = 1,
}

/// One event, as the archive knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry<'a> {
    /// Where it stands in the topic.
    pub(crate) position: u64,
    pub(crate) partition: u16,
    /// Where it stands in its partition.
    pub(crate) offset: u64,
    /// Hash of its key.
    pub(crate) hash: u32,
    /// When it was published.
    pub(crate) at: WallMs,
    pub(crate) key: Option<&'a [u8]>,
    /// It says that its key is no more.
    pub(crate) tombstone: bool,
    pub(crate) bytes: &'a [u8],
}

/// A partition in a block: its first offset there, and how many offsets its entries span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) partition: u16,
    pub(crate) first: u64,
    pub(crate) span: u64,
}

/// What a block says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) codec: Codec,
    /// Position of the first entry, and behind the last.
    pub(crate) first: u64,
    pub(crate) end: u64,
    pub(crate) first_at: u64,
    pub(crate) last_at: u64,
    pub(crate) count: u32,
    raw: u32,
    stored: u32,
    padding: u16,
    rows_len: u16,
    body_crc: u32,
    pub(crate) rows: Vec<Row>,
}

impl Header {
    /// Bytes of the whole block.
    pub(crate) fn size(&self) -> usize {
        let rows = usize::from(self.rows_len);
        HEADER + rows + self.stored as usize + usize::from(self.padding)
    }

    fn write(&self, rows: &[u8], salt: u32) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEADER + rows.len());
        bytes.u32(MAGIC);
        bytes.u16(FORMAT);
        bytes.u8(self.codec as u8);
        bytes.u8(0);
        bytes.u64(self.first);
        bytes.u64(self.end);
        bytes.u64(self.first_at);
        bytes.u64(self.last_at);
        bytes.u32(self.count);
        bytes.u32(self.raw);
        bytes.u32(self.stored);
        bytes.u16(self.padding);
        bytes.u16(self.rows_len);
        bytes.u32(self.body_crc);
        let crc = crc32c::crc32c_append(crc32c::crc32c_append(salt, &bytes), rows);
        bytes.u32(crc);
        bytes.put(rows);
        bytes
    }

    /// Reads the header and the rows at the front of `bytes`.
    pub(crate) fn read(bytes: &[u8], salt: u32) -> Result<Self, Damage> {
        let mut take = Take(bytes.get(..HEADER).ok_or(Damage::Short)?);
        if take.u32()? != MAGIC {
            return Err(Damage::Bad("magic number"));
        }
        let (version, codec, _) = (take.u16()?, take.u8()?, take.u8()?);
        let mut header = Self {
            first: take.u64()?,
            end: take.u64()?,
            first_at: take.u64()?,
            last_at: take.u64()?,
            count: take.u32()?,
            raw: take.u32()?,
            stored: take.u32()?,
            padding: take.u16()?,
            rows_len: take.u16()?,
            body_crc: take.u32()?,
            ..Self::default()
        };
        let crc = take.u32()?;
        let rows_len = usize::from(header.rows_len);
        if rows_len > ROWS_MAX {
            return Err(Damage::Bad("length"));
        }
        let rows = bytes.get(HEADER..HEADER + rows_len).ok_or(Damage::Short)?;
        if crc32c::crc32c_append(crc32c::crc32c_append(salt, &bytes[..HEADER - 4]), rows) != crc {
            return Err(Damage::Checksum);
        }
        if version > FORMAT {
            return Err(Damage::Newer(version));
        }
        header.codec = match codec {
            0 => Codec::None,
            1 => Codec::Lz4,
            _ => return Err(Damage::Bad("codec")),
        };
        header.check()?;
        header.rows = read_rows(rows)?;
        Ok(header)
    }

    fn check(&self) -> Result<(), Damage> {
        if self.raw as usize > BODY_MAX
            || self.stored > self.raw
            || (self.codec == Codec::None && self.stored != self.raw)
            || usize::from(self.padding) > BLOCK
        {
            return Err(Damage::Bad("length"));
        }
        let span = self.end.checked_sub(self.first);
        if self.count == 0 || span.is_none_or(|span| span < self.count.into()) {
            return Err(Damage::Bad("count"));
        }
        if self.first_at > self.last_at {
            return Err(Damage::Bad("time"));
        }
        Ok(())
    }

    /// Verifies what lies behind the header; `block` is the whole block.
    pub(crate) fn verify(&self, block: &[u8]) -> Result<(), Damage> {
        let from = HEADER + usize::from(self.rows_len);
        let body = block.get(from..self.size()).ok_or(Damage::Short)?;
        if crc32c::crc32c(body) == self.body_crc {
            Ok(())
        } else {
            Err(Damage::Checksum)
        }
    }

    /// Verifies a whole block and unpacks its entries, into `raw` where they are compressed.
    pub(crate) fn entries<'a>(
        &self,
        block: &'a [u8],
        raw: &'a mut Vec<u8>,
    ) -> Result<Entries<'a>, Damage> {
        self.verify(block)?;
        let from = HEADER + usize::from(self.rows_len);
        let stored = &block[from..from + self.stored as usize];
        let body = match self.codec {
            Codec::None => stored,
            Codec::Lz4 => {
                raw.resize(self.raw as usize, 0);
                let len = lz4_flex::block::decompress_into(stored, raw);
                if len.ok() != Some(raw.len()) {
                    return Err(Damage::Bad("compressed body"));
                }
                raw
            }
        };
        Ok(Entries {
            take: Take(body),
            rows: self.rows.clone(),
            position: self.first,
            at: self.first_at,
            left: self.count,
            end: self.end,
            last_at: self.last_at,
        })
    }
}

fn read_rows(bytes: &[u8]) -> Result<Vec<Row>, Damage> {
    let mut take = Take(bytes);
    let mut rows = Vec::new();
    while !take.0.is_empty() {
        let partition = u16::try_from(take_varint(&mut take)?).ok();
        let partition = partition.filter(|of| usize::from(*of) < PARTITIONS_MAX);
        let row = Row {
            partition: partition.ok_or(Damage::Bad("partition"))?,
            first: take_varint(&mut take)?,
            span: take_varint(&mut take)?,
        };
        if row.first.checked_add(row.span).is_none() {
            return Err(Damage::Bad("offset"));
        }
        rows.push(row);
    }
    Ok(rows)
}

/// The entries of one block, in order.
#[derive(Debug)]
pub(crate) struct Entries<'a> {
    take: Take<'a>,
    /// The first offset of each is the one that is due.
    rows: Vec<Row>,
    position: u64,
    at: u64,
    left: u32,
    end: u64,
    last_at: u64,
}

impl<'a> Entries<'a> {
    /// The next one; behind the last, what the header says is held against what was read.
    pub(crate) fn next(&mut self) -> Result<Option<Entry<'a>>, Damage> {
        if self.left == 0 {
            let whole = self.take.0.is_empty()
                && (self.position, self.at) == (self.end, self.last_at)
                && self.rows.iter().all(|row| row.span == 0);
            return if whole {
                Ok(None)
            } else {
                Err(Damage::Bad("end of a block"))
            };
        }
        self.left -= 1;
        let take = &mut self.take;
        let flags = take.u8()?;
        if flags & !(KEY | TOMBSTONE | HOLE) != 0 {
            return Err(Damage::Bad("flag"));
        }
        let row = usize::try_from(take_varint(take)?).ok();
        let row = row.and_then(|row| self.rows.get_mut(row));
        let row = row.ok_or(Damage::Bad("partition"))?;
        let (skipped, passed) = if flags & HOLE == 0 {
            (0, 0)
        } else {
            (take_varint(take)?, take_varint(take)?)
        };
        let sum = |one: u64, two: u64| one.checked_add(two).ok_or(Damage::Bad("number"));
        let (position, offset) = (sum(self.position, skipped)?, sum(row.first, passed)?);
        self.at = sum(self.at, take_varint(take)?)?;
        let hash = take.u32()?;
        let counted = |take: &mut Take<'a>| {
            let len = usize::try_from(take_varint(take)?).map_err(|_| Damage::Bad("length"))?;
            take.bytes(len)
        };
        let key = match flags & KEY {
            0 => None,
            _ => Some(counted(take)?),
        };
        let bytes = counted(take)?;
        row.span = row
            .span
            .checked_sub(sum(passed, 1)?)
            .ok_or(Damage::Bad("offset"))?;
        row.first = sum(offset, 1)?;
        self.position = sum(position, 1)?;
        Ok(Some(Entry {
            position,
            partition: row.partition,
            offset,
            hash,
            at: WallMs(self.at),
            key,
            tombstone: flags & TOMBSTONE != 0,
            bytes,
        }))
    }
}

/// Gathers the entries of a block.
#[derive(Debug)]
pub(crate) struct Builder {
    entries: Vec<u8>,
    rows: Vec<Row>,
    /// For each partition its row; `u16::MAX` where it has none.
    row_of: Vec<u16>,
    header: Header,
}

impl Default for Builder {
    fn default() -> Self {
        Self {
            entries: Vec::new(),
            rows: Vec::new(),
            row_of: vec![u16::MAX; PARTITIONS_MAX],
            header: Header::default(),
        }
    }
}

impl Builder {
    pub(crate) fn is_empty(&self) -> bool {
        self.header.count == 0
    }

    /// Bytes of the entries so far.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Takes an entry behind the ones it has. Its partition is below [`PARTITIONS_MAX`].
    pub(crate) fn push(&mut self, entry: &Entry<'_>) {
        if self.is_empty() {
            self.header.first = entry.position;
            self.header.end = entry.position;
            self.header.first_at = entry.at.0;
            self.header.last_at = entry.at.0;
        }
        let row_of = &mut self.row_of[usize::from(entry.partition)];
        if *row_of == u16::MAX {
            *row_of = u16::try_from(self.rows.len()).unwrap_or(u16::MAX);
            self.rows.push(Row {
                partition: entry.partition,
                first: entry.offset,
                span: 0,
            });
        }
        let row = &mut self.rows[usize::from(*row_of)];
        let skipped = entry.position - self.header.end;
        let passed = entry.offset - (row.first + row.span);
        let into = &mut self.entries;
        let holed = skipped + passed > 0;
        let flags = [
            (entry.key.is_some(), KEY),
            (entry.tombstone, TOMBSTONE),
            (holed, HOLE),
        ];
        into.u8(flags
            .iter()
            .fold(0, |all, (set, flag)| all | if *set { *flag } else { 0 }));
        put_varint(into, (*row_of).into());
        if holed {
            put_varint(into, skipped);
            put_varint(into, passed);
        }
        put_varint(into, entry.at.0 - self.header.last_at);
        into.u32(entry.hash);
        for counted in entry.key.into_iter().chain([entry.bytes]) {
            put_varint(into, counted.len() as u64);
            into.put(counted);
        }
        row.span = entry.offset + 1 - row.first;
        self.header.end = entry.position + 1;
        self.header.last_at = entry.at.0;
        self.header.count += 1;
    }

    /// Ends the block and appends it to `out`, padded to the next multiple of 4 KiB of that where
    /// it is the last of a write. Answers what it said of itself; the next block begins empty.
    pub(crate) fn finish(
        &mut self,
        codec: Codec,
        salt: u32,
        last: bool,
        out: &mut Vec<u8>,
    ) -> Header {
        let mut header = std::mem::take(&mut self.header);
        let mut rows = Vec::new();
        for row in &self.rows {
            put_varint(&mut rows, row.partition.into());
            put_varint(&mut rows, row.first);
            put_varint(&mut rows, row.span);
            self.row_of[usize::from(row.partition)] = u16::MAX;
        }
        let mut packed = Vec::new();
        let body = match codec {
            Codec::Lz4 => {
                packed.resize(
                    lz4_flex::block::get_maximum_output_size(self.entries.len()),
                    0,
                );
                let len = lz4_flex::block::compress_into(&self.entries, &mut packed);
                packed.truncate(len.unwrap_or(usize::MAX));
                &packed
            }
            Codec::None => &self.entries,
        };
        let (codec, body) = if body.len() < self.entries.len() {
            (codec, body)
        } else {
            (Codec::None, &self.entries)
        };
        let end = out.len() + HEADER + rows.len() + body.len();
        let padding = if last { round_up(end, BLOCK) - end } else { 0 };
        let zeros = [0; BLOCK];
        let padding = &zeros[..padding];
        header.codec = codec;
        header.raw = small(self.entries.len());
        header.stored = small(body.len());
        header.padding = u16::try_from(padding.len()).unwrap_or(u16::MAX);
        header.rows_len = u16::try_from(rows.len()).unwrap_or(u16::MAX);
        header.body_crc = crc32c::crc32c_append(crc32c::crc32c(body), padding);
        out.put(&header.write(&rows, salt));
        out.put(body);
        out.put(padding);
        self.entries.clear();
        header.rows = std::mem::take(&mut self.rows);
        header
    }
}
