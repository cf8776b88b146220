//! From descriptors to a machine that can enter the kernel: everything here writes guest memory and returns values; only
//! the vCPU code sets registers.

mod cmdline;
mod initramfs;
mod kernel;
pub mod newc;

pub use cmdline::{CmdlineError, kernel_command_line};
pub use initramfs::InitramfsError;
pub use kernel::{KernelLoadError, load as load_kernel};

use super::devices::virtio::mmio::MmioWindow;
use super::memory::GuestRam;
use super::x86_64::boot_params::{self, BootData};
use super::x86_64::{acpi, layout, mp_table};
use std::fs::File;
use vm_memory::{Bytes, GuestAddress, GuestMemoryError};

/// Where the boot processor enters the kernel, and by which protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    Pvh(GuestAddress),
    Linux64(GuestAddress),
}

#[derive(Debug, thiserror::Error)]
pub enum BootError {
    #[error(transparent)]
    Kernel(#[from] KernelLoadError),
    #[error(transparent)]
    Initramfs(#[from] InitramfsError),
    #[error(transparent)]
    Cmdline(#[from] CmdlineError),
    #[error("guest memory is too small for the boot data")]
    Write(#[from] GuestMemoryError),
}

/// What the guest boots from.
#[derive(Debug)]
pub struct BootSpec<'a> {
    pub kernel: &'a File,
    pub modules: Option<&'a File>,
    pub agent: &'a [u8],
    pub cmdline: &'a str,
    pub vcpus: u8,
    pub windows: &'a [MmioWindow],
}

/// Fills guest memory: kernel, initramfs, command line, MP table, ACPI tables, and the protocol's own structure.
///
/// # Errors
/// When the kernel cannot be loaded or guest memory is too small for the parts.
pub fn load(ram: &GuestRam, spec: &BootSpec<'_>) -> Result<Entry, BootError> {
    let kernel = kernel::load(ram, spec.kernel)?;
    let (initramfs, initramfs_length) = initramfs::write(ram, kernel.end, spec.agent, spec.modules)?;
    let cmdline = cmdline::nul_terminated(spec.cmdline)?;
    ram.write_slice(&cmdline, GuestAddress(layout::CMDLINE))?;
    ram.write_slice(&mp_table::table(spec.vcpus), GuestAddress(layout::MP_TABLE))?;
    ram.write_slice(&acpi::tables(spec.vcpus, spec.windows), GuestAddress(layout::ACPI))?;
    let cmdline_length = u32::try_from(cmdline.len()).unwrap_or(u32::MAX);
    let data = BootData { cmdline_length, initramfs, initramfs_length };
    match kernel.entry {
        Entry::Pvh(_) => boot_params::write_pvh(ram, data)?,
        Entry::Linux64(_) => boot_params::write_linux64(ram, data)?,
    }
    Ok(kernel.entry)
}
