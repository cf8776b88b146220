//! Images that were made before, by content. Law: knows files and digests, not how an image is made.
//!
//!     <cache>/v2-lz4/<image id>/root.erofs   the image
//!     <cache>/v2-lz4/<image id>/image.json   its configuration and size, written last: without it there is no image
//!     <cache>/v2-lz4/sources/<key>           which image a file or directory, as it was when it was read, came to
//!     <cache>/v2-lz4/locks/<image id>        held, and there, while the image is made
//!     <cache>/v2-lz4/drafts/                 files in the making, where the file system has none without a name
//!
//! Any number of processes may use it at once. A file gets its name when it is complete and on the disk, so a process
//! that dies at any point leaves nothing that could be taken for good, and, with `O_TMPFILE`, nothing at all.

mod draft;
mod key;

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};

pub(crate) use draft::Draft;
pub(crate) use key::Key;

use super::Bootable;
use super::config::ImageConfig;
use super::digest::Digest;
use super::erofs::{RootCompression, WRITER_VERSION};
use super::error::ImageError;
use super::pack::Packed;

const ROOT: &str = "root.erofs";
const RECORD: &str = "image.json";
const LOCKS: &str = "locks";
const SOURCES: &str = "sources";
const DRAFTS: &str = "drafts";

/// A directory of images that were made bootable.
#[derive(Debug, Clone)]
pub struct Cache {
    directory: PathBuf,
    compression: RootCompression,
}

#[derive(Debug, Serialize, Deserialize)]
struct Record {
    /// Of `root.erofs`: one that was cut short is not taken for good.
    bytes: u64,
    config: ImageConfig,
}

/// While this lives, no other process makes the image.
#[derive(Debug)]
pub(crate) struct ImageLock {
    path: PathBuf,
    _lock: Flock<File>,
}

impl Drop for ImageLock {
    fn drop(&mut self) {
        // Whoever waits for the file that is removed here gets its lock all the same. Should a third then make a new
        // one, the two make the same image twice, which costs time and nothing else.
        let _gone = fs::remove_file(&self.path);
    }
}

impl Cache {
    /// `$XDG_CACHE_HOME/bottle-vmm/images`, or the same in `~/.cache`.
    pub fn open_default() -> Result<Self, ImageError> {
        let absolute = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
        // The XDG base directory specification has relative values ignored.
        let base = absolute("XDG_CACHE_HOME").or_else(|| Some(absolute("HOME")?.join(".cache")));
        Self::at(&base.ok_or(ImageError::NoCacheDirectory)?.join("bottle-vmm/images"))
    }

    /// The cache in `directory`, which is made, for its owner only, if it is missing.
    pub fn at(directory: &Path) -> Result<Self, ImageError> {
        Self::of(directory, RootCompression::default())
    }

    /// The cache beside this one whose images are compressed like this.
    pub fn with_compression(self, compression: RootCompression) -> Result<Self, ImageError> {
        Self::of(self.directory.parent().unwrap_or(Path::new("")), compression)
    }

    /// An image made by another version of the writer, or compressed otherwise, is another image.
    fn of(directory: &Path, compression: RootCompression) -> Result<Self, ImageError> {
        let directory = directory.join(format!("v{WRITER_VERSION}-{compression}"));
        make_directory(&directory)?;
        make_directory(&directory.join(SOURCES))?;
        Ok(Self { directory, compression })
    }

    pub(crate) fn compression(&self) -> RootCompression {
        self.compression
    }

    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// What the source came to when it was last read, if it has not changed and its image is still there.
    pub(crate) fn recall(&self, key: &Key) -> Option<Bootable> {
        let text = fs::read_to_string(self.source(key)).ok()?;
        self.load(&text.parse().ok()?)
    }

    /// The image called `id`. Whatever is wrong with it, it is then made anew.
    pub(crate) fn load(&self, id: &Digest) -> Option<Bootable> {
        let directory = self.image(id);
        let record: Record = serde_json::from_slice(&fs::read(directory.join(RECORD)).ok()?).ok()?;
        let root = File::open(directory.join(ROOT)).ok()?;
        let whole = root.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.len() == record.bytes);
        whole.then(|| Bootable { root, config: record.config, digest: id.to_string() })
    }

    /// Waits for a process that is making the same image. It then has it, or has failed or died.
    pub(crate) fn lock(&self, id: &Digest) -> Result<ImageLock, ImageError> {
        let directory = self.directory.join(LOCKS);
        make_directory(&directory)?;
        let path = directory.join(id.hex());
        let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path);
        let file = file.map_err(|source| io_error("create", &path, source))?;
        match Flock::lock(file, FlockArg::LockExclusive) {
            Ok(lock) => Ok(ImageLock { path, _lock: lock }),
            Err((_, errno)) => Err(io_error("lock", &path, errno.into())),
        }
    }

    /// A file in the making, on the cache's file system.
    pub(crate) fn draft(&self) -> Result<Draft, ImageError> {
        Draft::new(&self.directory, DRAFTS).map_err(|source| io_error("create a file in", &self.directory, source))
    }

    /// Makes a finished image part of the cache.
    pub(crate) fn publish(&self, draft: Draft, packed: Packed, config: ImageConfig) -> Result<Bootable, ImageError> {
        let Packed { file, bytes, digest } = packed;
        let directory = self.image(&digest);
        make_directory(&directory)?;
        let root = directory.join(ROOT);
        file.sync_data().map_err(|source| io_error("write", &root, source))?;
        drop(file);
        // One of equal length is the same image, and bottles that run on it share its pages.
        let same = |there: &fs::Metadata| there.is_file() && there.len() == bytes;
        draft.publish(&root, same).map_err(|source| io_error("create", &root, source))?;
        let record = Record { bytes, config };
        let text =
            serde_json::to_vec(&record).map_err(|error| io_error("create", &directory.join(RECORD), error.into()))?;
        self.put(&directory.join(RECORD), &text)?;
        let root_file = File::open(&root).map_err(|source| io_error("open", &root, source))?;
        Ok(Bootable { root: root_file, config: record.config, digest: digest.to_string() })
    }

    /// Notes what `key` came to, so that it need not be read again.
    pub(crate) fn remember(&self, key: &Key, image: &Bootable) -> Result<(), ImageError> {
        self.put(&self.source(key), image.digest.as_bytes())
    }

    fn put(&self, path: &Path, bytes: &[u8]) -> Result<(), ImageError> {
        let mut draft = self.draft()?;
        let written = draft.file_mut().write_all(bytes).and_then(|()| draft.publish(path, |_| false));
        written.map_err(|source| io_error("create", path, source))
    }

    fn image(&self, id: &Digest) -> PathBuf {
        self.directory.join(id.hex())
    }

    fn source(&self, key: &Key) -> PathBuf {
        self.directory.join(SOURCES).join(key.file_name())
    }
}

fn make_directory(path: &Path) -> Result<(), ImageError> {
    if path.is_dir() {
        return Ok(());
    }
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(|source| io_error("create", path, source))
}

fn io_error(action: &'static str, path: &Path, source: io::Error) -> ImageError {
    ImageError::Io { action, path: path.to_owned(), source }
}

#[cfg(test)]
#[path = "cache_test.rs"]
mod tests;
