//! The initramfs, built in guest memory: the agent as `/init`, and the kernel modules that a stock kernel needs.
//!
//! Format: newc cpio (kernel: Documentation/driver-api/early-userspace/buffer-format.rst). Archives follow one another; the kernel
//! unpacks them all. Uncompressed: decompressing costs the guest more than copying costs us.

use super::super::memory::GuestRam;
use super::super::x86_64::layout;
use super::newc::{Entry, TRAILER};
use crate::sys::mapped::Mapped;
use std::fs::File;
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryError, GuestMemoryRegion};

#[derive(Debug, thiserror::Error)]
pub enum InitramfsError {
    #[error("guest memory of {memory_mib} MiB is too small for the kernel and its initramfs of {initramfs_kib} KiB")]
    NoRoom { memory_mib: u64, initramfs_kib: u64 },
    #[error("cannot read the kernel modules")]
    Modules(#[source] std::io::Error),
    #[error("cannot write the initramfs to guest memory")]
    Write(#[from] GuestMemoryError),
}

const PAGE: u64 = 4096;
const DIRECTORY: u32 = 0o040_755;
const EXECUTABLE: u32 = 0o100_755;
const CHARACTER_DEVICE: u32 = 0o020_600;
/// `/dev/console`, which the kernel opens for PID 1 before anything could make it.
const CONSOLE: (u32, u32) = (5, 1);

/// Writes it to the top of low memory, above `kernel_end`; returns where and how long.
///
/// # Errors
/// When there is no room or the modules cannot be read.
pub(super) fn write(
    ram: &GuestRam,
    kernel_end: u64,
    agent: &[u8],
    modules: Option<&File>,
) -> Result<(GuestAddress, u32), InitramfsError> {
    let parts = Parts::of(agent);
    let modules = modules.map(Mapped::open).transpose().map_err(InitramfsError::Modules)?;
    let own_length = parts.length();
    let length = own_length + modules.as_ref().map_or(0, |modules| modules.len() as u64);
    let low_end = ram.iter().next().map_or(0, GuestMemoryRegion::len).min(layout::HOLE_START);
    let start = low_end.checked_sub(length).map(|start| start & !(PAGE - 1)).filter(|start| *start >= kernel_end);
    let length32 = u32::try_from(length).ok();
    let (Some(start), Some(length32)) = (start, length32) else {
        return Err(InitramfsError::NoRoom { memory_mib: low_end >> 20, initramfs_kib: length >> 10 });
    };
    ram.write_slice(&parts.head, GuestAddress(start))?;
    ram.write_slice(agent, GuestAddress(start + parts.head.len() as u64))?;
    ram.write_slice(&parts.tail, GuestAddress(start + (parts.head.len() + agent.len()) as u64))?;
    if let Some(modules) = modules {
        ram.write_slice(&modules, GuestAddress(start + own_length))?;
    }
    Ok((GuestAddress(start), length32))
}

/// Our own archive around the agent's bytes, which are copied once only, straight into guest memory.
struct Parts {
    head: Vec<u8>,
    agent_length: usize,
    tail: Vec<u8>,
}

impl Parts {
    fn of(agent: &[u8]) -> Self {
        let size = u32::try_from(agent.len()).unwrap_or(u32::MAX);
        let entries = [
            Entry { inode: 1, path: "dev", mode: DIRECTORY, ..Entry::default() },
            Entry { inode: 2, path: "dev/console", mode: CHARACTER_DEVICE, device: CONSOLE, ..Entry::default() },
            Entry { inode: 3, path: "init", mode: EXECUTABLE, size, ..Entry::default() },
        ];
        let head: Vec<u8> = entries.iter().filter_map(Entry::record).flatten().collect();
        let mut tail = vec![0; agent.len().next_multiple_of(4) - agent.len()];
        tail.extend(Entry { path: TRAILER, ..Entry::default() }.record().unwrap_or_default());
        tail.resize((head.len() + agent.len() + tail.len()).next_multiple_of(4) - head.len() - agent.len(), 0);
        Self { head, agent_length: agent.len(), tail }
    }

    fn length(&self) -> u64 {
        (self.head.len() + self.agent_length + self.tail.len()) as u64
    }
}

#[cfg(test)]
#[path = "initramfs_test.rs"]
mod tests;
