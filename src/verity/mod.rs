//! The arithmetic of a hash tree over a file's blocks, for who makes one and for who checks blocks against it.
//!
//! Law: pure. The tree is that of dm-verity (the kernel's Documentation/admin-guide/device-mapper/verity.rst): format 1, SHA-256,
//! blocks of 4 KiB on both sides, no salt, no super block of its own, the topmost level first. So `veritysetup` can check it too.

use sha2::{Digest as _, Sha256};

/// Bytes of a block of data, and of one of the tree.
pub const BLOCK: usize = 4096;
pub const BLOCK_U64: u64 = BLOCK as u64;
/// Digests in a block of the tree.
pub const FANOUT: usize = BLOCK / size_of::<BlockDigest>();
const FANOUT_U64: u64 = FANOUT as u64;

/// Most blocks of data: 16 TiB, which is where EROFS ends, too.
pub const MAX_DATA_BLOCKS: u64 = 1 << 32;

pub type BlockDigest = [u8; 32];

/// All that is needed to check the blocks of a file, the first of which is the file's first.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HashTree {
    /// Blocks of data; what lies behind them is none.
    pub data_blocks: u64,
    /// Where the tree begins in the file, in bytes.
    pub offset: u64,
    /// Of the tree's first block; of the data itself where it is a single block.
    pub root: BlockDigest,
}

/// Where what lies in a tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    data_blocks: u64,
    /// The lowest first: that of the data blocks' digests.
    levels: Vec<Level>,
}

/// The blocks of one level, counted from the beginning of the tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Level {
    pub first: u64,
    pub blocks: u64,
}

/// Where a digest stands: which block of the tree, and the how manieth digest of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub block: u64,
    pub slot: usize,
}

impl Layout {
    /// `None` for no data at all, and for more than [`MAX_DATA_BLOCKS`].
    #[must_use]
    pub fn new(data_blocks: u64) -> Option<Self> {
        if !(1..=MAX_DATA_BLOCKS).contains(&data_blocks) {
            return None;
        }
        let mut levels = Vec::new();
        let mut below = data_blocks;
        while below > 1 {
            below = below.div_ceil(FANOUT_U64);
            levels.push(Level { first: 0, blocks: below });
        }
        let mut first = 0;
        for level in levels.iter_mut().rev() {
            level.first = first;
            first += level.blocks;
        }
        Some(Self { data_blocks, levels })
    }

    #[must_use]
    pub fn data_blocks(&self) -> u64 {
        self.data_blocks
    }

    #[must_use]
    pub fn levels(&self) -> &[Level] {
        &self.levels
    }

    /// Blocks of the whole tree.
    #[must_use]
    pub fn blocks(&self) -> u64 {
        self.levels.iter().map(|level| level.blocks).sum()
    }

    /// Bytes of the whole tree.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.blocks() * BLOCK_U64
    }

    /// Where the digests on the way from data block `index` to the root stand, the lowest first.
    pub fn path(&self, index: u64) -> impl DoubleEndedIterator<Item = Place> + '_ {
        let mut below = index;
        let places: Vec<_> = self
            .levels
            .iter()
            .map(|level| {
                let slot = usize::try_from(below % FANOUT_U64).unwrap_or(0);
                below /= FANOUT_U64;
                Place { block: level.first + below, slot }
            })
            .collect();
        places.into_iter()
    }
}

/// The digest of one block.
#[must_use]
pub fn digest(block: &[u8]) -> BlockDigest {
    Sha256::digest(block).into()
}

/// The digest in slot `slot` of a block of the tree.
#[must_use]
pub fn slot(block: &[u8; BLOCK], slot: usize) -> BlockDigest {
    let (digests, _) = block.as_chunks::<{ size_of::<BlockDigest>() }>();
    // A slot is below FANOUT; were it not, no block has this digest.
    digests.get(slot).copied().unwrap_or_default()
}

/// Blocks of the tree's next level, one after the other: digests in order, the last block filled with zeros.
#[must_use]
pub fn level_of(digests: &[BlockDigest]) -> Vec<u8> {
    let mut bytes = digests.as_flattened().to_vec();
    bytes.resize(bytes.len().next_multiple_of(BLOCK), 0);
    bytes
}

#[cfg(test)]
#[path = "verity_test.rs"]
mod tests;
