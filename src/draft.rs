//! A file that has no name until it is complete, or never gets one. Law: files only.
//!
//! `O_TMPFILE` and linkat(2): such a file vanishes with its last descriptor, SIGKILL and power cuts included. Where the
//! file system has no such files (NFS, some overlays), a named one under a lock does, and for the moment before it takes another
//! file's place every draft has a name under a lock: the next draft sweeps those whose lock nobody holds.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use nix::NixPath;
use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, Flock, FlockArg, OFlag, RenameFlags, openat, renameat2};
use nix::sys::stat::{Mode, fstat};
use nix::unistd::{UnlinkatFlags, geteuid, linkat, unlinkat};

/// Another process may put a file of the same name there again and again, but hardly so often.
const ATTEMPTS: usize = 16;

/// Tells the drafts of one process apart.
static NUMBER: AtomicU32 = AtomicU32::new(0);

/// Where the fallback's files lie, unless the directory has a better name for it. A directory for all has one of these for each user.
pub(crate) fn drafts() -> String {
    format!(".bottle-vmm-drafts-{}", geteuid())
}

/// No room, by whatever rule: the disk's, the quota's, the process's own.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge)
}

#[derive(Debug)]
pub(crate) struct Draft {
    file: File,
    named: Option<Named>,
    /// Where names under a lock are.
    drafts: PathBuf,
}

