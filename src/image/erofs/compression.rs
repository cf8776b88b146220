//! Which compression an image has, and the compressing of one extent. Law: pure; bytes in, blocks out.
//!
//! An extent is a run of a file's bytes that is compressed by itself: large enough to find what repeats, small enough
//! that a page fault does not unpack a megabyte for four kilobytes.

use std::fmt;
use std::io;
use std::ops::Range;
use std::str::FromStr;

use lz4_flex::block::{CompressTable, compress_into_with_table, get_maximum_output_size};
use serde::{Deserialize, Serialize};
use zstd::zstd_safe::{self, CParameter, Strategy};

use super::features::Feature;
use super::format::BLOCK;

/// How the root file system of an image is compressed. As text it is `none`, `lz4`, `zstd` or `zstd:LEVEL`, each in one form.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum RootCompression {
    /// Every byte as it is.
    None,
    /// Quick to pack and to read; every kernel with EROFS reads it (Linux 6.1 and later, for the packed small files).
    #[default]
    Lz4,
    /// A third smaller and much slower to pack. Linux 6.10 and later, with `CONFIG_EROFS_FS_ZIP_ZSTD`.
    Zstd {
        /// One of the library's; without one, parameters that are made for extents of this size.
        level: Option<ZstdLevel>,
    },
}

/// A level of the Zstandard library, from 1 (quick) to 22.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ZstdLevel(u8);

impl ZstdLevel {
    /// The level, if it is one.
    #[must_use]
    pub fn new(level: u8) -> Option<Self> {
        (1..=22).contains(&level).then_some(Self(level))
    }
}

/// The text is none of those that name a compression.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("there are `none`, `lz4`, `zstd` and, with a level from 1 to 22, `zstd:LEVEL`")]
pub struct UnknownCompression;

impl RootCompression {
    /// In the order of their density.
    pub const ALL: [Self; 3] = [Self::None, Self::Lz4, Self::Zstd { level: None }];

    pub(crate) fn method(self) -> Option<(Algorithm, Option<ZstdLevel>)> {
        match self {
            Self::None => None,
            Self::Lz4 => Some((Algorithm::Lz4, None)),
            Self::Zstd { level } => Some((Algorithm::Zstd, level)),
        }
    }

    /// What a kernel may need to read an image that is compressed like this.
    #[must_use]
    pub fn features(self) -> &'static [Feature] {
        match self {
            Self::None => &[],
            Self::Lz4 => &[Feature::Lz4, Feature::Fragments],
            Self::Zstd { .. } => &[Feature::Fragments, Feature::Zstd],
        }
    }
}

impl fmt::Display for RootCompression {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => out.write_str("none"),
            Self::Lz4 => out.write_str("lz4"),
            Self::Zstd { level: None } => out.write_str("zstd"),
            Self::Zstd { level: Some(ZstdLevel(level)) } => write!(out, "zstd:{level}"),
        }
    }
}

impl FromStr for RootCompression {
    type Err = UnknownCompression;

    fn from_str(text: &str) -> Result<Self, UnknownCompression> {
        let level = text.strip_prefix("zstd:").and_then(|level| ZstdLevel::new(level.parse().ok()?));
        let with_level = level.map(|level| Self::Zstd { level: Some(level) });
        // One form each: the text is part of names.
        let known = Self::ALL.into_iter().chain(with_level);
        known.into_iter().find(|compression| compression.to_string() == text).ok_or(UnknownCompression)
    }
}

impl From<RootCompression> for String {
    fn from(compression: RootCompression) -> Self {
        compression.to_string()
    }
}

impl TryFrom<String> for RootCompression {
    type Error = UnknownCompression;

    fn try_from(text: String) -> Result<Self, UnknownCompression> {
        text.parse()
    }
}

/// The algorithm of compressed extents (`Z_EROFS_COMPRESSION_*`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Algorithm {
    Lz4,
    Zstd,
}

/// LZ4 looks back 64 KiB, so twice as much gains little (256 KiB: 1.6 %). Zstandard looks back as far as there is
/// something, and 512 KiB are 4 % denser than 256 KiB.
const LZ4_EXTENT_BITS: u8 = 17;
const ZSTD_EXTENT_BITS: u8 = 19;

/// Level 15 of Zstandard as it is for inputs of 256 KiB, with a larger window, a shorter search, and a table that stays in the
/// processor's cache (a fifth of the time, for half a percent of size). Of the library's own levels for inputs of this size, 15 is a
/// third quicker and 6 % larger.
const ZSTD_PARAMETERS: [CParameter; 8] = [
    CParameter::CompressionLevel(15),
    CParameter::WindowLog(ZSTD_EXTENT_BITS as u32),
    CParameter::ChainLog(18),
    CParameter::HashLog(17),
    CParameter::SearchLog(3),
    CParameter::MinMatch(3),
    CParameter::TargetLength(16),
    CParameter::Strategy(Strategy::ZSTD_btopt),
];

