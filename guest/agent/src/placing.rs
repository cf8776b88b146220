//! Files that the host puts into the guest, for one of the image's users.
//!
//! They are written as they arrive, so a transfer holds one open file and the head of one entry. Where they go is inside the guest
//! whatever the image's links say; its root is its own to damage.

use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _, chown, lchown, symlink};
use std::path::{Path, PathBuf};

use bottle_protocol::{Entry, EntryKind, ExitStatus, Piece, ProcessId, Put, ReceiveWindow, ToHost, TreeDecoder};
use nix::errno::Errno;

use crate::link::{Link, LinkError};
use crate::user::{self, Identity};

/// Why a file is not there.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PlaceError {
    #[error(transparent)]
    User(#[from] user::UserError),
    #[error("too many transfers at once")]
    TooMany,
    #[error("cannot put `{}`", path.display())]
    Place { path: PathBuf, source: io::Error },
}

impl PlaceError {
    fn errno(&self) -> i32 {
        match self {
            Self::User(user::UserError::Read { source, .. }) | Self::Place { source, .. } => {
                source.raw_os_error().unwrap_or(0)
            }
            Self::User(_) => Errno::ENOENT as i32,
            Self::TooMany => Errno::EAGAIN as i32,
        }
    }

    pub(crate) fn answer(&self, process: ProcessId) -> ToHost {
        ToHost::PutFailed { process, errno: self.errno(), detail: self.to_string() }
    }
}

/// A tree of files that is arriving.
pub(crate) struct Transfer {
    id: ProcessId,
    owner: Identity,
    decoder: TreeDecoder,
    window: ReceiveWindow,
    current: Current,
}

/// What contents go to.
enum Current {
    Nothing,
    File(File, PathBuf),
    /// A link's target, which is short.
    Link(PathBuf, Vec<u8>),
}

impl Transfer {
    pub(crate) fn new(put: &Put) -> Result<Self, PlaceError> {
        let owner = user::look_up(put.user.to_bytes())?;
        let (decoder, window) = (TreeDecoder::default(), ReceiveWindow::new());
        Ok(Self { id: put.process, owner, decoder, window, current: Current::Nothing })
    }

    pub(crate) fn id(&self) -> ProcessId {
        self.id
    }

    /// Writes what has arrived, and gives credit for it. `false`: it has failed, which has been said.
    pub(crate) fn receive(&mut self, bytes: &[u8], link: &mut Link) -> Result<bool, LinkError> {
        self.window.receive(bytes.len())?;
        let mut rest = bytes;
        while let Some(piece) = self.decoder.next(&mut rest)? {
            if let Err(error) = self.place(piece) {
                link.send(&error.answer(self.id))?;
                return Ok(false);
            }
        }
        if let Some(bytes) = self.window.dispose(bytes.len())? {
            link.send(&ToHost::Credit { process: self.id, bytes })?;
        }
        Ok(true)
    }

    /// All has arrived.
    pub(crate) fn finish(&self, link: &mut Link) -> Result<(), LinkError> {
        self.decoder.finish()?;
        link.send(&ToHost::Exited { process: self.id, status: ExitStatus::Code(0) })
    }

    fn place(&mut self, piece: Piece<'_>) -> Result<(), PlaceError> {
        match piece {
            Piece::Entry(entry) => self.begin(&entry)?,
            Piece::Contents(bytes) => match &mut self.current {
                Current::File(file, path) => file.write_all(bytes).map_err(failed(path))?,
                Current::Link(_, target) => target.extend_from_slice(bytes),
                Current::Nothing => {}
            },
        }
        if self.decoder.is_complete()
            && let Current::Link(path, target) = std::mem::replace(&mut self.current, Current::Nothing)
        {
            self.link(&path, &target).map_err(failed(&path))?;
        }
        Ok(())
    }

    fn begin(&mut self, entry: &Entry) -> Result<(), PlaceError> {
        let path = PathBuf::from(OsStr::from_bytes(&entry.path));
        self.current = Current::Nothing;
        match entry.kind {
            EntryKind::Nothing => remove(&path).map_err(failed(&path)),
            EntryKind::Directory => self.directory(&path, entry.mode).map_err(failed(&path)),
            EntryKind::File => {
                let file = self.file(&path, entry.mode).map_err(failed(&path))?;
                self.current = Current::File(file, path);
                Ok(())
            }
            EntryKind::Link => {
                self.current = Current::Link(path, Vec::new());
                Ok(())
            }
        }
    }

    /// One that is there keeps its owner and mode: it is the image's.
    fn directory(&self, path: &Path, mode: u16) -> io::Result<()> {
        if path.is_dir() {
            return Ok(());
        }
        DirBuilder::new().mode(mode.into()).create(path)?;
        fs::set_permissions(path, fs::Permissions::from_mode(mode.into()))?;
        self.give(path)
    }

    fn file(&self, path: &Path, mode: u16) -> io::Result<File> {
        remove(path)?;
        let file = OpenOptions::new().write(true).create_new(true).mode(mode.into()).open(path)?;
        file.set_permissions(fs::Permissions::from_mode(mode.into()))?;
        chown(path, Some(self.owner.uid.as_raw()), Some(self.owner.gid.as_raw()))?;
        Ok(file)
    }

    fn link(&self, path: &Path, target: &[u8]) -> io::Result<()> {
        remove(path)?;
        symlink(OsStr::from_bytes(target), path)?;
        self.give(path)
    }

    fn give(&self, path: &Path) -> io::Result<()> {
        lchown(path, Some(self.owner.uid.as_raw()), Some(self.owner.gid.as_raw()))
    }
}

fn failed(path: &Path) -> impl Fn(io::Error) -> PlaceError {
    move |source| PlaceError::Place { path: path.to_owned(), source }
}

/// What is there, if anything; of a link, the link.
fn remove(path: &Path) -> io::Result<()> {
    let removed = match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
