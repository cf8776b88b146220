//! An image becomes bootable: archive, layout or directory in, an artifact out: one file that a bottle boots in place.
//!
//! Law: unprivileged, and nothing is unpacked. Whatever an image claims ends up as names in a virtual tree and bytes in
//! one file; none of it is ever used as a path of the host. Knows nothing of machines or bottles.
//!
//! ```text
//! named       path → archive or layout, and one of its images
//! reference   archive or layout → documents → configuration and layers     (parts, config)
//! layered     layers → entries, digests checked → one tree                 (layer, tar, stream, merge, tree)
//! pack        tree and bytes → root file system                            (erofs)
//! artifact    root file system and configuration → artifact, checked       (its own folder's first page)
//! opener      the way through all of these, and none of it twice
//! output      artifact → the file that was asked for
//! cache       artifacts by what they were made of, and what can be known without reading anything
//! ```
//!
//! The two other sources of a tree are `root_directory` and `default_root`.

pub mod artifact;
mod attributes;
mod budget;
mod cache;
mod config;
pub(crate) mod crc32c;
mod default_root;
mod digest;
mod erofs;
mod error;
mod go_json;
mod layer;
mod layered;
mod limits;
mod merge;
mod named;
mod opener;
mod output;
mod pack;
mod parts;
mod platform;
mod reference;
mod root_directory;
mod stream;
mod tar;
#[cfg(test)]
pub(crate) mod testing;
mod tree;
mod workers;

use std::fs::{self, File};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

pub use artifact::{Artifact, ArtifactError};
pub use cache::{Cache, Entry, Pruned, SourceName, Verdict};
pub use config::ImageConfig;
pub use digest::Digest;
pub use erofs::{Feature, RootCompression, UnknownCompression, ZstdLevel};
pub use error::ImageError;
pub use limits::Limits;
pub use output::Output;

use artifact::{About, SourceKind};
use cache::Key;
use default_root::DefaultRoot;
use opener::{OURS, Opener, Target};
use pack::Identity;
use reference::is_layout;

use crate::progress::Progress;

/// Where an image comes from. What kind it is, is found out by looking.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    Stdin,
    /// `PATH`, or `PATH:NAME` of an archive or a layout that holds several.
    Path(PathBuf),
}

/// Is there anything that [`Source::Path`] may mean?
#[must_use]
pub fn exists(path: &Path) -> bool {
    named::split(path).0.exists()
}

/// Makes the image at `source` bootable, or finds that it was made so before. An artifact is taken where it lies.
pub fn open(source: &Source, cache: &Cache, progress: &dyn Progress) -> Result<Artifact, ImageError> {
    open_limited(source, cache, &Limits::default(), progress)
}

/// `open` with other limits than the usual ones.
pub fn open_limited(
    source: &Source,
    cache: &Cache,
    limits: &Limits,
    progress: &dyn Progress,
) -> Result<Artifact, ImageError> {
    Opener { cache, limits, progress, target: Target::Cache }.open(source)
}

/// Packs the image at `source` into a file. What the cache has is copied from there; the cache itself stays as it is.
pub fn pack(source: &Source, output: &Output, cache: &Cache, progress: &dyn Progress) -> Result<Artifact, ImageError> {
    if let Source::Path(path) = source {
        output.check_against(named::split(path).0)?;
    }
    output.check()?;
    let opener = Opener { cache, limits: &Limits::default(), progress, target: Target::File(output) };
    let artifact = opener.open(source)?;
    if artifact.path() == output.path() { Ok(artifact) } else { output.copy(&artifact, progress) }
}

/// The artifact at `path`, and nothing else than an artifact.
pub fn open_artifact(path: &Path) -> Result<Artifact, ImageError> {
    // A fifo is no artifact, and not waited for.
    let file = fs::OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path);
    let file = file.map_err(|source| ImageError::Io { action: "open", path: path.to_owned(), source })?;
    Artifact::open(file, path).map_err(|source| ImageError::Artifact { path: path.to_owned(), source })
}

/// What the file or directory at `path` came to when it was last opened, if it has not changed since.
pub fn recall(path: &Path, cache: &Cache) -> Option<Artifact> {
    cache.recall(&key_of(path)?)
}

/// The same, whatever has become of it since.
pub fn last_known(path: &Path, cache: &Cache) -> Option<Entry> {
    cache.last_known(&key_of(path)?)
}

/// Without looking through a directory that is to be the root, whose state is not known then.
fn key_of(path: &Path) -> Option<Key> {
    let (path, name) = named::split(path);
    let path = path.canonicalize().ok()?;
    let key = match path.metadata().ok()? {
        metadata if metadata.is_file() => Key::of_file(&path),
        _ if is_layout(&path) => Key::of_layout(&path),
        _ => Ok(Key::of_unseen_directory(&path)),
    };
    Some(key.ok()?.of_image(name))
}

/// An image that another program has, and can export.
pub(crate) struct Held<'a> {
    /// Stands for its contents. Usually it is the digest of the configuration, as everywhere here.
    pub(crate) id: &'a str,
    /// What people call it.
    pub(crate) name: &'a Path,
    /// It is exported by its id: nobody can have put another in its place.
    pub(crate) pinned: bool,
}

/// Makes bootable what another program has; unless it is known already, by having `export` write it, as `docker save` would,
/// into the empty file that it is given.
pub(crate) fn open_held<E: From<ImageError>>(
    held: &Held<'_>,
    cache: &Cache,
    progress: &dyn Progress,
    export: impl FnOnce(&File) -> Result<(), E>,
) -> Result<Artifact, E> {
    Opener { cache, limits: &Limits::default(), progress, target: Target::Cache }.held(held, export)
}

/// The same, packed into a file.
pub(crate) fn pack_held<E: From<ImageError>>(
    held: &Held<'_>,
    output: &Output,
    cache: &Cache,
    progress: &dyn Progress,
    export: impl FnOnce(&File) -> Result<(), E>,
) -> Result<Artifact, E> {
    let opener = Opener { cache, limits: &Limits::default(), progress, target: Target::File(output) };
    let artifact = opener.held(held, export)?;
    if artifact.path() == output.path() { Ok(artifact) } else { Ok(output.copy(&artifact, progress)?) }
}

/// The root for when no image is named: `busybox`, a static one, and links to it.
pub fn open_default_root(busybox: &Path, cache: &Cache, progress: &dyn Progress) -> Result<Artifact, ImageError> {
    let opener = Opener { cache, limits: &Limits::default(), progress, target: Target::Cache };
    let failed = |source| ImageError::Io { action: "read", path: busybox.to_owned(), source };
    let path = busybox.canonicalize().map_err(failed)?;
    // The same file may be an image of its own right; its recollection would not be this root.
    let key = Key::of_file(&path).map_err(failed)?.for_default_root();
    opener.remembered(&key, || {
        let busybox = fs::read(&path).map_err(failed)?;
        let id = DefaultRoot::id(&busybox);
        let about = About { config: DefaultRoot::config(), kind: SourceKind::Default, layers: Vec::new() };
        opener.make(Identity::Known(id), about, OURS, || {
            let too_many =
                |_| ImageError::RootEntry { path: path.clone(), what: "the default root has too many entries" };
            let root = DefaultRoot::build(busybox).map_err(too_many)?;
            Ok((root.tree.clone(), root))
        })
    })
}

#[cfg(test)]
#[path = "image_test.rs"]
mod tests;
