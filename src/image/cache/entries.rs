//! What is in the cache: told, found by name, and removed. Law: what is open stays whole; what is not understood is removed first.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use nix::fcntl::{AT_FDCWD, OFlag};

use super::{ARTIFACT, Cache, DRAFTS, Key, LOCKS, Recollection, SOURCES, SourceName, io_error};
use crate::draft::{abandoned, sweep};
use crate::image::artifact::Artifact;
use crate::image::digest::Digest;
use crate::image::error::ImageError;
use crate::progress::Progress;

/// An artifact of the cache.
#[derive(Debug)]
pub struct Entry {
    pub artifact: Artifact,
    /// Where its sources were found, as far as they are remembered.
    pub names: Vec<SourceName>,
    /// What it takes on the disk, in bytes.
    pub disk_bytes: u64,
    pub created: SystemTime,
    pub used: SystemTime,
    /// Some bottle runs on it.
    pub in_use: bool,
}

/// What pruning did, or would do.
#[derive(Debug, Default)]
pub struct Pruned {
    pub removed: Vec<Entry>,
    /// Due to be removed, but bottles run on them.
    pub in_use: Vec<Entry>,
    /// Files of other versions of the program, damaged ones, and those of processes that died.
    pub stale: Vec<PathBuf>,
    /// Bytes of the disk.
    pub freed: u64,
}

/// What became of an artifact that somebody says is damaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It was, and is no longer there.
    Dropped,
    /// It was, and cannot be removed; or it cannot be read.
    Kept,
    Whole,
    /// There is none, or one that is not even understood, and taken by nobody.
    Unusable,
}

impl Cache {
    /// All artifacts, the one that was used last first.
    pub fn entries(&self) -> Result<Vec<Entry>, ImageError> {
        Ok(self.look_through()?.0)
    }

    /// The one artifact that `name` means: the beginning of its digest or image ID, or the name or path of a source.
    pub fn find(&self, name: &str) -> Result<Entry, ImageError> {
        let digits = name.strip_prefix("sha256:").unwrap_or(name);
        let hex = !digits.is_empty() && digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        let begins = |digest: &Digest| hex && digest.hex().starts_with(digits);
        let meant = |entry: &Entry| {
            begins(&entry.artifact.digest())
                || begins(&entry.artifact.manifest().source.id)
                || entry.names.iter().any(|source| source.goes_by(name))
        };
        let mut found: Vec<_> = self.entries()?.into_iter().filter(meant).collect();
        match (found.pop(), found.is_empty()) {
            (Some(only), true) => Ok(only),
            (None, _) => Err(ImageError::NoSuchImage { name: name.to_owned() }),
            (Some(last), false) => {
                found.push(last);
                let shown = |entry: &Entry| {
                    let names: Vec<_> = entry.names.iter().map(ToString::to_string).collect();
                    let (artifact, names) = (&entry.artifact, names.join(", "));
                    format!("{} ({names}, {})", artifact.digest(), artifact.manifest().root.compression)
                };
                Err(ImageError::Ambiguous { name: name.to_owned(), candidates: found.iter().map(shown).collect() })
            }
        }
    }

    /// Removes an artifact; with `force` also one that bottles run on, which then end as if nothing had happened.
    pub fn remove(&self, entry: &Entry, force: bool) -> Result<(), ImageError> {
        if !self.discard(entry.artifact.path(), force)? {
            return Err(ImageError::InUse { digest: entry.artifact.digest().to_string() });
        }
        self.forget_sources(false);
        Ok(())
    }

    /// Removes what was found to be damaged. Bottles that run on it keep what they have.
    pub(crate) fn drop_damaged(&self, artifact: &Artifact) {
        // What cannot be removed is found to be damaged again.
        let _kept = self.discard(artifact.path(), true);
    }

    /// What the source came to when it was last opened, whatever has become of it since; of several, what was used last.
    pub(crate) fn last_known(&self, key: &Key) -> Option<Entry> {
        let image = self.recollection(key)?.image;
        self.entries().ok()?.into_iter().find(|entry| entry.artifact.manifest().source.id == image)
    }

