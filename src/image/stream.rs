//! Where layers' bytes come from: pieces of files, decompressed, metered. Law: knows no archive formats.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::cache::state;
use super::digest::Digest;
use super::tar::Skip;

/// A run of bytes in an open file. Clones read independently of each other.
#[derive(Debug, Clone)]
pub(crate) struct FileRange {
    file: Arc<File>,
    position: u64,
    end: u64,
}

impl FileRange {
    /// `start + length` may not overflow; what lies past the file's end reads as its end.
    pub(crate) fn new(file: Arc<File>, start: u64, length: u64) -> Self {
        Self { file, position: start, end: start.saturating_add(length) }
    }

    pub(crate) fn whole(file: File) -> io::Result<Self> {
        let length = file.metadata()?.len();
        Ok(Self::new(Arc::new(file), 0, length))
    }

    /// A part of this range, as far as it lies inside.
    pub(crate) fn part(&self, offset: u64, length: u64) -> Self {
        let start = self.position.saturating_add(offset).min(self.end);
        Self { file: Arc::clone(&self.file), position: start, end: start.saturating_add(length).min(self.end) }
    }

    /// What changes when somebody writes to the file.
    pub(crate) fn state(&self) -> io::Result<Digest> {
        Ok(state(&self.file.metadata()?))
    }

    pub(crate) fn len(&self) -> u64 {
        self.end - self.position
    }
}

impl Read for FileRange {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.len()).map_or(buffer.len(), |left| left.min(buffer.len()));
        let count = self.file.read_at(&mut buffer[..most], self.position)?;
        self.position += count as u64;
        Ok(count)
    }
}

impl Skip for FileRange {
    fn skip(&mut self, count: u64) -> io::Result<u64> {
        // A file may have shrunk since it was measured; a hole past its end is not data.
        let end = self.end.min(self.file.metadata()?.len()).max(self.position);
        let skipped = count.min(end - self.position);
        self.position += skipped;
        Ok(skipped)
    }
}

impl<R: Skip> Skip for BufReader<R> {
    fn skip(&mut self, count: u64) -> io::Result<u64> {
        let buffered = self.buffer().len();
        let inside = usize::try_from(count).map_or(buffered, |count| count.min(buffered));
        self.consume(inside);
        let rest = count - inside as u64;
        let beyond = if rest > 0 { self.get_mut().skip(rest)? } else { 0 };
        Ok(inside as u64 + beyond)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Compression {
    Plain,
    Gzip,
    Zstd,
    /// Known by its first bytes, but no part of the OCI specification.
    Unsupported(&'static str),
}

impl Compression {
    /// By the first bytes: media types are often wrong, and docker archives have none.
    pub(crate) fn of(range: &FileRange) -> io::Result<Self> {
        let mut magic = Vec::new();
        range.part(0, 6).read_to_end(&mut magic)?;
        Ok(match magic.as_slice() {
            [0x1f, 0x8b, ..] => Self::Gzip,
            // A frame, or one to be skipped (RFC 8878 §3.1.2), with which parallel compressors begin.
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Self::Zstd,
            [0xfd, b'7', b'z', b'X', b'Z', 0] => Self::Unsupported("xz"),
            [b'B', b'Z', b'h', ..] => Self::Unsupported("bzip2"),
            [0x04, 0x22, 0x4d, 0x18, ..] => Self::Unsupported("lz4"),
            _ => Self::Plain,
        })
    }

    /// What `compressed` says when decompressed, with a decoder that remembers at most `window_bytes`, a power of two. `None` for
    /// a compression that is not supported.
    pub(crate) fn decode<'r, R: Read + 'r>(
        self,
        compressed: R,
        window_bytes: u64,
    ) -> io::Result<Option<Box<dyn Read + 'r>>> {
        Ok(match self {
            Self::Plain => Some(Box::new(compressed)),
            Self::Gzip => {
                Some(Box::new(flate2::bufread::MultiGzDecoder::new(BufReader::with_capacity(READ, compressed))))
            }
            Self::Zstd => {
                let mut decoder = zstd::Decoder::new(compressed)?;
                decoder.window_log_max(window_bytes.ilog2())?;
                Some(Box::new(decoder))
            }
            Self::Unsupported(_) => None,
        })
    }
}

/// The largest window that a layer's Zstandard frames may ask for. RFC 8878 (§3.1.1.1.2) recommends 8 MiB at least, and the builders'
/// highest levels take 32 MiB.
pub(crate) const LAYER_WINDOW_BYTES: u64 = 32 << 20;
/// That of a whole archive, before which nothing is in memory: `zstd --long`'s own, and what `zstd -d` takes without being told to.
pub(crate) const ARCHIVE_WINDOW_BYTES: u64 = 128 << 20;

/// Would the decoder have to remember more than it may? The library has no kind for it, only words.
pub(crate) fn is_window_too_large(error: &io::Error) -> bool {
    error.to_string().contains("requires too much memory")
}

/// Read from a file at once.
pub(crate) const READ: usize = 256 << 10;

/// Counts what all layers of an image unpack to, and stops a bomb: a gigabyte of zeros is a megabyte of gzip.
#[derive(Debug)]
pub(crate) struct Meter {
    bytes: AtomicU64,
    /// Of the layers as they are stored.
    stored: AtomicU64,
    limit: u64,
}

impl Meter {
    pub(crate) fn new(limit: u64) -> Self {
        Self { bytes: AtomicU64::new(0), stored: AtomicU64::new(0), limit }
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Bytes of stored layers that were read so far.
    pub(crate) fn stored(&self) -> u64 {
        self.stored.load(Ordering::Relaxed)
    }

    pub(crate) fn is_exceeded(&self) -> bool {
        self.bytes() > self.limit
    }

    pub(crate) fn limit(&self) -> u64 {
        self.limit
    }

    pub(crate) fn add(&self, bytes: u64) {
        // Of the result nobody needs the count before.
        let _before =
            self.bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |all| Some(all.saturating_add(bytes)));
    }
}

/// Adds what is read to the meter, and fails once that is over its limit.
pub(crate) struct Metered<'m, R> {
    inner: R,
    meter: &'m Meter,
}

impl<'m, R: Read> Metered<'m, R> {
    pub(crate) fn new(inner: R, meter: &'m Meter) -> Self {
        Self { inner, meter }
    }
}

impl<R: Read> Read for Metered<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.meter.add(count as u64);
        if self.meter.is_exceeded() {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        Ok(count)
    }
}

/// Notes on the meter how much of a stored layer was read.
pub(crate) struct Stored<'m, R> {
    inner: R,
    meter: &'m Meter,
}

impl<'m, R: Read> Stored<'m, R> {
    pub(crate) fn new(inner: R, meter: &'m Meter) -> Self {
        Self { inner, meter }
    }
}

impl<R: Read> Read for Stored<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.meter.stored.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}

/// In strides that the compiler turns into vector instructions; the first one that is not zero ends it.
pub(crate) fn is_zero(bytes: &[u8]) -> bool {
    bytes.chunks(64).all(|stride| stride.iter().fold(0, |all, byte| all | byte) == 0)
}

/// Skips by reading: for sources that have to be read to be hashed or decompressed.
pub(crate) struct ReadToSkip<R>(pub(crate) R);

impl<R: Read> Read for ReadToSkip<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl<R: Read> Skip for ReadToSkip<R> {
    fn skip(&mut self, count: u64) -> io::Result<u64> {
        io::copy(&mut (&mut self.0).take(count), &mut io::sink())
    }
}
