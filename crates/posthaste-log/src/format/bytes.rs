//! Little-endian values in and out of byte buffers.

use super::Damage;

/// Appends values to a buffer.
pub(crate) trait Put {
    fn put(&mut self, bytes: &[u8]);

    fn u8(&mut self, value: u8) {
        self.put(&[value]);
    }
    fn u16(&mut self, value: u16) {
        self.put(&value.to_le_bytes());
    }
    fn u32(&mut self, value: u32) {
        self.put(&value.to_le_bytes());
    }
    fn u64(&mut self, value: u64) {
        self.put(&value.to_le_bytes());
    }
    /// A text of at most 255 bytes, its length before it. Longer ones are cut at a character.
    fn text8(&mut self, text: &str) {
        let cut = floor_char(text, usize::from(u8::MAX));
        self.u8(u8::try_from(cut.len()).unwrap_or(u8::MAX));
        self.put(cut.as_bytes());
    }
    /// A text of at most 65,535 bytes, its length before it. Longer ones are cut at a character.
    fn text16(&mut self, text: &str) {
        let cut = floor_char(text, usize::from(u16::MAX));
        self.u16(u16::try_from(cut.len()).unwrap_or(u16::MAX));
        self.put(cut.as_bytes());
    }
}

impl Put for Vec<u8> {
    fn put(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}

/// The longest beginning of `text` of at most `max` bytes.
pub(crate) fn floor_char(text: &str, max: usize) -> &str {
    if text.len() <= max {
        return text;
    }
    let end = (0..=max)
        .rev()
        .find(|at| text.is_char_boundary(*at))
        .unwrap_or(0);
    &text[..end]
}

/// Takes values off the front of a slice.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Take<'a>(pub(crate) &'a [u8]);

impl<'a> Take<'a> {
    pub(crate) fn bytes(&mut self, count: usize) -> Result<&'a [u8], Damage> {
        let (head, rest) = self.0.split_at_checked(count).ok_or(Damage::Short)?;
        self.0 = rest;
        Ok(head)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], Damage> {
        let (head, rest) = self.0.split_first_chunk::<N>().ok_or(Damage::Short)?;
        self.0 = rest;
        Ok(*head)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, Damage> {
        Ok(self.array::<1>()?[0])
    }
    pub(crate) fn u16(&mut self) -> Result<u16, Damage> {
        self.array().map(u16::from_le_bytes)
    }
    pub(crate) fn u32(&mut self) -> Result<u32, Damage> {
        self.array().map(u32::from_le_bytes)
    }
    pub(crate) fn u64(&mut self) -> Result<u64, Damage> {
        self.array().map(u64::from_le_bytes)
    }
    pub(crate) fn text8(&mut self) -> Result<&'a str, Damage> {
        let len = self.u8()?;
        self.text(usize::from(len))
    }
    pub(crate) fn text16(&mut self) -> Result<&'a str, Damage> {
        let len = self.u16()?;
        self.text(usize::from(len))
    }
    fn text(&mut self, len: usize) -> Result<&'a str, Damage> {
        std::str::from_utf8(self.bytes(len)?).map_err(|_| Damage::Bad("text"))
    }
}

/// A `usize` that is known to fit: sizes here are bounded by the segment, 64 MiB at most.
pub(crate) fn small(value: usize) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}
