//! From an archive's or layout's own table of contents to a configuration and layers. Law: reads documents, no layers.
//!
//! Sources: docker's image-spec v1.2, "manifest.json"; OCI image-spec, image-layout.md, image-index.md, manifest.md; containers-transports(5),
//! "dir".

use std::io::Read as _;
use std::path::Path;

use serde::Deserialize;

use self::naming::{Named, called, only};
use super::config::{ConfigDocument, ImageConfig};
use super::digest::Digest;
use super::error::ImageError;
use super::go_json::{caseless, texts};
use super::layer::Layer;
use super::parts::{Parts, parse, parse_digest};
use super::platform::Platform;

mod naming;
mod oci;

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
    /// Paths of directories.
    pub(crate) volumes: Vec<String>,
}

/// The image in `parts`, the one called `name` if several are there; `None` if there is no table of contents that we know.
pub(crate) fn describe(parts: &Parts, name: Option<&str>) -> Result<Option<Described>, ImageError> {
    if is_of_skopeo(parts)? {
        return oci::skopeo(parts, name).map(Some);
    }
    // Archives of newer docker versions have both; its own names exactly the image that was saved.
    if parts.find(DOCKER_MANIFEST)?.is_some() {
        return docker(parts, name).map(Some);
    }
    if parts.find(OCI_INDEX)?.is_some() {
        return oci::layout(parts, name).map(Some);
    }
    Ok(None)
}

/// Is the directory an image in parts, and not one that is to be the root?
pub(crate) fn is_layout(directory: &Path) -> bool {
    let is_oci = directory.join(OCI_INDEX).is_file() && directory.join("oci-layout").is_file();
    is_oci || is_of_skopeo(&Parts::Directory(directory.to_owned())).unwrap_or(false)
}

/// What a directory is that has an image's parts and is no image: as a root directory it would help nobody.
pub(crate) fn loose_parts(directory: &Path) -> Option<&'static str> {
    if directory.join("blobs/sha256").is_dir() {
        return Some("a part of an OCI layout");
    }
    let parts = Parts::Directory(directory.to_owned());
    let images: Vec<DockerManifest> = parse(DOCKER_MANIFEST, &parts.document(DOCKER_MANIFEST).ok()?).ok()?;
    let is_there = |name: &str| parts.find(name).is_ok_and(|part| part.is_some());
    images.iter().any(|image| is_there(&image.config)).then_some("an unpacked archive of `docker save`")
}

/// As `skopeo copy … dir:DIR` marks it.
fn is_of_skopeo(parts: &Parts) -> Result<bool, ImageError> {
    const MARK: &[u8] = b"Directory Transport Version: ";
    let Some(version) = parts.find("version")? else { return Ok(false) };
    let mut beginning = Vec::new();
    let read = version.take(MARK.len() as u64).read_to_end(&mut beginning);
    read.map_err(|source| ImageError::Io { action: "read", path: "version".into(), source })?;
    Ok(beginning == MARK)
}

#[derive(Debug, Deserialize)]
#[serde(remote = "Self")]
struct DockerManifest {
    config: String,
    #[serde(rename = "repotags", default, deserialize_with = "texts")]
    repo_tags: Vec<String>,
    #[serde(default, deserialize_with = "texts")]
    layers: Vec<String>,
}

caseless!(DockerManifest);

impl Named for DockerManifest {
    fn names(&self) -> Vec<&str> {
        let tags = self.repo_tags.iter().map(String::as_str);
        tags.chain([self.config.as_str()]).collect()
    }
}

fn docker(parts: &Parts, wanted: Option<&str>) -> Result<Described, ImageError> {
    let images: Vec<DockerManifest> = parse(DOCKER_MANIFEST, &parts.document(DOCKER_MANIFEST)?)?;
    let image = only(called(images, wanted)?)?;
    let config = parts.document(&image.config)?;
    let blobs = image.layers.into_iter().map(|name| (name, None)).collect();
    finish(parts, &image.config, &config, blobs)
}

fn finish(
    parts: &Parts,
    config_name: &str,
    config: &[u8],
    blobs: Vec<(String, Option<Digest>)>,
) -> Result<Described, ImageError> {
    let document: ConfigDocument = parse(config_name, config)?;
    let platform = document.platform();
    if !platform.is_ours() {
        return Err(ImageError::Platform { wanted: Platform::ours(), found: vec![platform] });
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
    let volumes = document.volumes();
    Ok(Described { id: Digest::of(config), config: document.into_config(), layers, volumes })
}

#[cfg(test)]
#[path = "reference_test.rs"]
mod tests;
