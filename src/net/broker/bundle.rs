//! The directory where a bundle's gateways listen: `PORT.sock` for each.

use nix::fcntl::{OFlag, open};
use nix::sys::stat::{Mode, fstat};
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};

#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    #[error("cannot open the bundle's directory {}", path.display())]
    Open {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("the bundle's directory {} belongs to user {owner}", path.display())]
    Owner { path: PathBuf, owner: u32 },
    #[error("the bundle's directory {} is open to others (mode {mode:o})", path.display())]
    Shared { path: PathBuf, mode: u32 },
}

impl BundleError {
    /// The way out.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            // Not a chmod of what others may need as it is.
            Self::Shared { .. } => Some("make a directory of its own: `mkdir -m 700 DIR`".to_owned()),
            Self::Owner { .. } => {
                Some("use a directory of your own: who can write to it can pose as a gateway".to_owned())
            }
            Self::Open { .. } => Some(
                "give a directory of your own, mode 700, that is no symbolic link; the bundle listens in it on PORT.sock".to_owned(),
            ),
        }
    }
}

/// An open directory that only its owner, who is us, can enter.
#[derive(Debug)]
pub struct BundleDirectory {
    directory: OwnedFd,
}

impl BundleDirectory {
    /// # Errors
    /// [`BundleError`].
    pub fn open(path: &Path) -> Result<Self, BundleError> {
        let failed = |errno: nix::Error| BundleError::Open { path: path.to_owned(), source: errno.into() };
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let directory = open(path, flags, Mode::empty()).map_err(failed)?;
        let status = fstat(&directory).map_err(failed)?;
        let mode = status.st_mode & 0o7777;
        if status.st_uid != nix::unistd::geteuid().as_raw() {
            return Err(BundleError::Owner { path: path.to_owned(), owner: status.st_uid });
        }
        if mode & 0o077 != 0 {
            return Err(BundleError::Shared { path: path.to_owned(), mode });
        }
        Ok(Self { directory })
    }

    /// Through the open directory: it is the one that was looked at, and its path may be longer than a socket's address.
    pub(super) fn socket(&self, port: u16) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}/{port}.sock", self.directory.as_raw_fd()))
    }
}