    /// Removes the artifact whose digest begins so, if it is damaged: whoever says that it is may be mistaken, or lie.
    pub fn drop_if_damaged(&self, digest: &str, progress: &dyn Progress) -> Verdict {
        let entries = self.entries().unwrap_or_default();
        let Some(entry) = entries.into_iter().find(|entry| entry.artifact.digest().hex().starts_with(digest)) else {
            return Verdict::Unusable;
        };
        match entry.artifact.verify(progress) {
            Ok(()) => Verdict::Whole,
            Err(error) if error.is_damage() && self.discard(entry.artifact.path(), true).unwrap_or(false) => {
                Verdict::Dropped
            }
            Err(_) => Verdict::Kept,
        }
    }

    /// Removes all artifacts but the `keep` that were used last and those that bottles run on, and what else is of no use.
    pub fn prune(&self, keep: usize, dry_run: bool) -> Result<Pruned, ImageError> {
        let (mut entries, mut stale) = self.look_through()?;
        let versions = self.other_versions();
        stale.extend(versions.iter().flat_map(|version| artifacts_in(version).unwrap_or_default()));
        stale.extend(self.left_over());
        let mut pruned = Pruned::default();
        for entry in entries.split_off(keep.min(entries.len())) {
            let gone = if dry_run { !entry.in_use } else { self.discard(entry.artifact.path(), false)? };
            if gone {
                pruned.freed += entry.disk_bytes;
                pruned.removed.push(entry);
            } else {
                pruned.in_use.push(entry);
            }
        }
        for path in stale {
            let bytes = fs::metadata(&path).map_or(0, |metadata| metadata.blocks() * 512);
            if if dry_run { !is_held(&path) } else { self.discard(&path, false).unwrap_or(false) } {
                pruned.freed += bytes;
                pruned.stale.push(path);
            }
        }
        if !dry_run {
            self.forget_sources(true);
            let _unswept = sweep(&self.directory.join(LOCKS));
            let _kept = fs::remove_dir(self.directory.join(DRAFTS));
            versions.iter().for_each(|version| remove_version(version));
        }
        Ok(pruned)
    }

