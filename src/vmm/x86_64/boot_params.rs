//! What the kernel is handed at its entry: the PVH start info, or `boot_params` with page tables and a GDT.
//!
//! Sources: Xen `docs/misc/pvh.pandoc` and `xen/include/public/arch-x86/hvm/start_info.h`; the kernel's
//! Documentation/arch/x86/boot.rst ("64-bit Boot Protocol") and zero-page.rst.

use super::layout;
use crate::vmm::memory::GuestRam;
use linux_loader::loader::bootparam::boot_params;
use linux_loader::loader::elf::start_info::{hvm_memmap_table_entry, hvm_modlist_entry, hvm_start_info};
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryError, GuestMemoryRegion};

const E820_RAM: u32 = 1;
const E820_RESERVED: u32 = 2;
const PVH_MAGIC: u32 = 0x336e_c578;
/// Version 1 has the memory map.
const PVH_VERSION: u32 = 1;
const BOOT_SECTOR_MAGIC: u16 = 0xaa55;
const SETUP_HEADER_MAGIC: u32 = 0x5372_6448; // "HdrS"
/// "Undefined" boot loader (type 0xff), since none of the registered ones is us.
const LOADER_TYPE: u8 = 0xff;
const KERNEL_ALIGNMENT: u32 = 0x0100_0000;
const PAGE_PRESENT_WRITABLE: u64 = 0x3;
const PAGE_SIZE_2M: u64 = 0x80;

/// What both protocols tell.
#[derive(Clone, Copy, Debug)]
pub struct BootData {
    pub cmdline_length: u32,
    pub initramfs: GuestAddress,
    pub initramfs_length: u32,
}

/// (start, length, e820 type) of everything below the end of RAM.
fn memory_map(ram: &GuestRam) -> Vec<(u64, u64, u32)> {
    let mut map = vec![
        (0, layout::LOW_RAM_END, E820_RAM),
        (layout::LOW_RAM_END, layout::HIGH_RAM - layout::LOW_RAM_END, E820_RESERVED),
    ];
    for region in ram.iter() {
        let start = region.start_addr().0.max(layout::HIGH_RAM);
        let end = region.start_addr().0 + region.len();
        map.push((start, end.saturating_sub(start), E820_RAM));
    }
    map
}

/// Writes `hvm_start_info`, its module (the initramfs) and its memory map.
///
/// # Errors
/// When guest RAM is too small to hold them.
pub fn write_pvh(ram: &GuestRam, boot: BootData) -> Result<(), GuestMemoryError> {
    let map = memory_map(ram);
    let modules = layout::PVH_INFO + 0x100;
    let memmap = modules + 0x100;
    let start_info = hvm_start_info {
        magic: PVH_MAGIC,
        version: PVH_VERSION,
        nr_modules: 1,
        modlist_paddr: modules,
        cmdline_paddr: layout::CMDLINE,
        rsdp_paddr: layout::ACPI,
        memmap_paddr: memmap,
        memmap_entries: u32::try_from(map.len()).unwrap_or(0),
        ..Default::default()
    };
    let module =
        hvm_modlist_entry { paddr: boot.initramfs.0, size: u64::from(boot.initramfs_length), ..Default::default() };
    ram.write_obj(start_info, GuestAddress(layout::PVH_INFO))?;
    ram.write_obj(module, GuestAddress(modules))?;
    for (index, (addr, size, type_)) in (0u64..).zip(map) {
        let entry = hvm_memmap_table_entry { addr, size, type_, reserved: 0 };
        ram.write_obj(entry, GuestAddress(memmap + index * size_of::<hvm_memmap_table_entry>() as u64))?;
    }
    Ok(())
}

/// Writes `boot_params`, identity page tables for the first GiB and a GDT.
///
/// # Errors
/// When guest RAM is too small to hold them.
pub fn write_linux64(ram: &GuestRam, boot: BootData) -> Result<(), GuestMemoryError> {
    let mut params = boot_params::default();
    params.hdr.boot_flag = BOOT_SECTOR_MAGIC;
    params.hdr.header = SETUP_HEADER_MAGIC;
    params.hdr.type_of_loader = LOADER_TYPE;
    params.hdr.kernel_alignment = KERNEL_ALIGNMENT;
    params.hdr.cmd_line_ptr = u32::try_from(layout::CMDLINE).unwrap_or(0);
    params.hdr.cmdline_size = boot.cmdline_length;
    params.hdr.ramdisk_image = u32::try_from(boot.initramfs.0).unwrap_or(0);
    params.hdr.ramdisk_size = boot.initramfs_length;
    params.acpi_rsdp_addr = layout::ACPI;
    let map = memory_map(ram);
    params.e820_entries = u8::try_from(map.len()).unwrap_or(0);
    for (slot, (addr, size, type_)) in params.e820_table.iter_mut().zip(map) {
        slot.addr = addr;
        slot.size = size;
        slot.r#type = type_;
    }
    ram.write_obj(params, GuestAddress(layout::ZERO_PAGE))?;
    write_page_tables(ram)?;
    for (index, descriptor) in (0u64..).zip(super::registers::GDT) {
        ram.write_obj(descriptor.to_le(), GuestAddress(layout::GDT + index * 8))?;
    }
    Ok(())
}

/// One PML4 entry, one PDPT entry, 512 entries of 2 MiB: the protocol asks for the kernel, the zero page and the command line.
fn write_page_tables(ram: &GuestRam) -> Result<(), GuestMemoryError> {
    ram.write_obj((layout::PDPT | PAGE_PRESENT_WRITABLE).to_le(), GuestAddress(layout::PML4))?;
    ram.write_obj((layout::PD | PAGE_PRESENT_WRITABLE).to_le(), GuestAddress(layout::PDPT))?;
    for index in 0..512u64 {
        let entry = (index << 21) | PAGE_PRESENT_WRITABLE | PAGE_SIZE_2M;
        ram.write_obj(entry.to_le(), GuestAddress(layout::PD + index * 8))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_memory_map_covers_all_ram_but_the_reserved_part_once() {
        let ram =
            GuestRam::from_ranges(&[(GuestAddress(0), 64 << 20), (GuestAddress(layout::HOLE_END), 16 << 20)]).unwrap();
        let map = memory_map(&ram);
        assert!(map.windows(2).all(|w| w[0].0 + w[0].1 <= w[1].0), "{map:x?}");
        let usable: u64 = map.iter().filter(|e| e.2 == E820_RAM).map(|e| e.1).sum();
        assert_eq!(usable, (80 << 20) - (layout::HIGH_RAM - layout::LOW_RAM_END));
    }

    #[test]
    fn pvh_start_info_points_at_the_initramfs_and_the_command_line() {
        let ram = GuestRam::from_ranges(&[(GuestAddress(0), 4 << 20)]).unwrap();
        write_pvh(&ram, BootData { cmdline_length: 4, initramfs: GuestAddress(0x30_0000), initramfs_length: 99 })
            .unwrap();
        let info: hvm_start_info = ram.read_obj(GuestAddress(layout::PVH_INFO)).unwrap();
        let module: hvm_modlist_entry = ram.read_obj(GuestAddress(info.modlist_paddr)).unwrap();
        assert_eq!((info.magic, info.cmdline_paddr, info.rsdp_paddr), (0x336e_c578, layout::CMDLINE, layout::ACPI));
        assert_eq!((module.paddr, module.size), (0x30_0000, 99));
    }
}
