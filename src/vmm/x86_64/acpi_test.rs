use super::*;

fn window(base: u32, gsi: u32) -> MmioWindow {
    MmioWindow { base, length: 0x1000, gsi }
}

/// Follows the pointers as a kernel does, checking each table's checksum, and returns the tables by signature.
fn walk(image: &[u8]) -> Vec<(String, Vec<u8>)> {
    let at = |address: u64| usize::try_from(address - layout::ACPI).unwrap();
    let table = |address: u64| {
        let start = at(address);
        let length = u32::from_le_bytes(image[start + 4..start + 8].try_into().unwrap()) as usize;
        let bytes = image[start..start + length].to_vec();
        assert_eq!(bytes.iter().fold(0u8, |sum, b| sum.wrapping_add(*b)), 0, "checksum of the table at {address:#x}");
        (String::from_utf8(bytes[..4].to_vec()).unwrap(), bytes)
    };
    assert_eq!(&image[..8], b"RSD PTR ");
    assert_eq!(image[..36].iter().fold(0u8, |sum, b| sum.wrapping_add(*b)), 0);
    let xsdt = table(u64::from_le_bytes(image[24..32].try_into().unwrap())).1;
    let mut found: Vec<_> = xsdt[36..].chunks(8).map(|p| table(u64::from_le_bytes(p.try_into().unwrap()))).collect();
    let fadt = &found.iter().find(|(name, _)| name == "FACP").unwrap().1;
    found.push(table(u64::from_le_bytes(fadt[140..148].try_into().unwrap())));
    found
}

#[test]
fn every_table_is_reached_and_sums_to_zero() {
    let tables = walk(&tables(2, &[window(0xd000_0000, 5), window(0xd000_1000, 6)]));
    assert_eq!(tables.iter().map(|t| t.0.as_str()).collect::<Vec<_>>(), ["FACP", "APIC", "DSDT"]);
}

#[test]
fn the_kernel_is_told_what_is_absent() {
    let tables = walk(&tables(1, &[]));
    let boot_arch = u16::from_le_bytes(tables[0].1[109..111].try_into().unwrap());
    assert_eq!(boot_arch & (1 << 5), 1 << 5, "no CMOS clock");
    assert_eq!(boot_arch & 0b11, 0, "no legacy devices, no 8042");
    assert_eq!(u32::from_le_bytes(tables[0].1[112..116].try_into().unwrap()) & (1 << 20), 1 << 20, "hardware-reduced");
}

#[test]
fn the_madt_lists_each_vcpu_and_one_io_apic() {
    let madt = walk(&tables(4, &[])).remove(1).1;
    assert_eq!(madt.len(), 44 + 4 * 8 + 12);
    assert_eq!((madt[44 + 3 * 8 + 3], madt[44 + 4 * 8], madt[44 + 4 * 8 + 2]), (3, 1, 4));
}

#[test]
fn the_dsdt_has_a_node_for_each_window() {
    let dsdt = walk(&tables(1, &[window(0xd000_0000, 5), window(0xd000_1000, 6)])).remove(2).1;
    assert_eq!(dsdt.windows(8).filter(|w| w == b"LNRO0005").count(), 2);
    assert!(dsdt.windows(4).any(|w| w == 0xd000_1000u32.to_le_bytes()));
}

#[test]
fn the_tables_fit_below_the_mp_table_with_every_pin_used() {
    let windows: Vec<_> =
        (layout::FIRST_DEVICE_GSI..layout::GSI_COUNT).map(|gsi| window(0xd000_0000 + gsi * 0x1000, gsi)).collect();
    assert!(tables(254, &windows).len() as u64 <= layout::MP_TABLE - layout::ACPI);
}
