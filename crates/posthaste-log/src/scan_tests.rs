//! Every bit of a segment of 64 KiB, and of a superblock, is under a checksum; every length is cut.

use super::*;
use crate::format::superblock::Superblock;

const BYTES: usize = 64 * 1024;

/// A sealed segment, and where its groups are.
fn segment() -> (Vec<u8>, Vec<(usize, group::Header)>) {
    let frame = Header {
        number: 1,
        epoch: 7,
        bytes: 64 * 1024,
    };
    let mut bytes = frame.write();
    let (mut link, mut groups) = (0, Vec::new());
    for seq in 1.. {
        let mut one = vec![0; group::HEADER];
        let len = usize::try_from(seq * 911 % 5000).expect("small");
        record::write(&mut one, Tag::Note, |data| {
            data.resize(data.len() + len, 0x5a)
        });
        let facts_at = crate::format::bytes::small(one.len() - group::HEADER);
        record::write(&mut one, Tag::Facts, |_| {});
        let header = group::seal(
            &mut one,
            group::Header {
                body_len: 0,
                facts_at,
                seq,
                segment: 1,
                durable: seq - 1,
                epoch: 7,
                link,
                at: 1,
                body_crc: 0,
                crc: 0,
            },
        );
        if bytes.len() + one.len() > BYTES - BLOCK {
            break;
        }
        link = header.crc;
        groups.push((bytes.len(), header));
        bytes.extend(one);
    }
    let end = bytes.len();
    bytes.resize(BYTES - BLOCK, 0);
    let footer = Footer {
        number: 1,
        groups: groups.len() as u64,
        first_seq: 1,
        last_seq: groups.len() as u64,
        end: crate::format::bytes::small(end),
        link,
    };
    bytes.extend(footer.write());
    (bytes, groups)
}

/// Calls `check` with each bit of `range` flipped.
fn each_flip(bytes: &mut [u8], range: std::ops::Range<usize>, mut check: impl FnMut(&[u8], usize)) {
    for bit in range.start * 8..range.end * 8 {
        bytes[bit / 8] ^= 1 << (bit % 8);
        check(bytes, bit);
        bytes[bit / 8] ^= 1 << (bit % 8);
    }
}

/// The group at `offset`, as one reads it who knows which it must be.
fn read<'a>(bytes: &'a [u8], offset: usize, header: &group::Header) -> Result<Group<'a>, End> {
    let mut scan = Scan::new(bytes, 1, Some(header.seq), Some(header.link));
    scan.offset = offset;
    scan.next()
}

#[test]
fn every_flipped_bit_of_every_group_is_damage() {
    let (mut bytes, groups) = segment();
    assert!(groups.len() > 8, "enough of them");
    for (offset, header) in groups {
        assert!(read(&bytes, offset, &header).is_ok());
        each_flip(&mut bytes, offset..offset + header.size(), |bytes, bit| {
            let end = read(bytes, offset, &header).map(|_| ());
            let end = end.expect_err("a flipped bit");
            assert!(end.damage.is_some(), "bit {bit}");
        });
    }
}

#[test]
fn every_flipped_bit_of_header_footer_and_superblock_is_damage() {
    let (mut bytes, _) = segment();
    each_flip(&mut bytes, 0..BLOCK, |bytes, bit| {
        assert!(Scan::frame(bytes).0.is_err(), "bit {bit}");
    });
    each_flip(&mut bytes, BYTES - BLOCK..BYTES, |bytes, bit| {
        assert!(Scan::frame(bytes).1.is_err(), "bit {bit}");
    });
    let mut slot = Superblock::default().write();
    each_flip(&mut slot, 0..BLOCK, |slot, bit| {
        assert!(Superblock::read(slot).is_err(), "bit {bit}");
    });
}

#[test]
fn a_group_that_is_cut_at_any_byte_is_not_read() {
    let (bytes, groups) = segment();
    for (offset, header) in groups {
        for len in offset..offset + header.size() {
            // The last block is never a group's: the scan must not reach behind what is there.
            let mut cut = bytes[..len].to_vec();
            cut.resize(len + BLOCK, 0);
            let read = read(&cut, offset, &header);
            let blank = bytes[len..offset + header.size()]
                .iter()
                .all(|byte| *byte == 0);
            assert!(read.is_err() || blank, "cut to {len}");
        }
    }
}

/// A payload may hold what looks like a group. It proves nothing unless it has the store's epoch,
/// which is drawn by chance and told to nobody.
#[test]
fn a_group_of_another_epoch_proves_nothing() {
    let (bytes, groups) = segment();
    let (last, header) = groups[groups.len() - 1];
    let scan = Scan::new(&bytes, 1, None, None);
    let behind = Some((header.durable, last + header.size()));
    assert_eq!(scan.marks_behind(BLOCK, 7), behind);
    assert_eq!(scan.marks_behind(BLOCK, 1), None);
}