    /// Removes a file unless bottles run on it and `force` is not given; tells whether it is gone.
    fn discard(&self, path: &Path, force: bool) -> Result<bool, ImageError> {
        let removed = || match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(io_error("remove", path, error)),
            _ => Ok(true),
        };
        if force {
            return removed();
        }
        match abandoned(AT_FDCWD, path, OFlag::empty()) {
            // Locked until it is gone: who comes now finds nothing, or has what was there.
            Ok(Some(_lock)) => removed(),
            Ok(None) => Ok(false),
            // What cannot be opened nobody runs.
            Err(_) => removed(),
        }
    }

    /// Artifacts, and paths of what should be one and is not.
    fn look_through(&self) -> Result<(Vec<Entry>, Vec<PathBuf>), ImageError> {
        let recollections = self.recollections();
        let (mut entries, mut stale) = (Vec::new(), Vec::new());
        for path in artifacts_in(&self.directory)? {
            match self.entry(&path, &recollections) {
                Some(entry) => entries.push(entry),
                // Removed meanwhile.
                None if !path.exists() => {}
                None => stale.push(path),
            }
        }
        entries.sort_by_key(|entry| (std::cmp::Reverse(entry.used), entry.artifact.digest()));
        Ok((entries, stale))
    }

    fn entry(&self, path: &Path, recollections: &[(PathBuf, Recollection)]) -> Option<Entry> {
        // Looking is no use: it must not move the time of the last one.
        let quiet = OpenOptions::new().read(true).custom_flags(libc::O_NOATIME).open(path);
        let file = quiet.or_else(|_| File::open(path)).ok()?;
        let metadata = file.metadata().ok()?;
        let in_use = is_held(path);
        let artifact = Artifact::open(file, path).ok()?;
        let id = artifact.manifest().source.id;
        if self.artifact(&id, artifact.manifest().root.compression) != path {
            return None;
        }
        let of_it = recollections.iter().filter(|(_, recollection)| recollection.image == id);
        let mut names: Vec<_> = of_it.map(|(_, recollection)| recollection.name.clone()).collect();
        names.sort_unstable();
        Some(Entry {
            artifact,
            names,
            disk_bytes: metadata.blocks() * 512,
            created: metadata.modified().ok()?,
            used: metadata.accessed().ok()?,
            in_use,
        })
    }

    fn recollections(&self) -> Vec<(PathBuf, Recollection)> {
        let paths = fs::read_dir(self.directory.join(SOURCES)).into_iter().flatten().flatten();
        let read = |path: PathBuf| Some((path.clone(), serde_json::from_slice(&fs::read(path).ok()?).ok()?));
        paths.filter_map(|entry| read(entry.path())).collect()
    }

    /// Removes recollections of images that are gone; with `unclear`, those that nobody understands as well.
    fn forget_sources(&self, unclear: bool) {
        let understood = self.recollections();
        let paths = artifacts_in(&self.directory).unwrap_or_default();
        let has = |image: &Digest| {
            let beginning = image.hex();
            let is_of_it =
                |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&beginning));
            paths.iter().any(is_of_it)
        };
        for entry in fs::read_dir(self.directory.join(SOURCES)).into_iter().flatten().flatten() {
            let path = entry.path();
            let recollection = understood.iter().find(|(known, _)| *known == path);
            let useless = recollection.map_or(unclear, |(_, recollection)| !has(&recollection.image));
            if useless {
                // Costs a reading of the source at most, and that it stays costs nothing.
                let _kept = fs::remove_file(path);
            }
        }
    }

    /// Directories of other versions of the program. What is in them may be used again, but costs no more than work.
    fn other_versions(&self) -> Vec<PathBuf> {
        let directories = self.directory.parent().map(paths_in).unwrap_or_default();
        let is_version = |path: &PathBuf| {
            let numbers = path.file_name().and_then(|name| name.to_str()?.strip_prefix('v'));
            numbers.is_some_and(|numbers| numbers.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.'))
        };
        directories.into_iter().filter(|path| is_version(path) && *path != self.directory && path.is_dir()).collect()
    }

    /// Files of processes that died: drafts, and what earlier versions of the program had under a hidden name while they replaced a file.
    fn left_over(&self) -> Vec<PathBuf> {
        let hidden = |path: &PathBuf| path.file_name().is_some_and(|name| name.as_bytes().starts_with(b"."));
        let beside = [self.directory.clone(), self.directory.join(SOURCES)];
        let mut found: Vec<_> = beside.iter().flat_map(|directory| paths_in(directory)).filter(hidden).collect();
        found.extend(paths_in(&self.directory.join(DRAFTS)));
        found.retain(|path| path.is_file() && !is_held(path));
        found
    }
}

/// Some process has a lock on it, or may have.
fn is_held(path: &Path) -> bool {
    matches!(abandoned(AT_FDCWD, path, OFlag::empty()), Ok(None))
}

/// What is left of another version's directory when nobody uses an artifact of it. Should that version run just now, it makes again what
/// it needs.
fn remove_version(directory: &Path) {
    if artifacts_in(directory).is_ok_and(|artifacts| artifacts.is_empty()) {
        for path in paths_in(&directory.join(SOURCES)).iter().chain(&paths_in(directory)).filter(|path| path.is_file())
        {
            let _kept = fs::remove_file(path);
        }
        for name in [LOCKS, DRAFTS] {
            let _unswept = sweep(&directory.join(name));
        }
        for name in [SOURCES, LOCKS, DRAFTS, ""] {
            // Not if there is something in it.
            let _kept = fs::remove_dir(directory.join(name));
        }
    }
}

fn paths_in(directory: &Path) -> Vec<PathBuf> {
    fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}

fn artifacts_in(directory: &Path) -> Result<Vec<PathBuf>, ImageError> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(io_error("read", directory, error)),
    };
    let paths = entries.flatten().map(|entry| entry.path());
    Ok(paths.filter(|path| path.extension().is_some_and(|extension| extension == ARTIFACT)).collect())
}

#[cfg(test)]
#[path = "entries_test.rs"]
mod tests;
