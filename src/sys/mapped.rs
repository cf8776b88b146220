//! A file's bytes, mapped for reading once.
//!
//! Kernels are copied into guest memory from here: the page cache is read where it lies, with user space's own memcpy, instead of
//! being copied by read(2) on its way.
#![expect(unsafe_code, reason = "mapping a file cannot be expressed otherwise")]

use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};
use std::fs::File;
use std::io;
use std::num::NonZeroUsize;
use std::ops::Deref;
use std::ptr::NonNull;

/// Unmapped when dropped. Truncating the file meanwhile ends the process with SIGBUS, which ends the bottle.
#[derive(Debug)]
pub struct Mapped {
    start: NonNull<u8>,
    length: usize,
}

impl Mapped {
    /// # Errors
    /// When the file is empty or cannot be mapped.
    pub fn open(file: &File) -> io::Result<Self> {
        let length = usize::try_from(file.metadata()?.len()).map_err(|_| io::ErrorKind::FileTooLarge)?;
        let nonzero = NonZeroUsize::new(length).ok_or(io::ErrorKind::UnexpectedEof)?;
        let flags = MapFlags::MAP_PRIVATE | MapFlags::MAP_POPULATE;
        // SAFETY: a new mapping at an address of the kernel's choice touches no memory of ours.
        let start = unsafe { mmap(None, nonzero, ProtFlags::PROT_READ, flags, file, 0) }?;
        Ok(Self { start: start.cast(), length })
    }
}

impl Deref for Mapped {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: mapped and readable for as long as `self` lives. Should another process write to the file meanwhile, bytes may
        // change under the slice; its readers copy or parse them and rely on nothing that was read before.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.length) }
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        // SAFETY: the very mapping made by `open`, which nothing borrows any more.
        let unmapped = unsafe { munmap(self.start.cast(), self.length) };
        debug_assert!(unmapped.is_ok());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    #[test]
    fn the_bytes_are_the_files() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"kernel").unwrap();
        assert_eq!(&*Mapped::open(&file).unwrap(), b"kernel");
        assert_eq!(Mapped::open(&tempfile::tempfile().unwrap()).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }
}
