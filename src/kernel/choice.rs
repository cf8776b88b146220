//! Which kernel a bottle takes: one of the store, by its name, or any file, by its path.

use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use super::{Installed, KernelError, KernelFile, Store, image};

/// A kernel that was found.
#[derive(Debug)]
pub enum Chosen {
    Installed(Installed),
    File(KernelFile),
}

/// Writes nothing, and so can be asked for a bottle that may never be. A name of the store, or anything with a slash in it as a path. A store that is empty is the first thing a new user meets: the
/// error says how to fill it.
///
/// # Errors
/// There is none of that name, or the file is none.
pub fn choose(wanted: Option<&Path>) -> Result<Chosen, KernelError> {
    match wanted.filter(|path| is_path(path)) {
        Some(path) => Ok(Chosen::File(image::recognise(path)?)),
        None => Ok(Chosen::Installed(Store::open_default()?.select(wanted.and_then(Path::to_str))?)),
    }
}

/// Is it a file that is meant, and not a name of the store?
#[must_use]
pub fn is_path(wanted: &Path) -> bool {
    wanted.as_os_str().as_bytes().contains(&b'/')
}
