//! OCI layouts: indexes, manifests, and what their descriptors point to; skopeo's directories, which have the same manifests.
//!
//! Source: OCI image-spec, image-layout.md, image-index.md, manifest.md, descriptor.md; containers-transports(5), "dir".

use std::collections::{BTreeSet, HashMap};
use std::rc::Rc;

use serde::Deserialize;

use super::naming::{Named, called, only};
use super::{DOCKER_MANIFEST, Described, OCI_INDEX, finish};
use crate::image::digest::Digest;
use crate::image::error::ImageError;
use crate::image::go_json::{caseless, nullable};
use crate::image::parts::{Parts, parse, parse_digest};
use crate::image::platform::Platform;

/// An index may point to indexes; more than this many levels is an attack.
const MAX_NESTED_INDEXES: usize = 4;
/// Images and indexes that the indexes name, all together: each may be an index again, and name as many.
const MAX_MANIFESTS: usize = 4096;
/// Of all indexes together: one for every machine there is takes some kilobytes.
const MAX_INDEX_BYTES: usize = 8 << 20;

#[derive(Debug, Clone, Deserialize)]
#[serde(remote = "Self")]
struct Descriptor {
    #[serde(rename = "mediatype", default, deserialize_with = "nullable")]
    media_type: String,
    digest: String,
    platform: Option<Platform>,
    /// What the manifest is about, if it is no image (a bill of materials, a signature).
    #[serde(rename = "artifacttype", default, deserialize_with = "nullable")]
    artifact_type: String,
    #[serde(default, deserialize_with = "nullable")]
    annotations: Annotations,
}

/// Those that we read. Of others there may be any number. Unlike fields, they are told apart to the letter.
#[derive(Debug, Clone, Default, Deserialize)]
struct Annotations {
    /// All of it, as containerd and buildx write it: the other one has the tag only then.
    #[serde(rename = "io.containerd.image.name")]
    whole_name: Option<String>,
    #[serde(rename = "org.opencontainers.image.ref.name")]
    name: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(remote = "Self")]
struct Index {
    #[serde(default, deserialize_with = "nullable")]
    manifests: Vec<Descriptor>,
}

#[derive(Debug, Deserialize)]
#[serde(remote = "Self")]
struct Manifest {
    config: Descriptor,
    #[serde(default, deserialize_with = "nullable")]
    layers: Vec<Descriptor>,
}

caseless!(Descriptor, Index, Manifest);

impl Descriptor {
    fn is_index(&self) -> bool {
        matches!(
            self.media_type.as_str(),
            "application/vnd.oci.image.index.v1+json" | "application/vnd.docker.distribution.manifest.list.v2+json"
        )
    }

    /// Of statements about other manifests (provenance, signatures), which builders put beside them.
    fn is_no_image(&self) -> bool {
        let is_image = self.artifact_type.is_empty() || IMAGE_CONFIGS.contains(&&*self.artifact_type);
        !is_image || self.platform.as_ref().is_some_and(|platform| platform.os == "unknown")
    }

    fn name(&self) -> Option<Rc<str>> {
        let Annotations { whole_name, name } = &self.annotations;
        // What is longer is no reference; and whatever there is may be held against thousands of images.
        let usable = |name: &&String| (1..=MAX_NAME).contains(&name.len());
        whole_name.as_ref().filter(usable).or(name.as_ref().filter(usable)).map(|name| Rc::from(&**name))
    }
}

/// A manifest that an index names, or several do.
#[derive(Debug)]
struct Candidate {
    digest: String,
    platform: Option<Platform>,
    /// Where it is named.
    places: Vec<Place>,
}

/// Shared between all that an index names, as that may be thousands.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
struct Place {
    /// The digest of the index, or nothing for the layout's own.
    index: Option<Rc<str>>,
    /// By its own name, or that of the index.
    name: Option<Rc<str>>,
}

impl Candidate {
    /// The images that it may be a variant of, and which. What a layout itself names is an image each, unless it gives several one name.
    fn variants(&self) -> impl Iterator<Item = (&Place, &str)> {
        let images = self.places.iter().filter(|place| **place != Place::default());
        images.filter_map(|image| Some((image, self.platform.as_ref()?.variant.as_str())))
    }
}

