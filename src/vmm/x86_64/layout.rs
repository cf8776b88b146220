//! The guest-physical address map, all of it (kernel: Documentation/arch/x86/boot.rst; ARCHITECTURE.md has the same table).
//!
//! Below 1 MiB lies what the monitor writes for the kernel; RAM fills the rest up to the hole below 4 GiB, in which the
//! devices and the interrupt controllers live, and goes on above 4 GiB.

/// The GDT of the 64-bit boot protocol.
pub const GDT: u64 = 0x500;
/// `hvm_start_info`, its module list and its memory map (PVH).
pub const PVH_INFO: u64 = 0x6000;
/// `boot_params` (64-bit boot protocol).
pub const ZERO_PAGE: u64 = 0x7000;
/// Initial stack pointer of the 64-bit boot protocol; the stack grows down towards the zero page's end.
pub const BOOT_STACK: u64 = 0x8ff0;
/// Page tables that map the first GiB one to one (64-bit boot protocol): PML4, PDPT, PD, a page each.
pub const PML4: u64 = 0x9000;
pub const PDPT: u64 = 0xa000;
pub const PD: u64 = 0xb000;
/// The kernel command line; 64 KiB are kept free for it.
pub const CMDLINE: u64 = 0x2_0000;
/// What Linux on x86 accepts (COMMAND_LINE_SIZE, arch/x86/include/asm/setup.h), the terminating NUL included.
pub const CMDLINE_MAX: usize = 2048;
/// End of conventional memory: what lies from here to 1 MiB is reserved in the memory map given to the kernel.
pub const LOW_RAM_END: u64 = 0x9_fc00;
/// The RSDP, first of the ACPI tables: Linux looks for it on 16-byte boundaries of 0xe0000..0x100000 (ACPI 6.5 §5.2.5.1).
pub const ACPI: u64 = 0xe_0000;
/// The MP floating pointer, found in 0xf0000..0x100000 (MP spec 1.4 §4). 64 KiB: room for 255 processors.
pub const MP_TABLE: u64 = 0xf_0000;
pub const MP_TABLE_END: u64 = 0x10_0000;
/// Where RAM for the kernel starts.
pub const HIGH_RAM: u64 = 0x10_0000;
/// The hole below 4 GiB that holds no RAM.
pub const HOLE_START: u64 = 0xc000_0000;
pub const HOLE_END: u64 = 0x1_0000_0000;
/// virtio-mmio windows, 4 KiB each (virtio 1.3 §4.2.2 needs 0x100 + configuration space).
pub const VIRTIO_MMIO: u64 = 0xd000_0000;
pub const VIRTIO_MMIO_SIZE: u64 = 0x1000;
pub const IO_APIC: u32 = 0xfec0_0000;
pub const LOCAL_APIC: u32 = 0xfee0_0000;
/// Four pages that KVM needs on Intel (KVM_SET_TSS_ADDR, KVM_SET_IDENTITY_MAP_ADDR), inside the hole.
pub const KVM_IDENTITY_MAP: u64 = 0xfffb_c000;
pub const KVM_TSS: u64 = 0xfffb_d000;

/// Interrupt pins of the I/O APIC handed to virtio devices; the lower ones belong to the legacy parts.
pub const FIRST_DEVICE_GSI: u32 = 5;
pub const GSI_COUNT: u32 = 24;

/// Port of the 16550 that COM1 is expected at. It has no interrupt.
pub const SERIAL_PORT: u16 = 0x3f8;
/// Command and status port of the keyboard controller, of which only the reset line exists here (`reboot=k`).
pub const I8042_PORT: u16 = 0x64;
/// Our ACPI sleep control, sleep status and reset registers (ACPI 6.5 §4.8.3.7, §4.8.3.6).
pub const ACPI_SLEEP_CONTROL_PORT: u16 = 0x600;
pub const ACPI_SLEEP_STATUS_PORT: u16 = 0x601;
pub const ACPI_RESET_PORT: u16 = 0x602;
/// Written to the reset register to reset.
pub const ACPI_RESET_VALUE: u8 = 1;
/// SLP_TYP of S5 in our DSDT's `_S5_`, and the enable bit beside it.
pub const ACPI_S5_SLEEP_TYPE: u8 = 5;

/// Splits `bytes` of guest RAM around the hole: (start, length) of each region.
#[must_use]
pub fn ram_regions(bytes: u64) -> Vec<(u64, u64)> {
    if bytes <= HOLE_START { vec![(0, bytes)] } else { vec![(0, HOLE_START), (HOLE_END, bytes - HOLE_START)] }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ram_never_covers_the_hole_and_none_is_lost() {
        for bytes in [1 << 20, HOLE_START - 4096, HOLE_START, HOLE_START + 4096, 64 << 30] {
            let regions = ram_regions(bytes);
            assert_eq!(regions.iter().map(|r| r.1).sum::<u64>(), bytes);
            assert!(regions.iter().all(|&(start, len)| start + len <= HOLE_START || start >= HOLE_END));
        }
    }

    #[test]
    fn what_the_monitor_writes_below_1_mib_does_not_overlap() {
        let page = 0x1000;
        let areas = [
            (GDT, 0x20),
            (PVH_INFO, page),
            (ZERO_PAGE, page),
            (PML4, page),
            (PDPT, page),
            (PD, page),
            (CMDLINE, 0x1_0000),
            (ACPI, 0x1_0000),
            (MP_TABLE, 0x1_0000),
        ];
        assert!(areas.windows(2).all(|w| w[0].0 + w[0].1 <= w[1].0), "{areas:x?}");
        assert!(BOOT_STACK > ZERO_PAGE + page && BOOT_STACK < PML4);
    }
}
