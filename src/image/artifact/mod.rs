//! One file with all that a bottle needs of an image: `FILE.bottle`.
//!
//! ```text
//! root        EROFS, from byte 0: mounted, checked and served to a guest as it lies
//! hash tree   over the root's 4 KiB blocks (see `crate::verity`)
//! manifest    JSON: how to run it, what it was made of, the digests of the tree
//! padding     zero, up to a multiple of 4 KiB
//! trailer     4 KiB: where these are, the manifest's digest, its own digest
//! ```
//!
//! Every byte is covered: the trailer by itself, the manifest by the trailer, tree and root by the manifest; there are no gaps. The
//! manifest's digest is the name of the artifact: who knows it knows all of it.
//!
//! Law: knows files, not where they are kept. What comes from a file is bounded and checked before it is used.

mod error;
mod hash;
mod manifest;
mod seal;
mod trailer;

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

pub use error::{ArtifactError, Part};
pub use manifest::{Manifest, Provenance, SourceKind};
pub(crate) use seal::{About, seal};
pub(crate) use trailer::Trailer;

use super::config::ImageConfig;
use super::digest::{Digest, HashingReader};
use super::platform::Platform;
use super::stream::FileRange;
use crate::progress::Progress;
use crate::verity::{BLOCK, BLOCK_U64, HashTree};

/// Counts up with each change of the file's form.
pub const FORMAT: u32 = trailer::FORMAT;

/// An open artifact, its trailer and manifest checked; the root is checked as it is read, or by [`Artifact::verify`].
#[derive(Debug)]
pub struct Artifact {
    file: File,
    /// Where it was opened; a name in words for what has no path.
    path: PathBuf,
    trailer: Trailer,
    manifest: Manifest,
}

/// Does a file that begins so claim to be an artifact?
#[must_use]
pub fn is_artifact(beginning: &[u8]) -> bool {
    beginning.starts_with(&trailer::MAGIC)
}

/// Does `file` claim to be an artifact?
pub(crate) fn claims_to_be_one(file: &File) -> io::Result<bool> {
    let mut beginning = [0; trailer::MAGIC.len()];
    match file.read_exact_at(&mut beginning, 0) {
        Ok(()) => Ok(is_artifact(&beginning)),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

impl Artifact {
    /// Reads trailer and manifest of `file`, which `path` is the name of: some kilobytes, whatever its size.
    ///
    /// # Errors
    /// When it is no artifact, or another than it says; that it is for another machine is told by [`Artifact::platform`].
    pub fn open(file: File, path: &Path) -> Result<Self, ArtifactError> {
        let claims = claims_to_be_one(&file).map_err(ArtifactError::Read)?;
        let bytes = file.metadata().map_err(ArtifactError::Read)?.len();
        let mut block = [0; BLOCK];
        let short = if claims { ArtifactError::Cut } else { ArtifactError::NotAnArtifact };
        let end = bytes.checked_sub(BLOCK_U64).ok_or(short)?;
        file.read_exact_at(&mut block, end).map_err(ArtifactError::Read)?;
        let trailer = match Trailer::parse(&block, bytes) {
            Ok(_) if !claims => return Err(ArtifactError::Damaged { part: Part::Beginning, offset: 0 }),
            Err(_) if !claims => return Err(ArtifactError::NotAnArtifact),
            trailer => trailer?,
        };
        let place = trailer.manifest();
        let mut rest = vec![0; usize::try_from(end - place.offset).map_err(|_| ArtifactError::Cut)?];
        file.read_exact_at(&mut rest, place.offset).map_err(ArtifactError::Read)?;
        let (text, padding) = rest.split_at(usize::try_from(place.length).map_err(|_| ArtifactError::Cut)?);
        if Digest::of(text) != trailer.manifest_digest {
            return Err(ArtifactError::Damaged { part: Part::Manifest, offset: place.offset });
        }
        if let Some(at) = padding.iter().position(|&byte| byte != 0) {
            return Err(ArtifactError::Damaged { part: Part::Padding, offset: place.end() + at as u64 });
        }
        let manifest = Manifest::parse(text, &trailer)?;
        Ok(Self { file, path: path.to_owned(), trailer, manifest })
    }

    #[must_use]
    pub fn file(&self) -> &File {
        &self.file
    }

    /// The file, for who reads its root.
    #[must_use]
    pub fn into_file(self) -> File {
        self.file
    }

    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The digest of the manifest.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.trailer.manifest_digest
    }

    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Bytes of the file.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.trailer.file_bytes()
    }

    /// What the blocks of the root are checked against.
    #[must_use]
    pub fn tree(&self) -> HashTree {
        HashTree {
            data_blocks: self.trailer.tree.data_blocks(),
            offset: self.trailer.hash_tree().offset,
            root: *self.manifest.tree.root_digest.bytes(),
        }
    }

    /// The machine that it is for.
    #[must_use]
    pub fn platform(&self) -> Platform {
        let ImageConfig { os, architecture, .. } = &self.manifest.config;
        Platform { os: os.clone(), architecture: architecture.clone(), variant: String::new() }
    }

    /// Reads every byte that [`Artifact::open`] has not, and finds out whether it is the one that was written.
    ///
    /// # Errors
    /// Which part is damaged, and where.
    pub fn verify(&self, progress: &dyn Progress) -> Result<(), ArtifactError> {
        let place = self.trailer.hash_tree();
        if tree_digest(&self.file, place.offset, place.length)? != self.manifest.tree.digest {
            return Err(ArtifactError::Damaged { part: Part::HashTree, offset: place.offset });
        }
        progress.step_of_bytes("verifying the root file system");
        hash::check(&self.file, &self.trailer.tree, place.offset, self.manifest.tree.root_digest.bytes(), progress)
    }
}

fn tree_digest(file: &File, offset: u64, length: u64) -> Result<Digest, ArtifactError> {
    let file = file.try_clone().map_err(ArtifactError::Read)?;
    let mut reader = HashingReader::new(FileRange::new(file.into(), offset, length));
    let read = io::copy(&mut (&mut reader).take(length), &mut io::sink()).map_err(ArtifactError::Read)?;
    if read == length { Ok(reader.digest()) } else { Err(ArtifactError::Cut) }
}

#[cfg(test)]
#[path = "artifact_test.rs"]
mod tests;
