//! The 512-byte header block of tar. Law: pure.
//!
//! Source: POSIX.1-2017 pax, "ustar Interchange Format"; GNU tar's `struct oldgnu_header` for the sparse fields, and its
//! base-256 numbers.

use super::TarError;
use super::sparse::{GnuSparse, Segment};
use crate::image::tree::{Device, Time};

pub(super) const BLOCK: usize = 512;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TypeFlag {
    File,
    HardLink,
    Symlink,
    CharDevice,
    BlockDevice,
    Directory,
    /// With the names in it as data: GNU tar's incremental dumps.
    DumpDirectory,
    Fifo,
    GnuSparse,
    GnuLongName,
    GnuLongLink,
    Pax,
    PaxGlobal,
    VolumeLabel,
    Other(u8),
}

/// What the fixed fields say. Fields that only some entries need are `None` if they make no sense.
#[derive(Debug, Clone)]
pub(super) struct Header {
    pub(super) path: Vec<u8>,
    pub(super) link: Vec<u8>,
    pub(super) flag: TypeFlag,
    pub(super) mode: u16,
    pub(super) uid: Option<u32>,
    pub(super) gid: Option<u32>,
    pub(super) size: u64,
    pub(super) mtime: Option<Time>,
    pub(super) device: Option<Device>,
    sparse_area: [u8; SPARSE_AREA],
}

/// Bytes 386 to 495 of a GNU header: four segments, "more follow", the file's size.
const SPARSE_AREA: usize = 109;

impl Header {
    pub(super) fn parse(block: &[u8; BLOCK], at: u64) -> Result<Self, TarError> {
        if !checksum_holds(block) {
            return Err(TarError::NotAHeader { offset: at });
        }
        let bad = |field| TarError::Field { field, offset: at };
        let gnu = &block[257..265] == b"ustar  \0";
        let posix = &block[257..263] == b"ustar\0";
        let name = text(&block[..100]);
        let prefix = if posix { text(&block[345..500]) } else { &[] };
        let path = if prefix.is_empty() { name.to_vec() } else { [prefix, b"/", name].concat() };
        let small = |field: &[u8]| number(field).and_then(|value| u32::try_from(value).ok());
        // Masked before it is narrowed: a mode may carry the file type's bits.
        let mode = number(&block[100..108]).ok_or(bad("mode"))? & 0o7777;
        let device = || Some(Device { major: small(&block[329..337])?, minor: small(&block[337..345])? });
        let mut sparse_area = [0; SPARSE_AREA];
        if gnu {
            sparse_area.copy_from_slice(&block[386..495]);
        }
        Ok(Self {
            flag: flag(block[156]),
            path,
            link: text(&block[157..257]).to_vec(),
            mode: u16::try_from(mode).map_err(|_| bad("mode"))?,
            uid: number(&block[108..116]).and_then(owner),
            gid: number(&block[116..124]).and_then(owner),
            size: number(&block[124..136]).and_then(|size| u64::try_from(size).ok()).ok_or(bad("size"))?,
            mtime: number(&block[136..148]).map(|seconds| Time { seconds, nanoseconds: 0 }),
            device: device(),
            sparse_area,
        })
    }

    pub(super) fn gnu_sparse(&self) -> Option<GnuSparse> {
        let area = &self.sparse_area;
        let size = u64::try_from(number(&area[97..109])?).ok()?;
        Some(GnuSparse { segments: segments(&area[..96])?, continues: area[96] != 0, size })
    }
}

/// A user or a group. Negative ones are what other systems have for `nobody` (-2): the same 32 bits. -1 is none: to chown(2) it means that the
/// owner stays.
pub(super) fn owner(number: i64) -> Option<u32> {
    let id = u32::try_from(number).or_else(|_| i32::try_from(number).map(i32::cast_unsigned)).ok()?;
    (id != u32::MAX).then_some(id)
}

