//! Directory data: blocks of entries, each with its names. Law: pure.
//!
//! Source: fs/erofs/erofs_fs.h, `struct erofs_dirent`, and the binary searches of fs/erofs/namei.c, which want entries
//! sorted by the bytes of their names across and inside blocks, `.` and `..` among them.

use super::format::BLOCK;

const DIRENT: usize = 12;

#[derive(Debug, Clone, Copy)]
pub(crate) struct Dirent<'a> {
    pub(crate) name: &'a [u8],
    pub(crate) nid: u64,
    pub(crate) file_type: u8,
}

/// How many of the entries, by the lengths of their names, fill the next block.
fn next_block(names: impl Iterator<Item = usize>) -> (usize, usize) {
    let mut used = 0;
    let mut count = 0;
    for name in names {
        if used + DIRENT + name > BLOCK {
            break;
        }
        used += DIRENT + name;
        count += 1;
    }
    (count, used)
}

/// Bytes that a directory with names of these lengths, in order, takes: whole blocks, and what the last one uses.
pub(crate) fn directory_bytes(name_lengths: impl Iterator<Item = usize>) -> u64 {
    let mut whole = 0_u64;
    let mut used = 0;
    for name in name_lengths {
        if used + DIRENT + name > BLOCK {
            whole += BLOCK as u64;
            used = 0;
        }
        used += DIRENT + name;
    }
    whole + used as u64
}

/// The data of a directory; `entries` sorted by name. Every block but the last is padded to its full size.
pub(crate) fn encode(mut entries: &[Dirent<'_>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    while !entries.is_empty() {
        bytes.resize(bytes.len().next_multiple_of(BLOCK), 0);
        let (count, _) = next_block(entries.iter().map(|entry| entry.name.len()));
        // A name has at most 255 bytes, so at least one entry fits; the `max` keeps a broken caller from a loop.
        let (block, rest) = entries.split_at(count.max(1));
        encode_block(block, &mut bytes);
        entries = rest;
    }
    bytes
}

fn encode_block(entries: &[Dirent<'_>], bytes: &mut Vec<u8>) {
    let mut name_offset = entries.len() * DIRENT;
    for entry in entries {
        bytes.extend(entry.nid.to_le_bytes());
        bytes.extend(u16::try_from(name_offset).unwrap_or(u16::MAX).to_le_bytes());
        bytes.extend([entry.file_type, 0]);
        name_offset += entry.name.len();
    }
    for entry in entries {
        bytes.extend(entry.name);
    }
}
