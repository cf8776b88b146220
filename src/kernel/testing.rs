//! Kernels, modules and packages small enough to be written out.

use std::io::Write;
use std::path::Path;

use super::elf;

pub(super) const X86_64: u16 = 62;
pub(super) const AARCH64: u16 = 183;

/// An ELF with one loaded segment of `body` at the virtual address where Linux is linked.
pub(super) fn vmlinux(machine: u16, body: &[u8]) -> Vec<u8> {
    program(machine, 1, 0xffff_ffff_8100_0000, body)
}

/// As [`vmlinux`], of any segment kind and address.
pub(super) fn program(machine: u16, segment: u32, address: u64, body: &[u8]) -> Vec<u8> {
    let mut elf = vec![0; 64];
    elf[..4].copy_from_slice(b"\x7fELF");
    elf[4..7].copy_from_slice(&[2, 1, 1]);
    elf[16..18].copy_from_slice(&2u16.to_le_bytes());
    elf[18..20].copy_from_slice(&machine.to_le_bytes());
    elf[32..40].copy_from_slice(&64u64.to_le_bytes());
    elf[54..56].copy_from_slice(&56u16.to_le_bytes());
    elf[56..58].copy_from_slice(&1u16.to_le_bytes());
    elf.extend_from_slice(&segment.to_le_bytes());
    elf.extend_from_slice(&5u32.to_le_bytes());
    let offset = elf::HEAD as u64;
    for field in [offset, address, 0x100_0000, body.len() as u64, body.len() as u64, 0x1000] {
        elf.extend_from_slice(&field.to_le_bytes());
    }
    elf.resize(elf::HEAD, 0);
    elf.extend_from_slice(body);
    elf
}

/// A bzImage of `version` around a payload that is already compressed, followed by what it unpacks to in bytes.
pub(super) fn bzimage(version: u16, compressed: &[u8], unpacked: usize) -> Vec<u8> {
    let mut payload = compressed.to_vec();
    payload.extend_from_slice(&u32::try_from(unpacked).unwrap().to_le_bytes());
    // One setup sector behind the boot sector, then 64 bytes of decompressor before the payload.
    let mut image = vec![0; 1024 + 64];
    image[0x1f1] = 1;
    image[0x1fe..0x200].copy_from_slice(&0xaa55u16.to_le_bytes());
    image[0x202..0x206].copy_from_slice(b"HdrS");
    image[0x206..0x208].copy_from_slice(&version.to_le_bytes());
    image[0x248..0x24c].copy_from_slice(&64u32.to_le_bytes());
    image[0x24c..0x250].copy_from_slice(&u32::try_from(payload.len()).unwrap().to_le_bytes());
    image.extend_from_slice(&payload);
    image
}

pub(super) fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 1).unwrap()
}

/// An object whose `.modinfo` has these fields.
pub(super) fn module(fields: &[&str]) -> Vec<u8> {
    let names = b"\0.modinfo\0.shstrtab\0";
    let info: Vec<u8> = fields.iter().flat_map(|field| [field.as_bytes(), b"\0"].concat()).collect();
    let mut elf = vec![0; 64];
    elf[..6].copy_from_slice(b"\x7fELF\x02\x01");
    let (info_at, names_at) = (64, 64 + info.len());
    let headers_at = names_at + names.len();
    elf[40..48].copy_from_slice(&(headers_at as u64).to_le_bytes());
    elf[60..62].copy_from_slice(&3u16.to_le_bytes());
    elf[62..64].copy_from_slice(&2u16.to_le_bytes());
    elf.extend_from_slice(&info);
    elf.extend_from_slice(names);
    for (name, at, len) in [(0u32, 0, 0), (1, info_at, info.len()), (10, names_at, names.len())] {
        let mut header = [0; 64];
        header[..4].copy_from_slice(&name.to_le_bytes());
        header[24..32].copy_from_slice(&(at as u64).to_le_bytes());
        header[32..40].copy_from_slice(&(len as u64).to_le_bytes());
        elf.extend_from_slice(&header);
    }
    elf
}

/// Writes a Debian package with these files.
pub(super) fn package(to: &Path, files: &[(&str, &[u8])]) {
    let mut tar = tar::Builder::new(Vec::new());
    for (name, data) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(data.len() as u64);
        header.set_mode(0o644);
        header.set_cksum();
        tar.append_data(&mut header, name, *data).unwrap();
    }
    let data = tar.into_inner().unwrap();
    let mut deb = b"!<arch>\n".to_vec();
    writeln!(deb, "{:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`", "data.tar", 0, 0, 0, 100_644, data.len()).unwrap();
    deb.extend_from_slice(&data);
    std::fs::write(to, deb).unwrap();
}
