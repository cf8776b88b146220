//! The super block. Law: pure. Source: `struct ext4_super_block` in fs/ext4/ext4.h.

use super::layout::{BLOCKS_PER_GROUP, FIRST_INODE, INODE_BYTES, Layout, USED_INODES};

pub(super) const OFFSET: u64 = 1024;
const BYTES: usize = 1024;

const MAGIC: u16 = 0xef53;
const STATE_CLEAN: u16 = 1;
const ERRORS_CONTINUE: u16 = 1;
const DYNAMIC_REVISION: u32 = 1;

const COMPAT_EXT_ATTR: u32 = 0x8;
const COMPAT_DIR_INDEX: u32 = 0x20;
const COMPAT_SPARSE_SUPER2: u32 = 0x200;
const INCOMPAT_FILETYPE: u32 = 0x2;
const INCOMPAT_EXTENTS: u32 = 0x40;
const RO_COMPAT_LARGE_FILE: u32 = 0x2;
const RO_COMPAT_HUGE_FILE: u32 = 0x8;
/// Groups may be left uninitialised. Not `metadata_csum`, which does the same and more: checksums of every block of
/// metadata are time spent on a disk that nobody will check.
const RO_COMPAT_GDT_CSUM: u32 = 0x10;
const RO_COMPAT_DIR_NLINK: u32 = 0x20;
const RO_COMPAT_EXTRA_ISIZE: u32 = 0x40;

const DEFAULT_MOUNT_XATTR_USER: u32 = 0x4;
const DEFAULT_MOUNT_ACL: u32 = 0x8;
const HASH_HALF_MD4: u8 = 1;
const FLAG_SIGNED_HASH: u32 = 1;
/// Bytes of an inode beyond the original 128 that have a meaning here.
pub(super) const EXTRA_INODE_BYTES: u16 = 32;

/// One for all: two scratch disks never meet in one kernel, and nothing looks them up.
pub(super) const UUID: [u8; 16] = *b"bottle\x80 \x80scratch";

pub(super) fn encode(layout: &Layout) -> [u8; BYTES] {
    let mut block = [0; BYTES];
    let mut put = |offset: usize, value: &[u8]| block[offset..offset + value.len()].copy_from_slice(value);
    put(0x00, &layout.inodes().to_le_bytes());
    put(0x04, &layout.blocks.to_le_bytes());
    put(0x0c, &layout.free_blocks().to_le_bytes());
    put(0x10, &(layout.inodes() - USED_INODES).to_le_bytes());
    // Block and cluster size: 1024 << 2.
    put(0x18, &2_u32.to_le_bytes());
    put(0x1c, &2_u32.to_le_bytes());
    put(0x20, &BLOCKS_PER_GROUP.to_le_bytes());
    put(0x24, &BLOCKS_PER_GROUP.to_le_bytes());
    put(0x28, &layout.inodes_per_group.to_le_bytes());
    // Never "mounted too often": -1.
    put(0x36, &u16::MAX.to_le_bytes());
    put(0x38, &MAGIC.to_le_bytes());
    put(0x3a, &STATE_CLEAN.to_le_bytes());
    put(0x3c, &ERRORS_CONTINUE.to_le_bytes());
    put(0x4c, &DYNAMIC_REVISION.to_le_bytes());
    put(0x54, &FIRST_INODE.to_le_bytes());
    put(0x58, &u16::try_from(INODE_BYTES).unwrap_or_default().to_le_bytes());
    put(0x5c, &(COMPAT_EXT_ATTR | COMPAT_DIR_INDEX | COMPAT_SPARSE_SUPER2).to_le_bytes());
    put(0x60, &(INCOMPAT_FILETYPE | INCOMPAT_EXTENTS).to_le_bytes());
    let read_only_compatible =
        RO_COMPAT_LARGE_FILE | RO_COMPAT_HUGE_FILE | RO_COMPAT_GDT_CSUM | RO_COMPAT_DIR_NLINK | RO_COMPAT_EXTRA_ISIZE;
    put(0x64, &read_only_compatible.to_le_bytes());
    put(0x68, &UUID);
    // The seed of directory hashes.
    put(0xec, &UUID);
    put(0xfc, &[HASH_HALF_MD4]);
    put(0x100, &(DEFAULT_MOUNT_XATTR_USER | DEFAULT_MOUNT_ACL).to_le_bytes());
    put(0x15c, &EXTRA_INODE_BYTES.to_le_bytes());
    put(0x15e, &EXTRA_INODE_BYTES.to_le_bytes());
    put(0x160, &FLAG_SIGNED_HASH.to_le_bytes());
    // Known here, so that mounting need not count it group by group.
    put(0x248, &layout.overhead().to_le_bytes());
    block
}
