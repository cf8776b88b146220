//! The installed kernels: a directory each, under one directory.
//!
//! ```text
//! kernels/firmware-6.12.117/    vmlinux  kernel.json
//! kernels/stock-6.1.0-56-…/     vmlinux  kernel.json  modules.cpio
//! kernels/.staging/             a kernel being put together; wiped by whoever holds .lock next
//! ```
//!
//! A directory counts only with a `kernel.json` that reads well; that file and the rest arrive by one rename.

use std::cmp::Ordering;
use std::fmt;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use nix::fcntl::{AT_FDCWD, Flock, FlockArg, RenameFlags, renameat2};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::error::io_error;
use super::{KernelError, options};
use crate::paths;

const VMLINUX: &str = "vmlinux";
const MODULES: &str = "modules.cpio";
const RECORD: &str = "kernel.json";
const STAGING: &str = ".staging";

/// Where a kernel came from; the later one is what a bottle takes if both are there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A distribution's kernel with drivers as modules.
    Stock,
    /// Built from `firmware/`, everything built in.
    Firmware,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Stock => "stock",
            Self::Firmware => "firmware",
        })
    }
}

/// What `kernel.json` holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Record {
    name: String,
    kind: Kind,
    version: String,
    source: String,
    sha256: String,
    created: u64,
    #[serde(default = "options::assumed")]
    options: Vec<String>,
}

/// A kernel that is ready to be booted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Installed {
    pub name: String,
    pub kind: Kind,
    pub version: String,
    /// The package, or the source and configuration, that it was made from.
    pub source: String,
    /// Of `vmlinux`, in hexadecimal.
    pub sha256: String,
    /// Seconds since 1970.
    pub created: u64,
    /// Which of [`options::RECORDED`] it was built with.
    pub options: Vec<String>,
    pub vmlinux: PathBuf,
    /// A newc archive to be part of the initramfs: the drivers to load, in the order of their names.
    pub modules: Option<PathBuf>,
}

#[derive(Debug, Clone)]
pub struct Store {
    dir: PathBuf,
}

impl Store {
    /// The user's own store, which need not exist yet.
    pub fn open_default() -> Result<Self, KernelError> {
        Ok(Self::at(paths::data()?.join("kernels")))
    }

    pub fn at(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into() }
    }

    /// All kernels, the preferred first: firmware before stock, newer before older.
    pub fn list(&self) -> Result<Vec<Installed>, KernelError> {
        let entries = match fs::read_dir(&self.dir) {
            Ok(entries) => entries,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(io_error("read the kernel store", &self.dir)(e)),
        };
        let mut kernels = Vec::new();
        for entry in entries {
            let entry = entry.map_err(io_error("read the kernel store", &self.dir))?;
            if !entry.file_name().as_encoded_bytes().starts_with(b".") {
                kernels.extend(Installed::read(&entry.path()));
            }
        }
        kernels.sort_by(|a: &Installed, b| b.precedence().cmp(&a.precedence()).then_with(|| a.name.cmp(&b.name)));
        Ok(kernels)
    }

    /// The kernel called `name`, or the preferred one of the kind called so; by default the preferred of all.
    pub fn select(&self, name: Option<&str>) -> Result<Installed, KernelError> {
        let mut kernels = self.list()?;
        let Some(name) = name else {
            let none = || KernelError::NoneInstalled { store: self.dir.clone() };
            return kernels.into_iter().next().ok_or_else(none);
        };
        let named = |kernel: &Installed| kernel.name == name;
        let of_kind = |kernel: &Installed| kernel.kind.to_string() == name;
        match kernels.iter().position(named).or_else(|| kernels.iter().position(of_kind)) {
            Some(at) => Ok(kernels.swap_remove(at)),
            None => Err(KernelError::NotInstalled {
                name: name.to_owned(),
                store: self.dir.clone(),
                installed: kernels.into_iter().map(|kernel| kernel.name).collect(),
            }),
        }
    }

    /// Removes the kernel called `name`, all of it or nothing.
    pub fn remove(&self, name: &str) -> Result<(), KernelError> {
        let installed = self.list()?;
        if !installed.iter().any(|kernel| kernel.name == name) {
            let installed = installed.into_iter().map(|kernel| kernel.name).collect();
            return Err(KernelError::NotInstalled { name: name.to_owned(), store: self.dir.clone(), installed });
        }
        // Out of the list by one rename; a removal that is cut short is finished by the next command that installs.
        let stage = self.stage()?;
        let (kernel, grave) = (self.dir.join(name), stage.dir.join(name));
        fs::rename(&kernel, &grave).map_err(io_error("remove", &kernel))?;
        remove_tree(&stage.dir)
    }

    /// Begins a kernel. Two commands that install take turns; what a killed one left is wiped.
    pub(super) fn stage(&self) -> Result<Stage, KernelError> {
        fs::create_dir_all(&self.dir).map_err(io_error("create", &self.dir))?;
        let lock_path = self.dir.join(".lock");
        let lock = File::create(&lock_path).map_err(io_error("open", &lock_path))?;
        let lock = Flock::lock(lock, FlockArg::LockExclusive)
            .map_err(|(_, errno)| io_error("lock", &lock_path)(errno.into()))?;
        let dir = self.dir.join(STAGING);
        remove_tree(&dir)?;
        fs::create_dir(&dir).map_err(io_error("create", &dir))?;
        Ok(Stage { store: self.dir.clone(), dir, _lock: lock })
    }
}

