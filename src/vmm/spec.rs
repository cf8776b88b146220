//! What a machine is made of: plain data and open descriptors, nothing to look up.

use crate::verity::HashTree;
use std::fs::File;
use std::os::unix::net::UnixStream;

/// Everything [`super::Machine::build`] needs. Descriptors are taken over.
#[derive(Debug)]
pub struct MachineSpec {
    /// `/dev/kvm`.
    pub kvm: File,
    pub vcpus: u8,
    pub memory_mib: u64,
    /// See [`super::memory::map`].
    pub advise_huge_pages: bool,
    /// An ELF `vmlinux` for x86-64.
    pub kernel: File,
    /// `/dev/urandom`, or another source of entropy for the guest.
    pub entropy: File,
    /// A newc archive with kernel modules, appended to the initramfs.
    pub modules: Option<File>,
    /// PID 1: a static ELF executable, put into the initramfs as `/init`.
    pub agent: &'static [u8],
    /// Words appended to the kernel command line.
    pub cmdline: String,
    /// Whether the kernel's log goes to the serial port from the start; otherwise only a crash is printed there.
    pub verbose_console: bool,
    /// virtio-blk devices in the order of their names in the guest: vda, vdb, …
    pub disks: Vec<DiskSpec>,
    /// Host ends of the vsock ports that the guest may connect to, each once.
    pub vsock_ports: Vec<(u32, UnixStream)>,
}

#[derive(Debug)]
pub struct DiskSpec {
    pub file: File,
    pub access: DiskAccess,
}

/// What a guest may do with a disk, and what it is to believe of it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DiskAccess {
    ReadOnly,
    Writable,
    /// Read-only; the disk is the part of the file that the tree is over, and each block is checked before the guest has it. One that
    /// does not pass ends the machine.
    Verified(HashTree),
}
