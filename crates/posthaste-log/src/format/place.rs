//! Where a record lies, packed into the machine's opaque [`Place`]: segment, offset in units of 16
//! bytes, and roughly how large it is, so that the live bytes of a segment are known without
//! reading it.

use posthaste_core::machine::Place;

use super::record::ALIGN;

const SIZE_BITS: u32 = 8;
const OFFSET_BITS: u32 = 22;

/// A record's whereabouts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct At {
    /// Segment number, from 1.
    pub(crate) segment: u64,
    /// Offset of the record in it, a multiple of 16.
    pub(crate) offset: u32,
}

/// The place of a record of `size` bytes.
pub(crate) fn pack(at: At, size: usize) -> Place {
    let unit = u64::from(at.offset) / ALIGN as u64;
    Place(at.segment << (OFFSET_BITS + SIZE_BITS) | unit << SIZE_BITS | size_code(size))
}

/// Where that is.
pub(crate) fn at(place: Place) -> At {
    let unit = (place.0 >> SIZE_BITS) & ((1 << OFFSET_BITS) - 1);
    At {
        segment: place.0 >> (OFFSET_BITS + SIZE_BITS),
        offset: u32::try_from(unit * ALIGN as u64).unwrap_or(u32::MAX),
    }
}

/// Roughly how many bytes are there: at most an eighth less than it was packed with.
pub(crate) fn size(place: Place) -> u64 {
    let code = place.0 & ((1 << SIZE_BITS) - 1);
    let (exponent, eighths) = (code / 8, code % 8);
    ((8 + eighths) << exponent) / 8 * ALIGN as u64
}

fn size_code(size: usize) -> u64 {
    let units = (size.div_ceil(ALIGN) as u64).max(1);
    let exponent = u64::from(units.ilog2());
    let eighths = ((units * 8) >> exponent) - 8;
    exponent * 8 + eighths
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_keeps_where_exactly_and_how_much_roughly() {
        for (segment, offset) in [
            (1, 0),
            (1, 16),
            (7, 64 * 1024 * 1024 - 16),
            ((1 << 34) - 1, 4096),
        ] {
            for bytes in [1_usize, 16, 17, 300, 4096, 70_000, 1_100_000] {
                let where_it_is = At { segment, offset };
                let place = pack(where_it_is, bytes);
                assert_eq!(at(place), where_it_is);
                let (told, real) = (size(place), bytes.next_multiple_of(16) as u64);
                assert!(told <= real && told * 9 >= real * 8, "{bytes}: {told}");
            }
        }
    }
}
