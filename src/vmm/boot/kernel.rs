//! Loads an ELF `vmlinux` to where its program headers say and finds its entry.

use super::super::memory::GuestRam;
use super::super::x86_64::layout;
use super::Entry;
use linux_loader::loader::elf::{Elf, PvhBootCapability};
use linux_loader::loader::{Error as LoaderError, KernelLoader};
use std::fs::File;
use vm_memory::GuestAddress;

#[derive(Debug, thiserror::Error)]
pub enum KernelLoadError {
    #[error("the kernel does not load: it is damaged, or guest memory is too small for it")]
    Load(#[source] LoaderError),
}

/// A kernel in guest memory.
#[derive(Clone, Copy, Debug)]
pub struct LoadedKernel {
    pub entry: Entry,
    /// First address behind it.
    pub end: u64,
}

/// PVH where the kernel has its note: the kernel then needs no page tables of ours.
///
/// # Errors
/// When the file is not a loadable ELF or does not fit guest memory.
pub fn load(ram: &GuestRam, kernel: &mut File) -> Result<LoadedKernel, KernelLoadError> {
    let loaded = Elf::load(ram, None, kernel, Some(GuestAddress(layout::HIGH_RAM))).map_err(KernelLoadError::Load)?;
    let entry = match loaded.pvh_boot_cap {
        PvhBootCapability::PvhEntryPresent(address) => Entry::Pvh(address),
        PvhBootCapability::PvhEntryNotPresent | PvhBootCapability::PvhEntryIgnored => Entry::Linux64(loaded.kernel_load),
    };
    Ok(LoadedKernel { entry, end: loaded.kernel_end })
}
