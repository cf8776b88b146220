//! A static busybox, of which the default root is made: that of Debian's package busybox-static, installed or else fetched.

use super::{Apt, DebError, DebianError, Suite, deb};
use crate::draft::{Draft, Existing, drafts};
use crate::progress::Progress;
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

const BINARY_MAX: u64 = 16 << 20;

#[derive(Debug, thiserror::Error)]
pub enum BusyboxError {
    #[error("cannot get Debian's package busybox-static")]
    Debian(#[from] DebianError),
    #[error("cannot unpack Debian's package busybox-static")]
    Deb(#[from] DebError),
    #[error("Debian's package busybox-static holds no busybox")]
    NotInPackage,
    #[error("cannot keep busybox at {path}")]
    Keep {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

impl BusyboxError {
    /// The way out.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Keep { .. } => "is there room, and is the directory yours?".to_owned(),
            _ => "install busybox-static, or give an image with `--image`".to_owned(),
        })
    }
}

/// The machine's own, or one kept in `cache` and fetched there if need be.
///
/// # Errors
/// [`BusyboxError`].
pub fn find(cache: &Path, progress: &dyn Progress) -> Result<PathBuf, BusyboxError> {
    if let Some(path) = there(cache) {
        return Ok(path);
    }
    progress.step("fetching busybox-static for the default image");
    let package = Apt::open(&cache.join("apt"))?.download("busybox-static", Suite::Stable)?;
    let found = deb::read_file(&package, |path| path.ends_with("bin/busybox"), BINARY_MAX)?;
    let bytes = found.ok_or(BusyboxError::NotInPackage)?;
    let fetched = fetched(cache);
    keep(&fetched, &bytes).map_err(|source| BusyboxError::Keep { path: fetched.clone(), source })?;
    Ok(fetched)
}

/// One that need not be fetched.
#[must_use]
pub fn there(cache: &Path) -> Option<PathBuf> {
    let places = [fetched(cache), PathBuf::from("/bin/busybox"), PathBuf::from("/usr/bin/busybox")];
    places.into_iter().find(|path| is_static(path).unwrap_or(false))
}

fn fetched(cache: &Path) -> PathBuf {
    cache.join("busybox")
}

/// Whole or not at all: another process may be looking.
fn keep(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut draft = Draft::new(path.parent().unwrap_or(Path::new("/")), &drafts(), 0o755)?;
    draft.file_mut().write_all(bytes)?;
    // Another process may have been first, with the same or with a newer one.
    draft.publish(path, &Existing::Replace).map(drop)
}

/// A dynamic busybox would find no libc in a root that holds nothing else: no PT_INTERP may be among the program headers (elf(5)).
fn is_static(path: &Path) -> io::Result<bool> {
    const PT_INTERP: [u8; 4] = [3, 0, 0, 0];
    let mut head = Vec::new();
    File::open(path)?.take(4096).read_to_end(&mut head)?;
    if !head.starts_with(b"\x7fELF\x02\x01") {
        return Ok(false);
    }
    let number = |at: usize| head.get(at..at + 2).map(|b| usize::from(u16::from_le_bytes([b[0], b[1]])));
    let (Some(start), Some(size), Some(count)) = (number(0x20), number(0x36), number(0x38)) else { return Ok(false) };
    let header = |index: usize| head.get(start + index * size..).and_then(|rest| rest.get(..4));
    Ok((0..count).all(|index| header(index).is_some_and(|kind| kind != PT_INTERP)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_elf_without_an_interpreter_is_static() {
        // This test is itself a static program; a script is no program that could be one.
        assert!(is_static(&std::env::current_exe().unwrap()).unwrap());
        assert!(!is_static(Path::new("/etc/passwd")).unwrap());
        if Path::new("/usr/bin/env").exists() {
            assert!(!is_static(Path::new("/usr/bin/env")).unwrap(), "Debian's env is dynamic");
        }
    }
}
