//! A file that has no name until it is complete, or never gets one. Law: files only.
//!
//! `O_TMPFILE` and linkat(2): such a file vanishes with its last descriptor, SIGKILL and power cuts included. Where the
//! file system has no such files (NFS, some overlays), a named one under a lock does: the next draft sweeps those whose
//! lock nobody holds.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, Flock, FlockArg, RenameFlags, renameat2};
use nix::unistd::linkat;

/// Where the fallback's files lie, unless the directory has a better name for it.
pub(crate) const DRAFTS: &str = ".bottle-vmm-drafts";
/// Another process may put a file of the same name there again and again, but hardly so often.
const ATTEMPTS: usize = 16;

#[derive(Debug)]
pub(crate) struct Draft {
    file: File,
    named: Option<Named>,
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
        let unnamed =
            OpenOptions::new().read(true).write(true).custom_flags(libc::O_TMPFILE).mode(mode).open(directory);
        match unnamed {
            Ok(file) => Ok(Self { file, named: None }),
            Err(error) => match Errno::from_raw(error.raw_os_error().unwrap_or_default()) {
                // "Not here", as file systems and kernels without O_TMPFILE put it (open(2)).
                Errno::EOPNOTSUPP | Errno::EISDIR | Errno::ENOENT | Errno::EINVAL => {
                    Self::named(&directory.join(drafts), mode)
                }
                _ => Err(error),
            },
        }
    }

    pub(crate) fn named(drafts: &Path, mode: u32) -> io::Result<Self> {
        for number in 0..ATTEMPTS {
            make_directory(drafts)?;
            sweep(drafts)?;
            let path = drafts.join(format!("{}-{number}", std::process::id()));
            let file = match OpenOptions::new().read(true).write(true).create_new(true).mode(mode).open(&path) {
                // The latter: whoever ended last took the directory along.
                Err(error) if matches!(error.kind(), io::ErrorKind::AlreadyExists | io::ErrorKind::NotFound) => {
                    continue;
                }
                opened => opened?,
            };
            let lock = Flock::lock(file.try_clone()?, FlockArg::LockExclusive).map_err(|(_, errno)| errno)?;
            // A sweep may have come between making it and locking it.
            if file.metadata()?.nlink() > 0 {
                return Ok(Self { file, named: Some(Named { path, _lock: lock }) });
            }
        }
        Err(io::ErrorKind::AlreadyExists.into())
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
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let beside = path.with_file_name(format!(".{name}.{}", std::process::id()));
        ignore_missing(fs::remove_file(&beside))?;
        self.link(&beside)?;
        fs::rename(&beside, path).inspect_err(|_| {
            let _gone = fs::remove_file(&beside);
        })
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

fn ignore_missing(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Removes the drafts of processes that are no more: their locks went with them.
pub(crate) fn sweep(drafts: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(drafts) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let path = entry?.path();
        let Ok(file) = OpenOptions::new().write(true).open(&path) else { continue };
        if Flock::lock(file, FlockArg::LockExclusiveNonblock).is_ok() {
            ignore_missing(fs::remove_file(&path))?;
        }
    }
    Ok(())
}
