//! An image becomes bootable: archive, layout or directory in, an artifact out: one file that a bottle boots in place.
//!
//! Law: unprivileged, and nothing is unpacked. Whatever an image claims ends up as names in a virtual tree and bytes in
//! one file; none of it is ever used as a path of the host. Knows nothing of machines or bottles.
//!
//! ```text
//! reference   archive or layout → documents → configuration and layers     (parts, config)
//! layered     layers → entries, digests checked → one tree                 (layer, tar, stream, merge, tree)
//! pack        tree and bytes → root file system                            (erofs)
//! artifact    root file system and configuration → artifact, checked       (its own folder's first page)
//! output      artifact → the file that was asked for
//! cache       artifacts by what they were made of, and what can be known without reading anything
//! ```
//!
//! The two other sources of a tree are `root_directory` and `default_root`.

pub mod artifact;
mod cache;
mod config;
pub(crate) mod crc32c;
mod default_root;
mod digest;
mod erofs;
mod error;
mod layer;
mod layered;
mod limits;
mod merge;
mod output;
mod pack;
mod parts;
mod reference;
mod root_directory;
mod stream;
mod tar;
#[cfg(test)]
pub(crate) mod testing;
mod tree;

use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

pub use artifact::{Artifact, ArtifactError};
pub use cache::{Cache, Entry, Pruned};
pub use config::ImageConfig;
pub use digest::Digest;
pub use erofs::{Feature, RootCompression, UnknownCompression, ZstdLevel};
pub use error::ImageError;
pub use limits::Limits;
pub use output::Output;

use crate::draft::Draft;
use artifact::{About, SourceKind, claims_to_be_one, seal};
use cache::Key;
use default_root::DefaultRoot;
use layered::Layered;
use pack::{Contents, Identity, estimated_bytes, pack as pack_root};
use parts::Parts;
use reference::{Described, OCI_INDEX, describe};
use root_directory::Scan;
use stream::{Compression, FileRange, Meter, Metered};
use tree::Tree;

use crate::progress::Progress;

/// Where an image comes from. What kind it is, is found out by looking.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    Stdin,
    Path(PathBuf),
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
    output.check()?;
    if let Source::Path(path) = source {
        output.check_against(path)?;
    }
    let opener = Opener { cache, limits: &Limits::default(), progress, target: Target::File(output) };
    let artifact = opener.open(source)?;
    if artifact.path() == output.path() { Ok(artifact) } else { output.copy(&artifact, progress) }
}

/// The artifact at `path`, and nothing else than an artifact.
pub fn open_artifact(path: &Path) -> Result<Artifact, ImageError> {
    let file = File::open(path).map_err(|source| ImageError::Io { action: "open", path: path.to_owned(), source })?;
    Artifact::open(file, path).map_err(|source| ImageError::Artifact { path: path.to_owned(), source })
}

/// What the file or directory at `path` came to when it was last opened, if it has not changed since.
pub fn recall(path: &Path, cache: &Cache) -> Option<Artifact> {
    let path = path.canonicalize().ok()?;
    let metadata = path.metadata().ok()?;
    let index = path.join(OCI_INDEX);
    match index.metadata() {
        _ if metadata.is_file() => cache.recall(&Key::of_file(&path, &metadata)),
        Ok(found) => cache.recall(&Key::of_layout(&path, (&index, &found))),
        Err(_) => None,
    }
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
    let metadata = path.metadata().map_err(failed)?;
    let key = Key::of_file(&path, &metadata);
    // The same file may be an image of its own right; its recollection would not be this root.
    let key = key.for_default_root();
    opener.remembered(&key, || {
        let busybox = fs::read(&path).map_err(failed)?;
        let id = DefaultRoot::id(&busybox);
        let about = About { config: DefaultRoot::config(), kind: SourceKind::Default, layers: Vec::new() };
        opener.make(Identity::Known(id), about, || {
            let too_many =
                |_| ImageError::RootEntry { path: path.clone(), what: "the default root has too many entries" };
            let root = DefaultRoot::build(busybox).map_err(too_many)?;
            Ok((root.tree.clone(), root))
        })
    })
}

