//! A file that has no name until it is complete. Law: files only.
//!
//! `O_TMPFILE` and linkat(2): such a file vanishes with its last descriptor, SIGKILL and power cuts included. Where the
//! file system has no such files (NFS, some overlays), a named one under a lock does: the next draft sweeps those whose
//! lock nobody holds.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, Flock, FlockArg};
use nix::unistd::linkat;

/// Another process may put a file of the same name there again and again, but hardly so often.
const ATTEMPTS: usize = 16;

#[derive(Debug)]
pub(crate) struct Draft {
    file: File,
    named: Option<Named>,
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
    }
}

impl Draft {
    /// On the file system of `directory`; the fallback's files lie in `drafts` inside it.
    pub(crate) fn new(directory: &Path, drafts: &str) -> io::Result<Self> {
        let unnamed =
            OpenOptions::new().read(true).write(true).custom_flags(libc::O_TMPFILE).mode(0o600).open(directory);
        match unnamed {
            Ok(file) => Ok(Self { file, named: None }),
            Err(error) => match Errno::from_raw(error.raw_os_error().unwrap_or_default()) {
                // "Not here", as file systems and kernels without O_TMPFILE put it (open(2)).
                Errno::EOPNOTSUPP | Errno::EISDIR | Errno::ENOENT | Errno::EINVAL => {
                    Self::named(&directory.join(drafts))
                }
                _ => Err(error),
            },
        }
    }

    pub(super) fn named(drafts: &Path) -> io::Result<Self> {
        fs::create_dir_all(drafts)?;
        sweep(drafts)?;
        for number in 0..ATTEMPTS {
            let path = drafts.join(format!("{}-{number}", std::process::id()));
            let file = match OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
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

    /// Gives it its name. What has that name already is kept if it is the `same`, and replaced otherwise.
    pub(crate) fn publish(self, path: &Path, same: impl Fn(&Metadata) -> bool) -> io::Result<()> {
        let own_name = format!("/proc/self/fd/{}", self.file.as_raw_fd());
        for _ in 0..ATTEMPTS {
            let linked = match &self.named {
                None => linkat(AT_FDCWD, own_name.as_str(), AT_FDCWD, path, AtFlags::AT_SYMLINK_FOLLOW),
                Some(named) => linkat(AT_FDCWD, &named.path, AT_FDCWD, path, AtFlags::empty()),
            };
            match linked {
                Ok(()) => return Ok(()),
                Err(Errno::EEXIST) => {}
                Err(errno) => return Err(errno.into()),
            }
            match fs::symlink_metadata(path) {
                Ok(there) if same(&there) => return Ok(()),
                Ok(_) => ignore_missing(fs::remove_file(path))?,
                Err(error) => ignore_missing(Err(error))?,
            }
        }
        Err(io::ErrorKind::AlreadyExists.into())
    }
}

fn ignore_missing(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Removes the drafts of processes that are no more: their locks went with them.
fn sweep(drafts: &Path) -> io::Result<()> {
    for entry in fs::read_dir(drafts)? {
        let path = entry?.path();
        let Ok(file) = OpenOptions::new().write(true).open(&path) else { continue };
        if Flock::lock(file, FlockArg::LockExclusiveNonblock).is_ok() {
            ignore_missing(fs::remove_file(&path))?;
        }
    }
    Ok(())
}
