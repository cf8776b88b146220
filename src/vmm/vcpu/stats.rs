//! How often the guest left guest mode, as KVM itself counts it (Documentation/virt/kvm/api.rst, KVM_GET_STATS_FD).
//!
//! Exits, unlike seconds, can be compared between machines: each costs about a microsecond on metal and a hundred times that
//! in an emulated host, but there are as many of them.
#![expect(unsafe_code, reason = "KVM_GET_STATS_FD is an ioctl that kvm-ioctls does not have")]

use kvm_ioctls::VcpuFd;
use std::fs::File;
use std::os::fd::{AsRawFd as _, FromRawFd as _};
use std::os::unix::fs::FileExt as _;

/// `_IO(KVMIO, 0xce)`.
const KVM_GET_STATS_FD: libc::c_ulong = 0xaece;
/// The header: six words (struct kvm_stats_header).
const HEADER: usize = 24;
/// A descriptor without its name (struct kvm_stats_desc).
const DESCRIPTOR: usize = 16;
const DESCRIPTORS_MAX: u32 = 1024;
const NAME_MAX: u32 = 256;

/// The counter of one vCPU. Readable while the vCPU runs.
#[derive(Debug)]
pub struct ExitCounter {
    statistics: File,
    /// Where the number stands in the file.
    offset: u64,
}

impl ExitCounter {
    /// `None` if the host's KVM is older than the interface (Linux 5.14) or does not count exits.
    #[must_use]
    pub fn open(vcpu: &VcpuFd) -> Option<Self> {
        // SAFETY: the ioctl takes no argument and returns a new descriptor or -1.
        let descriptor = unsafe { libc::ioctl(vcpu.as_raw_fd(), KVM_GET_STATS_FD, 0) };
        if descriptor < 0 {
            return None;
        }
        // SAFETY: the descriptor is new and ours.
        let statistics = unsafe { File::from_raw_fd(descriptor) };
        let offset = find(&statistics, b"exits")?;
        Some(Self { statistics, offset })
    }

    #[must_use]
    pub fn read(&self) -> Option<u64> {
        let mut bytes = [0; 8];
        self.statistics.read_exact_at(&mut bytes, self.offset).ok()?;
        Some(u64::from_le_bytes(bytes))
    }
}

/// Looks a statistic up by name.
fn find(file: &File, wanted: &[u8]) -> Option<u64> {
    let mut header = [0; HEADER];
    file.read_exact_at(&mut header, 0).ok()?;
    let word = |index: usize| Some(u32::from_le_bytes(header.get(index * 4..index * 4 + 4)?.try_into().ok()?));
    let (name_size, count, descriptors, data) = (word(1)?, word(2)?, word(4)?, word(5)?);
    if name_size > NAME_MAX || count > DESCRIPTORS_MAX {
        return None;
    }
    let size = DESCRIPTOR + usize::try_from(name_size).ok()?;
    let mut table = vec![0; size * usize::try_from(count).ok()?];
    file.read_exact_at(&mut table, descriptors.into()).ok()?;
    let found = table.chunks_exact(size).find(|entry| {
        let name = entry.get(DESCRIPTOR..).unwrap_or_default();
        name.split(|byte| *byte == 0).next() == Some(wanted)
    })?;
    let offset = u32::from_le_bytes(found.get(8..12)?.try_into().ok()?);
    Some(u64::from(data) + u64::from(offset))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    /// A file as KVM lays it out: header, descriptors, data.
    fn statistics(names: &[&str]) -> File {
        let mut bytes = Vec::new();
        let (name_size, descriptors) = (48u32, 64u32);
        let count = u32::try_from(names.len()).unwrap();
        let data = descriptors + count * (16 + name_size);
        for word in [0, name_size, count, 24, descriptors, data] {
            bytes.extend(word.to_le_bytes());
        }
        bytes.resize(64, 0);
        for (index, name) in (0u32..).zip(names) {
            bytes.extend([0; 8]);
            bytes.extend((index * 8).to_le_bytes());
            bytes.extend([0; 4]);
            bytes.extend(name.bytes());
            bytes.resize(bytes.len() + 48 - name.len(), 0);
        }
        for index in 0..u64::from(count) {
            bytes.extend((1000 + index).to_le_bytes());
        }
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&bytes).unwrap();
        file
    }

    #[test]
    fn the_number_behind_the_name_is_read() {
        let file = statistics(&["io_exits", "exits", "exits_more"]);
        let offset = find(&file, b"exits").unwrap();
        assert_eq!(ExitCounter { statistics: file, offset }.read(), Some(1001));
    }

    #[test]
    fn a_kvm_without_it_is_no_error() {
        assert_eq!(find(&statistics(&["halt_exits"]), b"exits"), None);
        assert_eq!(find(&tempfile::tempfile().unwrap(), b"exits"), None);
    }
}
