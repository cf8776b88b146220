//! `--disk SIZE`: a sparse, writable ext4 disk that has no name and is gone when the bottle is.
//!
//! Law: one file in, one formatted file out; runs no mkfs. Only what differs from zero is written, a few blocks and 32
//! bytes per 128 MiB, so formatting takes the same milliseconds for 8 MiB and for 1 TiB. There is no journal: a disk
//! that does not outlive its kernel has nothing to recover. What the guest writes is the host's disk filling up: the
//! guest sees an I/O error or ENOSPC then, never this module.
//!
//! Source: the kernel's Documentation/filesystems/ext4/ and fs/ext4/ext4.h.

mod format;
mod groups;
mod layout;
mod superblock;

use crate::draft::{Draft, drafts};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use layout::{BLOCK, Layout};

/// The smallest disk: 8 MiB, most of it free.
pub const MIN_BYTES: u64 = 8 << 20;
/// The largest: what 32-bit block numbers and the descriptors in the first group allow.
pub const MAX_BYTES: u64 = 8 << 40;

#[derive(Debug, thiserror::Error)]
pub enum ScratchError {
    #[error("a scratch disk of {} is too small", size(*bytes))]
    TooSmall { bytes: u64 },
    #[error("a scratch disk of {} is too large", size(*bytes))]
    TooLarge { bytes: u64 },
    #[error("cannot create a scratch disk in `{}`", directory.display())]
    Create {
        directory: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("cannot format a scratch disk of {} in `{}`", size(*bytes), directory.display())]
    Format {
        directory: PathBuf,
        bytes: u64,
        #[source]
        source: io::Error,
    },
}

impl ScratchError {
    /// What the user can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::TooSmall { .. } => Some(format!("at least {} MiB are needed", MIN_BYTES >> 20)),
            Self::TooLarge { .. } => Some(format!("at most {} TiB are possible", MAX_BYTES >> 40)),
            Self::Format { source, .. } if source.kind() == io::ErrorKind::FileTooLarge => {
                Some("that file system has no files of this size".to_owned())
            }
            // A file without a name is gone to QEMU's 9p.
            Self::Format { source, .. } if source.kind() == io::ErrorKind::NotFound => Some(
                "that file system, one shared with another machine perhaps, loses files that have no name: let XDG_CACHE_HOME name a \
                 directory on a local disk"
                    .to_owned(),
            ),
            Self::Create { .. } | Self::Format { .. } => {
                Some("make room there, or let XDG_CACHE_HOME name a directory of yours on a larger disk".to_owned())
            }
        }
    }
}

/// In the largest unit that leaves no rest, as sizes are typed.
fn size(bytes: u64) -> String {
    let units = [(40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")];
    let whole = units.into_iter().find(|(power, _)| bytes > 0 && bytes.trailing_zeros() >= *power);
    whole.map_or_else(|| format!("{bytes} bytes"), |(power, unit)| format!("{} {unit}", bytes >> power))
}

/// A disk of `bytes` (rounded down to whole 4 KiB blocks) on the file system of `directory`, holding an empty ext4.
/// Takes no room until it is written to, and has no name: whatever ends the program ends it too.
pub fn create(directory: &Path, bytes: u64) -> Result<File, ScratchError> {
    if bytes < MIN_BYTES {
        return Err(ScratchError::TooSmall { bytes });
    }
    if bytes > MAX_BYTES {
        return Err(ScratchError::TooLarge { bytes });
    }
    let file = Draft::new(directory, &drafts(), 0o600)
        .map(Draft::into_file)
        .map_err(|source| ScratchError::Create { directory: directory.to_owned(), source })?;
    let formatted = file.set_len(bytes - bytes % BLOCK).and_then(|()| format(&file, &Layout::new(bytes / BLOCK)));
    formatted.map_err(|source| ScratchError::Format { directory: directory.to_owned(), bytes, source })?;
    Ok(file)
}

/// Into a file that reads as zeros.
fn format(file: &File, layout: &Layout) -> io::Result<()> {
    let mut descriptors = Vec::new();
    for group in 0..layout.groups {
        descriptors.extend(groups::descriptor(layout, group));
    }
    file.write_all_at(&superblock::encode(layout), superblock::OFFSET)?;
    file.write_all_at(&descriptors, BLOCK)?;
    // All other bitmaps are marked as not initialised: the kernel makes them up when it first uses a group.
    for group in [0, layout.groups - 1] {
        file.write_all_at(&groups::block_bitmap(layout, group), layout.block_bitmap(group) * BLOCK)?;
    }
    file.write_all_at(&groups::inode_bitmap(layout), layout.inode_bitmap(0) * BLOCK)?;
    file.write_all_at(&format::first_inodes(layout), layout.inode_table(0) * BLOCK)?;
    file.write_all_at(&format::root_directory(), layout.root_block() * BLOCK)?;
    file.write_all_at(&format::lost_and_found(), layout.lost_and_found_block() * BLOCK)
}

#[cfg(test)]
#[path = "scratch_test.rs"]
mod tests;