impl Installed {
    /// The greater is taken first.
    fn precedence(&self) -> impl Ord + '_ {
        (self.kind, Natural(&self.version), self.created)
    }

    /// None for a directory that is no kernel: half a deletion, or somebody's own files.
    fn read(dir: &Path) -> Option<Self> {
        let text = fs::read(dir.join(RECORD)).ok()?;
        let record: Record = serde_json::from_slice(&text).ok()?;
        let (vmlinux, modules) = (dir.join(VMLINUX), dir.join(MODULES));
        // The directory's name is what a person sees and types.
        let name = dir.file_name()?.to_str()?.to_owned();
        let Record { kind, version, source, sha256, created, options, .. } = record;
        let modules = modules.is_file().then_some(modules);
        vmlinux.is_file().then_some(Self { name, kind, version, source, sha256, created, options, vmlinux, modules })
    }

    /// Major and minor number of its version, if it begins as those of Linux do.
    pub fn release(&self) -> Option<(u32, u32)> {
        let mut numbers = self.version.split(|c: char| !c.is_ascii_digit()).map(str::parse);
        Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
    }
}

/// A kernel being put together: files are written to the paths given here, then [`Stage::commit`] puts it in place. Dropped
/// before that, nothing stays.
pub(super) struct Stage {
    store: PathBuf,
    dir: PathBuf,
    _lock: Flock<File>,
}

impl Stage {
    pub(super) fn vmlinux(&self) -> PathBuf {
        self.dir.join(VMLINUX)
    }

    pub(super) fn modules(&self) -> PathBuf {
        self.dir.join(MODULES)
    }

    /// A place for what is needed only until the commit.
    pub(super) fn scratch(&self) -> Result<PathBuf, KernelError> {
        let scratch = self.dir.join("scratch");
        fs::create_dir_all(&scratch).map_err(io_error("create", &scratch))?;
        Ok(scratch)
    }

