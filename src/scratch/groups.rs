//! Group descriptors and bitmaps. Law: pure. Source: Documentation/filesystems/ext4/group_descr.rst, bitmaps.rst.

use super::layout::{DESCRIPTOR_BYTES, Layout, USED_INODES};
use super::superblock::UUID;

const INODE_UNINIT: u16 = 1;
const BLOCK_UNINIT: u16 = 2;
/// True of a new sparse file; it spares the guest the thread that would write the zeros.
const INODE_ZEROED: u16 = 4;

const BITMAP_BYTES: usize = 4096;
const CHECKSUM: usize = 0x1e;

pub(super) fn descriptor(layout: &Layout, group: u32) -> [u8; DESCRIPTOR_BYTES as usize] {
    let first = group == 0;
    let (used_inodes, directories) = if first { (USED_INODES, 2_u16) } else { (0, 0) };
    let free_inodes = low16(layout.inodes_per_group - used_inodes);
    let mut flags = INODE_ZEROED;
    if !first {
        flags |= INODE_UNINIT;
        // The last group may end before its bitmap does, so its bitmap is written.
        if group + 1 < layout.groups {
            flags |= BLOCK_UNINIT;
        }
    }
    let mut bytes = [0; DESCRIPTOR_BYTES as usize];
    let mut put = |offset: usize, value: &[u8]| bytes[offset..offset + value.len()].copy_from_slice(value);
    let low32 = |block: u64| u32::try_from(block).unwrap_or(u32::MAX).to_le_bytes();
    put(0x00, &low32(layout.block_bitmap(group)));
    put(0x04, &low32(layout.inode_bitmap(group)));
    put(0x08, &low32(layout.inode_table(group)));
    put(0x0c, &low16(layout.blocks_in(group) - layout.used_blocks(group)));
    put(0x0e, &free_inodes);
    put(0x10, &directories.to_le_bytes());
    put(0x12, &flags.to_le_bytes());
    // Inodes at the table's end that were never used: nobody reads them before they are.
    put(0x1c, &free_inodes);
    let checksum = crc16(crc16(crc16(!0, &UUID), &group.to_le_bytes()), &bytes[..CHECKSUM]);
    bytes[CHECKSUM..].copy_from_slice(&checksum.to_le_bytes());
    bytes
}

pub(super) fn block_bitmap(layout: &Layout, group: u32) -> [u8; BITMAP_BYTES] {
    bitmap(layout.used_blocks(group), layout.blocks_in(group))
}

/// Of the first group, the only one with inodes in use.
pub(super) fn inode_bitmap(layout: &Layout) -> [u8; BITMAP_BYTES] {
    bitmap(USED_INODES, layout.inodes_per_group)
}

/// Ones for the first `used` things and for those past the `existing`.
fn bitmap(used: u32, existing: u32) -> [u8; BITMAP_BYTES] {
    let mut bytes = [0; BITMAP_BYTES];
    for (bit, byte) in (0_u32..).step_by(8).zip(&mut bytes) {
        for offset in 0..8 {
            let taken = bit + offset < used || bit + offset >= existing;
            *byte |= u8::from(taken) << offset;
        }
    }
    bytes
}

fn low16(number: u32) -> [u8; 2] {
    u16::try_from(number).unwrap_or(u16::MAX).to_le_bytes()
}

/// The kernel's crc16 (reflected polynomial 0xa001).
fn crc16(register: u16, bytes: &[u8]) -> u16 {
    bytes.iter().fold(register, |crc, &byte| {
        (0..8).fold(crc ^ u16::from(byte), |crc, _| if crc & 1 == 1 { (crc >> 1) ^ 0xa001 } else { crc >> 1 })
    })
}

#[cfg(test)]
mod tests {
    use super::{bitmap, crc16};

    #[test]
    fn crc16_check_value() {
        // CRC-16/MODBUS: this polynomial, all ones to start with, no final inversion.
        assert_eq!(crc16(!0, b"123456789"), 0x4b37);
    }

    #[test]
    fn bitmaps_end_in_ones() {
        let bytes = bitmap(3, 12);
        assert_eq!(bytes[..3], [0b0000_0111, 0b1111_0000, 0xff]);
        assert_eq!(bytes[4095], 0xff);
    }
}
