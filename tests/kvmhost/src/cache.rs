//! Where the emulated host's parts are kept between runs, and who may change them when.
//!
//! `$XDG_CACHE_HOME/bottle-vmm/kvmhost/` holds directories that are complete as soon as they have their name: each is
//! built under `partial-*` and renamed. A run holds the lock shared until QEMU has opened what it needs; whoever builds
//! or removes something holds it exclusively. So a `partial-*` seen under the exclusive lock is what a killed set-up
//! left, and is removed.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use bottle_vmm::paths::NoHome;
use nix::fcntl::{Flock, FlockArg};

/// Directories that no run has used for so long are removed when another is built.
const KEPT_UNUSED: Duration = Duration::from_secs(14 * 24 * 3600);

const PARTIAL: &str = "partial-";

#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    #[error(transparent)]
    NoHome(#[from] NoHome),
    #[error("cannot {verb} {}", path.display())]
    Io { verb: &'static str, path: PathBuf, source: io::Error },
}

impl CacheError {
    pub fn hint(&self) -> Option<String> {
        match self {
            CacheError::NoHome(error) => error.hint(),
            CacheError::Io { source, .. } if source.kind() == io::ErrorKind::StorageFull => {
                Some("set XDG_CACHE_HOME to a directory with 1 GiB of free space".into())
            }
            CacheError::Io { .. } => None,
        }
    }
}

/// The directory of the emulated host's parts.
#[derive(Clone, Debug)]
pub(crate) struct Cache {
    dir: PathBuf,
}

/// While this lives, nothing in the cache is removed.
#[derive(Debug)]
pub(crate) struct Held {
    _lock: Flock<File>,
}

impl Cache {
    /// `$XDG_CACHE_HOME/bottle-vmm/kvmhost`.
    pub(crate) fn open_default() -> Result<Cache, CacheError> {
        Cache::at(bottle_vmm::paths::cache()?.join("kvmhost"))
    }

    pub(crate) fn at(dir: PathBuf) -> Result<Cache, CacheError> {
        fs::create_dir_all(&dir).map_err(io_error("create", &dir))?;
        Ok(Cache { dir })
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// The complete directory `name`, if there is one. Call it with the lock held.
    fn existing(&self, name: &str) -> Option<PathBuf> {
        let path = self.dir.join(name);
        let dir = File::open(&path).ok()?;
        // The age decides what is removed; where it cannot be set (another user's cache), things are removed earlier.
        let _ = dir.set_modified(SystemTime::now());
        Some(path)
    }

    /// Waits until no set-up is under way, and holds the next one off.
    pub(crate) fn hold(&self) -> Result<Held, CacheError> {
        self.lock(FlockArg::LockShared)
    }

    /// The directory `name`, and the lock under which it stays. If it is not there, `fill` makes it, once on the machine:
    /// others that want it wait.
    pub(crate) fn ensure<E: From<CacheError>>(
        &self,
        name: &str,
        fill: impl Fn(&Path) -> Result<(), E>,
    ) -> Result<(PathBuf, Held), E> {
        loop {
            let held = self.hold()?;
            if let Some(path) = self.existing(name) {
                return Ok((path, held));
            }
            drop(held);
            let _alone = self.lock(FlockArg::LockExclusive)?;
            if self.existing(name).is_none() {
                self.sweep();
                self.build(name, &fill)?;
            }
        }
    }

    fn build<E: From<CacheError>>(&self, name: &str, fill: impl Fn(&Path) -> Result<(), E>) -> Result<(), E> {
        let partial = tempfile::Builder::new()
            .prefix(PARTIAL)
            .tempdir_in(&self.dir)
            .map_err(io_error("create a directory in", &self.dir))?;
        fill(partial.path())?;
        let path = self.dir.join(name);
        fs::rename(partial.path(), &path).map_err(io_error("create", &path))?;
        // Moved away: there is nothing left for the guard to remove.
        let _ = partial.keep();
        Ok(())
    }

    /// Removes what killed set-ups left and what has long not been used. What cannot be removed now can be next time.
    fn sweep(&self) {
        let Ok(entries) = fs::read_dir(&self.dir) else { return };
        for entry in entries.flatten() {
            let Ok(data) = entry.metadata() else { continue };
            let unused = data.modified().ok().and_then(|time| time.elapsed().ok()).unwrap_or_default();
            let partial = entry.file_name().as_encoded_bytes().starts_with(PARTIAL.as_bytes());
            if data.is_dir() && (partial || unused > KEPT_UNUSED) {
                let _ = fs::remove_dir_all(entry.path());
            }
        }
    }

    fn lock(&self, kind: FlockArg) -> Result<Held, CacheError> {
        let path = self.dir.join("lock");
        let file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(io_error("open", &path))?;
        let lock = lock_through_signals(file, kind).map_err(io_error("lock", &path))?;
        Ok(Held { _lock: lock })
    }
}

/// Takes the lock, waiting for it; a signal that has a handler does not end the wait.
fn lock_through_signals(mut file: File, kind: FlockArg) -> io::Result<Flock<File>> {
    loop {
        match Flock::lock(file, kind) {
            Ok(lock) => return Ok(lock),
            Err((back, nix::errno::Errno::EINTR)) => file = back,
            Err((_, errno)) => return Err(errno.into()),
        }
    }
}

pub(crate) fn io_error(verb: &'static str, path: &Path) -> impl FnOnce(io::Error) -> CacheError {
    let path = path.to_owned();
    move |source| CacheError::Io { verb, path, source }
}

#[cfg(test)]
#[path = "cache_test.rs"]
mod tests;
