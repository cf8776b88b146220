//! Where things lie on a scratch disk. Law: arithmetic only.
//!
//! Plain block groups of 128 MiB, each with its bitmaps and inode table in front. Only the first has a super block and
//! the group descriptors (`sparse_super2` without backups): copies are for disks that are repaired.

pub(super) const BLOCK: u64 = 4096;
/// One bit each in a bitmap of one block.
pub(super) const BLOCKS_PER_GROUP: u32 = 32768;
pub(super) const INODE_BYTES: u32 = 256;
pub(super) const DESCRIPTOR_BYTES: u32 = 32;

const BLOCK_U32: u32 = 4096;
const INODES_PER_BLOCK: u32 = BLOCK_U32 / INODE_BYTES;

/// One inode for so many blocks: a source tree or a `node_modules` has files of about 8 KiB. An inode that is never
/// used is never written.
const BLOCKS_PER_INODE: u32 = 2;

/// Inode numbers below this are the file system's own (`EXT4_GOOD_OLD_FIRST_INO`).
pub(super) const FIRST_INODE: u32 = 11;
pub(super) const ROOT_INODE: u32 = 2;
/// As mke2fs has it, so that e2fsck is content.
pub(super) const LOST_AND_FOUND_INODE: u32 = FIRST_INODE;
pub(super) const USED_INODES: u32 = LOST_AND_FOUND_INODE;

/// A last group with fewer free blocks than this is left out, as mke2fs does.
const MIN_FREE_IN_LAST_GROUP: u32 = 50;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Layout {
    pub(super) blocks: u32,
    pub(super) groups: u32,
    pub(super) inodes_per_group: u32,
}

impl Layout {
    /// For a disk of so many blocks, between `MIN_BYTES` and `MAX_BYTES`.
    pub(super) fn new(blocks: u64) -> Self {
        let blocks = u32::try_from(blocks).unwrap_or(u32::MAX);
        let inodes_per_group = (blocks.min(BLOCKS_PER_GROUP) / BLOCKS_PER_INODE).next_multiple_of(INODES_PER_BLOCK);
        let mut layout = Self { blocks, groups: blocks.div_ceil(BLOCKS_PER_GROUP), inodes_per_group };
        let rest = blocks % BLOCKS_PER_GROUP;
        if layout.groups > 1 && rest > 0 && rest < layout.own_blocks() + MIN_FREE_IN_LAST_GROUP {
            layout.blocks -= rest;
            layout.groups -= 1;
        }
        layout
    }

    pub(super) fn inode_table_blocks(&self) -> u32 {
        self.inodes_per_group / INODES_PER_BLOCK
    }

    pub(super) fn descriptor_blocks(&self) -> u32 {
        (self.groups * DESCRIPTOR_BYTES).div_ceil(BLOCK_U32)
    }

    /// The super block and the descriptors.
    fn leading_blocks(&self, group: u32) -> u32 {
        if group == 0 { 1 + self.descriptor_blocks() } else { 0 }
    }

    /// Bitmaps and inode table.
    fn own_blocks(&self) -> u32 {
        2 + self.inode_table_blocks()
    }

    pub(super) fn blocks_in(&self, group: u32) -> u32 {
        (self.blocks - group * BLOCKS_PER_GROUP).min(BLOCKS_PER_GROUP)
    }

    /// Blocks of a group that are taken, all at its start.
    pub(super) fn used_blocks(&self, group: u32) -> u32 {
        let directories = if group == 0 { 2 } else { 0 };
        self.leading_blocks(group) + self.own_blocks() + directories
    }

    pub(super) fn free_blocks(&self) -> u32 {
        (0..self.groups).map(|group| self.blocks_in(group) - self.used_blocks(group)).sum()
    }

    /// Blocks that no file can have.
    pub(super) fn overhead(&self) -> u32 {
        self.leading_blocks(0) + self.groups * self.own_blocks()
    }

    pub(super) fn inodes(&self) -> u32 {
        self.groups * self.inodes_per_group
    }

    pub(super) fn block_bitmap(&self, group: u32) -> u64 {
        u64::from(group * BLOCKS_PER_GROUP + self.leading_blocks(group))
    }

    pub(super) fn inode_bitmap(&self, group: u32) -> u64 {
        self.block_bitmap(group) + 1
    }

    pub(super) fn inode_table(&self, group: u32) -> u64 {
        self.block_bitmap(group) + 2
    }

    pub(super) fn root_block(&self) -> u64 {
        self.inode_table(0) + u64::from(self.inode_table_blocks())
    }

    pub(super) fn lost_and_found_block(&self) -> u64 {
        self.root_block() + 1
    }
}
