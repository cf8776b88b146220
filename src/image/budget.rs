//! What is left of the memory that an image may take here: for whatever it has us remember. Law: counts; knows what things take, not
//! what they are for.
//!
//! One budget is shared by all layers of an image. Peak memory is the program's own, this, and the buffers of decoders and encoders.

use std::sync::atomic::{AtomicU64, Ordering};

use super::tar::{Entry, EntryKind};
use super::tree::{Inode, Xattrs};

/// A block of the allocator's, beside the bytes in it.
const ALLOCATION: usize = 24;
/// A name's place in its directory: nodes of a `BTreeMap` are half full at worst.
const SLOT: usize = 40 + ALLOCATION;
/// What a directory takes by having anything in it.
const NODE: usize = 256;
/// A pair of name and value.
const ATTRIBUTE: usize = 32 + 2 * ALLOCATION;

/// What a directory takes that no entry lists, its name of 255 bytes included.
pub(crate) const IMPLIED_DIRECTORY: u64 = (size_of::<Inode>() + SLOT + NODE + 256) as u64;

#[derive(Debug)]
pub(crate) struct Budget {
    entries: AtomicU64,
    bytes: AtomicU64,
}

/// What there was too much of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exceeded {
    Entries,
    Bytes,
}

impl Budget {
    pub(crate) fn new(entries: u32, bytes: u64) -> Self {
        Self { entries: u64::from(entries).into(), bytes: bytes.into() }
    }

    pub(crate) fn bytes_left(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// For an entry of a layer: first in the list of these, then in the tree.
    pub(crate) fn spend_entry(&self, entry: &Entry) -> Result<(), Exceeded> {
        let name = entry.path.rsplit(|&byte| byte == b'/').next().map_or(0, <[u8]>::len);
        let (link, node) = match &entry.kind {
            EntryKind::HardLink(target) | EntryKind::Symlink(target) => (target.len() + ALLOCATION, 0),
            // The paths of some are kept while their layer is merged.
            EntryKind::Directory => (0, NODE + entry.path.len()),
            _ => (0, 0),
        };
        let path = entry.path.len() + name + ALLOCATION;
        self.spend(size_of::<Entry>() + size_of::<Inode>() + SLOT + path + link + node, &entry.meta.xattrs)
    }

    /// For what was found in a directory: its path and `record` bytes about it, then in the tree.
    pub(crate) fn spend_found(&self, path: usize, record: usize, is_directory: bool) -> Result<(), Exceeded> {
        let node = if is_directory { NODE + path } else { 0 };
        self.spend(record + size_of::<Inode>() + SLOT + ALLOCATION + path + node, &Xattrs::default())
    }

    pub(crate) fn spend_xattrs(&self, xattrs: &Xattrs) -> Result<(), Exceeded> {
        take(&self.bytes, attributes(xattrs)).ok_or(Exceeded::Bytes)
    }

    fn spend(&self, bytes: usize, xattrs: &Xattrs) -> Result<(), Exceeded> {
        take(&self.entries, 1).ok_or(Exceeded::Entries)?;
        take(&self.bytes, (bytes as u64).saturating_add(attributes(xattrs))).ok_or(Exceeded::Bytes)
    }
}

fn attributes(xattrs: &Xattrs) -> u64 {
    xattrs.iter().map(|(name, value)| (name.len() + value.len() + ATTRIBUTE) as u64).sum()
}

fn take(from: &AtomicU64, count: u64) -> Option<()> {
    from.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(count)).ok().map(drop)
}