/// Pairs of 12-byte numbers, offset and length, up to the first empty one.
pub(super) fn segments(area: &[u8]) -> Option<Vec<Segment>> {
    let pairs = area.chunks_exact(24).take_while(|pair| pair[0] != 0);
    pairs
        .map(|pair| {
            let offset = u64::try_from(number(&pair[..12])?).ok()?;
            let length = u64::try_from(number(&pair[12..])?).ok()?;
            Some(Segment { offset, length })
        })
        .collect()
}

fn flag(byte: u8) -> TypeFlag {
    match byte {
        b'0' | 0 | b'7' => TypeFlag::File,
        b'1' => TypeFlag::HardLink,
        b'2' => TypeFlag::Symlink,
        b'3' => TypeFlag::CharDevice,
        b'4' => TypeFlag::BlockDevice,
        b'5' => TypeFlag::Directory,
        b'D' => TypeFlag::DumpDirectory,
        b'6' => TypeFlag::Fifo,
        b'S' => TypeFlag::GnuSparse,
        b'L' => TypeFlag::GnuLongName,
        b'K' => TypeFlag::GnuLongLink,
        b'x' | b'X' => TypeFlag::Pax,
        b'g' => TypeFlag::PaxGlobal,
        b'V' => TypeFlag::VolumeLabel,
        other => TypeFlag::Other(other),
    }
}

/// The sum of all bytes, its own field taken as blanks. Old writers summed signed bytes.
fn checksum_holds(block: &[u8; BLOCK]) -> bool {
    let Some(stored) = number(&block[148..156]) else { return false };
    let bytes = || block.iter().enumerate().map(|(at, &byte)| if (148..156).contains(&at) { b' ' } else { byte });
    let unsigned: i64 = bytes().map(i64::from).sum();
    let signed: i64 = bytes().map(|byte| i64::from(byte.cast_signed())).sum();
    stored == unsigned || stored == signed
}

fn text(field: &[u8]) -> &[u8] {
    field.split(|&byte| byte == 0).next().unwrap_or_default()
}

/// Octal digits between blanks and NULs (none at all is zero), or two's complement in base 256 if the top bit is set.
fn number(field: &[u8]) -> Option<i64> {
    let (&first, rest) = field.split_first()?;
    if first & 0x80 != 0 {
        // Bit 6 is the sign; the top bit only marks the form.
        let head = if first & 0x40 == 0 { i64::from(first & 0x3f) } else { i64::from(first.cast_signed()) };
        return rest.iter().try_fold(head, |value, &byte| value.checked_mul(256)?.checked_add(i64::from(byte)));
    }
    let is_padding = |byte: &u8| *byte == 0 || byte.is_ascii_whitespace();
    let begin = field.iter().position(|byte| !is_padding(byte)).unwrap_or(field.len());
    let digits = field[begin..].split(is_padding).next().unwrap_or_default();
    digits.iter().try_fold(0_i64, |value, &digit| match digit {
        b'0'..=b'7' => value.checked_mul(8)?.checked_add(i64::from(digit - b'0')),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::{number, owner};

    #[test]
    fn owners_are_32_bits_whatever_their_sign() {
        assert_eq!(
            [-2, 0, 1000, 4_294_967_294].map(owner),
            [Some(u32::MAX - 1), Some(0), Some(1000), Some(u32::MAX - 1)]
        );
        assert_eq!([-1, 4_294_967_295, 4_294_967_296, i64::MIN].map(owner), [None; 4]);
    }

    #[test]
    fn numbers_in_octal_and_base_256() {
        assert_eq!(number(b"0000644\0"), Some(0o644));
        assert_eq!(number(b"   644 \0"), Some(0o644));
        assert_eq!(number(b"\0\0\0\0\0\0\0\0"), Some(0));
        assert_eq!(number(b"\0 000755"), Some(0o755));
        assert_eq!(number(b"0000648\0"), None);
        assert_eq!(number(b"-000644\0"), None);
        assert_eq!(number(&[0x80, 0, 0, 0, 0, 0, 1, 0]), Some(256));
        assert_eq!(number(&[0xff; 12]), Some(-1));
        assert_eq!(number(&[0xbf, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]), None);
    }
}
