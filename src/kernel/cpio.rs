//! Writes newc cpio archives, which the kernel unpacks as its initramfs.
//!
//! Deterministic: owner 0, time 0, numbered inodes. Archives may follow one another: each ends on a 4-byte boundary.
//!
//! Source: Documentation/driver-api/early-userspace/buffer-format.rst of Linux.

use std::io::{self, Write};

const MAGIC: &str = "070701";
const TRAILER: &str = "TRAILER!!!";
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
        let data_len = u32::try_from(data.len()).map_err(|_| too_long())?;
        let name_len = u32::try_from(path.len()).ok().and_then(|len| len.checked_add(1)).ok_or_else(too_long)?;
        self.inode += 1;
        let links = 1;
        // ino mode uid gid nlink mtime filesize devmajor devminor rdevmajor rdevminor namesize check
        let fields = [self.inode, mode, 0, 0, links, 0, data_len, 0, 0, 0, 0, name_len, 0];
        let mut header = String::with_capacity(MAGIC.len() + fields.len() * 8);
        header.push_str(MAGIC);
        for field in fields {
            header.push_str(&format!("{field:08x}"));
        }
        self.out.write_all(header.as_bytes())?;
        self.out.write_all(path.as_bytes())?;
        self.out.write_all(b"\0")?;
        self.pad(header.len() + path.len() + 1)?;
        self.out.write_all(data)?;
        self.pad(data.len())
    }

    fn pad(&mut self, written: usize) -> io::Result<()> {
        self.out.write_all(&[0; 3][..written.next_multiple_of(4) - written])
    }
}

#[cfg(test)]
#[path = "cpio_test.rs"]
mod tests;
