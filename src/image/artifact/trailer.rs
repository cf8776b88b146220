//! The last block of an artifact, which says where what is. Law: pure; what it accepts is exactly what it writes.
//!
//! Little-endian:
//!
//! ```text
//!    0   8  magic, the same that the file begins with
//!    8   4  format version
//!   12   4  zero
//!   16  48  offset and length in bytes of root, hash tree, manifest
//!   64  32  SHA-256 of the manifest
//!   96      zero
//! 4064  32  SHA-256 of all bytes of this block before it
//! ```
//!
//! In every format version the file begins with the magic, and its last 4 KiB have magic, version and digest in these places: so
//! a program tells a newer artifact from a damaged one.

use super::error::{ArtifactError, Part};
use crate::image::digest::Digest;
use crate::verity::{BLOCK, BLOCK_U64, Layout};

/// Neither text nor anything that survives a transfer as text. EROFS leaves the first KiB of a file system to others, so it is inside the
/// root, where the hash tree covers it.
pub(super) const MAGIC: [u8; 8] = *b"\x89BOTTLE\n";
pub(super) const FORMAT: u32 = 1;
/// A manifest is some kilobytes; docker's limit for a configuration is this, too.
pub(super) const MAX_MANIFEST: u64 = 4 << 20;

const DIGEST_AT: usize = BLOCK - 32;

/// What a trailer says that does not follow from the rest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Trailer {
    /// The layout of the root's hash tree, which knows the root's size, too.
    pub(super) tree: Layout,
    pub(super) manifest_bytes: u64,
    pub(super) manifest_digest: Digest,
}

/// A run of bytes of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Extent {
    pub(super) offset: u64,
    pub(super) length: u64,
}

impl Extent {
    pub(super) fn end(self) -> u64 {
        self.offset + self.length
    }
}

impl Trailer {
    pub(super) fn root(&self) -> Extent {
        Extent { offset: 0, length: self.tree.data_blocks() * BLOCK_U64 }
    }

    pub(super) fn hash_tree(&self) -> Extent {
        Extent { offset: self.root().end(), length: self.tree.bytes() }
    }

    pub(super) fn manifest(&self) -> Extent {
        Extent { offset: self.hash_tree().end(), length: self.manifest_bytes }
    }

    /// Where the trailer itself lies. What is between it and the manifest is zero.
    pub(super) fn offset(&self) -> u64 {
        self.manifest().end().next_multiple_of(BLOCK_U64)
    }

    /// Bytes of the whole artifact.
    pub(super) fn file_bytes(&self) -> u64 {
        self.offset() + BLOCK_U64
    }

    fn parts(&self) -> [Extent; 3] {
        [self.root(), self.hash_tree(), self.manifest()]
    }

    pub(super) fn encode(&self) -> [u8; BLOCK] {
        let mut fields = Vec::with_capacity(BLOCK);
        fields.extend(MAGIC);
        fields.extend(FORMAT.to_le_bytes());
        fields.extend([0; 4]);
        for Extent { offset, length } in self.parts() {
            fields.extend(offset.to_le_bytes());
            fields.extend(length.to_le_bytes());
        }
        fields.extend(self.manifest_digest.bytes());
        let mut block = [0; BLOCK];
        block[..fields.len()].copy_from_slice(&fields);
        let digest = Digest::of(&block[..DIGEST_AT]);
        block[DIGEST_AT..].copy_from_slice(digest.bytes());
        block
    }

    /// Of a file of `file_bytes`, which ends with `block`.
    pub(crate) fn parse(block: &[u8; BLOCK], file_bytes: u64) -> Result<Self, ArtifactError> {
        let damaged = || ArtifactError::Damaged { part: Part::Trailer, offset: file_bytes.saturating_sub(BLOCK_U64) };
        if !block.starts_with(&MAGIC) {
            return Err(ArtifactError::Cut);
        }
        if Digest::of(&block[..DIGEST_AT]).bytes()[..] != block[DIGEST_AT..] {
            return Err(damaged());
        }
        let version = u32::from_le_bytes(field(block, 8));
        if version > FORMAT {
            return Err(ArtifactError::Newer { found: version, known: FORMAT });
        }
        let number = |at| u64::from_le_bytes(field(block, at));
        let (root_bytes, manifest_bytes) = (number(24), number(56));
        let tree = Layout::new(root_bytes / BLOCK_U64).ok_or_else(damaged)?;
        if manifest_bytes > MAX_MANIFEST {
            return Err(damaged());
        }
        let trailer = Self { tree, manifest_bytes, manifest_digest: Digest::from_bytes(field(block, 64)) };
        // All else follows from these: an older version, other offsets, or anything in the gaps shows here.
        if trailer.encode() != *block {
            return Err(damaged());
        }
        if trailer.file_bytes() != file_bytes {
            return Err(ArtifactError::Cut);
        }
        Ok(trailer)
    }
}

/// `N` bytes at `at`, which is a constant inside the block.
fn field<const N: usize>(block: &[u8; BLOCK], at: usize) -> [u8; N] {
    let mut bytes = [0; N];
    bytes.copy_from_slice(&block[at..at + N]);
    bytes
}
