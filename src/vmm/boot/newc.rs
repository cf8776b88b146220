//! The record of a newc cpio archive, which the kernel unpacks as its initramfs.
//!
//! Source: Documentation/driver-api/early-userspace/buffer-format.rst of Linux.

/// What ends an archive: an entry of this name, without data. The kernel rejects an archive that lacks it.
pub const TRAILER: &str = "TRAILER!!!";

/// One entry; owner and group 0, time 0, one link.
#[derive(Clone, Copy, Debug, Default)]
pub struct Entry<'a> {
    /// Unlike those of the other entries, or the kernel takes them for hard links.
    pub inode: u32,
    /// Relative; its directory must have come before.
    pub path: &'a str,
    /// Type and permissions, as in `st_mode`.
    pub mode: u32,
    /// Bytes of data that follow.
    pub size: u32,
    /// Major and minor number of a device node.
    pub device: (u32, u32),
}

impl Entry<'_> {
    /// Header and name, padded to four bytes; the data follows, padded likewise. `None`: the name is longer than newc can say.
    #[must_use]
    pub fn record(&self) -> Option<Vec<u8>> {
        let name_length = u32::try_from(self.path.len()).ok()?.checked_add(1)?;
        let (major, minor) = self.device;
        let mut record = b"070701".to_vec();
        // ino mode uid gid nlink mtime filesize devmajor devminor rdevmajor rdevminor namesize check
        for field in [self.inode, self.mode, 0, 0, 1, 0, self.size, 0, 0, major, minor, name_length, 0] {
            record.extend(format!("{field:08x}").bytes());
        }
        record.extend(self.path.bytes());
        record.push(0);
        record.resize(record.len().next_multiple_of(4), 0);
        Some(record)
    }
}
