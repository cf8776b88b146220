//! From an archive's or layout's own table of contents to a configuration and layers. Law: reads documents, no layers.
//!
//! Sources: docker's image-spec v1.2, "manifest.json"; OCI image-spec, image-layout.md, image-index.md, manifest.md.

use serde::Deserialize;

use super::config::{ConfigDocument, ImageConfig};
use super::digest::Digest;
use super::error::ImageError;
use super::layer::Layer;
use super::parts::{Parts, parse, parse_digest};

/// The machine that bottles have.
pub(crate) const ARCHITECTURE: &str = "amd64";
pub(crate) const OS: &str = "linux";

/// The two as docker writes them.
pub(crate) fn platform() -> String {
    format!("{OS}/{ARCHITECTURE}")
}

/// An index may point to indexes; more than this many levels is an attack.
const MAX_NESTED_INDEXES: usize = 4;
/// Images and indexes that the indexes name, all together: each may be an index again, and name as many.
const MAX_MANIFESTS: usize = 4096;
/// Of all indexes together: one for every machine there is takes some kilobytes.
const MAX_INDEX_BYTES: usize = 8 << 20;

pub(crate) const DOCKER_MANIFEST: &str = "manifest.json";
pub(crate) const OCI_INDEX: &str = "index.json";

/// An image that is known by its documents; its layers are not read yet.
#[derive(Debug)]
pub(crate) struct Described {
    /// The image ID: the digest of its configuration, which lists the digests of the layers' contents.
    pub(crate) id: Digest,
    pub(crate) config: ImageConfig,
    /// Lowest first.
    pub(crate) layers: Vec<Layer>,
}

