//! Files and directories of the state: for their owner only, and whole or not there.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use super::StateError;

pub(super) fn failed(action: &'static str, path: &Path) -> impl Fn(io::Error) -> StateError {
    move |source| StateError::Io { action, path: path.to_owned(), source }
}

/// Makes it, and what is missing above it, 0700. What is there stays as it is.
pub(super) fn make_directory(path: &Path) -> Result<(), StateError> {
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(failed("make", path))
}

/// Replaces the file at once, or not at all; 0600, on the disk when this returns. Whoever writes holds the bottle's lock, so a draft of
/// that name is a dead one's.
pub(super) fn write(path: &Path, bytes: &[u8]) -> Result<(), StateError> {
    let draft = PathBuf::from(format!("{}.new", path.display()));
    let write = || {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&draft, path)
    };
    write().map_err(|error| {
        let _ = fs::remove_file(&draft); // it may not be there
        failed("write", path)(error)
    })
}

/// Removes a directory with all that is in it; one that is not there is as good as removed.
pub(super) fn remove_directory(path: &Path) -> Result<(), StateError> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("remove", path)(error)),
        _ => Ok(()),
    }
}
