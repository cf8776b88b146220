//! The two directories of an empty file system: inodes and blocks. Law: pure.
//! Source: Documentation/filesystems/ext4/inodes.rst, ifork.rst (extents), directory.rst.

use super::layout::{BLOCK, INODE_BYTES, LOST_AND_FOUND_INODE, Layout, ROOT_INODE};
use super::superblock::EXTRA_INODE_BYTES;

const BLOCK_BYTES: usize = 4096;
const S_IFDIR: u16 = 0o040_000;
const FLAG_EXTENTS: u32 = 0x80000;
const EXTENT_MAGIC: u16 = 0xf30a;
const TYPE_DIRECTORY: u8 = 2;

/// The inode table's first block: inodes 1 to 16.
pub(super) fn first_inodes(layout: &Layout) -> [u8; BLOCK_BYTES] {
    let mut table = [0; BLOCK_BYTES];
    let mut put = |number: u32, inode: [u8; INODE_BYTES as usize]| {
        // Numbers start at 1.
        let at = (number - 1) as usize * inode.len();
        table[at..at + inode.len()].copy_from_slice(&inode);
    };
    // `.`, the parent's entry, and `..` of lost+found.
    put(ROOT_INODE, directory(0o755, 3, layout.root_block()));
    put(LOST_AND_FOUND_INODE, directory(0o700, 2, layout.lost_and_found_block()));
    table
}

/// A directory of one block. All times are 0.
fn directory(mode: u16, links: u16, block: u64) -> [u8; INODE_BYTES as usize] {
    let mut inode = [0; INODE_BYTES as usize];
    let mut put = |offset: usize, value: &[u8]| inode[offset..offset + value.len()].copy_from_slice(value);
    put(0x00, &(S_IFDIR | mode).to_le_bytes());
    put(0x04, &low32(BLOCK));
    put(0x1a, &links.to_le_bytes());
    // In sectors.
    put(0x1c, &low32(BLOCK / 512));
    put(0x20, &FLAG_EXTENTS.to_le_bytes());
    // The extent tree's root: one of at most four leaves, which maps one block from block 0.
    put(0x28, &EXTENT_MAGIC.to_le_bytes());
    put(0x2a, &1_u16.to_le_bytes());
    put(0x2c, &4_u16.to_le_bytes());
    put(0x38, &1_u16.to_le_bytes());
    put(0x3c, &low32(block));
    put(0x80, &EXTRA_INODE_BYTES.to_le_bytes());
    inode
}

pub(super) fn root_directory() -> [u8; BLOCK_BYTES] {
    entries(&[(ROOT_INODE, b"."), (ROOT_INODE, b".."), (LOST_AND_FOUND_INODE, b"lost+found")])
}

pub(super) fn lost_and_found() -> [u8; BLOCK_BYTES] {
    entries(&[(LOST_AND_FOUND_INODE, b"."), (ROOT_INODE, b"..")])
}

/// A directory block; the last entry reaches to its end.
fn entries(list: &[(u32, &[u8])]) -> [u8; BLOCK_BYTES] {
    let mut block = [0; BLOCK_BYTES];
    let mut at = 0;
    for (index, (inode, name)) in list.iter().enumerate() {
        let last = index + 1 == list.len();
        let length = if last { BLOCK_BYTES - at } else { (8 + name.len()).next_multiple_of(4) };
        block[at..at + 4].copy_from_slice(&inode.to_le_bytes());
        block[at + 4..at + 6].copy_from_slice(&u16::try_from(length).unwrap_or_default().to_le_bytes());
        block[at + 6] = u8::try_from(name.len()).unwrap_or_default();
        block[at + 7] = TYPE_DIRECTORY;
        block[at + 8..at + 8 + name.len()].copy_from_slice(name);
        at += length;
    }
    block
}

fn low32(number: u64) -> [u8; 4] {
    u32::try_from(number).unwrap_or(u32::MAX).to_le_bytes()
}