/// The image in `parts`; `None` if there is no table of contents that we know.
pub(crate) fn describe(parts: &Parts) -> Result<Option<Described>, ImageError> {
    // Archives of newer docker versions have both; its own names exactly the image that was saved.
    if parts.find(DOCKER_MANIFEST)?.is_some() {
        return docker(parts).map(Some);
    }
    if parts.find(OCI_INDEX)?.is_some() {
        return oci(parts).map(Some);
    }
    Ok(None)
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DockerManifest {
    config: String,
    repo_tags: Option<Vec<String>>,
    layers: Option<Vec<String>>,
}

fn docker(parts: &Parts) -> Result<Described, ImageError> {
    let mut images: Vec<DockerManifest> = parse(DOCKER_MANIFEST, &parts.document(DOCKER_MANIFEST)?)?;
    let Some(image) = images.pop() else { return Err(ImageError::NoImages) };
    if !images.is_empty() {
        images.push(image);
        let name = |image: DockerManifest| image.repo_tags.unwrap_or_default().pop().unwrap_or(image.config);
        return Err(ImageError::ManyImages { names: images.into_iter().map(name).collect() });
    }
    let config = parts.document(&image.config)?;
    let blobs = image.layers.unwrap_or_default().into_iter().map(|name| (name, None)).collect();
    finish(parts, &image.config, &config, blobs)
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    #[serde(default)]
    media_type: String,
    digest: String,
    platform: Option<Platform>,
    annotations: Option<Annotations>,
}

/// The one that we read. Of others there may be any number.
#[derive(Debug, Clone, Deserialize)]
struct Annotations {
    #[serde(rename = "org.opencontainers.image.ref.name")]
    name: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
struct Platform {
    architecture: String,
    os: String,
}

#[derive(Debug, Deserialize)]
struct Index {
    #[serde(default)]
    manifests: Vec<Descriptor>,
}

#[derive(Debug, Deserialize)]
struct Manifest {
    config: Descriptor,
    #[serde(default)]
    layers: Vec<Descriptor>,
}

impl Descriptor {
    fn is_index(&self) -> bool {
        matches!(
            self.media_type.as_str(),
            "application/vnd.oci.image.index.v1+json" | "application/vnd.docker.distribution.manifest.list.v2+json"
        )
    }

    /// Statements about other manifests (provenance, signatures), which builders put beside them.
    fn is_attestation(&self) -> bool {
        self.platform.as_ref().is_some_and(|platform| platform.os == "unknown")
    }

    fn name(&self) -> String {
        let name = self.annotations.as_ref().and_then(|annotations| annotations.name.as_ref());
        name.unwrap_or(&self.digest).clone()
    }
}

/// What the indexes of an image may still name and take.
struct Left {
    manifests: usize,
    bytes: usize,
}

fn oci(parts: &Parts) -> Result<Described, ImageError> {
    let (mut candidates, mut left) = (Vec::new(), Left { manifests: MAX_MANIFESTS, bytes: MAX_INDEX_BYTES });
    collect(parts, (OCI_INDEX, &parts.document(OCI_INDEX)?), (0, &mut left), &mut candidates)?;
    let chosen = choose(candidates)?;
    let (name, bytes) = blob(parts, &chosen.digest)?;
    let manifest: Manifest = parse(&name, &bytes)?;
    let (config_name, config) = blob(parts, &manifest.config.digest)?;
    let blobs = manifest
        .layers
        .iter()
        .map(|layer| Ok((blob_name(&layer.digest)?, Some(parse_digest(&name, &layer.digest)?))))
        .collect::<Result<_, ImageError>>()?;
    finish(parts, &config_name, &config, blobs)
}

fn collect(
    parts: &Parts,
    (name, bytes): (&str, &[u8]),
    (depth, left): (usize, &mut Left),
    into: &mut Vec<Descriptor>,
) -> Result<(), ImageError> {
    if depth > MAX_NESTED_INDEXES {
        return Err(ImageError::NestedIndexes { limit: MAX_NESTED_INDEXES });
    }
    let bytes_left = left.bytes.checked_sub(bytes.len());
    left.bytes = bytes_left.ok_or(ImageError::LongIndexes { limit: MAX_INDEX_BYTES })?;
    let index: Index = parse(name, bytes)?;
    let manifests_left = left.manifests.checked_sub(index.manifests.len());
    left.manifests = manifests_left.ok_or(ImageError::ManyManifests { limit: MAX_MANIFESTS })?;
    for descriptor in index.manifests {
        if descriptor.is_index() {
            let (name, bytes) = blob(parts, &descriptor.digest)?;
            collect(parts, (&name, &bytes), (depth + 1, &mut *left), into)?;
        } else if !descriptor.is_attestation() && !into.iter().any(|known| known.digest == descriptor.digest) {
            into.push(descriptor);
        }
    }
    Ok(())
}

/// The one for our machine. One that states no platform may be: its configuration will tell.
fn choose(candidates: Vec<Descriptor>) -> Result<Descriptor, ImageError> {
    let ours = |platform: &Platform| platform.os == OS && platform.architecture == ARCHITECTURE;
    let (mut fitting, others): (Vec<_>, Vec<_>) =
        candidates.into_iter().partition(|candidate| candidate.platform.as_ref().is_none_or(ours));
    match (fitting.pop(), fitting.is_empty()) {
        (Some(only), true) => Ok(only),
        (Some(last), false) => {
            fitting.push(last);
            Err(ImageError::ManyImages { names: fitting.iter().map(Descriptor::name).collect() })
        }
        (None, _) if others.is_empty() => Err(ImageError::NoImages),
        (None, _) => {
            let shown = |platform: &Platform| format!("{}/{}", platform.os, platform.architecture);
            let found = others.iter().filter_map(|other| other.platform.as_ref().map(shown)).collect();
            Err(ImageError::Platform { wanted: platform(), found })
        }
    }
}

/// The digest is checked for its form before it becomes a path.
fn blob_name(digest: &str) -> Result<String, ImageError> {
    Ok(format!("blobs/sha256/{}", parse_digest(OCI_INDEX, digest)?.hex()))
}

/// A document of an OCI layout, its digest checked.
fn blob(parts: &Parts, digest: &str) -> Result<(String, Vec<u8>), ImageError> {
    let name = blob_name(digest)?;
    let bytes = parts.document(&name)?;
    let found = Digest::of(&bytes).to_string();
    if found != digest {
        return Err(ImageError::Digest { name, expected: digest.to_owned(), found });
    }
    Ok((name, bytes))
}

fn finish(
    parts: &Parts,
    config_name: &str,
    config: &[u8],
    blobs: Vec<(String, Option<Digest>)>,
) -> Result<Described, ImageError> {
    let document: ConfigDocument = parse(config_name, config)?;
    let wanted = platform();
    if document.platform() != wanted {
        return Err(ImageError::Platform { wanted, found: vec![document.platform()] });
    }
    let diff_ids = document.diff_ids();
    if diff_ids.len() != blobs.len() {
        return Err(ImageError::LayerCount { layers: blobs.len(), listed: diff_ids.len() });
    }
    let layer = |((name, blob_digest), diff_id): ((String, _), &String)| {
        let blob = parts.get(&name)?;
        Ok(Layer { diff_id: parse_digest(config_name, diff_id)?, name, blob, blob_digest })
    };
    let layers = blobs.into_iter().zip(diff_ids).map(layer).collect::<Result<_, ImageError>>()?;
    Ok(Described { id: Digest::of(config), config: document.into_config(), layers })
}
