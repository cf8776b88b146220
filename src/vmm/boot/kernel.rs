//! Loads an ELF `vmlinux` to where its program headers say and finds its entry.

use super::super::memory::GuestRam;
use super::super::x86_64::layout;
use super::Entry;
use crate::sys::mapped::Mapped;
use linux_loader::loader::elf::{Elf, Error as ElfError, PvhBootCapability};
use linux_loader::loader::{Error as LoaderError, KernelLoader};
use std::fs::File;
use std::io::{self, Cursor};
use vm_memory::{GuestMemoryBackend as _, GuestMemoryRegion};

#[derive(Debug, thiserror::Error)]
pub enum KernelLoadError {
    #[error("the kernel cannot be read")]
    Read(#[source] io::Error),
    #[error("guest memory of {memory_mib} MiB is too small for the kernel")]
    NoRoom { memory_mib: u64 },
    #[error("the kernel does not load: it is damaged")]
    Load(#[source] LoaderError),
    #[error("the kernel's entry {entry:#x} lies outside the kernel, and it has no PVH entry")]
    NoEntry { entry: u64 },
}

/// A kernel in guest memory.
#[derive(Clone, Copy, Debug)]
pub struct LoadedKernel {
    pub entry: Entry,
    /// First address behind it.
    pub end: u64,
}

/// The 64-bit protocol where the ELF's entry is one of Linux (it lies inside what was loaded), else PVH: Linux's PVH entry first looks
/// for Xen at 256 places, and each look is an exit.
///
/// # Errors
/// When the file is not a loadable ELF or does not fit guest memory.
pub fn load(ram: &GuestRam, kernel: &File) -> Result<LoadedKernel, KernelLoadError> {
    let kernel = Mapped::open(kernel).map_err(KernelLoadError::Read)?;
    let memory_mib = ram.iter().map(GuestMemoryRegion::len).sum::<u64>() >> 20;
    let loaded = Elf::load(ram, None, &mut Cursor::new(&*kernel), None).map_err(|error| match error {
        // Whether the file is whole was looked at when it was opened.
        LoaderError::Elf(ElfError::ReadKernelImage) => KernelLoadError::NoRoom { memory_mib },
        error => KernelLoadError::Load(error),
    })?;
    let entry = match loaded.pvh_boot_cap {
        _ if (layout::HIGH_RAM..loaded.kernel_end).contains(&loaded.kernel_load.0) => {
            Entry::Linux64(loaded.kernel_load)
        }
        PvhBootCapability::PvhEntryPresent(address) => Entry::Pvh(address),
        PvhBootCapability::PvhEntryNotPresent | PvhBootCapability::PvhEntryIgnored => {
            return Err(KernelLoadError::NoEntry { entry: loaded.kernel_load.0 });
        }
    };
    Ok(LoadedKernel { entry, end: loaded.kernel_end })
}

#[cfg(test)]
#[path = "kernel_test.rs"]
mod tests;