impl Algorithm {
    /// `Z_EROFS_COMPRESSION_*`: a bit in the super block, a number in inodes.
    pub(crate) fn number(self) -> u8 {
        match self {
            Self::Lz4 => 0,
            Self::Zstd => 3,
        }
    }

    pub(crate) fn extent_bytes(self) -> usize {
        match self {
            Self::Lz4 => 1 << LZ4_EXTENT_BITS,
            Self::Zstd => 1 << ZSTD_EXTENT_BITS,
        }
    }

    /// Files of fewer bytes than this go into the packed file, unless a test has it otherwise. Linux reads that page by
    /// page; for each of LZ4 it unpacks its extent up to there, of Zstandard all pages of the extent are kept at once.
    pub(crate) fn pack_below(self) -> u64 {
        match self {
            Self::Lz4 => 32 << 10,
            Self::Zstd => 128 << 10,
        }
    }

    /// `struct z_erofs_lz4_cfgs` or `z_erofs_zstd_cfgs`: what a kernel has to set aside memory for.
    pub(crate) fn configuration(self) -> Vec<u8> {
        match self {
            Self::Lz4 => {
                let blocks = (1_u16 << (LZ4_EXTENT_BITS - 12)).to_le_bytes();
                // The distance is LZ4's own.
                let mut bytes = vec![0xff, 0xff];
                bytes.extend(blocks);
                bytes.resize(14, 0);
                bytes
            }
            // Format 0, and the window as a power of two above 2^10.
            Self::Zstd => vec![0, ZSTD_EXTENT_BITS - 10, 0, 0, 0, 0],
        }
    }
}

/// One thread's compressor, with the memory it works in.
pub(crate) enum Encoder {
    Lz4(CompressTable),
    Zstd(zstd_safe::CCtx<'static>),
}

impl Encoder {
    pub(crate) fn new(algorithm: Algorithm, level: Option<ZstdLevel>) -> io::Result<Self> {
        if algorithm == Algorithm::Lz4 {
            return Ok(Self::Lz4(CompressTable::large()));
        }
        let mut context = zstd_safe::CCtx::try_create().ok_or(io::ErrorKind::OutOfMemory)?;
        let mut set = |parameter| context.set_parameter(parameter).map_err(zstd_error).map(drop);
        if let Some(ZstdLevel(level)) = level {
            set(CParameter::CompressionLevel(level.into()))?;
            set(CParameter::WindowLog(ZSTD_EXTENT_BITS.into()))?;
        } else {
            ZSTD_PARAMETERS.into_iter().try_for_each(set)?;
        }
        Ok(Self::Zstd(context))
    }

    /// Compresses `extent` into `output`: which part of it is the result. It is whole blocks, with the zeros that fill
    /// them in front (the kernel finds the start by them, and can unpack in place). `None` if it saves too little to pay
    /// for the unpacking.
    pub(crate) fn encode(&mut self, extent: &[u8], output: &mut Vec<u8>) -> io::Result<Option<Range<usize>>> {
        let blocks = extent.len().div_ceil(BLOCK);
        if blocks < 2 {
            return Ok(None);
        }
        let bound = match self {
            Self::Lz4(_) => get_maximum_output_size(extent.len()),
            Self::Zstd(_) => zstd_safe::compress_bound(extent.len()),
        };
        if output.len() < BLOCK + bound {
            output.resize(BLOCK + bound, 0);
        }
        let (padding, space) = output.split_at_mut(BLOCK);
        let length = match self {
            Self::Lz4(table) => compress_into_with_table(extent, space, table).map_err(io::Error::other)?,
            Self::Zstd(context) => context.compress2(space, extent).map_err(zstd_error)?,
        };
        let padded = length.next_multiple_of(BLOCK);
        if padded / BLOCK + (blocks / 16).max(1) > blocks {
            return Ok(None);
        }
        padding.fill(0);
        Ok(Some(BLOCK + length - padded..BLOCK + length))
    }
}

fn zstd_error(code: usize) -> io::Error {
    io::Error::other(zstd_safe::get_error_name(code))
}

#[cfg(test)]
mod tests {
    use super::RootCompression;

    #[test]
    fn each_name_has_one_form_and_nothing_else_is_a_compression() {
        for text in ["none", "lz4", "zstd", "zstd:1", "zstd:9", "zstd:22"] {
            assert_eq!(text.parse::<RootCompression>().unwrap().to_string(), text);
        }
        for text in [
            "", "LZ4", "lz4hc", "gzip", "lz4:1", "zstd:", "zstd:0", "zstd:23", "zstd:-1", "zstd:+3", "zstd:03",
            "zstd:3 ",
        ] {
            assert!(text.parse::<RootCompression>().is_err(), "{text}");
        }
    }
}