    pub(super) fn commit(
        self,
        kind: Kind,
        version: &str,
        source: &str,
        options: Vec<String>,
    ) -> Result<Installed, KernelError> {
        remove_tree(&self.dir.join("scratch"))?;
        let name = format!("{kind}-{version}");
        let created = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |age| age.as_secs());
        let record = Record {
            name: name.clone(),
            kind,
            version: version.to_owned(),
            source: source.to_owned(),
            sha256: sha256_of(&self.vmlinux())?,
            created,
            options,
        };
        let path = self.dir.join(RECORD);
        let text = serde_json::to_vec_pretty(&record).map_err(|e| io_error("write", &path)(e.into()))?;
        fs::write(&path, text).map_err(io_error("write", &path))?;
        sync_tree(&self.dir)?;
        let target = self.store.join(&name);
        replace(&self.dir, &target)?;
        sync(&self.store)?;
        Installed::read(&target).ok_or(KernelError::NotInstalled {
            name,
            store: self.store.clone(),
            installed: Vec::new(),
        })
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        // After a commit this is the replaced kernel or nothing at all. What cannot be removed now is wiped by the next one.
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// Puts `new` at `target`; what was there ends up at `new`. At no moment is there nothing.
fn replace(new: &Path, target: &Path) -> Result<(), KernelError> {
    let failed = |errno: nix::Error| io_error("replace", target)(errno.into());
    if !target.exists() {
        return fs::rename(new, target).map_err(io_error("place", target));
    }
    renameat2(AT_FDCWD, new, AT_FDCWD, target, RenameFlags::RENAME_EXCHANGE).map_err(failed)
}

fn sync_tree(dir: &Path) -> Result<(), KernelError> {
    for entry in fs::read_dir(dir).map_err(io_error("read", dir))? {
        sync(&entry.map_err(io_error("read", dir))?.path())?;
    }
    sync(dir)
}

fn sync(path: &Path) -> Result<(), KernelError> {
    File::open(path).and_then(|file| file.sync_all()).map_err(io_error("flush", path))
}

pub(super) fn remove_tree(dir: &Path) -> Result<(), KernelError> {
    match fs::remove_dir_all(dir) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(io_error("remove", dir)(e)),
        _ => Ok(()),
    }
}

fn sha256_of(path: &Path) -> Result<String, KernelError> {
    let mut digest = Sha256::new();
    let mut file = File::open(path).map_err(io_error("open", path))?;
    io::copy(&mut file, &mut Hashing(&mut digest)).map_err(io_error("read", path))?;
    Ok(hex(&digest.finalize()))
}

/// Lower-case hexadecimal.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

struct Hashing<'a>(&'a mut Sha256);

impl io::Write for Hashing<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Orders versions as people do: runs of digits by value (6.9 before 6.12), the rest byte by byte.
#[derive(Debug, PartialEq, Eq)]
struct Natural<'a>(&'a str);

impl<'a> Natural<'a> {
    /// The next run of digits or of other bytes, and what follows it.
    fn split(text: &'a str) -> (&'a str, &'a str) {
        let digits = text.starts_with(|c: char| c.is_ascii_digit());
        let end = text.find(|c: char| c.is_ascii_digit() != digits).unwrap_or(text.len());
        text.split_at(end)
    }
}

/// Without parsing, so that no run is too long: of two numbers without leading zeros the longer is the larger.
fn by_value(a: &str, b: &str) -> Ordering {
    let numbers = [a, b].iter().all(|run| run.starts_with(|c: char| c.is_ascii_digit()));
    if !numbers {
        return a.cmp(b);
    }
    let (a, b) = (a.trim_start_matches('0'), b.trim_start_matches('0'));
    a.len().cmp(&b.len()).then_with(|| a.cmp(b))
}

impl Ord for Natural<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        let (mut a, mut b) = (self.0, other.0);
        while !a.is_empty() && !b.is_empty() {
            let ((run_a, rest_a), (run_b, rest_b)) = (Natural::split(a), Natural::split(b));
            let order = by_value(run_a, run_b);
            if order.is_ne() {
                return order;
            }
            (a, b) = (rest_a, rest_b);
        }
        // Equal in meaning; the text decides, so that the order agrees with equality.
        a.len().cmp(&b.len()).then_with(|| self.0.cmp(other.0))
    }
}

impl PartialOrd for Natural<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

#[cfg(test)]
#[path = "store_test.rs"]
mod tests;
