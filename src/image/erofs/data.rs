//! Where the bytes of files go. Law: sees bytes and block numbers, no names.
//!
//! `DataWriter` is the seam between layouts: it takes a file's bytes front to back and says how they lie. Data comes
//! before the metadata in an image, so nothing about it must be known early, and a file's bytes go from the layer to
//! their place in one copy. The layout without compression is here, the other in `compressed`.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;

use super::compressed::Pieces;
use super::format::{BLOCK, BLOCK_U64};
use crate::image::stream::is_zero;

/// How a file's bytes lie in the image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Extent {
    /// One run of blocks from here.
    Plain { first_block: u32 },
    /// Pieces from this one on, as many as the file's size takes.
    Pieces { first: u32 },
    /// In the packed file, from this byte on.
    Packed { offset: u64 },
}

impl Extent {
    /// Of a file without bytes.
    pub(crate) const EMPTY: Self = Self::Plain { first_block: 0 };
}

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("cannot read the content")]
    Read(#[source] io::Error),
    #[error("the content ends after {got} of {size} bytes")]
    Short { got: u64, size: u64 },
    #[error("cannot compress")]
    Compress(#[source] io::Error),
    #[error("cannot write the image")]
    Write(#[source] io::Error),
    #[error("the image would not fit EROFS's 32-bit block numbers")]
    TooLarge,
}

/// All file data is in its place.
#[derive(Debug)]
pub(crate) struct Stored {
    pub(crate) file: File,
    /// The first one that is free for metadata.
    pub(crate) next_block: u32,
    pub(crate) pieces: Option<Pieces>,
}

pub(crate) trait DataWriter {
    /// Stores exactly `size` bytes of `content`.
    fn store(&mut self, content: &mut dyn Read, size: u64) -> Result<Extent, StoreError>;

    /// Writes out what is held back.
    fn finish(self: Box<Self>) -> Result<Stored, StoreError>;
}

/// Read and tested for zeros at once.
const CHUNK: usize = 128 << 10;
/// Written at once.
const BUFFER: usize = 1 << 20;

/// Uncompressed, block after block.
#[derive(Debug)]
pub(crate) struct PlainWriter {
    file: File,
    /// Where `buffer` belongs in the file; always on a block boundary between two files.
    start: u64,
    buffer: Box<[u8]>,
    filled: usize,
}

impl PlainWriter {
    /// Leaves the first `reserved` blocks alone.
    pub(crate) fn new(file: File, reserved: u32) -> Self {
        let start = u64::from(reserved) * BLOCK_U64;
        Self { file, start, buffer: vec![0; BUFFER].into_boxed_slice(), filled: 0 }
    }

    fn flush(&mut self) -> Result<(), StoreError> {
        self.file.write_all_at(&self.buffer[..self.filled], self.start).map_err(StoreError::Write)?;
        self.start += self.filled as u64;
        self.filled = 0;
        Ok(())
    }

    fn next_block(&self) -> Result<u32, StoreError> {
        u32::try_from((self.start + self.filled as u64) / BLOCK_U64).map_err(|_| StoreError::TooLarge)
    }

    /// Takes `wanted` (at most `CHUNK`) bytes in; a whole chunk of zeros becomes a hole of the host's file.
    fn take(&mut self, content: &mut dyn Read, wanted: usize) -> Result<usize, StoreError> {
        if self.filled + wanted > BUFFER {
            self.flush()?;
        }
        let chunk = &mut self.buffer[self.filled..self.filled + wanted];
        let got = read_full(content, chunk).map_err(StoreError::Read)?;
        if got == CHUNK && is_zero(chunk) {
            self.flush()?;
            self.start += CHUNK as u64;
        } else {
            self.filled += got;
        }
        Ok(got)
    }

    fn pad_to_block(&mut self) {
        let padded = self.filled.next_multiple_of(BLOCK);
        self.buffer[self.filled..padded].fill(0);
        self.filled = padded;
    }
}

impl DataWriter for PlainWriter {
    fn store(&mut self, content: &mut dyn Read, size: u64) -> Result<Extent, StoreError> {
        let first_block = self.next_block()?;
        if size == 0 {
            return Ok(Extent::EMPTY);
        }
        let mut left = size;
        while left > 0 {
            let wanted = usize::try_from(left).map_or(CHUNK, |left| left.min(CHUNK));
            let got = self.take(content, wanted)?;
            left -= got as u64;
            if got < wanted {
                return Err(StoreError::Short { got: size - left, size });
            }
        }
        self.pad_to_block();
        Ok(Extent::Plain { first_block })
    }

    fn finish(mut self: Box<Self>) -> Result<Stored, StoreError> {
        self.flush()?;
        let next_block = self.next_block()?;
        Ok(Stored { file: self.file, next_block, pieces: None })
    }
}

pub(crate) fn read_full(content: &mut dyn Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match content.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}
