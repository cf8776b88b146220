use super::*;
use std::io::Write as _;
use vm_memory::GuestAddress;

/// A minimal ELF: one segment of one page at 2 MiB, and a PVH note if asked for.
fn elf(entry: u64, pvh: Option<u32>) -> File {
    let mut header = vec![0u8; 64];
    header[..16].copy_from_slice(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0");
    header[16..20].copy_from_slice(&[2, 0, 62, 0]); // ET_EXEC, x86-64
    header[20] = 1;
    header[24..32].copy_from_slice(&entry.to_le_bytes());
    header[32] = 64; // e_phoff
    header[52] = 64;
    header[54] = 56;
    header[56] = 1 + u8::from(pvh.is_some());
    let segment = |kind: u32, offset: u64, address: u64, size: u64| {
        let words = [offset, address, address, size, size, 0x1000];
        [kind.to_le_bytes(), 5u32.to_le_bytes()]
            .concat()
            .into_iter()
            .chain(words.iter().flat_map(|w| w.to_le_bytes()))
            .collect::<Vec<u8>>()
    };
    let mut bytes = header;
    bytes.extend(segment(1, 0x1000, 0x20_0000, 0x1000));
    let note: Vec<u8> = pvh.map_or(Vec::new(), |address| {
        // Name size, descriptor size, type 18 (XEN_ELFNOTE_PHYS32_ENTRY), "Xen", the address.
        [4u32.to_le_bytes(), 8u32.to_le_bytes(), 18u32.to_le_bytes(), *b"Xen\0"]
            .concat()
            .into_iter()
            .chain(u64::from(address).to_le_bytes())
            .collect()
    });
    if pvh.is_some() {
        bytes.extend(segment(4, 0x2000, 0, note.len() as u64));
    }
    bytes.resize(0x2000, 0x90);
    bytes.extend(note);
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&bytes).unwrap();
    file
}

fn ram() -> GuestRam {
    GuestRam::from_ranges(&[(GuestAddress(0), 4 << 20)]).unwrap()
}

#[test]
fn a_linux_entry_is_taken_even_beside_a_pvh_note() {
    let kernel = load(&ram(), &elf(0x20_0010, Some(0x20_0100))).unwrap();
    assert_eq!((kernel.entry, kernel.end), (Entry::Linux64(GuestAddress(0x20_0010)), 0x20_1000));
}

#[test]
fn an_entry_outside_the_kernel_leaves_pvh() {
    let kernel = load(&ram(), &elf(0xffff_ffff_8000_0000, Some(0x20_0100))).unwrap();
    assert_eq!(kernel.entry, Entry::Pvh(GuestAddress(0x20_0100)));
    assert!(matches!(load(&ram(), &elf(0, None)), Err(KernelLoadError::NoEntry { entry: 0 })));
}

#[test]
fn a_kernel_that_guest_memory_has_no_room_for_is_told_from_a_damaged_one() {
    let one_mib = GuestRam::from_ranges(&[(GuestAddress(0), 1 << 20)]).unwrap();
    assert!(matches!(load(&one_mib, &elf(0x20_0010, None)), Err(KernelLoadError::NoRoom { memory_mib: 1 })));
    let mut text = tempfile::tempfile().unwrap();
    text.write_all(b"no kernel").unwrap();
    assert!(matches!(load(&ram(), &text), Err(KernelLoadError::Load(_))));
}
