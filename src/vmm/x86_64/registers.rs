//! The boot processor's registers at the kernel's entry. The others wait for the kernel's start-up interrupts.
//!
//! Sources: start_info.h of Xen ("PVH": 32-bit protected mode, paging off, %ebx = start info) and Documentation/arch/x86/boot.rst
//! ("64-bit Boot Protocol": long mode, identity mapping, %rsi = boot_params).

use super::layout;
use crate::vmm::boot::Entry;
use kvm_bindings::{Msrs, kvm_msr_entry, kvm_regs, kvm_segment};
use kvm_ioctls::VcpuFd;

#[derive(Debug, thiserror::Error)]
pub enum RegistersError {
    #[error("KVM did not give or take the {what} of a vCPU")]
    Kvm {
        what: &'static str,
        #[source]
        source: kvm_ioctls::Error,
    },
    #[error("KVM did not take model-specific register {index:#x}")]
    Msr { index: u32 },
}

const CR0_PROTECTED: u64 = 1;
const CR0_EXTENSION_TYPE: u64 = 1 << 4;
const CR0_PAGING: u64 = 1 << 31;
const CR4_PAE: u64 = 1 << 5;
const EFER_LONG_MODE_ENABLE: u64 = 1 << 8;
const EFER_LONG_MODE_ACTIVE: u64 = 1 << 10;
/// Bit 1 of RFLAGS is always set.
const RFLAGS_RESERVED: u64 = 2;

const MSR_MISC_ENABLE: u32 = 0x1a0;
const MISC_ENABLE_FAST_STRING: u64 = 1;
const MSR_MTRR_DEFAULT_TYPE: u32 = 0x2ff;
/// MTRRs enabled, default type write-back: RAM is cacheable from the first instruction on.
const MTRR_ENABLED_WRITE_BACK: u64 = (1 << 11) | 6;

/// Null, unused, 64-bit code, data: the selectors __BOOT_CS = 0x10 and __BOOT_DS = 0x18 of the protocol.
pub(super) const GDT: [u64; 4] = [0, 0, 0x00af_9b00_0000_ffff, 0x00cf_9300_0000_ffff];
const CODE_SELECTOR: u16 = 0x10;
const DATA_SELECTOR: u16 = 0x18;

/// Sets the boot processor up to enter the kernel.
///
/// # Errors
/// When KVM refuses a register.
pub fn set_up_boot_processor(vcpu: &VcpuFd, entry: Entry) -> Result<(), RegistersError> {
    set_msrs(vcpu)?;
    let kvm = |what| move |source| RegistersError::Kvm { what, source };
    let mut sregs = vcpu.get_sregs().map_err(kvm("special registers"))?;
    let long_mode = matches!(entry, Entry::Linux64(_));
    let code = segment(0xb, CODE_SELECTOR, long_mode);
    let data = segment(0x3, DATA_SELECTOR, false);
    (sregs.cs, sregs.ds, sregs.es, sregs.fs, sregs.gs, sregs.ss) = (code, data, data, data, data, data);
    sregs.cr0 = CR0_PROTECTED | CR0_EXTENSION_TYPE;
    let mut regs = kvm_regs { rflags: RFLAGS_RESERVED, ..Default::default() };
    match entry {
        Entry::Pvh(address) => {
            sregs.tr = kvm_segment { limit: 0x67, type_: 0xb, present: 1, ..Default::default() };
            (regs.rip, regs.rbx) = (address.0, layout::PVH_INFO);
        }
        Entry::Linux64(address) => {
            sregs.gdt.base = layout::GDT;
            sregs.gdt.limit = 31;
            sregs.cr3 = layout::PML4;
            sregs.cr4 |= CR4_PAE;
            sregs.cr0 |= CR0_PAGING;
            sregs.efer |= EFER_LONG_MODE_ENABLE | EFER_LONG_MODE_ACTIVE;
            (regs.rip, regs.rsi) = (address.0, layout::ZERO_PAGE);
            (regs.rsp, regs.rbp) = (layout::BOOT_STACK, layout::BOOT_STACK);
        }
    }
    vcpu.set_sregs(&sregs).map_err(kvm("special registers"))?;
    vcpu.set_regs(&regs).map_err(kvm("general registers"))
}

/// A flat segment over 4 GiB.
fn segment(type_: u8, selector: u16, long_mode: bool) -> kvm_segment {
    kvm_segment {
        base: 0,
        limit: u32::MAX,
        selector,
        type_,
        present: 1,
        s: 1,
        g: 1,
        db: u8::from(!long_mode),
        l: u8::from(long_mode),
        ..Default::default()
    }
}

fn set_msrs(vcpu: &VcpuFd) -> Result<(), RegistersError> {
    let wanted = [(MSR_MISC_ENABLE, MISC_ENABLE_FAST_STRING), (MSR_MTRR_DEFAULT_TYPE, MTRR_ENABLED_WRITE_BACK)];
    let entries = wanted.map(|(index, data)| kvm_msr_entry { index, data, ..Default::default() });
    let refused = |done: usize| RegistersError::Msr { index: wanted.get(done).map_or(0, |msr| msr.0) };
    let msrs = Msrs::from_entries(&entries).map_err(|_| refused(0))?;
    match vcpu.set_msrs(&msrs).map_err(|source| RegistersError::Kvm { what: "model-specific registers", source })? {
        done if done == wanted.len() => Ok(()),
        done => Err(refused(done)),
    }
}
