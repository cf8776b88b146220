//! A root becomes an artifact: tree, manifest and trailer are written behind it. Law: adds to one file, front to back.

use std::fs::File;
use std::os::unix::fs::FileExt;

use super::error::ArtifactError;
use super::manifest::{Algorithm, FileSystem, Manifest, Provenance, Root, SourceKind, Tree};
use super::trailer::{FORMAT, MAGIC, MAX_MANIFEST, Trailer};
use super::{hash, tree_digest};
use crate::image::config::ImageConfig;
use crate::image::digest::Digest;
use crate::image::erofs::{RootCompression, WRITER_VERSION};
use crate::progress::Progress;
use crate::verity::{BLOCK_U64, Layout};

/// What is known of an image before its root is written.
#[derive(Debug, Clone)]
pub(crate) struct About {
    pub(crate) config: ImageConfig,
    pub(crate) kind: SourceKind,
    /// See [`Provenance::layers`].
    pub(crate) layers: Vec<Digest>,
}

/// Completes `file`, whose first `bytes` are the root, compressed like this, of the image called `id`. Returns the digest of the
/// manifest.
pub(crate) fn seal(
    file: &File,
    (bytes, compression): (u64, RootCompression),
    (about, id): (About, Digest),
    progress: &dyn Progress,
) -> Result<Digest, ArtifactError> {
    let layout = Layout::new(bytes / BLOCK_U64).ok_or(ArtifactError::Contradiction { what: "the root's size" })?;
    file.write_all_at(&MAGIC, 0).map_err(ArtifactError::Write)?;
    progress.step_of_bytes("hashing the root file system");
    let root = hash::build(file, &layout, bytes, progress)?;
    let manifest = Manifest {
        format: FORMAT,
        created_by: format!("bottle-vmm, writer {WRITER_VERSION}"),
        config: about.config,
        source: Provenance { kind: about.kind, id, layers: about.layers },
        root: Root {
            file_system: FileSystem::Erofs,
            bytes,
            block_size: BLOCK_U64,
            compression,
            features: compression.features().to_vec(),
        },
        tree: Tree {
            algorithm: Algorithm::VeritySha256,
            digest: tree_digest(file, bytes, layout.bytes())?,
            root_digest: Digest::from_bytes(root),
        },
    };
    let text = manifest.encode()?;
    let manifest_bytes = text.len() as u64;
    if manifest_bytes > MAX_MANIFEST {
        return Err(ArtifactError::LargeManifest { bytes: manifest_bytes, limit: MAX_MANIFEST });
    }
    let trailer = Trailer { tree: layout, manifest_bytes, manifest_digest: Digest::of(&text) };
    let written = file
        .write_all_at(&text, trailer.manifest().offset)
        .and_then(|()| file.write_all_at(&trailer.encode(), trailer.offset()));
    written.map_err(ArtifactError::Write)?;
    Ok(trailer.manifest_digest)
}
