//! The ELF kernel inside a bzImage.
//!
//! Booting that ELF saves the guest its own decompression, which in a short-lived guest is a good part of the boot.
//! The file may be anything: what it says of itself is checked against its length, and the output is bounded.
//!
//! Source: Documentation/arch/x86/boot.rst, "Details of Header Fields" (`payload_offset`, `payload_length`: protocol 2.08).

use std::io::{self, Read, Write};

use liblzma::stream::Stream;

use super::elf::{u16_at, u32_at};

/// No kernel is near this; a forged payload could unpack to far more than it is long.
pub(super) const MAX_VMLINUX: u64 = 256 << 20;

/// xz and lzma payloads use a dictionary of at most 32 MiB (scripts/xz_wrap.sh), and libraries some more.
const XZ_MEMORY_LIMIT: u64 = 128 << 20;

const BOOT_FLAG: (usize, u16) = (0x1fe, 0xaa55);
const MAGIC: (usize, &[u8]) = (0x202, b"HdrS");
const VERSION: usize = 0x206;
const SETUP_SECTORS: usize = 0x1f1;
const PAYLOAD_OFFSET: usize = 0x248;
const PAYLOAD_LENGTH: usize = 0x24c;
const SECTOR: u64 = 512;
const PROTOCOL_2_08: u16 = 0x0208;

/// Where in the file the compressed kernel is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Payload {
    pub(super) offset: u64,
    pub(super) length: u64,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Header {
    Payload(Payload),
    OldProtocol(u16),
}

/// Reads the setup header in the first [`super::elf::HEAD`] bytes of a file; None if there is none.
pub(super) fn header(head: &[u8]) -> Option<Header> {
    let magic = head.get(MAGIC.0..)?.starts_with(MAGIC.1);
    if !magic || u16_at(head, BOOT_FLAG.0)? != BOOT_FLAG.1 {
        return None;
    }
    let version = u16_at(head, VERSION)?;
    if version < PROTOCOL_2_08 {
        return Some(Header::OldProtocol(version));
    }
    // "If this field contains 0, then the real value is 4"; one more for the boot sector.
    let setup_sectors = match head.get(SETUP_SECTORS)? {
        0 => 4,
        sectors => u64::from(*sectors),
    };
    let protected_mode = (setup_sectors + 1) * SECTOR;
    let offset = protected_mode + u64::from(u32_at(head, PAYLOAD_OFFSET)?);
    Some(Header::Payload(Payload { offset, length: u64::from(u32_at(head, PAYLOAD_LENGTH)?) }))
}

#[derive(Debug, thiserror::Error)]
pub(super) enum UnpackError {
    #[error("compressed with {0}")]
    Unsupported(&'static str),
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Unpacks a payload into `out`.
pub(super) fn unpack(payload: &[u8], out: impl Write) -> Result<(), UnpackError> {
    let mut out = Bounded { out, written: 0 };
    // All but gzip have the length of what they hold behind them (scripts/Makefile.lib, `size_append`); gzip ends with it.
    let (packed, announced) = payload.split_last_chunk::<4>().ok_or_else(|| invalid("too short"))?;
    match payload {
        [0x1f, 0x8b, ..] => copy(flate2::read::GzDecoder::new(payload), &mut out)?,
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => {
            let stream = Stream::new_stream_decoder(XZ_MEMORY_LIMIT, 0).map_err(io::Error::from)?;
            copy(liblzma::read::XzDecoder::new_stream(packed, stream), &mut out)?;
        }
        [0x5d, 0, 0, ..] => {
            let stream = Stream::new_lzma_decoder(XZ_MEMORY_LIMIT).map_err(io::Error::from)?;
            copy(liblzma::read::XzDecoder::new_stream(packed, stream), &mut out)?;
        }
        [0x28, 0xb5, 0x2f, 0xfd, ..] => {
            copy(zstd::stream::read::Decoder::with_buffer(packed)?.single_frame(), &mut out)?;
        }
        [0x02, 0x21, 0x4c, 0x18, blocks @ ..] => {
            let blocks = &blocks[..blocks.len().saturating_sub(announced.len())];
            lz4_legacy(blocks, &mut out)?;
        }
        [b'B', b'Z', b'h', ..] => return Err(UnpackError::Unsupported("bzip2")),
        [0x89, b'L', b'Z', b'O', ..] => return Err(UnpackError::Unsupported("LZO")),
        [0x7f, b'E', b'L', b'F', ..] => copy(packed, &mut out)?,
        _ => return Err(invalid("no compression that Linux uses").into()),
    }
    let announced = u64::from(u32::from_le_bytes(*announced));
    let uncompressed = super::elf::is_elf(payload);
    if !uncompressed && out.written != announced {
        return Err(invalid(format!("{} bytes came out where {announced} were announced", out.written)).into());
    }
    out.out.flush()?;
    Ok(())
}

fn copy(mut from: impl Read, to: &mut impl Write) -> io::Result<()> {
    io::copy(&mut from, to).map(drop)
}

/// The frame of `lz4 -l`: blocks that each hold up to 8 MiB, preceded by their compressed length.
/// Source: lz4_Frame_format.md, "Legacy frame".
fn lz4_legacy(mut blocks: &[u8], out: &mut impl Write) -> io::Result<()> {
    const BLOCK: usize = 8 << 20;
    let mut plain = vec![0; BLOCK];
    while let Some((length, rest)) = blocks.split_first_chunk() {
        let length = usize::try_from(u32::from_le_bytes(*length)).map_err(invalid)?;
        let (block, rest) = rest.split_at_checked(length).ok_or(io::ErrorKind::UnexpectedEof)?;
        let unpacked = lz4_flex::block::decompress_into(block, &mut plain).map_err(invalid)?;
        out.write_all(&plain[..unpacked])?;
        blocks = rest;
    }
    if blocks.is_empty() { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}

fn invalid(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

/// Refuses to pass on more than [`MAX_VMLINUX`].
struct Bounded<W> {
    out: W,
    written: u64,
}

impl<W: Write> Write for Bounded<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = usize::try_from(MAX_VMLINUX - self.written).unwrap_or(usize::MAX);
        if bytes.len() > room {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("unpacks to over {MAX_VMLINUX} bytes")));
        }
        let written = self.out.write(bytes)?;
        self.written += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

#[cfg(test)]
#[path = "bzimage_test.rs"]
mod tests;
