//! What an artifact says of itself. Law: pure; equal images have equal manifests, to the byte.

use serde::de::IntoDeserializer;
use serde::de::value::{Error as Unknown, StrDeserializer};
use serde::{Deserialize, Serialize};

use super::error::ArtifactError;
use super::trailer::{FORMAT, Trailer};
use crate::image::config::ImageConfig;
use crate::image::digest::Digest;
use crate::image::erofs::{Feature, RootCompression};
use crate::verity::BLOCK_U64;

/// The manifest; its digest is the artifact's name. What is not here is not known: within a format version no field may be added.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// That of the file.
    pub format: u32,
    /// Program and version of its writer: not of the program, since what it writes does not change with each.
    pub created_by: String,
    pub config: ImageConfig,
    pub source: Provenance,
    pub root: Root,
    pub tree: Tree,
}

/// What the artifact was made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Provenance {
    pub kind: SourceKind,
    /// Docker's image ID (the digest of the image's configuration), or for a directory that of its contents.
    pub id: Digest,
    /// Of the layers' tar streams (OCI's `diff_id`), the lowest first. An uncompressed digest is the same in every form of the image.
    pub layers: Vec<Digest>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SourceKind {
    /// `docker save`, OCI: layers and a configuration.
    Image,
    /// A root directory.
    Directory,
    /// The root for when no image is named.
    Default,
}

/// The root file system: the first bytes of the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Root {
    pub file_system: FileSystem,
    pub bytes: u64,
    pub block_size: u64,
    pub compression: RootCompression,
    /// What the guest's kernel must have beside the file system itself: follows from the compression, for who does not know that.
    pub features: Vec<Feature>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FileSystem {
    Erofs,
}

/// The hash tree over the root; see [`crate::verity`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tree {
    pub algorithm: Algorithm,
    /// SHA-256 of the tree's bytes in the file.
    pub digest: Digest,
    /// What every block of the root is checked against in the end.
    pub root_digest: Digest,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Algorithm {
    /// dm-verity format 1: SHA-256, 4 KiB blocks, no salt.
    VeritySha256,
}

/// What later versions may have more of. It is looked at first, since the way out is another than where a manifest is wrong.
#[derive(Deserialize)]
struct Needs {
    root: RootNeeds,
}

#[derive(Deserialize)]
struct RootNeeds {
    compression: String,
    features: Vec<String>,
}

/// As much of a name as an error shows.
const SHOWN: usize = 40;

impl Needs {
    fn check(&self) -> Result<(), ArtifactError> {
        let unknown = |what, name: &str| ArtifactError::Unknown { what, name: name.chars().take(SHOWN).collect() };
        if self.root.compression.parse::<RootCompression>().is_err() {
            return Err(unknown("compression", &self.root.compression));
        }
        let is_unknown = |name: &&String| {
            let text: StrDeserializer<'_, Unknown> = name.as_str().into_deserializer();
            Feature::deserialize(text).is_err()
        };
        self.root.features.iter().find(is_unknown).map_or(Ok(()), |name| Err(unknown("feature", name)))
    }
}

impl Manifest {
    pub(super) fn encode(&self) -> Result<Vec<u8>, ArtifactError> {
        let mut bytes = serde_json::to_vec_pretty(self).map_err(ArtifactError::Manifest)?;
        bytes.push(b'\n');
        Ok(bytes)
    }

    /// The manifest in `bytes`, which have the digest that `trailer` says.
    pub(crate) fn parse(bytes: &[u8], trailer: &Trailer) -> Result<Self, ArtifactError> {
        // What is no manifest at all is told in detail by what follows.
        serde_json::from_slice::<Needs>(bytes).map_or(Ok(()), |needs| needs.check())?;
        let manifest: Self = serde_json::from_slice(bytes).map_err(ArtifactError::Manifest)?;
        let wrong = |what| Err(ArtifactError::Contradiction { what });
        if manifest.format != FORMAT {
            return wrong("another format version");
        }
        if manifest.root.bytes != trailer.root().length || manifest.root.block_size != BLOCK_U64 {
            return wrong("another size of the root");
        }
        if manifest.root.features != manifest.root.compression.features() {
            return wrong("other features than its compression needs");
        }
        Ok(manifest)
    }
}
