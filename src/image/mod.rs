//! An image becomes bootable: archive, layout or directory in, a read-only EROFS file and a configuration out.
//!
//! Law: unprivileged, and nothing is unpacked. Whatever an image claims ends up as names in a virtual tree and bytes in
//! one file of the cache; none of it is ever used as a path of the host. Knows nothing of machines or bottles.
//!
//!     reference   archive or layout → documents → configuration and layers     (parts, config)
//!     layered     layers → entries, digests checked → one tree                 (layer, tar, stream, merge, tree)
//!     pack        tree and bytes → image                                       (erofs)
//!     cache       image ↔ disk, and what can be known without reading anything
//!
//! The two other sources of a tree are `root_directory` and `default_root`.

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
mod pack;
mod parts;
mod reference;
mod root;
mod root_directory;
mod stream;
mod tar;
#[cfg(test)]
mod testing;
mod tree;

use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

pub use cache::Cache;
pub use config::ImageConfig;
pub use erofs::{Features, RootCompression, UnknownCompression};
pub use error::ImageError;
pub use limits::Limits;
pub use root::write_root;

use cache::Key;
use default_root::DefaultRoot;
use layered::Layered;
use pack::{Contents, Identity, estimated_bytes, pack};
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

/// An image, ready to be the root of a guest.
#[derive(Debug)]
pub struct Bootable {
    /// EROFS, read-only; stays valid when the cache is pruned.
    pub root: File,
    pub config: ImageConfig,
    /// `sha256:` and 64 digits: docker's image ID, or for a directory that of its contents.
    pub digest: String,
}

/// Makes the image at `source` bootable, or finds that it was made so before.
pub fn open(source: &Source, cache: &Cache, progress: &dyn Progress) -> Result<Bootable, ImageError> {
    open_limited(source, cache, &Limits::default(), progress)
}

/// `open` with other limits than the usual ones.
pub fn open_limited(
    source: &Source,
    cache: &Cache,
    limits: &Limits,
    progress: &dyn Progress,
) -> Result<Bootable, ImageError> {
    let opener = Opener { cache, limits, progress };
    match source {
        Source::Stdin => opener.stream(io::stdin().lock(), "standard input", ImageError::Stdin),
        Source::Path(path) => opener.path(path),
    }
}

