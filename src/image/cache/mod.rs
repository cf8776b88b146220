//! Artifacts that were made before, by what they were made of. Law: knows files and digests, not how an image is made.
//!
//! ```text
//! <cache>/v1.5/<image id>-<compression>.bottle   an artifact; its times are those of its making and of its last use (atime)
//! <cache>/v1.5/sources/<place>                   which image a file or directory, as it was when it was read, came to
//! <cache>/v1.5/locks/<image id>-<compression>    held, and there, while the artifact is made
//! <cache>/v1.5/drafts/                           files in the making, where the file system has none without a name; the moment before one takes another's place
//! ```
//!
//! Any number of processes may use it at once. A file gets its name when it is complete and on the disk, so a process
//! that dies at any point leaves nothing that could be taken for good, and, with `O_TMPFILE`, nothing at all. Who runs an
//! artifact holds a shared lock on it, so that pruning knows; an artifact that is removed all the same stays whole for who has it open.

mod entries;
mod key;

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use nix::fcntl::{Flock, FlockArg};
use nix::sys::stat::futimens;
use nix::sys::time::TimeSpec;
use serde::{Deserialize, Serialize};

use crate::draft::{Draft, Existing, Published};
use crate::paths;
pub use entries::{Entry, Pruned, Verdict};
pub use key::SourceName;
pub(crate) use key::{Key, state};

use super::artifact::{Artifact, FORMAT};
use super::digest::Digest;
use super::erofs::{RootCompression, WRITER_VERSION};
use super::error::ImageError;

const LOCKS: &str = "locks";
const SOURCES: &str = "sources";
const DRAFTS: &str = "drafts";
const ARTIFACT: &str = "bottle";

/// A directory of artifacts, and which of those of an image are meant.
#[derive(Debug, Clone)]
pub struct Cache {
    directory: PathBuf,
    /// Asked for; none is as good as any if there is no choice.
    compression: Option<RootCompression>,
}

