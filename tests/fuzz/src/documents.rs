//! The documents of an OCI layout and of a docker archive. They point to each other by digests, which no mutation would ever get right; so
//! what is arbitrary is their form, and the digests are counted.

use arbitrary::Arbitrary;
use serde_json::{Value, json};

use crate::archive::{hexadecimal, tar_of};

/// One document; the last is the table of contents.
#[derive(Arbitrary, Debug)]
pub enum Document {
    Index(Vec<Descriptor>),
    Manifest { config: Pointer, layers: Vec<Pointer> },
    Config { os: Word, architecture: Word, layers: Vec<Pointer> },
    Docker(Vec<DockerImage>),
    Layer(Vec<u8>),
    Text(String),
}

/// To one of the documents before this one: a digest of what comes later could not be known.
#[derive(Arbitrary, Debug)]
pub enum Pointer {
    Back(u8),
    To(String),
}

#[derive(Arbitrary, Debug)]
pub struct Descriptor {
    to: Pointer,
    media_type: Word,
    platform: Option<[Word; 3]>,
    name: Option<Word>,
    whole_name: Option<Word>,
    artifact_type: Option<Word>,
}

#[derive(Arbitrary, Debug)]
pub struct DockerImage {
    config: Pointer,
    tags: Vec<Word>,
    layers: Vec<Pointer>,
}

/// Words that mean something, and others.
#[derive(Arbitrary, Debug)]
pub enum Word {
    Known(u8),
    Null,
    Any(String),
}

const KNOWN: [&str; 17] = [
    "linux",
    "amd64",
    "x86_64",
    "arm64",
    "v3",
    "unknown",
    "",
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.oci.image.config.v1+json",
    "app",
    "app:1",
    "localhost/app",
    "docker.io/library/app:latest",
    "registry.example:5000/app@sha256:00",
    "library/",
];

impl Word {
    /// What may be given as a name.
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Known(at) => Some(KNOWN[usize::from(*at) % KNOWN.len()]),
            Self::Null => None,
            Self::Any(text) => Some(text).filter(|text| !text.contains('\0')).map(String::as_str),
        }
    }

    fn json(&self) -> Value {
        match self {
            Self::Known(at) => json!(KNOWN[usize::from(*at) % KNOWN.len()]),
            Self::Null => Value::Null,
            Self::Any(text) => json!(text),
        }
    }
}

/// Digests of the documents so far, in hexadecimal.
struct Known(Vec<String>);

impl Known {
    fn name(&self, pointer: &Pointer) -> Option<&str> {
        match pointer {
            Pointer::Back(back) => self.0.iter().nth_back((*back).into()).map(String::as_str),
            Pointer::To(_) => None,
        }
    }

    /// As `prefix` makes it: a digest, or the path of a blob.
    fn json(&self, prefix: &str, pointer: &Pointer) -> Value {
        match (self.name(pointer), pointer) {
            (Some(name), _) => json!(format!("{prefix}{name}")),
            (None, Pointer::To(text)) => json!(text),
            (None, Pointer::Back(_)) => Value::Null,
        }
    }

    fn digest(&self, pointer: &Pointer) -> Value {
        self.json("sha256:", pointer)
    }

    fn digests(&self, pointers: &[Pointer]) -> Vec<Value> {
        pointers.iter().map(|pointer| self.digest(pointer)).collect()
    }

    fn descriptor(&self, of: &Descriptor) -> Value {
        let mut said = json!({ "mediaType": of.media_type.json(), "digest": self.digest(&of.to) });
        if let Some([os, architecture, variant]) = &of.platform {
            said["platform"] =
                json!({ "os": os.json(), "architecture": architecture.json(), "variant": variant.json() });
        }
        let names = [("org.opencontainers.image.ref.name", &of.name), ("io.containerd.image.name", &of.whole_name)];
        for (annotation, name) in names {
            if let Some(name) = name {
                said["annotations"][annotation] = name.json();
            }
        }
        if let Some(kind) = &of.artifact_type {
            said["artifactType"] = kind.json();
        }
        said
    }

    fn bytes(&self, document: &Document) -> Vec<u8> {
        let bare = |digest: Value| json!({ "digest": digest });
        let said = match document {
            Document::Index(descriptors) => {
                json!({ "manifests": descriptors.iter().map(|of| self.descriptor(of)).collect::<Vec<_>>() })
            }
            Document::Manifest { config, layers } => {
                let layers: Vec<_> = self.digests(layers).into_iter().map(bare).collect();
                json!({ "config": bare(self.digest(config)), "layers": layers })
            }
            Document::Config { os, architecture, layers } => json!({
                "os": os.json(), "architecture": architecture.json(), "rootfs": { "diff_ids": self.digests(layers) },
            }),
            Document::Docker(images) => images.iter().map(|image| self.docker(image)).collect(),
            Document::Layer(entries) => {
                // A layer that is right, if it is to be: two empty blocks.
                return if entries.is_empty() { vec![0; 1024] } else { entries.clone() };
            }
            Document::Text(text) => return text.clone().into_bytes(),
        };
        said.to_string().into_bytes()
    }

    fn docker(&self, image: &DockerImage) -> Value {
        let path = |pointer| self.json(BLOBS, pointer);
        let (tags, layers): (Vec<_>, Vec<_>) =
            (image.tags.iter().map(Word::json).collect(), image.layers.iter().map(path).collect());
        json!({ "Config": path(&image.config), "RepoTags": tags, "Layers": layers })
    }
}

const BLOBS: &str = "blobs/sha256/";

/// All of them as blobs, the last one as the archive's table of contents as well.
pub fn archive_of(documents: &[Document]) -> Vec<u8> {
    let mut known = Known(Vec::new());
    let mut parts = Vec::new();
    for document in documents {
        let bytes = known.bytes(document);
        let name = hexadecimal(&bytes);
        parts.push((format!("{BLOBS}{name}"), bytes));
        known.0.push(name);
    }
    if let (Some(last), Some((_, bytes))) = (documents.last(), parts.last()) {
        let is_docker = matches!(last, Document::Docker(_));
        let table = (if is_docker { "manifest.json" } else { "index.json" }, bytes.clone());
        parts.push((table.0.to_owned(), table.1));
    }
    tar_of(parts.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice())))
}
