//! Writes newc cpio archives, which the kernel unpacks as its initramfs.
//!
//! Deterministic: owner 0, time 0, numbered inodes. Archives may follow one another: each ends on a 4-byte boundary.

use crate::vmm::boot::newc::{Entry, TRAILER};
use std::io::{self, Write};

const S_IFDIR: u32 = 0o040_000;
const S_IFREG: u32 = 0o100_000;

/// An archive being written to `W`.
#[derive(Debug)]
pub struct Archive<W> {
    out: W,
    inode: u32,
}

impl<W: Write> Archive<W> {
    pub fn new(out: W) -> Self {
        Self { out, inode: 0 }
    }

    /// A directory; its parent must have come before. `path` is relative.
    pub fn directory(&mut self, path: &str, permissions: u32) -> io::Result<()> {
        self.entry(path, S_IFDIR | permissions, &[])
    }

    pub fn file(&mut self, path: &str, permissions: u32, data: &[u8]) -> io::Result<()> {
        self.entry(path, S_IFREG | permissions, data)
    }

    /// Writes the end mark. An archive without it is one that the kernel rejects.
    pub fn finish(mut self) -> io::Result<W> {
        self.entry(TRAILER, 0, &[])?;
        self.out.flush()?;
        Ok(self.out)
    }

    fn entry(&mut self, path: &str, mode: u32, data: &[u8]) -> io::Result<()> {
        let too_long = || io::Error::new(io::ErrorKind::FileTooLarge, format!("{path}: longer than cpio can say"));
        self.inode += 1;
        let size = u32::try_from(data.len()).map_err(|_| too_long())?;
        let entry = Entry { inode: self.inode, path, mode, size, ..Entry::default() };
        self.out.write_all(&entry.record().ok_or_else(too_long)?)?;
        self.out.write_all(data)?;
        self.out.write_all(&[0; 3][..data.len().next_multiple_of(4) - data.len()])
    }
}

#[cfg(test)]
#[path = "cpio_test.rs"]
mod tests;
