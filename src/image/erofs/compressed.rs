//! Compressed file data. Law: sees bytes and block numbers, no names.
//!
//! A file is cut into extents of one size, the last one shorter; each is compressed by itself and takes whole blocks.
//! Small files would waste most of a block and have little to repeat, so they are strung together in one hidden file, the
//! *packed* one (the kernel's word), whose extents hold dozens of them. The caller's thread reads and writes; other
//! threads compress. What goes where depends on the order of the files and on nothing else.

use std::fs::File;
use std::io::{self, Read};
use std::num::NonZero;
use std::ops::Range;
use std::os::unix::fs::FileExt;

use super::compression::{Algorithm, Encoder};
use super::data::{DataWriter, Extent, StoreError, Stored, read_full};
use super::format::{BLOCK, BLOCK_U64};
use super::lanes::Lanes;

/// More would be idle behind one reader, and each takes memory.
const MAX_THREADS: usize = 16;

/// Where one extent's blocks are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Piece {
    pub(crate) first_block: u32,
    pub(crate) blocks: u32,
    /// As many blocks as there are, uncompressed.
    pub(crate) plain: bool,
}

/// The extents of all files in the order they were stored.
#[derive(Debug)]
pub(crate) struct Pieces {
    pub(crate) algorithm: Algorithm,
    pub(crate) all: Vec<Piece>,
    /// Those of the packed file, as indexes of `all`; empty if there is none.
    pub(crate) packed: Vec<u32>,
    pub(crate) packed_bytes: u64,
}

/// How a `CompressedWriter` goes about it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tuning {
    pub(crate) threads: usize,
    /// Files of fewer bytes go into the packed file.
    pub(crate) pack_below: u64,
}

impl Tuning {
    pub(crate) fn of_this_machine() -> Self {
        let threads = std::thread::available_parallelism().map_or(1, NonZero::get).min(MAX_THREADS);
        Self { threads, pack_below: 32 << 10 }
    }
}

/// An extent on its way through the lanes; the buffers are used again and again.
struct Job {
    bytes: Vec<u8>,
    output: Vec<u8>,
    /// The part of `output` that is the compressed extent, if it was worth it.
    result: io::Result<Option<Range<usize>>>,
}

pub(crate) struct CompressedWriter {
    file: File,
    tuning: Tuning,
    lanes: Lanes<Job, Job>,
    idle: Vec<Job>,
    /// The next free byte of the file, on a block boundary.
    position: u64,
    pieces: Pieces,
    /// Extents given to the lanes so far.
    given: u32,
    /// The end of the packed file that is no full extent yet.
    packing: Vec<u8>,
}

impl CompressedWriter {
    /// Leaves the first `reserved` blocks alone.
    pub(crate) fn new(file: File, reserved: u32, algorithm: Algorithm, tuning: Tuning) -> Self {
        let pieces = Pieces { algorithm, all: Vec::new(), packed: Vec::new(), packed_bytes: 0 };
        Self {
            file,
            tuning,
            lanes: Lanes::new(tuning.threads),
            idle: Vec::new(),
            position: u64::from(reserved) * BLOCK_U64,
            pieces,
            given: 0,
            packing: Vec::new(),
        }
    }

    /// Appends to the packed file.
    fn pack(&mut self, content: &mut dyn Read, size: u64) -> Result<Extent, StoreError> {
        let offset = self.pieces.packed_bytes;
        let mut left = size;
        while left > 0 {
            let room = self.pieces.algorithm.extent_bytes() - self.packing.len();
            let got = append(&mut self.packing, content, left, room)?;
            left -= got as u64;
            if got == room {
                self.give_packing()?;
            } else if left > 0 {
                return Err(StoreError::Short { got: size - left, size });
            }
        }
        self.pieces.packed_bytes += size;
        Ok(Extent::Packed { offset })
    }

