//! Compressed file data. Law: sees bytes and block numbers, no names.
//!
//! A file is cut into extents of one size, the last one shorter; each is compressed by itself and takes whole blocks.
//! Small files would waste most of a block and have little to repeat, so they are strung together in one hidden file, the
//! *packed* one (the kernel's word), whose extents hold dozens of them. An extent that comes a second time is not
//! written a second time: images hold copies of programs, and zeros. The caller's thread reads and writes; other threads
//! compress. What goes where depends on the order of the files and on nothing else.

use std::collections::HashMap;
use std::fs::File;
use std::hash::{DefaultHasher, Hasher};
use std::io::{self, Read};
use std::ops::Range;
use std::os::unix::fs::FileExt;

use super::compression::{Algorithm, Encoder, ZstdLevel};
use super::data::{DataWriter, Extent, StoreError, Stored, read_full};
use super::format::{BLOCK, BLOCK_U64};
use super::lanes::Lanes;
use crate::image::workers::at_most;

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
    /// Some extent is in several places of files.
    pub(crate) shared: bool,
}

/// How a `CompressedWriter` goes about it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tuning {
    pub(crate) threads: usize,
    /// Files of fewer bytes go into the packed file; by itself as many as the algorithm has it.
    pub(crate) pack_below: Option<u64>,
}

impl Tuning {
    pub(crate) fn of_this_machine() -> Self {
        let threads = at_most(MAX_THREADS);
        Self { threads, pack_below: None }
    }
}

/// An extent on its way through the lanes; the buffers are used again and again.
#[derive(Default)]
struct Job {
    bytes: Vec<u8>,
    output: Vec<u8>,
    result: Encoded,
}

/// What came of it.
#[derive(Default)]
enum Encoded {
    /// It would not shrink: `bytes`, filled up to whole blocks.
    #[default]
    Plain,
    /// This part of `output`.
    Compressed(Range<usize>),
    Failed(io::Error),
}

impl Job {
    fn checked(self) -> io::Result<Self> {
        match self.result {
            Encoded::Failed(error) => Err(error),
            _ => Ok(self),
        }
    }

    fn blocks(&self) -> &[u8] {
        match &self.result {
            Encoded::Compressed(range) => self.output.get(range.clone()).unwrap_or_default(),
            _ => &self.bytes,
        }
    }

    /// Tells most different extents apart; the same in every process, so that the image is, too.
    fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        hasher.write(self.blocks());
        hasher.finish()
    }
}

pub(crate) struct CompressedWriter {
    file: File,
    level: Option<ZstdLevel>,
    tuning: Tuning,
    lanes: Lanes<Job, (Job, u64)>,
    idle: Vec<Job>,
    /// The next free byte of the file, on a block boundary.
    position: u64,
    pieces: Pieces,
    /// The first extent with a fingerprint, as an index of the pieces.
    seen: HashMap<u64, usize>,
    /// As many bytes of the file as are compared at once with what might be the same.
    compared: Vec<u8>,
    /// Extents given to the lanes so far.
    given: u32,
    /// The end of the packed file that is no full extent yet.
    packing: Vec<u8>,
}

impl CompressedWriter {
    /// Leaves the first `reserved` blocks alone.
    pub(crate) fn new(
        file: File,
        reserved: u32,
        (algorithm, level): (Algorithm, Option<ZstdLevel>),
        tuning: Tuning,
    ) -> Self {
        let pieces = Pieces { algorithm, all: Vec::new(), packed: Vec::new(), packed_bytes: 0, shared: false };
        Self {
            file,
            level,
            tuning,
            lanes: Lanes::new(tuning.threads),
            idle: Vec::new(),
            position: u64::from(reserved) * BLOCK_U64,
            pieces,
            seen: HashMap::new(),
            compared: Vec::new(),
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
        let mut job = self.idle.pop().unwrap_or_default();
        job.bytes.clear();
        Ok(job)
    }

    fn give(&mut self, job: Job) -> Result<(), StoreError> {
        let (algorithm, level) = (self.pieces.algorithm, self.level);
        let worker = || {
            let mut encoder = Encoder::new(algorithm, level)?;
            Ok(move |job| compress(&mut encoder, job))
        };
        self.lanes.give(job, worker).map_err(StoreError::Compress)?;
        self.given = self.given.checked_add(1).ok_or(StoreError::TooLarge)?;
        Ok(())
    }

    /// Writes the oldest extent that is not written; whether there was one.
    fn take(&mut self) -> Result<bool, StoreError> {
        let Some((job, fingerprint)) = self.lanes.take().map_err(StoreError::Compress)? else { return Ok(false) };
        let job = job.checked().map_err(StoreError::Compress)?;
        let plain = matches!(job.result, Encoded::Plain);
        let twin = self.twin(job.blocks(), plain, fingerprint)?;
        self.pieces.shared |= twin.is_some();
        let piece = twin.map_or_else(|| self.write(job.blocks(), plain), Ok)?;
        self.seen.entry(fingerprint).or_insert(self.pieces.all.len());
        self.pieces.all.push(piece);
        self.idle.push(job);
        Ok(true)
    }

    /// An extent that was written before and is the same, to the byte.
    fn twin(&mut self, blocks: &[u8], plain: bool, fingerprint: u64) -> Result<Option<Piece>, StoreError> {
        let Some(&piece) = self.seen.get(&fingerprint).and_then(|&index| self.pieces.all.get(index)) else {
            return Ok(None);
        };
        if piece.plain != plain || piece.blocks as usize * BLOCK != blocks.len() {
            return Ok(None);
        }
        self.compared.resize(blocks.len(), 0);
        let start = u64::from(piece.first_block) * BLOCK_U64;
        self.file.read_exact_at(&mut self.compared, start).map_err(StoreError::Write)?;
        Ok((self.compared == blocks).then_some(piece))
    }

    fn write(&mut self, blocks: &[u8], plain: bool) -> Result<Piece, StoreError> {
        let first_block = u32::try_from(self.position / BLOCK_U64).map_err(|_| StoreError::TooLarge)?;
        let count = u32::try_from(blocks.len() / BLOCK).map_err(|_| StoreError::TooLarge)?;
        self.file.write_all_at(blocks, self.position).map_err(StoreError::Write)?;
        self.position += blocks.len() as u64;
        Ok(Piece { first_block, blocks: count, plain })
    }
}

impl DataWriter for CompressedWriter {
    fn store(&mut self, content: &mut dyn Read, size: u64) -> Result<Extent, StoreError> {
        if size == 0 {
            return Ok(Extent::EMPTY);
        }
        if size < self.tuning.pack_below.unwrap_or(self.pieces.algorithm.pack_below()) {
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

fn compress(encoder: &mut Encoder, mut job: Job) -> (Job, u64) {
    job.result = match encoder.encode(&job.bytes, &mut job.output) {
        Ok(Some(range)) => Encoded::Compressed(range),
        Ok(None) => Encoded::Plain,
        Err(error) => Encoded::Failed(error),
    };
    job.bytes.resize(job.bytes.len().next_multiple_of(BLOCK), 0);
    let fingerprint = job.fingerprint();
    (job, fingerprint)
}