impl Named for Candidate {
    fn names(&self) -> Vec<&str> {
        let names: BTreeSet<_> = self.places.iter().filter_map(|place| place.name.as_deref()).collect();
        names.into_iter().chain([self.digest.as_str()]).collect()
    }
}

/// What the indexes of an image may still name and take.
struct Left {
    manifests: usize,
    bytes: usize,
}

/// The artifact types of images, where any is said: registries take it from the configuration (distribution-spec, "Listing Referrers").
const IMAGE_CONFIGS: [&str; 2] =
    ["application/vnd.oci.image.config.v1+json", "application/vnd.docker.container.image.v1+json"];

/// A repository (255 bytes) and a tag or a digest, with some room (distribution/reference, "Grammar").
const MAX_NAME: usize = 512;

/// Where a layout keeps its blobs.
const OCI_BLOBS: &str = "blobs/sha256/";

pub(super) fn layout(parts: &Parts, wanted: Option<&str>) -> Result<Described, ImageError> {
    let (mut candidates, mut left) = (Vec::new(), Left { manifests: MAX_MANIFESTS, bytes: MAX_INDEX_BYTES });
    let index = parts.document(OCI_INDEX)?;
    collect(parts, (OCI_INDEX, &index, &Place::default()), (0, &mut left), &mut candidates)?;
    let chosen = choose(called(candidates, wanted)?)?;
    let (name, bytes) = blob(parts, OCI_BLOBS, &chosen.digest)?;
    of_manifest(parts, (&name, &bytes), OCI_BLOBS)
}

/// A directory with one manifest, and its blobs beside it.
pub(super) fn skopeo(parts: &Parts, wanted: Option<&str>) -> Result<Described, ImageError> {
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
        if layer.media_type.ends_with("+encrypted") {
            return Err(ImageError::Encrypted { layer: layer.digest.clone() });
        }
        let digest = parse_digest(name, &layer.digest)?;
        Ok((format!("{blobs}{}", digest.hex()), Some(digest)))
    };
    let layers = manifest.layers.iter().map(layer).collect::<Result<_, ImageError>>()?;
    finish(parts, &config_name, &config, layers)
}

fn collect(
    parts: &Parts,
    (file, bytes, inherited): (&str, &[u8], &Place),
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
        let name = descriptor.name().or_else(|| inherited.name.clone());
        if descriptor.is_index() {
            let (file, bytes) = blob(parts, OCI_BLOBS, &descriptor.digest)?;
            let inherited = Place { name, index: Some(descriptor.digest.into()) };
            collect(parts, (&file, &bytes, &inherited), (depth + 1, &mut *left), into)?;
        } else if !descriptor.is_no_image() {
            let place = Place { name, index: inherited.index.clone() };
            match into.iter_mut().find(|known| known.digest == descriptor.digest) {
                Some(known) => known.places.push(place),
                None => into.push(Candidate {
                    digest: descriptor.digest,
                    platform: descriptor.platform,
                    places: vec![place],
                }),
            }
        }
    }
    Ok(())
}

/// The one for our machine. One that states no platform may be: its configuration will tell.
fn choose(candidates: Vec<Candidate>) -> Result<Candidate, ImageError> {
    let (fitting, others): (Vec<_>, Vec<_>) =
        candidates.into_iter().partition(|candidate| candidate.platform.as_ref().is_none_or(Platform::is_ours));
    if fitting.is_empty() && !others.is_empty() {
        let found = others.into_iter().filter_map(|other| other.platform).collect();
        return Err(ImageError::Platform { wanted: Platform::ours(), found });
    }
    only(without_variants(fitting))
}

/// Of an image that is there for several variants of our machine, the one that asks for the least.
fn without_variants(candidates: Vec<Candidate>) -> Vec<Candidate> {
    let mut least = HashMap::new();
    for (image, variant) in candidates.iter().flat_map(Candidate::variants) {
        least.entry(image).and_modify(|least: &mut &str| *least = variant.min(least)).or_insert(variant);
    }
    let is_least = |one: &Candidate| {
        let mut variants = one.variants().peekable();
        variants.peek().is_none() || variants.any(|(image, variant)| least.get(image) == Some(&variant))
    };
    let kept: Vec<_> = candidates.iter().map(is_least).collect();
    candidates.into_iter().zip(kept).filter_map(|(candidate, is_kept)| is_kept.then_some(candidate)).collect()
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
