//! ACPI tables: what the machine has, and, as important for a stock kernel, what it has not.
//!
//! Without the flags here a distribution's kernel looks for a CMOS clock and a keyboard controller that do not exist, for
//! seconds. The platform is hardware-reduced (ACPI 6.5 §4.1): no PM1 registers, no SCI, no FACS; sleep and reset are single
//! registers. virtio-mmio devices are `LNRO0005` in the DSDT, which is the only way a stock kernel finds them.

use super::layout;
use crate::vmm::devices::virtio::mmio::MmioWindow;
use acpi_tables::aml::{Device, Interrupt, Memory32Fixed, Name, Package, Path, ResourceTemplate, Scope};
use acpi_tables::fadt::{FADTBuilder, Flags};
use acpi_tables::gas::{AccessSize, AddressSpace, GAS};
use acpi_tables::madt::{EnabledStatus, IoApic, LocalInterruptController, MADT, ProcessorLocalApic};
use acpi_tables::rsdp::Rsdp;
use acpi_tables::sdt::Sdt;
use acpi_tables::xsdt::XSDT;
use acpi_tables::{Aml, AmlSink};

const OEM_ID: [u8; 6] = *b"BOTTLE";
const OEM_TABLE_ID: [u8; 8] = *b"BTLVMM  ";
const OEM_REVISION: u32 = 1;

/// IA-PC boot architecture flags (ACPI 6.5 table 5.11): what a kernel must not look for. Bits 0 (legacy devices) and
/// 1 (8042) stay clear, which says the same of them.
const VGA_NOT_PRESENT: u16 = 1 << 2;
const MSI_NOT_SUPPORTED: u16 = 1 << 3;
const CMOS_RTC_NOT_PRESENT: u16 = 1 << 5;

/// All tables, to be copied to [`layout::ACPI`]; the RSDP comes first.
#[must_use]
pub fn tables(vcpus: u8, windows: &[MmioWindow]) -> Vec<u8> {
    const RSDP_LENGTH: usize = 36;
    let mut image = Image { base: layout::ACPI, bytes: vec![0; RSDP_LENGTH] };
    let dsdt = image.append(&dsdt(windows));
    let fadt = image.append(&fadt(dsdt));
    let madt = image.append(&madt(vcpus));
    let mut xsdt = XSDT::new(OEM_ID, OEM_TABLE_ID, OEM_REVISION);
    xsdt.add_entry(fadt);
    xsdt.add_entry(madt);
    let xsdt = image.append(&xsdt);
    let rsdp = aml_bytes(&Rsdp::new(OEM_ID, xsdt));
    image.bytes[..RSDP_LENGTH].copy_from_slice(&rsdp);
    image.bytes
}

struct Image {
    base: u64,
    bytes: Vec<u8>,
}

impl Image {
    /// Appends a table on a 16-byte boundary and returns its guest-physical address.
    fn append(&mut self, table: &dyn Aml) -> u64 {
        self.bytes.resize(self.bytes.len().next_multiple_of(16), 0);
        let address = self.base + self.bytes.len() as u64;
        table.to_aml_bytes(&mut self.bytes);
        address
    }
}

fn aml_bytes(aml: &dyn Aml) -> Vec<u8> {
    let mut bytes = Vec::new();
    aml.to_aml_bytes(&mut bytes);
    bytes
}

/// An [`Sdt`] is a sink but not a source; this makes it one.
struct Table(Sdt);

impl Aml for Table {
    fn to_aml_bytes(&self, sink: &mut dyn AmlSink) {
        sink.vec(self.0.as_slice());
    }
}

fn dsdt(windows: &[MmioWindow]) -> Table {
    let mut table = Sdt::new(*b"DSDT", 36, 2, OEM_ID, OEM_TABLE_ID, OEM_REVISION);
    let s5_type = layout::ACPI_S5_SLEEP_TYPE;
    let s5 = Name::new(Path::new("_S5_"), &Package::new(vec![&s5_type]));
    table.append_slice(&aml_bytes(&s5));
    table.append_slice(&aml_bytes(&Scope::new(Path::new("_SB_"), vec![&Windows(windows)])));
    table.update_checksum();
    Table(table)
}

/// A device node for each virtio-mmio window.
struct Windows<'a>(&'a [MmioWindow]);

impl Aml for Windows<'_> {
    fn to_aml_bytes(&self, sink: &mut dyn AmlSink) {
        for (index, window) in self.0.iter().enumerate() {
            let memory = Memory32Fixed::new(true, window.base, window.length);
            let interrupt = Interrupt::new(true, true, false, false, window.gsi);
            let hid = Name::new("_HID".into(), &"LNRO0005");
            let uid = Name::new("_UID".into(), &index);
            let resources = Name::new("_CRS".into(), &ResourceTemplate::new(vec![&memory, &interrupt]));
            let name = format!("V{index:03X}");
            Device::new(name.as_str().into(), vec![&hid, &uid, &resources]).to_aml_bytes(sink);
        }
    }
}

fn fadt(dsdt: u64) -> impl Aml {
    let port = |port: u16| GAS::new(AddressSpace::SystemIo, 8, 0, AccessSize::ByteAccess, port.into());
    let mut fadt = FADTBuilder::new(OEM_ID, OEM_TABLE_ID, OEM_REVISION)
        .dsdt_64(dsdt)
        .flag(Flags::HwReducedAcpi)
        .flag(Flags::ResetRegSup)
        .flag(Flags::PwrButton)
        .flag(Flags::SlpButton)
        .flag(Flags::Headless);
    fadt.iapc_boot_arch = (VGA_NOT_PRESENT | MSI_NOT_SUPPORTED | CMOS_RTC_NOT_PRESENT).into();
    fadt.reset_reg = port(layout::ACPI_RESET_PORT);
    fadt.reset_value = layout::ACPI_RESET_VALUE;
    fadt.sleep_control_reg = port(layout::ACPI_SLEEP_CONTROL_PORT);
    fadt.sleep_status_reg = port(layout::ACPI_SLEEP_STATUS_PORT);
    fadt.hypervisor_vendor_identity = u64::from_le_bytes(*b"bottlevm").into();
    fadt.finalize()
}

/// Local APIC ids equal vCPU indices; the I/O APIC's id follows them.
fn madt(vcpus: u8) -> MADT {
    let mut madt = MADT::new(OEM_ID, OEM_TABLE_ID, OEM_REVISION, LocalInterruptController::Address(layout::LOCAL_APIC));
    for index in 0..vcpus {
        madt.add_structure(ProcessorLocalApic::new(index, index, EnabledStatus::Enabled));
    }
    madt.add_structure(IoApic::new(vcpus, layout::IO_APIC, 0));
    madt
}

#[cfg(test)]
#[path = "acpi_test.rs"]
mod tests;
