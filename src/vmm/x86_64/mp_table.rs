//! The MultiProcessor table (Intel MP specification 1.4): processors and interrupt routes for kernels without ACPI.
//!
//! Kernels with ACPI ignore it in favour of the MADT.

use super::layout;

const SPEC_REVISION: u8 = 4;
const APIC_VERSION: u8 = 0x14;
const CPU_ENABLED: u8 = 1;
const CPU_BOOTSTRAP: u8 = 2;
/// Processor feature flags: on-chip APIC and FPU.
const CPU_FEATURES: u32 = 0x201;
/// Family 6, as every x86-64 CPU of the last decades says; Linux prints it and no more.
const CPU_STEPPING: u32 = 0x600;
const BUS_ISA: u8 = 0;

mod entry {
    pub(super) const PROCESSOR: u8 = 0;
    pub(super) const BUS: u8 = 1;
    pub(super) const IO_APIC: u8 = 2;
    pub(super) const IO_INTERRUPT: u8 = 3;
    pub(super) const LOCAL_INTERRUPT: u8 = 4;
}

mod interrupt {
    pub(super) const VECTORED: u8 = 0;
    pub(super) const NMI: u8 = 1;
    pub(super) const EXT_INT: u8 = 3;
}

const FLOATING_POINTER_LENGTH: usize = 16;
const HEADER_LENGTH: usize = 44;

/// The floating pointer and, right behind it, the configuration table, to be copied to [`layout::MP_TABLE`].
#[must_use]
pub fn table(vcpus: u8) -> Vec<u8> {
    let (entries, count) = entries(vcpus);
    let mut bytes = floating_pointer();
    bytes.extend(header(&entries, count));
    bytes.extend(entries);
    bytes
}

fn floating_pointer() -> Vec<u8> {
    let table = layout::MP_TABLE + FLOATING_POINTER_LENGTH as u64;
    let mut bytes = b"_MP_".to_vec();
    bytes.extend(u32::try_from(table).unwrap_or(0).to_le_bytes());
    bytes.extend([1, SPEC_REVISION, 0, 0, 0, 0, 0, 0]); // length in paragraphs, revision, checksum, features
    bytes[10] = checksum(&bytes);
    bytes
}

fn header(entries: &[u8], count: u16) -> Vec<u8> {
    let length = u16::try_from(HEADER_LENGTH + entries.len()).unwrap_or(u16::MAX);
    let mut bytes = b"PCMP".to_vec();
    bytes.extend(length.to_le_bytes());
    bytes.extend([SPEC_REVISION, 0]);
    bytes.extend(b"BOTTLE  bottle-vmm  ");
    bytes.extend([0; 6]); // no OEM table
    bytes.extend(count.to_le_bytes());
    bytes.extend(layout::LOCAL_APIC.to_le_bytes());
    bytes.extend([0; 4]); // no extended table
    bytes[7] = checksum(&[&bytes, entries].concat());
    bytes
}

fn entries(vcpus: u8) -> (Vec<u8>, u16) {
    let io_apic_id = vcpus;
    let mut entries: Vec<Vec<u8>> = (0..vcpus).map(processor).collect();
    entries.push([&[entry::BUS, BUS_ISA], b"ISA   ".as_slice()].concat());
    entries.push([&[entry::IO_APIC, io_apic_id, APIC_VERSION, 1], layout::IO_APIC.to_le_bytes().as_slice()].concat());
    // Each ISA interrupt arrives at the I/O APIC pin of its own number: what KVM's irqchip wires up by default.
    let routes = (0..u8::try_from(layout::GSI_COUNT).unwrap_or(24))
        .map(|pin| vec![entry::IO_INTERRUPT, interrupt::VECTORED, 0, 0, BUS_ISA, pin, io_apic_id, pin]);
    entries.extend(routes);
    entries.push(vec![entry::LOCAL_INTERRUPT, interrupt::EXT_INT, 0, 0, BUS_ISA, 0, 0, 0]);
    entries.push(vec![entry::LOCAL_INTERRUPT, interrupt::NMI, 0, 0, BUS_ISA, 0, 0xff, 1]);
    let count = u16::try_from(entries.len()).unwrap_or(u16::MAX);
    (entries.concat(), count)
}

fn processor(index: u8) -> Vec<u8> {
    let flags = CPU_ENABLED | if index == 0 { CPU_BOOTSTRAP } else { 0 };
    let mut bytes = vec![entry::PROCESSOR, index, APIC_VERSION, flags];
    bytes.extend(CPU_STEPPING.to_le_bytes());
    bytes.extend(CPU_FEATURES.to_le_bytes());
    bytes.extend([0; 8]);
    bytes
}

/// The value that makes the bytes sum to zero, given that its own place holds zero.
fn checksum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0u8, |sum, byte| sum.wrapping_sub(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(bytes: &[u8]) -> u8 {
        bytes.iter().fold(0, |sum, byte| sum.wrapping_add(*byte))
    }

    #[test]
    fn pointer_and_table_sum_to_zero_and_agree_on_lengths() {
        for vcpus in [1, 2, 64, 254] {
            let bytes = table(vcpus);
            let (pointer, config) = bytes.split_at(FLOATING_POINTER_LENGTH);
            assert_eq!(sum(pointer), 0);
            assert_eq!(sum(config), 0);
            assert_eq!(usize::from(u16::from_le_bytes([config[4], config[5]])), config.len());
            let processors =
                config.iter().skip(HEADER_LENGTH).step_by(20).take(vcpus.into()).filter(|kind| **kind == 0);
            assert_eq!(processors.count(), usize::from(vcpus));
            assert!(bytes.len() as u64 <= layout::MP_TABLE_END - layout::MP_TABLE);
        }
    }
}