/// What every way of opening an image needs.
struct Opener<'a> {
    cache: &'a Cache,
    limits: &'a Limits,
    progress: &'a dyn Progress,
    target: Target<'a>,
}

/// Where an artifact that has to be made goes.
enum Target<'a> {
    Cache,
    File(&'a Output),
}

/// What an archive on standard input is called.
const STDIN: &str = "standard input";

impl Opener<'_> {
    fn open(&self, source: &Source) -> Result<Artifact, ImageError> {
        match source {
            Source::Stdin => self.stream(io::stdin().lock(), Path::new(STDIN), ImageError::Stdin),
            Source::Path(path) => self.path(path),
        }
    }

    fn path(&self, path: &Path) -> Result<Artifact, ImageError> {
        let failed = |source| ImageError::Io { action: "open", path: path.to_owned(), source };
        let path = &path.canonicalize().map_err(failed)?;
        let metadata = path.metadata().map_err(failed)?;
        if metadata.is_file() {
            return self.archive_file(path, &metadata);
        }
        if !metadata.is_dir() {
            // A fifo, or what a shell makes of `<(command)`.
            let stream = File::open(path).map_err(failed)?;
            return self.stream(stream, path, failed);
        }
        match path.join(OCI_INDEX).metadata() {
            Ok(index) if path.join("oci-layout").is_file() => self.layout(path, &index),
            _ => self.root_directory(path),
        }
    }

    fn archive_file(&self, path: &Path, metadata: &Metadata) -> Result<Artifact, ImageError> {
        let key = Key::of_file(path, metadata);
        if let Some(image) = self.cache.recall(&key) {
            return Ok(image);
        }
        let failed = |source| ImageError::Io { action: "open", path: path.to_owned(), source };
        let file = File::open(path).map_err(failed)?;
        if claims_to_be_one(&file).map_err(failed)? {
            return self.artifact_of(file, path);
        }
        self.remembered(&key, || {
            let range = FileRange::whole(file).map_err(failed)?;
            let image = self.archive(range, &path.display().to_string())?;
            let now = path.metadata().map_err(failed)?;
            if Key::of_file(path, &now) == key { Ok(image) } else { Err(ImageError::Changed { path: path.to_owned() }) }
        })
    }

    fn held<E: From<ImageError>>(
        &self,
        held: &Held<'_>,
        export: impl FnOnce(&File) -> Result<(), E>,
    ) -> Result<Artifact, E> {
        let name = held.name.display().to_string();
        let id = parts::parse_digest(&name, held.id)?;
        let key = Key::of_held(held.name, &id);
        if let Some(image) = self.cache.recall(&key).or_else(|| self.cache.load(&id)) {
            return Ok(image);
        }
        let exported = self.draft()?.into_file();
        export(&exported)?;
        let exported = FileRange::whole(exported).map_err(|source| self.unwritable(source))?;
        let image = self.archive(exported, &name)?;
        if matches!(self.target, Target::Cache) && (held.pinned || image.manifest().source.id == id) {
            // Without it the image may be exported again the next time.
            let _forgotten = self.cache.remember(&key, &image);
        }
        Ok(image)
    }

    /// An artifact that is to be used here, as it is.
    fn artifact_of(&self, file: File, path: &Path) -> Result<Artifact, ImageError> {
        let failed = |source| ImageError::Artifact { path: path.to_owned(), source };
        let artifact = Artifact::open(file, path).map_err(failed)?;
        if let (found, false) = artifact.platform() {
            return Err(ImageError::Platform { wanted: reference::platform(), found: vec![found] });
        }
        let found = artifact.manifest().root.compression;
        match self.cache.wanted() {
            Some(wanted) if wanted != found => Err(ImageError::PackedAs { path: path.to_owned(), found, wanted }),
            _ => Ok(artifact),
        }
    }

    /// A layout's blobs are named by their digests: it is what its index says.
    fn layout(&self, path: &Path, index: &Metadata) -> Result<Artifact, ImageError> {
        self.remembered(&Key::of_layout(path, (&path.join(OCI_INDEX), index)), || {
            let origin = path.display().to_string();
            let described = describe(&Parts::Directory(path.to_owned()))?;
            self.described(described.ok_or(ImageError::NotAnImage { origin })?)
        })
    }

    fn root_directory(&self, path: &Path) -> Result<Artifact, ImageError> {
        self.progress.step("looking through the root directory");
        let scan = Scan::of(path, self.limits)?;
        if scan.is_empty() {
            return Err(ImageError::Empty { origin: path.display().to_string() });
        }
        let fingerprint = scan.fingerprint();
        self.remembered(&Key::of_directory(path, &fingerprint, scan.latest_change()), || {
            let about = About { config: root_config(), kind: SourceKind::Directory, layers: Vec::new() };
            let image = self.make(Identity::OfContents, about, || scan.into_tree(self.limits))?;
            if Scan::of(path, self.limits)?.fingerprint() == fingerprint {
                Ok(image)
            } else {
                Err(ImageError::Changed { path: path.to_owned() })
            }
        })
    }

    /// An archive that can only be read once. Its table of contents may come last, so it is kept first.
    fn stream(
        &self,
        stream: impl Read,
        origin: &Path,
        unreadable: impl FnOnce(io::Error) -> ImageError,
    ) -> Result<Artifact, ImageError> {
        self.progress.step_of_bytes("reading the image");
        let kept = self.spool(stream, unreadable)?;
        let failed = |source| ImageError::Io { action: "read", path: origin.to_owned(), source };
        if claims_to_be_one(&kept).map_err(failed)? {
            return self.artifact_of(kept, origin);
        }
        self.archive(FileRange::whole(kept).map_err(failed)?, &origin.display().to_string())
    }

    fn archive(&self, file: FileRange, origin: &str) -> Result<Artifact, ImageError> {
        let origin = || origin.to_owned();
        if file.len() == 0 {
            return Err(ImageError::Empty { origin: origin() });
        }
        let unpack = |source| ImageError::Unpack { origin: origin(), source };
        let file = match Compression::of(&file).map_err(unpack)? {
            Compression::Plain => file,
            Compression::Unsupported(method) => return Err(ImageError::Compression { origin: origin(), method }),
            compression => {
                self.progress.step_of_bytes("unpacking the archive");
                let plain = compression.decode(file).map_err(unpack)?;
                let kept = self.spool(plain.unwrap_or_else(|| Box::new(io::empty())), unpack)?;
                FileRange::whole(kept).map_err(unpack)?
            }
        };
        let described = describe(&Parts::of_archive(file, &origin())?)?;
        self.described(described.ok_or_else(|| ImageError::NotAnImage { origin: origin() })?)
    }

    /// Into a file without a name, where the artifact goes: /tmp is often memory.
    fn spool(&self, stream: impl Read, unreadable: impl FnOnce(io::Error) -> ImageError) -> Result<File, ImageError> {
        let meter = Meter::new(self.limits.unpacked_bytes);
        let mut draft = self.draft()?;
        let mut metered = Metered::new(stream, &meter);
        let copied = loop {
            match io::copy(&mut (&mut metered).take(SPOOL_STEP), draft.file_mut()) {
                Ok(0) => break Ok(()),
                Ok(_) => self.progress.advance(meter.bytes(), 0),
                Err(error) => break Err(error),
            }
        };
        match copied {
            Ok(()) => Ok(draft.into_file()),
            Err(_) if meter.is_exceeded() => Err(ImageError::TooLarge { limit: meter.limit() }),
            Err(error) if is_full(&error) => Err(self.unwritable(error)),
            Err(error) => Err(unreadable(error)),
        }
    }

    fn described(&self, image: Described) -> Result<Artifact, ImageError> {
        let Described { id, config, layers } = image;
        let diff_ids = layers.iter().map(|layer| layer.diff_id).collect();
        let about = About { config, kind: SourceKind::Image, layers: diff_ids };
        self.make(Identity::Known(id), about, || Layered::merge(layers, self.limits, self.progress))
    }

    /// The image, from the cache if it is there by its identity.
    fn make<C: Contents>(
        &self,
        identity: Identity,
        about: About,
        source: impl FnOnce() -> Result<(Tree, C), ImageError>,
    ) -> Result<Artifact, ImageError> {
        let Identity::Known(id) = identity else { return self.make_new(identity, about, source()?) };
        if let Some(image) = self.cache.load(&id) {
            return Ok(image);
        }
        if matches!(self.target, Target::File(_)) {
            return self.make_new(identity, about, source()?);
        }
        let _lock = self.cache.lock(&id)?;
        match self.cache.load(&id) {
            Some(image) => Ok(image),
            None => self.make_new(identity, about, source()?),
        }
    }

    fn make_new<C: Contents>(
        &self,
        identity: Identity,
        about: About,
        (tree, contents): (Tree, C),
    ) -> Result<Artifact, ImageError> {
        let draft = self.draft()?;
        let directory = self.directory();
        let compression = self.cache.compression();
        let needed = estimated_bytes(&tree, compression);
        let space = nix::sys::statvfs::statvfs(directory).map_err(|errno| self.unwritable(errno.into()))?;
        let free = space.blocks_available().saturating_mul(space.fragment_size());
        if needed > free {
            return Err(ImageError::NoSpace { needed, free, cache: directory.to_owned() });
        }
        let file = draft.writer().map_err(|source| self.unwritable(source))?;
        let packed = pack_root(&tree, &contents, (file, directory), (identity, compression), self.progress)?;
        let id = packed.digest;
        let sealed = seal(&packed.file, (packed.bytes, compression), (about, id), self.progress);
        let digest = sealed.map_err(|error| match error {
            ArtifactError::Write(source) => self.unwritable(source),
            source => ImageError::Artifact { path: directory.to_owned(), source },
        })?;
        self.progress.step("writing to the disk");
        match self.target {
            Target::Cache => self.cache.publish(draft, &id, &digest),
            Target::File(output) => output.publish(draft),
        }
    }

    fn draft(&self) -> Result<Draft, ImageError> {
        match self.target {
            Target::Cache => self.cache.draft(),
            Target::File(output) => output.draft(),
        }
    }

    /// Where drafts lie.
    fn directory(&self) -> &Path {
        match self.target {
            Target::Cache => self.cache.directory(),
            Target::File(output) => output.directory(),
        }
    }

    fn unwritable(&self, source: io::Error) -> ImageError {
        ImageError::Io { action: "write to", path: self.directory().to_owned(), source }
    }

    /// What `key` came to before; else what `make` makes of it, which is then remembered.
    fn remembered(
        &self,
        key: &Key,
        make: impl FnOnce() -> Result<Artifact, ImageError>,
    ) -> Result<Artifact, ImageError> {
        if let Some(image) = self.cache.recall(key) {
            return Ok(image);
        }
        let image = make()?;
        // What a file was packed for is not in the cache.
        if key.is_settled() && matches!(self.target, Target::Cache) {
            // Without it the source is read again the next time; the image is as good.
            let _forgotten = self.cache.remember(key, &image);
        }
        Ok(image)
    }
}

/// Copied from a stream between two words about it.
const SPOOL_STEP: u64 = 8 << 20;

/// No room, by whatever rule: the disk's, the quota's, the process's own.
fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge)
}

/// A directory says nothing about how to run it.
fn root_config() -> ImageConfig {
    ImageConfig { architecture: "amd64".to_owned(), os: "linux".to_owned(), ..ImageConfig::default() }
}

#[cfg(test)]
#[path = "image_test.rs"]
mod tests;
