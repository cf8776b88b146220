//! Manifest files in a directory that is held open.
//!
//! Law: a name is opened beneath the directory or not at all (`RESOLVE_BENEATH`, openat2(2)), whatever happens to the path in the
//! meantime; nothing but a regular file of a bounded size is read.

use std::fs::File;
use std::io::Read as _;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, OpenHow, ResolveFlag, openat2};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat};

use super::fault::Fault;
use super::limits::{FILE_MAX, MAX_FILES};

/// A directory, and the path it was found at.
pub struct Directory {
    descriptor: OwnedFd,
    pub path: PathBuf,
}

const FLAGS: OFlag = OFlag::O_RDONLY.union(OFlag::O_CLOEXEC).union(OFlag::O_NOCTTY).union(OFlag::O_NONBLOCK);

impl Directory {
    /// A directory of the user's own, through links if there are any; None if it is not there.
    ///
    /// # Errors
    /// It is no directory, or may not be read.
    pub fn own(path: &Path) -> Result<Option<Self>, Errno> {
        let how = OpenHow::new().flags(FLAGS | OFlag::O_DIRECTORY);
        found(openat2(AT_FDCWD, path, how), path)
    }

    /// A directory beneath this one, reached through no link.
    ///
    /// # Errors
    /// ELOOP if a link is on the way; else as [`Self::own`].
    pub fn beneath(&self, path: &Path) -> Result<Option<Self>, Errno> {
        let resolve = ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS;
        let how = OpenHow::new().flags(FLAGS | OFlag::O_DIRECTORY).resolve(resolve);
        found(openat2(&self.descriptor, path, how), &self.path.join(path))
    }

    /// Names of what is in it, at most [`MAX_FILES`], and whether there is more.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn names(&self) -> Result<(Vec<String>, bool), Errno> {
        let mut dir = Dir::openat(&self.descriptor, ".", OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty())?;
        let mut names = vec![];
        for entry in dir.iter() {
            let name = entry?.file_name().to_string_lossy().into_owned();
            if name.starts_with('.') {
                continue;
            }
            if names.len() == MAX_FILES {
                return Ok((names, true));
            }
            names.push(name);
        }
        names.sort();
        Ok((names, false))
    }

    /// The bytes of a file.
    ///
    /// # Errors
    /// It is no file, too long, a link that leads out, or cannot be read.
    pub fn read(&self, name: &str) -> Result<Vec<u8>, Fault> {
        let resolve = ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_MAGICLINKS;
        let opened = openat2(&self.descriptor, name, OpenHow::new().flags(FLAGS).resolve(resolve));
        let descriptor = opened.map_err(|errno| match errno {
            Errno::EXDEV | Errno::ELOOP => Fault::LeadsOut,
            Errno::ENXIO => Fault::NotAFile, // a socket
            other => Fault::Unreadable(other),
        })?;
        let stat = fstat(descriptor.as_fd()).map_err(Fault::Unreadable)?;
        if kind(&stat) != SFlag::S_IFREG {
            return Err(Fault::NotAFile);
        }
        let size = u64::try_from(stat.st_size).unwrap_or(u64::MAX);
        if size > FILE_MAX {
            return Err(Fault::TooLarge { size });
        }
        let mut bytes = vec![];
        let read = File::from(descriptor).take(FILE_MAX + 1).read_to_end(&mut bytes);
        read.map_err(|error| Fault::Unreadable(Errno::from_raw(error.raw_os_error().unwrap_or_default())))?;
        // It may have grown since.
        if bytes.len() as u64 > FILE_MAX { Err(Fault::TooLarge { size: bytes.len() as u64 }) } else { Ok(bytes) }
    }

    /// Whether both are the same directory, by whatever paths.
    #[must_use]
    pub fn is(&self, other: &Self) -> bool {
        let identity = |directory: &Self| fstat(&directory.descriptor).map(|stat| (stat.st_dev, stat.st_ino)).ok();
        identity(self).is_some_and(|this| identity(other) == Some(this))
    }
}

fn kind(stat: &FileStat) -> SFlag {
    SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT
}

fn found(opened: Result<OwnedFd, Errno>, path: &Path) -> Result<Option<Directory>, Errno> {
    match opened {
        Ok(descriptor) => Ok(Some(Directory { descriptor, path: path.to_owned() })),
        Err(Errno::ENOENT) => Ok(None),
        Err(errno) => Err(errno),
    }
}

#[cfg(test)]
#[path = "directory_test.rs"]
mod tests;
