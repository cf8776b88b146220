//! Guest RAM: anonymous host memory, mapped once and given to KVM in as few slots as the address map allows.
//!
//! No `&[u8]` into it is ever formed: the guest may write at any moment, so everything goes through `vm-memory`'s volatile
//! accessors. It is left out of core dumps, because what a bottle holds in memory (its environment first of all) is nobody's.
#![expect(unsafe_code, reason = "mapping memory and handing it to KVM cannot be expressed otherwise")]

use super::x86_64::layout;
use kvm_bindings::kvm_userspace_memory_region;
use kvm_ioctls::VmFd;
use nix::sys::mman::{MapFlags, MmapAdvise, ProtFlags, madvise, mmap_anonymous};
use std::num::NonZeroUsize;
use std::ptr::NonNull;
use vm_memory::mmap::MmapRegionError;
use vm_memory::{GuestAddress, GuestMemoryBackend, GuestMemoryMmap, GuestMemoryRegion, GuestRegionMmap, MmapRegion};

/// All RAM of one guest.
pub type GuestRam = GuestMemoryMmap<()>;

/// A transparent huge page: regions are aligned to it on both sides, so that the nested page tables can use it too.
const HUGE_PAGE: usize = 2 << 20;

#[derive(Debug, thiserror::Error)]
pub enum MemoryError {
    #[error("cannot map {mib} MiB of guest memory")]
    Map {
        mib: u64,
        #[source]
        source: nix::Error,
    },
    #[error("cannot set up the mapping of guest memory")]
    Region(#[source] MmapRegionError),
    #[error("guest memory of {mib} MiB does not fit the address space")]
    Layout { mib: u64 },
    #[error("KVM refused memory slot {slot} ({mib} MiB at {guest_address:#x})")]
    Slot {
        slot: u32,
        guest_address: u64,
        mib: u64,
        #[source]
        source: kvm_ioctls::Error,
    },
}

/// Maps `mib` MiB of zeroed guest RAM around the hole below 4 GiB. Nothing is populated: the host pays for what the guest touches.
///
/// With `advise_huge_pages` the host is asked for huge pages, and may then stop to compact its memory for each; a host that gives
/// them anyway gives what it has at once.
///
/// # Errors
/// When the host has no address space or refuses to overcommit.
pub fn map(mib: u64, advise_huge_pages: bool) -> Result<GuestRam, MemoryError> {
    let regions = layout::ram_regions(mib << 20)
        .into_iter()
        .map(|(start, bytes)| {
            let bytes = usize::try_from(bytes).map_err(|_| MemoryError::Layout { mib })?;
            let region = map_region(bytes, mib, advise_huge_pages)?;
            GuestRegionMmap::new(region, GuestAddress(start)).ok_or(MemoryError::Layout { mib })
        })
        .collect::<Result<Vec<_>, _>>()?;
    GuestRam::from_regions(regions).map_err(|_| MemoryError::Layout { mib })
}

fn map_region(bytes: usize, mib: u64, advise_huge_pages: bool) -> Result<MmapRegion, MemoryError> {
    let failed = |source| MemoryError::Map { mib, source };
    let protection = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
    let flags = MapFlags::MAP_PRIVATE | MapFlags::MAP_NORESERVE;
    let length = bytes.checked_add(HUGE_PAGE).and_then(NonZeroUsize::new).ok_or(MemoryError::Layout { mib })?;
    // SAFETY: a fresh anonymous mapping at an address of the kernel's choice touches no memory of ours.
    let reserved = unsafe { mmap_anonymous(None, length, protection, flags) }.map_err(failed)?;
    let slack = reserved.as_ptr().align_offset(HUGE_PAGE);
    // SAFETY: `slack` < HUGE_PAGE, and the mapping is HUGE_PAGE longer than `bytes`: the result stays inside it.
    let start: NonNull<u8> = unsafe { reserved.cast::<u8>().add(slack) };
    let advise = |advice| {
        // SAFETY: the range lies inside the mapping made above, and none of the advices below changes its contents.
        unsafe { madvise(start.cast(), bytes, advice) }
    };
    advise(MmapAdvise::MADV_DONTDUMP).map_err(failed)?;
    advise(MmapAdvise::MADV_DONTFORK).map_err(failed)?;
    if advise_huge_pages {
        // A kernel without transparent huge pages runs slower, not wrong.
        let _ = advise(MmapAdvise::MADV_HUGEPAGE);
    }
    // SAFETY: `start..start + bytes` is mapped with this protection, and stays so until the process ends: nothing unmaps it.
    unsafe { MmapRegion::build_raw(start.as_ptr(), bytes, protection.bits(), flags.bits()) }
        .map_err(MemoryError::Region)
}

/// Gives every region to KVM as a memory slot.
///
/// # Errors
/// When KVM refuses a slot.
pub fn attach(vm: &VmFd, ram: &GuestRam) -> Result<(), MemoryError> {
    for (slot, region) in (0u32..).zip(ram.iter()) {
        let guest_address = region.start_addr().0;
        let slot_spec = kvm_userspace_memory_region {
            slot,
            guest_phys_addr: guest_address,
            memory_size: region.len(),
            userspace_addr: region.as_ptr() as u64,
            flags: 0,
        };
        // SAFETY: the range is mapped for the rest of the process's life (see `map_region`), and regions do not overlap.
        unsafe { vm.set_user_memory_region(slot_spec) }.map_err(|source| MemoryError::Slot {
            slot,
            guest_address,
            mib: region.len() >> 20,
            source,
        })?;
    }
    Ok(())
}
