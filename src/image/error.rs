//! What can be wrong with an image. Law: facts in the variants, one sentence each, the way out by `hint`.

use std::io;
use std::path::{Path, PathBuf};

use super::artifact::ArtifactError;
use super::erofs::{RootCompression, StoreError};
use super::layer::LayerError;
use super::merge::{EntryError, PATH_MAX};
use super::platform::Platform;
use super::stream::ARCHIVE_WINDOW_BYTES;
use super::tar::TarError;
use crate::draft::is_full;
use crate::paths::NoHome;

#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    #[error("cannot {action} `{}`", in_line(path))]
    Io {
        action: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("cannot read the image from standard input")]
    Stdin(#[source] io::Error),
    #[error("standard input is a terminal, and no image")]
    Terminal,
    #[error("`{origin}` is empty")]
    Empty { origin: String },
    #[error("`{origin}` is not an image")]
    NotAnImage { origin: String },
    #[error("`{origin}` is compressed with {method}")]
    Compression { origin: String, method: &'static str },
    #[error("image archive `{origin}` is damaged")]
    Archive {
        origin: String,
        #[source]
        source: TarError,
    },
    #[error("image archive `{origin}` is compressed with a window of over {} MiB", ARCHIVE_WINDOW_BYTES >> 20)]
    Window { origin: String },
    #[error("cannot unpack image archive `{origin}`")]
    Unpack {
        origin: String,
        #[source]
        source: io::Error,
    },
    #[error("the image lacks its part `{}`", beginning(name))]
    MissingPart { name: String },
    #[error("part `{}` of the image has {size} bytes, where {limit} are allowed", beginning(name))]
    PartTooLarge { name: String, size: u64, limit: u64 },
    #[error("cannot understand part `{}` of the image", beginning(name))]
    Json {
        name: String,
        #[source]
        source: serde_json::Error,
    },
    #[error("part `{}` of the image is {found}, not the {} it is referred to by", beginning(name), beginning(expected))]
    Digest { name: String, expected: String, found: String },
    #[error("part `{}` of the image names `{}` where a SHA-256 digest belongs", beginning(name), beginning(found))]
    NotADigest { name: String, found: String },
    #[error("part `{}` of the image is stored sparse in its archive", beginning(name))]
    SparsePart { name: String },
    #[error("layer `{}` of the image is encrypted", beginning(layer))]
    Encrypted { layer: String },
    #[error("the archive holds no image")]
    NoImages,
    #[error("the file or directory holds {} images: {}", names.len(), listed(names))]
    ManyImages { names: Vec<String> },
    #[error("the directory of skopeo's holds an image for each of several platforms")]
    SkopeoIndex,
    #[error("the file or directory holds no image called `{}`{}", beginning(name), but(names))]
    NoSuchName { name: String, names: Vec<String> },
    #[error("the image is for {}, not for {wanted}", listed(&found.iter().map(Platform::to_string).collect::<Vec<_>>()))]
    Platform { wanted: Platform, found: Vec<Platform> },
    #[error("image indexes are nested more than {limit} deep")]
    NestedIndexes { limit: usize },
    #[error("the image's indexes name more than {limit} images")]
    ManyManifests { limit: usize },
    #[error("the image's indexes take more than {limit} bytes together")]
    LongIndexes { limit: usize },
    #[error("the image has {layers} layers, but its configuration lists {listed}")]
    LayerCount { layers: usize, listed: usize },
    #[error("layer {number} of the image (`{}`) cannot be used", beginning(layer))]
    Layer {
        number: usize,
        layer: String,
        #[source]
        source: LayerError,
    },
    #[error("volume `{}` of the image's configuration {source}", beginning(path))]
    Volume { path: String, source: EntryError },
    #[error("`{}` cannot be part of an image: {what}", beginning(&path.to_string_lossy()))]
    RootEntry { path: PathBuf, what: &'static str },
    #[error("`{}` is no root directory but {what}", path.display())]
    Loose { path: PathBuf, what: &'static str },
    #[error("`{}` changed while it was read", path.display())]
    Changed { path: PathBuf },
    #[error("the image unpacks to more than {limit} bytes")]
    TooLarge { limit: u64 },
    #[error("cannot make the root file system in `{}`", cache.display())]
    Store {
        cache: PathBuf,
        #[source]
        source: StoreError,
    },
    #[error("artifact `{}` cannot be used", path.display())]
    Artifact {
        path: PathBuf,
        #[source]
        source: ArtifactError,
    },
    #[error("artifact `{}` was packed with compression {found}, and {wanted} was asked for", path.display())]
    PackedAs { path: PathBuf, found: RootCompression, wanted: RootCompression },
    #[error("`{}` is there already", path.display())]
    Exists { path: PathBuf },
    #[error("`{}` is {what}, and no file that could be replaced", path.display())]
    NotAFile { path: PathBuf, what: &'static str },
    #[error("`{}` cannot be packed into itself", path.display())]
    Itself { path: PathBuf },
    #[error("`{}` would be in `{}`, which is to be packed", path.display(), directory.display())]
    Inside { path: PathBuf, directory: PathBuf },
    #[error("the cache `{}` is in `{}`, which is to be packed", cache.display(), directory.display())]
    CacheInside { cache: PathBuf, directory: PathBuf },
    #[error("there is no directory `{}`", path.display())]
    NoDirectory { path: PathBuf },
    #[error("no image is called `{name}`")]
    NoSuchImage { name: String },
    #[error("`{name}` may be any of {} images: {}", candidates.len(), candidates.join(", "))]
    Ambiguous { name: String, candidates: Vec<String> },
    #[error("bottles run on image {digest}")]
    InUse { digest: String },
    #[error(transparent)]
    NoHome(#[from] NoHome),
}

impl ImageError {
    /// What the user can do about it.
    pub fn hint(&self) -> Option<String> {
        self.hint_of_contents().or_else(|| self.hint_of_places())
    }

    /// About what an image holds.
    fn hint_of_contents(&self) -> Option<String> {
        let hint = match self {
            Self::NotAnImage { .. } => {
                "an image is an archive made by `docker save` or `podman save`, an OCI layout (a directory or an archive \
                 of one), or a directory that is to be the root: what `docker export` writes has to be unpacked into one; `-` \
                 reads an archive from standard input"
            }
            Self::Terminal => "pipe an image into it, as in `docker save NAME | bottle-vmm pack - -o FILE`",
            Self::Empty { .. } => "did the command that was to write the image fail?",
            Self::Compression { .. } => "archives may be plain or compressed with gzip or zstd",
            Self::Archive { source: TarError::Truncated { .. }, .. } => "save the image again: its end is missing",
            Self::Window { .. } => "unpack it first: `zstd -dc --long=31 FILE | bottle-vmm pack - -o OUTPUT`",
            Self::SparsePart { .. } => "make the archive without `-S` (`--sparse`)",
            Self::Encrypted { .. } => "decrypt it: `skopeo copy --decryption-key KEY …`",
            Self::NotADigest { found, .. } if found.starts_with("sha512:") => {
                "SHA-512 is not supported: a docker archive has digests of its own, `skopeo copy … docker-archive:FILE` writes one"
            }
            Self::Unpack { source, .. } if source.raw_os_error().is_none() => DAMAGED,
            // The disk's own errors are another matter.
            Self::Archive { source: TarError::Read { source, .. }, .. } if source.raw_os_error().is_some() => {
                return None;
            }
            Self::Archive { .. } | Self::Digest { .. } => DAMAGED,
            Self::Loose { path, .. } => {
                let path = path.display();
                return Some(format!(
                    "if all of the image is there, `tar c -C {path} . | bottle-vmm pack - -o FILE` takes it; or copy it again"
                ));
            }
            Self::MissingPart { .. } => "the image is incomplete: save or copy it again",
            Self::Json { .. } | Self::NotADigest { .. } | Self::LayerCount { .. } => {
                "the image is damaged, or was made wrong: save it again, or copy it with `skopeo copy`"
            }
            Self::Volume { .. } => "build the image again with another path for the volume, or without it",
            Self::ManyImages { names } => {
                let first = names.first().map_or_else(|| "NAME".to_owned(), |name| beginning(name));
                return Some(format!(
                    "name one of them behind the path and a colon: `PATH:{first}`; of what comes through a pipe, save only that one"
                ));
            }
            Self::SkopeoIndex => "copy one of them: `skopeo copy` without `--all`",
            Self::NoSuchName { names, .. } if names.is_empty() => {
                "its images have no names: leave out the colon and what follows it (and in front of a path, `dir:` or `oci:`)"
            }
            Self::NoSuchName { .. } => "name one of these behind the path and a colon",
            Self::Platform { .. } => {
                "pull or build it for the right platform: docker, podman and buildah have `--platform linux/amd64` for that"
            }
            Self::Layer { source, .. } => return layer_hint(source),
            _ => return None,
        };
        Some(hint.to_owned())
    }

    /// About where it is, and where what is made of it is to go.
    fn hint_of_places(&self) -> Option<String> {
        let hint = match self {
            Self::NoHome(error) => return error.hint(),
            Self::Changed { .. } => "run again when nothing writes to it",
            Self::Io { action: "open", path, source }
                if source.kind() == io::ErrorKind::NotFound && has_transport(path) =>
            {
                "what an archive or a layout is, is seen: leave out what stands before the first colon"
            }
            Self::Io { action: "open", source, .. } if source.kind() == io::ErrorKind::NotFound => {
                "is the path right? names are not looked up anywhere: say where the image is kept (`docker-daemon:NAME`, \
                 `containers-storage:NAME`), or save it to a file"
            }
            Self::Io { action: "read", source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                "everything is read with your own permissions: make it readable; in place of a root directory, an archive will do"
            }
            Self::Io { source, .. } | Self::Store { source: StoreError::Write(source), .. } if is_full(source) => {
                "make room there, or take a directory on a larger disk (`-o` names that of `pack`, XDG_CACHE_HOME the cache's)"
            }
            Self::Io { action: "create" | "create a file in" | "lock", .. } => {
                "is the directory yours to write to? `-o` names that of `pack`, XDG_CACHE_HOME the cache's"
            }
            Self::Artifact { source, .. } => return source.hint().map(str::to_owned),
            Self::PackedAs { .. } => "leave out `--compression`, or pack the image that it was made of again",
            Self::Exists { .. } => "`--force` replaces it",
            Self::NotAFile { .. } => "name a file",
            Self::Itself { .. } => "name another file with `-o`",
            Self::Inside { .. } => "name a file outside of it with `-o`",
            Self::CacheInside { .. } => "XDG_CACHE_HOME names another place for the cache",
            Self::NoDirectory { .. } => "make it, or name another place with `-o`",
            Self::NoSuchImage { .. } => {
                "`bottle-vmm images` lists what is cached; a digest may be cut short, a source goes by its file name"
            }
            Self::Ambiguous { .. } => "name more of the digest",
            Self::InUse { .. } => "`--force` removes it all the same; the bottles are not disturbed",
            _ => return None,
        };
        Some(hint.to_owned())
    }
}

/// As many of them as can be read; an index may have thousands.
fn listed(names: &[String]) -> String {
    const SHOWN: usize = 12;
    let shown = names.iter().take(SHOWN).map(|name| beginning(name)).collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(SHOWN) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

/// A path: the user's, all of which is told, or one inside a directory that is somebody else's.
fn in_line(path: &Path) -> String {
    let escaped = |c: char| if c.is_control() { c.escape_debug().to_string() } else { c.to_string() };
    path.to_string_lossy().chars().take(PATH_MAX).map(escaped).collect()
}

/// As much of a name or path of somebody else's as anybody reads.
pub(super) fn beginning(text: &str) -> String {
    const SHOWN: usize = 256;
    let mut shown: String = text.chars().take(SHOWN).flat_map(char::escape_debug).collect();
    if text.chars().nth(SHOWN).is_some() {
        shown.push('…');
    }
    shown
}

fn but(names: &[String]) -> String {
    if names.is_empty() { String::new() } else { format!(", but {}", listed(names)) }
}

/// As skopeo and podman name files.
fn has_transport(path: &Path) -> bool {
    let kinds = ["docker-archive:", "oci-archive:", "oci:", "dir:"];
    path.to_str().is_some_and(|path| kinds.iter().any(|kind| path.starts_with(kind)))
}

const DAMAGED: &str = "the image is damaged: save or copy it again";

fn layer_hint(error: &LayerError) -> Option<String> {
    let hint = match error {
        LayerError::Read(source) | LayerError::Tar(TarError::Read { source, .. })
            if source.raw_os_error().is_some() =>
        {
            return None;
        }
        LayerError::Digest { .. } | LayerError::Read(_) | LayerError::Tar(_) => DAMAGED,
        LayerError::Window => {
            "a docker archive has layers that are not compressed: `skopeo copy … docker-archive:FILE` writes one; if that fails, too, the \
             layer is damaged"
        }
        LayerError::Compression(_) => "layers may be plain or compressed with gzip or zstd",
        LayerError::Changed => "run again when nothing writes to it",
        LayerError::TooMuchMemory => {
            "an image may have some 400,000 files, or 300,000 if a layer is compressed with zstd: leave caches and build \
             directories out of it"
        }
        _ => return None,
    };
    Some(hint.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_an_image_stay_in_their_line_and_are_cut_short() {
        let names = vec!["x\nhint: \x1b[2J".to_owned(), "y".repeat(1000)];
        let error = ImageError::ManyImages { names };
        let said = format!("{error} {}", error.hint().unwrap());
        assert!(said.chars().all(|c| !c.is_control()) && said.contains("x\\nhint") && said.len() < 1000, "{said}");
    }

    #[test]
    fn whatever_an_image_says_is_a_line_that_ends() {
        let evil = || format!("x\nhint: \x1b[2J\u{202e}{}", "y".repeat(1 << 20));
        let entry = |source| ImageError::Layer {
            number: 1,
            layer: evil(),
            source: LayerError::Entry { entry: evil(), source },
        };
        let errors = [
            ImageError::MissingPart { name: evil() },
            ImageError::PartTooLarge { name: evil(), size: 2, limit: 1 },
            ImageError::Digest { name: evil(), expected: evil(), found: String::new() },
            ImageError::NotADigest { name: evil(), found: evil() },
            ImageError::Platform {
                wanted: Platform::ours(),
                found: vec![Platform { os: evil(), ..Platform::ours() }; 100],
            },
            ImageError::Io { action: "read", path: evil().into(), source: io::Error::other("?") },
            ImageError::RootEntry { path: evil().into(), what: "it" },
            ImageError::Volume { path: evil(), source: EntryError::Escapes },
            entry(EntryError::LinkTargetMissing { target: evil() }),
            entry(EntryError::LinkToDirectory { target: evil() }),
            entry(EntryError::LinkTarget { target: evil(), why: Box::new(EntryError::Escapes) }),
            crate::image::parts::parse::<u8>(&evil(), serde_json::to_string(&evil()).unwrap().as_bytes()).unwrap_err(),
        ];
        for error in errors {
            let mut next: Option<&dyn std::error::Error> = Some(&error);
            while let Some(cause) = next {
                let said = cause.to_string();
                assert!(said.len() < 10_000 && said.chars().all(|c| !c.is_control()), "{}", said.escape_debug());
                next = cause.source();
            }
        }
    }
}