/// The root for when no image is named: `busybox`, a static one, and links to it.
pub fn open_default_root(busybox: &Path, cache: &Cache, progress: &dyn Progress) -> Result<Bootable, ImageError> {
    let opener = Opener { cache, limits: &Limits::default(), progress };
    let failed = |source| ImageError::Io { action: "read", path: busybox.to_owned(), source };
    let path = busybox.canonicalize().map_err(failed)?;
    let metadata = path.metadata().map_err(failed)?;
    let key = Key::of_file(&path, &metadata);
    // The same file may be an image of its own right; its recollection would not be this root.
    let key = key.for_default_root();
    opener.remembered(&key, || {
        let busybox = fs::read(&path).map_err(failed)?;
        let id = DefaultRoot::id(&busybox);
        opener.make(Identity::Known(id), DefaultRoot::config(), || {
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
}

impl Opener<'_> {
    fn path(&self, path: &Path) -> Result<Bootable, ImageError> {
        let failed = |source| ImageError::Io { action: "open", path: path.to_owned(), source };
        let path = &path.canonicalize().map_err(failed)?;
        let metadata = path.metadata().map_err(failed)?;
        if metadata.is_file() {
            return self.archive_file(path, &metadata);
        }
        if !metadata.is_dir() {
            // A fifo, or what a shell makes of `<(command)`.
            let stream = File::open(path).map_err(failed)?;
            return self.stream(stream, &path.display().to_string(), failed);
        }
        match path.join(OCI_INDEX).metadata() {
            Ok(index) if path.join("oci-layout").is_file() => self.layout(path, &index),
            _ => self.root_directory(path),
        }
    }

    fn archive_file(&self, path: &Path, metadata: &Metadata) -> Result<Bootable, ImageError> {
        let key = Key::of_file(path, metadata);
        self.remembered(&key, || {
            let failed = |source| ImageError::Io { action: "open", path: path.to_owned(), source };
            let file = File::open(path).and_then(FileRange::whole).map_err(failed)?;
            let image = self.archive(file, &path.display().to_string())?;
            let now = path.metadata().map_err(failed)?;
            if Key::of_file(path, &now) == key { Ok(image) } else { Err(ImageError::Changed { path: path.to_owned() }) }
        })
    }

    /// A layout's blobs are named by their digests: it is what its index says.
    fn layout(&self, path: &Path, index: &Metadata) -> Result<Bootable, ImageError> {
        self.remembered(&Key::of_file(&path.join(OCI_INDEX), index), || {
            let origin = path.display().to_string();
            let described = describe(&Parts::Directory(path.to_owned()))?;
            self.described(described.ok_or(ImageError::NotAnImage { origin })?)
        })
    }

    fn root_directory(&self, path: &Path) -> Result<Bootable, ImageError> {
        self.progress.step("looking through the root directory");
        let scan = Scan::of(path, self.limits)?;
        if scan.is_empty() {
            return Err(ImageError::Empty { origin: path.display().to_string() });
        }
        let fingerprint = scan.fingerprint();
        self.remembered(&Key::of_directory(&fingerprint, scan.latest_change()), || {
            let image = self.make(Identity::OfContents, root_config(), || scan.into_tree(self.limits))?;
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
        origin: &str,
        unreadable: impl FnOnce(io::Error) -> ImageError,
    ) -> Result<Bootable, ImageError> {
        self.progress.step("reading the image");
        let kept = self.spool(stream, unreadable)?;
        self.archive(kept, origin)
    }

    fn archive(&self, file: FileRange, origin: &str) -> Result<Bootable, ImageError> {
        let origin = || origin.to_owned();
        if file.len() == 0 {
            return Err(ImageError::Empty { origin: origin() });
        }
        let unpack = |source| ImageError::Unpack { origin: origin(), source };
        let file = match Compression::of(&file).map_err(unpack)? {
            Compression::Plain => file,
            Compression::Unsupported(method) => return Err(ImageError::Compression { origin: origin(), method }),
            compression => {
                self.progress.step("unpacking the archive");
                let plain = compression.decode(file).map_err(unpack)?;
                self.spool(plain.unwrap_or_else(|| Box::new(io::empty())), unpack)?
            }
        };
        let described = describe(&Parts::of_archive(file, &origin())?)?;
        self.described(described.ok_or_else(|| ImageError::NotAnImage { origin: origin() })?)
    }

    /// Into a file without a name, in the cache: /tmp is often memory.
    fn spool(
        &self,
        stream: impl Read,
        unreadable: impl FnOnce(io::Error) -> ImageError,
    ) -> Result<FileRange, ImageError> {
        let meter = Meter::new(self.limits.unpacked_bytes);
        let mut draft = self.cache.draft()?;
        match io::copy(&mut Metered::new(stream, &meter), draft.file_mut()) {
            Ok(_) => {}
            Err(_) if meter.is_exceeded() => return Err(ImageError::TooLarge { limit: meter.limit() }),
            Err(error) if error.kind() == io::ErrorKind::StorageFull => {
                let path = self.cache.directory().to_owned();
                return Err(ImageError::Io { action: "write to", path, source: error });
            }
            Err(error) => return Err(unreadable(error)),
        }
        let path = self.cache.directory().to_owned();
        FileRange::whole(draft.into_file()).map_err(|source| ImageError::Io { action: "read", path, source })
    }

    fn described(&self, image: Described) -> Result<Bootable, ImageError> {
        let Described { id, config, layers } = image;
        self.make(Identity::Known(id), config, || Layered::merge(layers, self.limits, self.progress))
    }

    /// The image, from the cache if it is there by its identity.
    fn make<C: Contents>(
        &self,
        identity: Identity,
        config: ImageConfig,
        source: impl FnOnce() -> Result<(Tree, C), ImageError>,
    ) -> Result<Bootable, ImageError> {
        let Identity::Known(id) = identity else { return self.make_new(identity, config, source()?) };
        if let Some(image) = self.cache.load(&id) {
            return Ok(image);
        }
        let _lock = self.cache.lock(&id)?;
        match self.cache.load(&id) {
            Some(image) => Ok(image),
            None => self.make_new(identity, config, source()?),
        }
    }

    fn make_new<C: Contents>(
        &self,
        identity: Identity,
        config: ImageConfig,
        (tree, contents): (Tree, C),
    ) -> Result<Bootable, ImageError> {
        let directory = self.cache.directory();
        let failed = |source| ImageError::Io { action: "write to", path: directory.to_owned(), source };
        let needed = estimated_bytes(&tree);
        let space = nix::sys::statvfs::statvfs(directory).map_err(|errno| failed(errno.into()))?;
        let free = space.blocks_available().saturating_mul(space.fragment_size());
        if needed > free {
            return Err(ImageError::NoSpace { needed, free, cache: directory.to_owned() });
        }
        let draft = self.cache.draft()?;
        let file = draft.writer().map_err(failed)?;
        let packed = pack(&tree, &contents, (file, directory), identity, self.cache.compression(), self.progress)?;
        self.cache.publish(draft, packed, config)
    }

    /// What `key` came to before; else what `make` makes of it, which is then remembered.
    fn remembered(
        &self,
        key: &Key,
        make: impl FnOnce() -> Result<Bootable, ImageError>,
    ) -> Result<Bootable, ImageError> {
        if let Some(image) = self.cache.recall(key) {
            return Ok(image);
        }
        let image = make()?;
        if key.is_settled() {
            // Without it the source is read again the next time; the image is as good.
            let _forgotten = self.cache.remember(key, &image);
        }
        Ok(image)
    }
}

/// A directory says nothing about how to run it.
fn root_config() -> ImageConfig {
    ImageConfig { architecture: "amd64".to_owned(), os: "linux".to_owned(), ..ImageConfig::default() }
}

#[cfg(test)]
#[path = "image_test.rs"]
mod tests;