/// What becomes of a file that has the name already.
pub(crate) enum Existing<'a> {
    /// It stays if it is the same, and is replaced otherwise.
    KeepIf(&'a dyn Fn(&Path) -> bool),
    Replace,
    Refuse,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Published {
    /// The draft has the name now.
    Draft,
    /// What was there is the same.
    Kept,
}

/// The fallback's name and lock.
#[derive(Debug)]
struct Named {
    path: PathBuf,
    _lock: Flock<File>,
}

impl Named {
    /// A new file in `drafts`, which `create` makes, locked as soon as it can be.
    fn created(drafts: &Path, create: impl Fn(&Path) -> io::Result<File>) -> io::Result<(File, Self)> {
        Self::name(drafts, |path| {
            let file = create(&path)?;
            let lock = file.try_clone().and_then(shared).inspect_err(|_| drop(fs::remove_file(&path)))?;
            // A sweep may have come between making it and locking it.
            Ok(if path.exists() { Some((file, Self { path, _lock: lock })) } else { None })
        })
    }

    /// A name in `drafts` for `file`, which `link` gives it. It is locked before: should a sweep take the only name of a file without one,
    /// it could never get another.
    fn linked(drafts: &Path, file: File, link: impl Fn(&Path) -> io::Result<()>) -> io::Result<Self> {
        let lock = shared(file)?;
        let path = Self::name(drafts, |path| link(&path).map(|()| Some(path)))?;
        Ok(Self { path, _lock: lock })
    }

    /// Tries names in `drafts` until one is taken by `take`.
    fn name<T>(drafts: &Path, take: impl Fn(PathBuf) -> io::Result<Option<T>>) -> io::Result<T> {
        let attempt = || {
            make_directory(drafts)?;
            if !is_ours(drafts)? {
                // In /tmp, say: whoever has it could put another file under the name.
                return Err(io::Error::new(
                    io::ErrorKind::PermissionDenied,
                    format!("`{}` is another's", drafts.display()),
                ));
            }
            sweep(drafts)?;
            take(drafts.join(format!("{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed))))
        };
        for _ in 0..ATTEMPTS {
            match attempt() {
                Ok(Some(taken)) => return Ok(taken),
                Ok(None) => {}
                // At any point: whoever ended last took the directory along.
                Err(error) if matches!(error.kind(), io::ErrorKind::AlreadyExists | io::ErrorKind::NotFound) => {}
                Err(error) => return Err(error),
            }
        }
        Err(io::ErrorKind::AlreadyExists.into())
    }
}

/// A lock that keeps the sweep away, which wants the file for itself; who finds the file under its last name may share it already.
fn shared(file: File) -> io::Result<Flock<File>> {
    Flock::lock(file, FlockArg::LockShared).map_err(|(_, errno)| errno.into())
}

impl Drop for Named {
    fn drop(&mut self) {
        // After publishing there is nothing under this name any more.
        let _gone = fs::remove_file(&self.path);
        // Another draft in it keeps the directory.
        let _kept = self.path.parent().map(fs::remove_dir);
    }
}

impl Draft {
    /// On the file system of `directory`; the fallback's files lie in `drafts` inside it. What `mode` allows, the umask may still forbid.
    pub(crate) fn new(directory: &Path, drafts: &str, mode: u32) -> io::Result<Self> {
        let drafts = directory.join(drafts);
        // What the dead left there may be as large as an image.
        if matches!(sweep(&drafts), Ok(1..)) {
            // Another draft in it keeps the directory.
            let _kept = fs::remove_dir(&drafts);
        }
        let unnamed =
            OpenOptions::new().read(true).write(true).custom_flags(libc::O_TMPFILE).mode(mode).open(directory);
        match unnamed {
            Ok(file) => Ok(Self { file, named: None, drafts }),
            Err(error) => match Errno::from_raw(error.raw_os_error().unwrap_or_default()) {
                // "Not here", as file systems and kernels without O_TMPFILE put it (open(2)).
                Errno::EOPNOTSUPP | Errno::EISDIR | Errno::ENOENT | Errno::EINVAL => Self::named(&drafts, mode),
                _ => Err(error),
            },
        }
    }

    pub(crate) fn named(drafts: &Path, mode: u32) -> io::Result<Self> {
        let create = |path: &Path| OpenOptions::new().read(true).write(true).create_new(true).mode(mode).open(path);
        let (file, named) = Named::created(drafts, create)?;
        Ok(Self { file, named: Some(named), drafts: drafts.to_owned() })
    }

    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    pub(crate) fn file_mut(&mut self) -> &mut File {
        &mut self.file
    }

    /// A second handle, for whoever fills it.
    pub(crate) fn writer(&self) -> io::Result<File> {
        self.file.try_clone()
    }

    /// The file as one that was never meant to get a name.
    pub(crate) fn into_file(self) -> File {
        self.file
    }

    /// Another descriptor of it, which can only read.
    pub(crate) fn reader(&self) -> io::Result<File> {
        File::open(self.own_name())
    }

    /// Under which this process can open it.
    pub(crate) fn own_name(&self) -> PathBuf {
        format!("/proc/self/fd/{}", self.file.as_raw_fd()).into()
    }

    /// Gives it its name, at once or not at all.
    pub(crate) fn publish(self, path: &Path, existing: &Existing<'_>) -> io::Result<Published> {
        for _ in 0..ATTEMPTS {
            match self.link(path) {
                Ok(()) => return Ok(Published::Draft),
                Err(Errno::EEXIST) => {}
                // No file has two names there, as on FAT.
                Err(Errno::EPERM | Errno::EOPNOTSUPP | Errno::EMLINK) if self.named.is_some() => {
                    return self.rename(path, existing);
                }
                Err(errno) => return Err(errno.into()),
            }
            match existing {
                Existing::Refuse => return Err(io::ErrorKind::AlreadyExists.into()),
                Existing::KeepIf(same) if same(path) => return Ok(Published::Kept),
                Existing::KeepIf(_) | Existing::Replace => match self.replace(path) {
                    Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                    replaced => return replaced.map(|()| Published::Draft),
                },
            }
        }
        Err(io::ErrorKind::AlreadyExists.into())
    }

    fn link(&self, path: &Path) -> nix::Result<()> {
        match &self.named {
            None => linkat(AT_FDCWD, self.own_name().as_path(), AT_FDCWD, path, AtFlags::AT_SYMLINK_FOLLOW),
            Some(named) => linkat(AT_FDCWD, &named.path, AT_FDCWD, path, AtFlags::empty()),
        }
    }

    /// There is one file of that name at any moment: the old one, then this one.
    fn replace(&self, path: &Path) -> io::Result<()> {
        let named = Named::linked(&self.drafts, self.file.try_clone()?, |name| Ok(self.link(name)?))?;
        fs::rename(&named.path, path)
    }

    /// For where a file has one name only.
    pub(crate) fn rename(&self, path: &Path, existing: &Existing<'_>) -> io::Result<Published> {
        let Some(named) = &self.named else { return Err(io::ErrorKind::Unsupported.into()) };
        match existing {
            Existing::Refuse => {
                renameat2(AT_FDCWD, &named.path, AT_FDCWD, path, RenameFlags::RENAME_NOREPLACE)?;
            }
            Existing::KeepIf(same) if same(path) => return Ok(Published::Kept),
            Existing::KeepIf(_) | Existing::Replace => fs::rename(&named.path, path)?,
        }
        Ok(Published::Draft)
    }
}

/// For its owner only, with the directories above it.
pub(crate) fn make_directory(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// A directory that nobody else can have made.
fn is_ours(directory: &Path) -> io::Result<bool> {
    let metadata = fs::symlink_metadata(directory)?;
    Ok(metadata.is_dir() && metadata.uid() == geteuid().as_raw())
}

/// Removes the drafts of processes that are no more, whose locks went with them; tells how many. A directory of somebody else, or a
/// link to one, is left alone: it stands where others may put things, too.
pub(crate) fn sweep(drafts: &Path) -> io::Result<usize> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let mut directory = match Dir::open(drafts, flags, Mode::empty()) {
        Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP | Errno::EACCES) => return Ok(0),
        opened => opened?,
    };
    if fstat(&directory)?.st_uid != geteuid().as_raw() {
        return Ok(0);
    }
    let names: Vec<_> = directory.iter().flatten().map(|entry| entry.file_name().to_owned()).collect();
    let mut removed = 0;
    for name in names {
        // Held until it is gone: who made the file this moment waits for the lock, and then finds the file gone.
        let Ok(Some(_lock)) = abandoned(&directory, name.as_c_str(), OFlag::O_NOFOLLOW) else { continue };
        match unlinkat(&directory, name.as_c_str(), UnlinkatFlags::NoRemoveDir) {
            Ok(()) => removed += 1,
            // A directory on a file system that can only be read is locked as easily.
            Err(Errno::ENOENT | Errno::EISDIR | Errno::EINVAL) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(removed)
}

/// The lock of a file that nobody else has one of; `None` if somebody has, or may have for all that can be told. The file is `path`, seen
/// from `directory`.
pub(crate) fn abandoned<P: ?Sized + NixPath>(
    directory: impl AsFd,
    path: &P,
    flags: OFlag,
) -> nix::Result<Option<Flock<File>>> {
    let directory = directory.as_fd();
    let open = |access| openat(directory, path, access | flags | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC, Mode::empty());
    // NFS locks only what is open for writing (flock(2), "NFS details").
    let file = match open(OFlag::O_RDWR) {
        Err(Errno::EACCES | Errno::EPERM | Errno::EROFS | Errno::ETXTBSY) => open(OFlag::O_RDONLY)?,
        opened => opened?,
    };
    Ok(Flock::lock(File::from(file), FlockArg::LockExclusiveNonblock).ok())
}

#[cfg(test)]
#[path = "draft_test.rs"]
mod tests;
