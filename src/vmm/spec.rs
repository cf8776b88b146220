//! What a machine is made of: plain data and open descriptors, nothing to look up.

use super::devices::virtio::net::{FrameBackend, NetConfig};
use super::event_loop::{EventLoopError, Registrar};
use crate::verity::HashTree;
use std::fmt;
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
    /// A virtio-net device, if there is to be one.
    pub net: Option<NetworkSpec>,
}

pub struct NetworkSpec {
    pub config: NetConfig,
    /// Makes the other end of the wire, which may watch descriptors through the registrar that it is given.
    pub backend: MakeBackend,
}

/// See [`NetworkSpec::backend`].
pub type MakeBackend = Box<dyn FnOnce(Registrar) -> Result<Box<dyn FrameBackend>, EventLoopError>>;

impl fmt::Debug for NetworkSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NetworkSpec").field("config", &self.config).finish_non_exhaustive()
    }
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
