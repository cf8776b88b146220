//! A file whose every block is checked against a hash tree before anybody sees it.
//!
//! A block is read into memory of ours first, checked there, and copied from there: what the file becomes in between does not
//! matter. Blocks of the tree are checked on their way from the root, once each as long as they stay in a small cache.

use crate::verity::{self, BLOCK, BLOCK_U64, BlockDigest, HashTree, Layout, Place};
use crate::vmm::stop::DiskFault;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

/// Read from the file at once: as much as Linux reads ahead by default.
const WINDOW_BLOCKS: u64 = 32;
/// Blocks of the tree kept, each good for 512 KiB of data: 1 MiB of memory, 128 MiB of the disk without a second look.
const KEPT: usize = 256;

/// Which byte of the file cannot be handed out, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) offset: u64,
    pub(super) fault: DiskFault,
}

pub(super) struct VerifiedFile {
    file: File,
    layout: Layout,
    tree: HashTree,
    kept: Vec<Kept>,
    /// Counts the uses of `kept`.
    now: u64,
    /// Checked data, from `window_start` on (bytes of the file, whole blocks).
    window: Vec<u8>,
    window_start: u64,
}

/// A block of the tree that was checked.
struct Kept {
    block: u64,
    used: u64,
    bytes: Box<[u8; BLOCK]>,
}

impl VerifiedFile {
    /// # Errors
    /// When there is no tree over so many blocks.
    pub(super) fn new(file: File, tree: HashTree) -> io::Result<Self> {
        let layout = Layout::new(tree.data_blocks).ok_or(io::ErrorKind::InvalidInput)?;
        Ok(Self { file, layout, tree, kept: Vec::new(), now: 0, window: Vec::new(), window_start: 0 })
    }

    /// Bytes of data.
    pub(super) fn len(&self) -> u64 {
        self.tree.data_blocks * BLOCK_U64
    }

    /// Checked bytes from `position` on: at least one, and none past `end`, which is more than `position` and at most [`Self::len`].
    pub(super) fn at(&mut self, position: u64, end: u64) -> Result<&[u8], Fault> {
        let window_end = self.window_start + self.window.len() as u64;
        if !(self.window_start..window_end).contains(&position) {
            self.load(position / BLOCK_U64, end.div_ceil(BLOCK_U64))?;
        }
        let skipped = usize::try_from(position - self.window_start).unwrap_or(usize::MAX);
        let wanted = usize::try_from(end - position).unwrap_or(usize::MAX);
        let rest = self.window.get(skipped..).unwrap_or_default();
        Ok(&rest[..rest.len().min(wanted)])
    }

    /// Reads and checks the blocks from `first` on, those before `end` that fit the window.
    fn load(&mut self, first: u64, end: u64) -> Result<(), Fault> {
        let blocks = (end - first).min(WINDOW_BLOCKS);
        let mut window = std::mem::take(&mut self.window);
        window.resize(usize::try_from(blocks * BLOCK_U64).unwrap_or(0), 0);
        let start = first * BLOCK_U64;
        read(&self.file, &mut window, start)?;
        for (index, block) in (first..).zip(window.chunks_exact(BLOCK)) {
            if self.expected(index)? != verity::digest(block) {
                return Err(Fault { offset: index * BLOCK_U64, fault: DiskFault::Changed });
            }
        }
        // Only now: a window that did not pass is nobody's.
        (self.window, self.window_start) = (window, start);
        Ok(())
    }

    /// The digest that data block `index` must have.
    fn expected(&mut self, index: u64) -> Result<BlockDigest, Fault> {
        let path: Vec<Place> = self.layout.path(index).collect();
        // Up to the first block that was checked before, then down again.
        let known = path.iter().position(|place| self.kept.iter().any(|kept| kept.block == place.block));
        let mut digest = match known {
            Some(level) => self.look_up(path[level]),
            None => self.tree.root,
        };
        for place in path[..known.unwrap_or(path.len())].iter().rev() {
            self.check(place.block, &digest)?;
            digest = self.look_up(*place);
        }
        Ok(digest)
    }

    /// Reads a block of the tree, and keeps it if it has this digest.
    fn check(&mut self, block: u64, digest: &BlockDigest) -> Result<(), Fault> {
        let mut bytes = Box::new([0; BLOCK]);
        let offset = self.tree.offset.saturating_add(block * BLOCK_U64);
        read(&self.file, bytes.as_mut_slice(), offset)?;
        if verity::digest(bytes.as_slice()) != *digest {
            return Err(Fault { offset, fault: DiskFault::Changed });
        }
        if self.kept.len() >= KEPT
            && let Some(oldest) = (0..self.kept.len()).min_by_key(|&index| self.kept[index].used)
        {
            self.kept.swap_remove(oldest);
        }
        self.kept.push(Kept { block, used: self.now, bytes });
        Ok(())
    }

    /// The digest at `place`, whose block is kept.
    fn look_up(&mut self, place: Place) -> BlockDigest {
        self.now += 1;
        let now = self.now;
        let kept = self.kept.iter_mut().find(|kept| kept.block == place.block);
        kept.map_or_else(BlockDigest::default, |kept| {
            kept.used = now;
            verity::slot(&kept.bytes, place.slot)
        })
    }
}

fn read(file: &File, bytes: &mut [u8], offset: u64) -> Result<(), Fault> {
    file.read_exact_at(bytes, offset).map_err(|error| {
        let fault = match error.raw_os_error() {
            Some(errno) => DiskFault::Unreadable { errno },
            // The file has become shorter.
            None => DiskFault::Changed,
        };
        Fault { offset, fault }
    })
}

#[cfg(test)]
#[path = "verified_test.rs"]
mod tests;