    fn give_packing(&mut self) -> Result<(), StoreError> {
        let mut job = self.job()?;
        std::mem::swap(&mut job.bytes, &mut self.packing);
        self.packing.clear();
        self.pieces.packed.push(self.given);
        self.give(job)
    }

    /// An empty job, made out of one that is done if there are enough.
    fn job(&mut self) -> Result<Job, StoreError> {
        while self.lanes.is_full() {
            self.take()?;
        }
        let mut job =
            self.idle.pop().unwrap_or_else(|| Job { bytes: Vec::new(), output: Vec::new(), result: Ok(None) });
        job.bytes.clear();
        Ok(job)
    }

    fn give(&mut self, job: Job) -> Result<(), StoreError> {
        let algorithm = self.pieces.algorithm;
        let worker = || {
            let mut encoder = Encoder::new(algorithm)?;
            Ok(move |job| compress(&mut encoder, job))
        };
        self.lanes.give(job, worker).map_err(StoreError::Compress)?;
        self.given = self.given.checked_add(1).ok_or(StoreError::TooLarge)?;
        Ok(())
    }

    /// Writes the oldest extent that is not written; whether there was one.
    fn take(&mut self) -> Result<bool, StoreError> {
        let Some(mut job) = self.lanes.take().map_err(StoreError::Compress)? else { return Ok(false) };
        let compressed = std::mem::replace(&mut job.result, Ok(None)).map_err(StoreError::Compress)?;
        let plain = compressed.is_none();
        let blocks = match compressed {
            Some(range) => &job.output[range],
            None => {
                job.bytes.resize(job.bytes.len().next_multiple_of(BLOCK), 0);
                &job.bytes
            }
        };
        let first_block = u32::try_from(self.position / BLOCK_U64).map_err(|_| StoreError::TooLarge)?;
        let count = u32::try_from(blocks.len() / BLOCK).map_err(|_| StoreError::TooLarge)?;
        self.file.write_all_at(blocks, self.position).map_err(StoreError::Write)?;
        self.position += blocks.len() as u64;
        self.pieces.all.push(Piece { first_block, blocks: count, plain });
        self.idle.push(job);
        Ok(true)
    }
}

impl DataWriter for CompressedWriter {
    fn store(&mut self, content: &mut dyn Read, size: u64) -> Result<Extent, StoreError> {
        if size == 0 {
            return Ok(Extent::EMPTY);
        }
        if size < self.tuning.pack_below {
            return self.pack(content, size);
        }
        let first = self.given;
        let mut left = size;
        while left > 0 {
            let mut job = self.job()?;
            let extent = self.pieces.algorithm.extent_bytes();
            let got = append(&mut job.bytes, content, left, extent)?;
            left -= got as u64;
            if got < extent && left > 0 {
                return Err(StoreError::Short { got: size - left, size });
            }
            self.give(job)?;
        }
        Ok(Extent::Pieces { first })
    }

    fn finish(mut self: Box<Self>) -> Result<Stored, StoreError> {
        if !self.packing.is_empty() {
            self.give_packing()?;
        }
        while self.take()? {}
        let next_block = u32::try_from(self.position / BLOCK_U64).map_err(|_| StoreError::TooLarge)?;
        Ok(Stored { file: self.file, next_block, pieces: Some(self.pieces) })
    }
}

/// Reads up to `room` of `left` bytes to the end of `bytes`; how many there were.
fn append(bytes: &mut Vec<u8>, content: &mut dyn Read, left: u64, room: usize) -> Result<usize, StoreError> {
    let start = bytes.len();
    let wanted = usize::try_from(left).map_or(room, |left| left.min(room));
    bytes.resize(start + wanted, 0);
    let got = read_full(content, &mut bytes[start..]).map_err(StoreError::Read)?;
    bytes.truncate(start + got);
    Ok(got)
}

fn compress(encoder: &mut Encoder, mut job: Job) -> Job {
    job.result = encoder.encode(&job.bytes, &mut job.output);
    job
}
