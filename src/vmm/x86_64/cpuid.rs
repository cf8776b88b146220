//! What the guest's CPUs say of themselves: KVM's list, with the topology of this machine and without what a bottle does not need.
//!
//! What is taken away has one of two reasons: it would let the guest reach more of the host's KVM (nested virtualisation, the
//! performance counters), or a kernel that sees it spends exits on it at boot for nothing (machine checks, MTRRs).
//! Sources: Intel SDM vol. 2A, CPUID; AMD APM vol. 3, appendix E; Linux arch/x86/kvm/cpuid.c.

use kvm_bindings::{CpuId, KVM_CPUID_FLAG_SIGNIFCANT_INDEX, KVM_MAX_CPUID_ENTRIES, kvm_cpuid_entry2};
use kvm_ioctls::{Cap, Kvm};

#[derive(Debug, thiserror::Error)]
pub enum CpuidError {
    #[error("KVM does not tell which CPU features it supports")]
    Supported(#[source] kvm_ioctls::Error),
    #[error("the CPU has more CPUID leaves than KVM accepts")]
    TooMany,
}

mod leaf {
    pub(super) const FEATURES: u32 = 1;
    pub(super) const CACHES: u32 = 4;
    pub(super) const PERFORMANCE: u32 = 0xa;
    pub(super) const TOPOLOGY: u32 = 0xb;
    pub(super) const TOPOLOGY_V2: u32 = 0x1f;
    pub(super) const AMD_FEATURES: u32 = 0x8000_0001;
    pub(super) const AMD_SIZES: u32 = 0x8000_0008;
    pub(super) const AMD_CACHES: u32 = 0x8000_001d;
    pub(super) const AMD_TOPOLOGY: u32 = 0x8000_001e;
    pub(super) const AMD_PERFORMANCE: u32 = 0x8000_0022;
}

const ECX_VMX: u32 = 1 << 5;
const ECX_PDCM: u32 = 1 << 15;
const ECX_X2APIC: u32 = 1 << 21;
const ECX_TSC_DEADLINE: u32 = 1 << 24;
const ECX_HYPERVISOR: u32 = 1 << 31;
const EDX_MCE: u32 = 1 << 7;
const EDX_MTRR: u32 = 1 << 12;
const EDX_MCA: u32 = 1 << 14;
const EDX_HTT: u32 = 1 << 28;
const AMD_ECX_SVM: u32 = 1 << 2;
const AMD_ECX_PERF_CORE: u32 = 1 << 23;
const AMD_ECX_PERF_NB: u32 = 1 << 24;
const AMD_ECX_PERF_LLC: u32 = 1 << 28;

/// The list for all vCPUs but for the APIC id, which [`for_vcpu`] fills in.
///
/// # Errors
/// When KVM does not tell what it supports.
pub fn template(kvm: &Kvm, vcpus: u8) -> Result<Vec<kvm_cpuid_entry2>, CpuidError> {
    let supported = kvm.get_supported_cpuid(KVM_MAX_CPUID_ENTRIES).map_err(CpuidError::Supported)?;
    let mut entries: Vec<_> = supported
        .as_slice()
        .iter()
        .copied()
        .filter(|entry| !matches!(entry.function, leaf::TOPOLOGY | leaf::TOPOLOGY_V2))
        .collect();
    let tsc_deadline = kvm.check_extension(Cap::TscDeadlineTimer);
    for entry in &mut entries {
        patch(entry, vcpus, tsc_deadline);
    }
    entries.extend(topology(vcpus));
    Ok(entries)
}

fn patch(entry: &mut kvm_cpuid_entry2, vcpus: u8, tsc_deadline: bool) {
    let last = u32::from(vcpus).saturating_sub(1);
    match entry.function {
        leaf::FEATURES => {
            entry.ebx = (entry.ebx & 0x0000_ffff) | (u32::from(vcpus) << 16);
            entry.ecx = (entry.ecx & !(ECX_VMX | ECX_PDCM)) | ECX_HYPERVISOR | ECX_X2APIC;
            if tsc_deadline {
                entry.ecx |= ECX_TSC_DEADLINE;
            }
            entry.edx &= !(EDX_MCE | EDX_MCA | EDX_MTRR | EDX_HTT);
            if vcpus > 1 {
                entry.edx |= EDX_HTT;
            }
        }
        // Bits 31:26 count cores of the package, 25:14 the logical CPUs that share this cache: all share the last level only.
        leaf::CACHES if entry.eax & 0x1f != 0 => {
            let sharing = if (entry.eax >> 5) & 7 >= 3 { last } else { 0 };
            entry.eax = (entry.eax & 0x3fff) | (last.min(0x3f) << 26) | (sharing << 14);
        }
        leaf::PERFORMANCE | leaf::AMD_PERFORMANCE => (entry.eax, entry.ebx, entry.ecx, entry.edx) = (0, 0, 0, 0),
        leaf::AMD_FEATURES => entry.ecx &= !(AMD_ECX_SVM | AMD_ECX_PERF_CORE | AMD_ECX_PERF_NB | AMD_ECX_PERF_LLC),
        leaf::AMD_SIZES => entry.ecx = last,
        leaf::AMD_CACHES if entry.eax & 0x1f != 0 => {
            let sharing = if (entry.eax >> 5) & 7 >= 3 { last } else { 0 };
            entry.eax = (entry.eax & 0x3fff) | (sharing << 14);
        }
        leaf::AMD_TOPOLOGY => (entry.ebx, entry.ecx) = (0, 0),
        _ => {}
    }
}

/// Leaf 0xb: one thread a core, all cores in one package (SDM vol. 2A, "Extended Topology Enumeration").
fn topology(vcpus: u8) -> Vec<kvm_cpuid_entry2> {
    const LEVEL_THREAD: u32 = 1 << 8;
    const LEVEL_CORE: u32 = 2 << 8;
    let id_bits = u32::from(vcpus).next_power_of_two().trailing_zeros();
    let level = |index, eax, ebx, kind| kvm_cpuid_entry2 {
        function: leaf::TOPOLOGY,
        index,
        flags: KVM_CPUID_FLAG_SIGNIFCANT_INDEX,
        eax,
        ebx,
        ecx: index | kind,
        ..Default::default()
    };
    vec![level(0, 0, 1, LEVEL_THREAD), level(1, id_bits, u32::from(vcpus), LEVEL_CORE), level(2, 0, 0, 0)]
}

/// The list of one vCPU; its APIC id is its index.
///
/// # Errors
/// When the list is longer than KVM accepts.
pub fn for_vcpu(template: &[kvm_cpuid_entry2], index: u8) -> Result<CpuId, CpuidError> {
    let id = u32::from(index);
    let mut entries = template.to_vec();
    for entry in &mut entries {
        match entry.function {
            leaf::FEATURES => entry.ebx = (entry.ebx & 0x00ff_ffff) | (id << 24),
            leaf::TOPOLOGY => entry.edx = id,
            leaf::AMD_TOPOLOGY => {
                entry.eax = id;
                entry.ebx = (entry.ebx & !0xff) | id;
            }
            _ => {}
        }
    }
    CpuId::from_entries(&entries).map_err(|_| CpuidError::TooMany)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patched(function: u32, vcpus: u8, fill: u32) -> kvm_cpuid_entry2 {
        let mut entry = kvm_cpuid_entry2 { function, eax: fill, ebx: fill, ecx: fill, edx: fill, ..Default::default() };
        patch(&mut entry, vcpus, true);
        entry
    }

    #[test]
    fn a_guest_sees_no_virtualisation_and_no_performance_counters() {
        assert_eq!(patched(leaf::FEATURES, 1, u32::MAX).ecx & (ECX_VMX | ECX_PDCM), 0);
        assert_eq!(patched(leaf::AMD_FEATURES, 1, u32::MAX).ecx & (AMD_ECX_SVM | AMD_ECX_PERF_CORE), 0);
        assert_eq!(patched(leaf::PERFORMANCE, 1, u32::MAX).eax, 0);
    }

    #[test]
    fn a_guest_knows_that_it_is_one_and_how_many_cpus_it_has() {
        let entry = patched(leaf::FEATURES, 4, 0);
        assert_eq!(entry.ecx & ECX_HYPERVISOR, ECX_HYPERVISOR);
        assert_eq!((entry.ebx >> 16) & 0xff, 4);
        assert_eq!(entry.edx & EDX_HTT, EDX_HTT);
        assert_eq!(patched(leaf::FEATURES, 1, u32::MAX).edx & EDX_HTT, 0);
    }

    #[test]
    fn apic_ids_are_indices_everywhere() {
        let mut list = topology(3);
        list.push(kvm_cpuid_entry2 { function: leaf::FEATURES, ..Default::default() });
        let cpuid = for_vcpu(&list, 2).unwrap();
        assert!(cpuid.as_slice().iter().filter(|e| e.function == leaf::TOPOLOGY).all(|e| e.edx == 2));
        assert_eq!(cpuid.as_slice().last().unwrap().ebx >> 24, 2);
        assert_eq!(topology(3)[1].eax, 2, "three ids need two bits");
    }
}
