//! As much of ELF as tells a kernel from other files and finds a module's description.
//!
//! Law: reads bytes, allocates nothing by what they say. Source: System V ABI, "Object Files"; elf(5).

/// Offsets and sizes of ELF64.
const HEADER: usize = 64;
const PROGRAM_HEADER: usize = 56;
const SECTION_HEADER: usize = 64;
const MAGIC: &[u8] = b"\x7fELF";
const CLASS_64: u8 = 2;
const LITTLE_ENDIAN: u8 = 1;
const TYPE_EXECUTABLE: u16 = 2;
const MACHINE_X86_64: u16 = 62;
const SEGMENT_LOAD: u32 = 1;
const SEGMENT_INTERPRETER: u32 = 3;

/// The fewest bytes of a file that [`kernel`] must see: a kernel has a handful of program headers, right behind the header.
pub(super) const HEAD: usize = 4096;

/// What a file that begins with the ELF magic is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// An x86-64 kernel whose segments end at this file offset.
    Kernel {
        end: u64,
    },
    /// A program, a library, an object.
    Other,
    Machine(String),
}

pub(super) fn is_elf(head: &[u8]) -> bool {
    head.starts_with(MAGIC)
}

/// Judges the first [`HEAD`] bytes of a file. None if they do not even hold the headers they announce.
pub(super) fn kernel(head: &[u8]) -> Option<Verdict> {
    let machine = u16_at(head, 18)?;
    if *head.get(4)? != CLASS_64 || *head.get(5)? != LITTLE_ENDIAN || machine != MACHINE_X86_64 {
        return Some(Verdict::Machine(machine_name(machine)));
    }
    let mut end = 0;
    let mut high_half = false;
    for header in program_headers(head)? {
        let kind = u32_at(header, 0)?;
        let (offset, address, in_file) = (u64_at(header, 8)?, u64_at(header, 16)?, u64_at(header, 32)?);
        match kind {
            SEGMENT_INTERPRETER => return Some(Verdict::Other),
            SEGMENT_LOAD => {
                end = end.max(offset.checked_add(in_file)?);
                // Linux links itself to the top 2 GiB (Documentation/arch/x86/x86_64/mm.rst); no program can.
                high_half |= address >> 63 == 1;
            }
            _ => {}
        }
    }
    let executable = u16_at(head, 16)? == TYPE_EXECUTABLE;
    Some(if executable && high_half { Verdict::Kernel { end } } else { Verdict::Other })
}

fn program_headers(head: &[u8]) -> Option<impl Iterator<Item = &[u8]>> {
    let start = usize::try_from(u64_at(head, 32)?).ok()?;
    let count = usize::from(u16_at(head, 56)?);
    if count > 0 && usize::from(u16_at(head, 54)?) != PROGRAM_HEADER {
        return None;
    }
    let end = start.checked_add(count.checked_mul(PROGRAM_HEADER)?)?;
    Some(head.get(start..end)?.chunks_exact(PROGRAM_HEADER))
}

/// The contents of the section called `name` of a 64-bit little-endian object.
pub(super) fn section<'a>(object: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let header = object.get(..HEADER)?;
    if !is_elf(header) || header[4] != CLASS_64 || header[5] != LITTLE_ENDIAN {
        return None;
    }
    let start = usize::try_from(u64_at(header, 40)?).ok()?;
    let (count, names) = (usize::from(u16_at(header, 60)?), usize::from(u16_at(header, 62)?));
    let end = start.checked_add(count.checked_mul(SECTION_HEADER)?)?;
    let headers = object.get(start..end)?;
    let contents = |header: &[u8]| {
        let (offset, size) = (usize::try_from(u64_at(header, 24)?).ok()?, usize::try_from(u64_at(header, 32)?).ok()?);
        object.get(offset..offset.checked_add(size)?)
    };
    let names = contents(headers.chunks_exact(SECTION_HEADER).nth(names)?)?;
    headers.chunks_exact(SECTION_HEADER).find_map(|header| {
        let at = usize::try_from(u32_at(header, 0)?).ok()?;
        let called = names.get(at..)?.split(|byte| *byte == 0).next()?;
        if called == name.as_bytes() { contents(header) } else { None }
    })
}

/// The machines whose kernels a person may have at hand; others by number.
fn machine_name(machine: u16) -> String {
    match machine {
        3 => "i386".to_owned(),
        MACHINE_X86_64 => "32-bit x86-64 (x32)".to_owned(),
        20 => "ppc".to_owned(),
        21 => "ppc64".to_owned(),
        22 => "s390".to_owned(),
        40 => "arm".to_owned(),
        183 => "aarch64".to_owned(),
        243 => "riscv".to_owned(),
        258 => "loongarch".to_owned(),
        other => format!("ELF machine {other}"),
    }
}

pub(super) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().map(|chunk| u16::from_le_bytes(*chunk))
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|chunk| u32::from_le_bytes(*chunk))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..)?.first_chunk().map(|chunk| u64::from_le_bytes(*chunk))
}

#[cfg(test)]
#[path = "elf_test.rs"]
mod tests;
