//! Hashes the blocks of a root, on all processors. Law: reads and writes one file by position; knows trees, no manifests.
//!
//! What is at work at once is a *group*: the data blocks whose digests fill one block of the tree. Only the digests of these blocks
//! are held in memory, 32 bytes for 512 KiB of data.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use super::error::{ArtifactError, Part};
use crate::image::stream::is_zero;
use crate::image::workers;
use crate::progress::Progress;
use crate::verity::{self, BLOCK, BLOCK_U64, BlockDigest, FANOUT, Layout, level_of};

/// How often progress is told.
const TICK: Duration = Duration::from_millis(100);
const GROUP_BYTES: u64 = FANOUT as u64 * BLOCK_U64;

/// Data blocks that are not what the tree says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Damage {
    count: u64,
    /// In bytes.
    first: u64,
}

/// Writes the tree over the first blocks of `file` at `offset`, and returns its root.
pub(super) fn build(
    file: &File,
    layout: &Layout,
    offset: u64,
    progress: &dyn Progress,
) -> Result<BlockDigest, ArtifactError> {
    let write =
        |bytes: &[u8], block: u64| file.write_all_at(bytes, offset + block * BLOCK_U64).map_err(ArtifactError::Write);
    let lowest = layout.levels().first();
    let groups = each_group(file, layout, progress, |group, digests| {
        let level = level_of(digests);
        if let Some(lowest) = lowest {
            write(&level, lowest.first + group)?;
        }
        Ok(above(digests, &level, layout))
    })?;
    let mut digests = groups;
    for level in layout.levels().iter().skip(1) {
        let bytes = level_of(&digests);
        write(&bytes, level.first)?;
        digests = bytes.chunks(BLOCK).map(verity::digest).collect();
    }
    digests.first().copied().ok_or(ArtifactError::Contradiction { what: "there is no root" })
}

/// Compares the data with the tree at `offset`, which itself has been found to be as it was written, and the tree with its `root`.
pub(super) fn check(
    file: &File,
    layout: &Layout,
    offset: u64,
    root: &BlockDigest,
    progress: &dyn Progress,
) -> Result<(), ArtifactError> {
    let read = |bytes: &mut [u8], block: u64| {
        file.read_exact_at(bytes, offset + block * BLOCK_U64).map_err(ArtifactError::Read)
    };
    let lowest = layout.levels().first();
    let damage = std::sync::Mutex::new(None);
    let groups = each_group(file, layout, progress, |group, digests| {
        let level = level_of(digests);
        let Some(lowest) = lowest else { return Ok(above(digests, &level, layout)) };
        let mut stored = [0; BLOCK];
        read(&mut stored, lowest.first + group)?;
        let wrong = (0..FANOUT).zip(digests).filter(|(slot, digest)| verity::slot(&stored, *slot) != **digest);
        let wrong: Vec<u64> = wrong.map(|(slot, _)| group * GROUP_BYTES + slot as u64 * BLOCK_U64).collect();
        note(&damage, &wrong);
        Ok(verity::digest(&stored))
    })?;
    if let Some(Damage { count, first }) = damage.into_inner().unwrap_or_default() {
        return Err(ArtifactError::Blocks { count, total: layout.data_blocks(), first });
    }
    let mut digests = groups;
    for level in layout.levels().iter().skip(1) {
        let bytes = level_of(&digests);
        let mut stored = vec![0; bytes.len()];
        read(&mut stored, level.first)?;
        if stored != bytes {
            return Err(ArtifactError::Damaged { part: Part::HashTree, offset: offset + level.first * BLOCK_U64 });
        }
        digests = bytes.chunks(BLOCK).map(verity::digest).collect();
    }
    match (digests.first(), lowest) {
        (Some(digest), _) if digest == root => Ok(()),
        // The digest of the only block is the root itself.
        (_, None) => Err(ArtifactError::Blocks { count: 1, total: 1, first: 0 }),
        _ => Err(ArtifactError::Contradiction { what: "another hash tree" }),
    }
}

/// What stands for a group one level up: the digest of its block, or of the data where there is no level at all.
fn above(digests: &[BlockDigest], level: &[u8], layout: &Layout) -> BlockDigest {
    match digests {
        [only] if layout.levels().is_empty() => *only,
        _ => verity::digest(level),
    }
}

fn note(damage: &std::sync::Mutex<Option<Damage>>, offsets: &[u64]) {
    let Some(&first) = offsets.first() else { return };
    let mut damage = damage.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let before = damage.unwrap_or(Damage { count: 0, first });
    *damage = Some(Damage { count: before.count + offsets.len() as u64, first: before.first.min(first) });
}

/// Hands every group's number and digests to `work`, and returns what it makes of them, in order.
fn each_group(
    file: &File,
    layout: &Layout,
    progress: &dyn Progress,
    work: impl Fn(u64, &[BlockDigest]) -> Result<BlockDigest, ArtifactError> + Sync,
) -> Result<Vec<BlockDigest>, ArtifactError> {
    let total = layout.data_blocks() * BLOCK_U64;
    let groups = total.div_ceil(GROUP_BYTES);
    let count = usize::try_from(groups).map_err(|error| ArtifactError::Read(io::Error::other(error)))?;
    let mut results = vec![BlockDigest::default(); count];
    let mut failure = None;
    let work = &work;
    let worker = || {
        let mut hasher = GroupHasher::new();
        move |group: usize| {
            let group = group as u64;
            let digests = hasher.digests(file, group * GROUP_BYTES, total).map_err(ArtifactError::Read)?;
            work(group, digests)
        }
    };
    let mut done = 0;
    let mut told = Instant::now();
    workers::each((count, workers::at_most(count)), worker, |result| {
        match result {
            Some((group, Ok(digest))) => {
                done += GROUP_BYTES;
                results[group] = digest;
            }
            Some((_, Err(error))) => failure = Some(error),
            None => {}
        }
        if told.elapsed() >= TICK {
            told = Instant::now();
            progress.advance(done.min(total), total);
        }
    });
    failure.map_or(Ok(results), Err)
}

/// Reads groups into one buffer.
struct GroupHasher {
    buffer: Vec<u8>,
    digests: Vec<BlockDigest>,
    /// Of a block of zeros: images have many.
    zeros: BlockDigest,
}

impl GroupHasher {
    fn new() -> Self {
        Self { buffer: Vec::new(), digests: Vec::with_capacity(FANOUT), zeros: verity::digest(&[0; BLOCK]) }
    }

    /// Of the blocks from `start` on, as many as are in a group or left of `total` bytes.
    fn digests(&mut self, file: &File, start: u64, total: u64) -> io::Result<&[BlockDigest]> {
        let length = usize::try_from(GROUP_BYTES.min(total - start)).map_err(io::Error::other)?;
        self.buffer.resize(length, 0);
        file.read_exact_at(&mut self.buffer, start)?;
        self.digests.clear();
        let digest = |block: &[u8]| if is_zero(block) { self.zeros } else { verity::digest(block) };
        self.digests.extend(self.buffer.chunks(BLOCK).map(digest));
        Ok(&self.digests)
    }
}
