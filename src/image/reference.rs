//! From an archive's or layout's own table of contents to a configuration and layers. Law: reads documents, no layers.
//!
//! Sources: docker's image-spec v1.2, "manifest.json"; OCI image-spec, image-layout.md, image-index.md, manifest.md; containers-transports(5),
//! "dir".

use std::collections::BTreeSet;
use std::io::Read as _;
use std::path::Path;
use std::rc::Rc;

use serde::Deserialize;

use super::config::{ConfigDocument, ImageConfig, nullable};
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
    /// Paths of directories.
    pub(crate) volumes: Vec<String>,
}

/// The image in `parts`, the one called `name` if several are there; `None` if there is no table of contents that we know.
pub(crate) fn describe(parts: &Parts, name: Option<&str>) -> Result<Option<Described>, ImageError> {
    if is_of_skopeo(parts)? {
        return skopeo(parts, name).map(Some);
    }
    // Archives of newer docker versions have both; its own names exactly the image that was saved.
    if parts.find(DOCKER_MANIFEST)?.is_some() {
        return docker(parts, name).map(Some);
    }
    if parts.find(OCI_INDEX)?.is_some() {
        return oci(parts, name).map(Some);
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
#[serde(rename_all = "PascalCase")]
struct DockerManifest {
    config: String,
    repo_tags: Option<Vec<String>>,
    layers: Option<Vec<String>>,
}

/// One image of several, by whatever it goes by: what people call it first, what is its alone last.
trait Named {
    fn names(&self) -> Vec<&str>;
}

impl Named for DockerManifest {
    fn names(&self) -> Vec<&str> {
        let tags = self.repo_tags.iter().flatten().map(String::as_str);
        tags.chain([self.config.as_str()]).collect()
    }
}

fn docker(parts: &Parts, wanted: Option<&str>) -> Result<Described, ImageError> {
    let images: Vec<DockerManifest> = parse(DOCKER_MANIFEST, &parts.document(DOCKER_MANIFEST)?)?;
    let image = only(called(images, wanted)?)?;
    let config = parts.document(&image.config)?;
    let blobs = image.layers.unwrap_or_default().into_iter().map(|name| (name, None)).collect();
    finish(parts, &image.config, &config, blobs)
}

/// Those that go by the name; all if none is wanted.
fn called<T: Named>(mut images: Vec<T>, wanted: Option<&str>) -> Result<Vec<T>, ImageError> {
    let Some(wanted) = wanted else { return Ok(images) };
    let names = shown(&images);
    images.retain(|image| image.names().contains(&wanted));
    if images.is_empty() { Err(ImageError::NoSuchName { name: wanted.to_owned(), names }) } else { Ok(images) }
}

fn only<T: Named>(mut images: Vec<T>) -> Result<T, ImageError> {
    match (images.pop(), images.is_empty()) {
        (Some(only), true) => Ok(only),
        (None, _) => Err(ImageError::NoImages),
        (Some(last), false) => {
            images.push(last);
            Err(ImageError::ManyImages { names: shown(&images) })
        }
    }
}

/// A name of each, by which no other goes.
fn shown<T: Named>(images: &[T]) -> Vec<String> {
    let all: Vec<_> = images.iter().map(Named::names).collect();
    let firsts: BTreeSet<_> = all.iter().filter_map(|names| names.first()).collect();
    let distinct = firsts.len() == images.len();
    let name = |names: &Vec<&str>| if distinct { names.first() } else { names.last() }.map(ToString::to_string);
    all.iter().filter_map(name).collect()
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
    #[serde(default, deserialize_with = "nullable")]
    manifests: Vec<Descriptor>,
}

#[derive(Debug, Deserialize)]
struct Manifest {
    config: Descriptor,
    #[serde(default, deserialize_with = "nullable")]
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

    fn name(&self) -> Option<&str> {
        self.annotations.as_ref()?.name.as_deref()
    }
}

/// A manifest that an index names, or several do.
#[derive(Debug)]
struct Candidate {
    digest: String,
    platform: Option<Platform>,
    /// Its own, or those of the indexes that it is in; shared, as such an index may name thousands.
    names: Vec<Rc<str>>,
}

impl Named for Candidate {
    fn names(&self) -> Vec<&str> {
        self.names.iter().map(AsRef::as_ref).chain([self.digest.as_str()]).collect()
    }
}

/// What the indexes of an image may still name and take.
struct Left {
    manifests: usize,
    bytes: usize,
}

/// Where a layout keeps its blobs.
const OCI_BLOBS: &str = "blobs/sha256/";

fn oci(parts: &Parts, wanted: Option<&str>) -> Result<Described, ImageError> {
    let (mut candidates, mut left) = (Vec::new(), Left { manifests: MAX_MANIFESTS, bytes: MAX_INDEX_BYTES });
    let index = parts.document(OCI_INDEX)?;
    collect(parts, (OCI_INDEX, &index, None), (0, &mut left), &mut candidates)?;
    let chosen = choose(called(candidates, wanted)?)?;
    let (name, bytes) = blob(parts, OCI_BLOBS, &chosen.digest)?;
    of_manifest(parts, (&name, &bytes), OCI_BLOBS)
}

/// A directory with one manifest, and its blobs beside it.
fn skopeo(parts: &Parts, wanted: Option<&str>) -> Result<Described, ImageError> {
    if let Some(wanted) = wanted {
        return Err(ImageError::NoSuchName { name: wanted.to_owned(), names: Vec::new() });
    }
    let manifest = parts.document(DOCKER_MANIFEST)?;
    if parse::<Index>(DOCKER_MANIFEST, &manifest).is_ok_and(|index| !index.manifests.is_empty()) {
        return Err(ImageError::SkopeoIndex);
    }
    of_manifest(parts, (DOCKER_MANIFEST, &manifest), "")
}

fn of_manifest(parts: &Parts, (name, bytes): (&str, &[u8]), blobs: &str) -> Result<Described, ImageError> {
    let manifest: Manifest = parse(name, bytes)?;
    let (config_name, config) = blob(parts, blobs, &manifest.config.digest)?;
    let layer = |layer: &Descriptor| {
        let digest = parse_digest(name, &layer.digest)?;
        Ok((format!("{blobs}{}", digest.hex()), Some(digest)))
    };
    let layers = manifest.layers.iter().map(layer).collect::<Result<_, ImageError>>()?;
    finish(parts, &config_name, &config, layers)
}

fn collect(
    parts: &Parts,
    (file, bytes, name): (&str, &[u8], Option<&Rc<str>>),
    (depth, left): (usize, &mut Left),
    into: &mut Vec<Candidate>,
) -> Result<(), ImageError> {
    if depth > MAX_NESTED_INDEXES {
        return Err(ImageError::NestedIndexes { limit: MAX_NESTED_INDEXES });
    }
    let bytes_left = left.bytes.checked_sub(bytes.len());
    left.bytes = bytes_left.ok_or(ImageError::LongIndexes { limit: MAX_INDEX_BYTES })?;
    let index: Index = parse(file, bytes)?;
    let manifests_left = left.manifests.checked_sub(index.manifests.len());
    left.manifests = manifests_left.ok_or(ImageError::ManyManifests { limit: MAX_MANIFESTS })?;
    for descriptor in index.manifests {
        let name = descriptor.name().map(Rc::from).or_else(|| name.cloned());
        if descriptor.is_index() {
            let (file, bytes) = blob(parts, OCI_BLOBS, &descriptor.digest)?;
            collect(parts, (&file, &bytes, name.as_ref()), (depth + 1, &mut *left), into)?;
        } else if !descriptor.is_attestation() {
            match into.iter_mut().find(|known| known.digest == descriptor.digest) {
                Some(known) => known.names.extend(name),
                None => into.push(Candidate {
                    names: name.into_iter().collect(),
                    digest: descriptor.digest,
                    platform: descriptor.platform,
                }),
            }
        }
    }
    Ok(())
}

/// The one for our machine. One that states no platform may be: its configuration will tell.
fn choose(candidates: Vec<Candidate>) -> Result<Candidate, ImageError> {
    let ours = |platform: &Platform| platform.os == OS && platform.architecture == ARCHITECTURE;
    let (fitting, others): (Vec<_>, Vec<_>) =
        candidates.into_iter().partition(|candidate| candidate.platform.as_ref().is_none_or(ours));
    if fitting.is_empty() && !others.is_empty() {
        let shown = |platform: &Platform| format!("{}/{}", platform.os, platform.architecture);
        let found = others.iter().filter_map(|other| other.platform.as_ref().map(shown)).collect();
        return Err(ImageError::Platform { wanted: platform(), found });
    }
    only(fitting)
}

/// A document that goes by its digest, which is checked: for its form before it becomes a path.
fn blob(parts: &Parts, blobs: &str, digest: &str) -> Result<(String, Vec<u8>), ImageError> {
    let name = format!("{blobs}{}", parse_digest(OCI_INDEX, digest)?.hex());
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
    let volumes = document.volumes();
    Ok(Described { id: Digest::of(config), config: document.into_config(), layers, volumes })
}

#[cfg(test)]
#[path = "reference_test.rs"]
mod tests;