/// What a source came to.
#[derive(Debug, Serialize, Deserialize)]
struct Recollection {
    /// See [`Key`]; none of a source that was too young to be known again. It still has a name.
    state: Option<Digest>,
    /// The image's ID.
    image: Digest,
    name: SourceName,
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
        Ok(Self::at(&paths::cache()?.join("images")))
    }

    /// The cache in `directory`, which is made, for its owner only, when there is something to put into it.
    #[must_use]
    pub fn at(directory: &Path) -> Self {
        // An image made by another version of the writer is another image.
        Self { directory: directory.join(format!("v{FORMAT}.{WRITER_VERSION}")), compression: None }
    }

    /// The same cache, of which only artifacts with this compression are taken, and to which such are added. Without it, those with the
    /// usual one.
    #[must_use]
    pub fn with_compression(self, compression: RootCompression) -> Self {
        Self { compression: Some(compression), ..self }
    }

    pub(crate) fn compression(&self) -> RootCompression {
        self.compression.unwrap_or_default()
    }

    /// The compression that was asked for, if another one will not do.
    pub(crate) fn wanted(&self) -> Option<RootCompression> {
        self.compression
    }

    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Is it one of those that lie here?
    #[must_use]
    pub fn keeps(&self, artifact: &Artifact) -> bool {
        artifact.path().parent() == Some(&self.directory)
    }

    /// An image of a directory that the cache is in would have the cache in it, and never be the same again. `device` is the
    /// directory's: what is mounted inside it is no part of the image.
    pub(crate) fn check_against(&self, directory: &Path, device: u64) -> Result<(), ImageError> {
        let there = self.directory.ancestors().find_map(|ancestor| ancestor.canonicalize().ok());
        let inside = there.is_some_and(|there| {
            there.starts_with(directory) && there.metadata().is_ok_and(|metadata| metadata.dev() == device)
        });
        if inside {
            return Err(ImageError::CacheInside { cache: self.directory.clone(), directory: directory.to_owned() });
        }
        Ok(())
    }

    /// What the source came to when it was last read, if it has not changed and its image is still there.
    pub(crate) fn recall(&self, key: &Key) -> Option<Artifact> {
        let recollection = self.recollection(key)?;
        if recollection.state? == key.state() { self.load(&recollection.image) } else { None }
    }

    fn recollection(&self, key: &Key) -> Option<Recollection> {
        serde_json::from_slice(&fs::read(self.source(key)).ok()?).ok()
    }

    /// The image called `id`, to be used. Whatever is wrong with it, it is then made anew.
    pub(crate) fn load(&self, id: &Digest) -> Option<Artifact> {
        let path = self.image(id);
        let artifact = Artifact::open(File::open(&path).ok()?, &path).ok()?;
        self.is(&artifact, id).then(|| used(artifact))
    }

    /// Waits for a process that is making the same image. It then has it, or has failed or died.
    pub(crate) fn lock(&self, id: &Digest) -> Result<ImageLock, ImageError> {
        let directory = self.directory.join(LOCKS);
        make_directory(&directory)?;
        let path = directory.join(stem(id, self.compression()));
        let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path);
        let file = file.map_err(|source| io_error("create", &path, source))?;
        match Flock::lock(file, FlockArg::LockExclusive) {
            Ok(lock) => Ok(ImageLock { path, _lock: lock }),
            Err((_, errno)) => Err(io_error("lock", &path, errno.into())),
        }
    }

    /// A file in the making, on the cache's file system.
    pub(crate) fn draft(&self) -> Result<Draft, ImageError> {
        make_directory(&self.directory)?;
        let draft = Draft::new(&self.directory, DRAFTS, 0o600);
        draft.map_err(|source| io_error("create a file in", &self.directory, source))
    }

    /// Makes a finished artifact of the image called `id` part of the cache.
    pub(crate) fn publish(&self, draft: Draft, id: &Digest, digest: &Digest) -> Result<Artifact, ImageError> {
        let path = self.image(id);
        let open =
            |file| Artifact::open(file, &path).map_err(|source| ImageError::Artifact { path: path.clone(), source });
        let synced = draft.file().sync_data().and_then(|()| draft.reader());
        let own = synced.map_err(|source| io_error("write", &path, source))?;
        // Another version that prunes takes a directory along that holds nothing yet.
        make_directory(&self.directory)?;
        // Bottles that run on the one that is there share its pages.
        let there = || Artifact::open(File::open(&path).ok()?, &path).ok().filter(|there| there.digest() == *digest);
        let published = draft.publish(&path, &Existing::KeepIf(&|_| there().is_some()));
        match (published.map_err(|source| io_error("create", &path, source))?, there()) {
            (Published::Kept, Some(artifact)) => Ok(used(artifact)),
            _ => Ok(used(open(own)?)),
        }
    }

    /// Notes what `key` came to: it need not be read again while it can be known again, and goes by its name.
    pub(crate) fn remember(&self, key: &Key, image: &Artifact) -> Result<(), ImageError> {
        let recollection =
            Recollection { state: key.settled_state(), image: image.manifest().source.id, name: key.name().clone() };
        let path = self.source(key);
        make_directory(&self.directory.join(SOURCES))?;
        let text = serde_json::to_vec(&recollection).map_err(|error| io_error("create", &path, error.into()))?;
        let mut draft = self.draft()?;
        let written = draft.file_mut().write_all(&text).and_then(|()| draft.publish(&path, &Existing::Replace));
        written.map(drop).map_err(|source| io_error("create", &path, source))
    }

    /// Is it what the name says that it has here?
    fn is(&self, artifact: &Artifact, id: &Digest) -> bool {
        let manifest = artifact.manifest();
        manifest.source.id == *id && manifest.root.compression == self.compression()
    }

    fn image(&self, id: &Digest) -> PathBuf {
        self.artifact(id, self.compression())
    }

    fn artifact(&self, id: &Digest, compression: RootCompression) -> PathBuf {
        self.directory.join(stem(id, compression)).with_extension(ARTIFACT)
    }

    fn source(&self, key: &Key) -> PathBuf {
        self.directory.join(SOURCES).join(key.file_name())
    }
}

/// An image that is compressed otherwise is another artifact.
fn stem(id: &Digest, compression: RootCompression) -> String {
    format!("{}-{}", id.hex(), compression.to_string().replace(':', "-"))
}

/// Notes that the artifact is used, and that it is in use as long as it is open anywhere.
fn used(artifact: Artifact) -> Artifact {
    // The kernel's own idea of now is as coarse as its tick. On a read-only cache none of this is possible, and nobody prunes it.
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let _unnoted = futimens(artifact.file(), &TimeSpec::from_duration(now), &TimeSpec::UTIME_OMIT);
    hold(artifact.file());
    artifact
}

#[expect(
    deprecated,
    reason = "the lock is to live as long as the open file, its copies in other processes included; `Flock` ends it"
)]
fn hold(file: &File) {
    use std::os::fd::AsRawFd;
    let _unlocked = nix::fcntl::flock(file.as_raw_fd(), FlockArg::LockSharedNonblock);
}

fn make_directory(path: &Path) -> Result<(), ImageError> {
    crate::draft::make_directory(path).map_err(|source| io_error("create", path, source))
}

fn io_error(action: &'static str, path: &Path, source: io::Error) -> ImageError {
    ImageError::Io { action, path: path.to_owned(), source }
}
