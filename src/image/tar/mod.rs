//! A reader of tar streams: ustar, GNU and PAX, as far as image layers use them.
//!
//! Law: bytes in, entries out; names no files of the host. What an archive claims is bounded before it is believed:
//! extended headers, sparse maps and numbers all come from whoever made the image. (The `tar` crate reads a long name or
//! a PAX header of any claimed size into memory, and knows only one of the four sparse formats.)
//!
//! Source: POSIX.1-2017 pax, "ustar Interchange Format" and "pax Interchange Format"; the GNU tar manual, "Basic Tar
//! Format" and "Storing Sparse Files".

mod header;
mod pax;
mod sparse;

use std::io::{self, Read};

use header::{BLOCK, Header, TypeFlag};
use pax::Pax;
use sparse::SparseMap;

use super::stream::is_zero;
use super::tree::{Device, Meta};

/// A PAX header or a long name bigger than this is an attack on memory: names have at most 4 KiB and attributes 64 KiB.
const MAX_EXTENSION: u64 = 1 << 20;

/// What holds for all entries that follow is copied for each of them.
const MAX_GLOBALS: u64 = 64 << 10;

/// A source that can leave bytes out faster than by reading them.
pub(crate) trait Skip: Read {
    /// Skips `count` bytes, or as many as there are; how many there were.
    fn skip(&mut self, count: u64) -> io::Result<u64>;
}

#[derive(Debug, thiserror::Error)]
pub enum TarError {
    #[error("cannot read at byte {offset}")]
    Read {
        offset: u64,
        #[source]
        source: io::Error,
    },
    #[error("ends early, at byte {offset}")]
    Truncated { offset: u64 },
    #[error("no tar header at byte {offset}")]
    NotAHeader { offset: u64 },
    #[error("a block of zeros at byte {offset}, and more behind it, where an archive ends with two")]
    LoneZeroBlock { offset: u64 },
    #[error("bad {field} in the header at byte {offset}")]
    Field { field: &'static str, offset: u64 },
    #[error("extended header of {size} bytes at byte {offset}, where {MAX_EXTENSION} are allowed")]
    ExtensionTooLong { size: u64, offset: u64 },
    #[error("extended headers that take {size} bytes of memory up to byte {offset}, where {limit} are allowed")]
    Extensions { size: u64, limit: u64, offset: u64 },
    #[error("bad extended header at byte {offset}")]
    Pax { offset: u64 },
    #[error("bad map of a sparse file at byte {offset}")]
    Sparse { offset: u64 },
    #[error("entry of unknown type `{}` at byte {offset}", flag.escape_ascii())]
    UnknownType { flag: u8, offset: u64 },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum EntryKind {
    File { size: u64 },
    HardLink(Vec<u8>),
    Symlink(Vec<u8>),
    Directory,
    CharDevice(Device),
    BlockDevice(Device),
    Fifo,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    /// As in the archive: may be absolute, may climb.
    pub(crate) path: Vec<u8>,
    pub(crate) meta: Meta,
    pub(crate) kind: EntryKind,
}

pub(crate) struct Archive<R> {
    input: R,
    offset: u64,
    globals: Pax,
    /// Of the current entry's stored bytes, those not read yet, and the zeros after them.
    unread: u64,
    padding: u64,
    sparse: Option<SparseMap>,
}

impl<R: Skip> Archive<R> {
    pub(crate) fn new(input: R) -> Self {
        Self { input, offset: 0, globals: Pax::default(), unread: 0, padding: 0, sparse: None }
    }

    pub(crate) fn into_inner(self) -> R {
        self.input
    }

    /// Does the current entry have holes that are not stored?
    pub(crate) fn is_sparse(&self) -> bool {
        self.sparse.is_some()
    }

    /// Where the current entry's stored bytes begin, until they are read.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    /// The next entry. What was left of the one before is skipped.
    pub(crate) fn next(&mut self) -> Result<Option<Entry>, TarError> {
        let mut local = Pax::default();
        loop {
            self.skip_rest()?;
            let at = self.offset;
            let Some(header) = self.header()? else { return Ok(None) };
            self.unread = header.size;
            self.padding = header.size.next_multiple_of(BLOCK as u64) - header.size;
            match header.flag {
                TypeFlag::Pax => {
                    local.extend(&self.extension()?).ok_or(TarError::Pax { offset: at })?;
                    bounded(&local, MAX_EXTENSION, at)?;
                }
                TypeFlag::PaxGlobal => {
                    let records = self.extension()?;
                    self.globals.extend(&records).ok_or(TarError::Pax { offset: at })?;
                    bounded(&self.globals, MAX_GLOBALS, at)?;
                }
                TypeFlag::GnuLongName => local.path = Some(until_nul(self.extension()?)),
                TypeFlag::GnuLongLink => local.link = Some(until_nul(self.extension()?)),
                TypeFlag::VolumeLabel => {}
                _ => return self.entry(header, local, at).map(Some),
            }
        }
    }

    /// Bytes of the current entry, not read yet, that the archive does not have.
    pub(crate) fn hole_bytes(&self) -> u64 {
        self.sparse.as_ref().map_or(0, |map| map.size().saturating_sub(self.unread))
    }

    /// The bytes of the current entry, holes filled with zeros.
    pub(crate) fn content(&mut self) -> Content<'_, R> {
        let sparse = self.sparse.take();
        Content { archive: self, sparse }
    }

    fn entry(&mut self, header: Header, local: Pax, at: u64) -> Result<Entry, TarError> {
        let mut pax = self.globals.clone();
        pax.overlay(local);
        if let Some(stored) = pax.size {
            self.unread = stored;
            self.padding = stored.checked_next_multiple_of(BLOCK as u64).map_or(0, |padded| padded - stored);
        }
        self.sparse = self.sparse_map(&header, &pax, at)?;
        let path = pax.sparse.name.take().or(pax.path.take()).unwrap_or(header.path);
        let kind = match header.flag {
            // Before POSIX, a directory was a file whose name ends in a slash. The whole name: the header's own may be cut anywhere.
            TypeFlag::File if path.ends_with(b"/") => EntryKind::Directory,
            TypeFlag::File | TypeFlag::GnuSparse => {
                EntryKind::File { size: self.sparse.as_ref().map_or(self.unread, SparseMap::size) }
            }
            TypeFlag::HardLink => EntryKind::HardLink(pax.link.take().unwrap_or(header.link)),
            TypeFlag::Symlink => EntryKind::Symlink(pax.link.take().unwrap_or(header.link)),
            TypeFlag::Directory | TypeFlag::DumpDirectory => EntryKind::Directory,
            TypeFlag::CharDevice => EntryKind::CharDevice(header.device.ok_or(bad("device number", at))?),
            TypeFlag::BlockDevice => EntryKind::BlockDevice(header.device.ok_or(bad("device number", at))?),
            TypeFlag::Fifo => EntryKind::Fifo,
            TypeFlag::Other(flag) => return Err(TarError::UnknownType { flag, offset: at }),
            // `next` has dealt with these.
            TypeFlag::Pax
            | TypeFlag::PaxGlobal
            | TypeFlag::GnuLongName
            | TypeFlag::GnuLongLink
            | TypeFlag::VolumeLabel => {
                return Err(TarError::NotAHeader { offset: at });
            }
        };
        // Whatever size others claim; a directory of that type may state what is allocated for it (POSIX).
        if !matches!(kind, EntryKind::File { .. }) && header.flag != TypeFlag::DumpDirectory {
            (self.unread, self.padding) = (0, 0);
        }
        let meta = Meta {
            mode: header.mode,
            uid: pax.uid.or(header.uid).ok_or(bad("owner", at))?,
            gid: pax.gid.or(header.gid).ok_or(bad("group", at))?,
            mtime: pax.mtime.or(header.mtime).ok_or(bad("time", at))?,
            xattrs: pax.take_xattrs(),
        };
        Ok(Entry { path, meta, kind })
    }

    fn sparse_map(&mut self, header: &Header, pax: &Pax, at: u64) -> Result<Option<SparseMap>, TarError> {
        let wrong = TarError::Sparse { offset: at };
        if header.flag == TypeFlag::GnuSparse {
            let mut gnu = header.gnu_sparse().ok_or(bad("sparse map", at))?;
            while gnu.continues {
                let block = self.block()?.ok_or(TarError::Truncated { offset: self.offset })?;
                gnu.extend(&block).ok_or(TarError::Sparse { offset: at })?;
            }
            return SparseMap::new(gnu.segments, gnu.size, self.unread).map(Some).ok_or(wrong);
        }
        let Some(size) = pax.sparse.real_size else { return Ok(None) };
        if header.flag != TypeFlag::File {
            return Ok(None);
        }
        let segments = if pax.sparse.major == Some(1) {
            let mut map = sparse::TextMap::default();
            while !map.is_complete() {
                let block = self.stored_block()?;
                map.extend(&block).ok_or(TarError::Sparse { offset: at })?;
            }
            map.into_segments()
        } else {
            pax.sparse.segments().ok_or(TarError::Sparse { offset: at })?
        };
        SparseMap::new(segments, size, self.unread).map(Some).ok_or(wrong)
    }

    fn header(&mut self) -> Result<Option<Header>, TarError> {
        let at = self.offset;
        let Some(block) = self.block()? else { return Ok(None) };
        if !is_zero(&block) {
            return Header::parse(&block, at).map(Some);
        }
        // One alone is damage: what is behind it would be lost without a word.
        match self.block()? {
            Some(next) if !is_zero(&next) => Err(TarError::LoneZeroBlock { offset: at }),
            _ => Ok(None),
        }
    }

    /// The data of the current header as a whole.
    fn extension(&mut self) -> Result<Vec<u8>, TarError> {
        let (size, offset) = (self.unread, self.offset);
        if size > MAX_EXTENSION {
            return Err(TarError::ExtensionTooLong { size, offset });
        }
        let mut data = Vec::new();
        (&mut self.input).take(size).read_to_end(&mut data).map_err(|source| TarError::Read { offset, source })?;
        self.offset += data.len() as u64;
        self.unread -= data.len() as u64;
        if self.unread > 0 {
            return Err(TarError::Truncated { offset: self.offset });
        }
        Ok(data)
    }

    /// A block of the current entry's own data.
    fn stored_block(&mut self) -> Result<[u8; BLOCK], TarError> {
        let offset = self.offset;
        self.unread = self.unread.checked_sub(BLOCK as u64).ok_or(TarError::Sparse { offset })?;
        self.block()?.ok_or(TarError::Truncated { offset })
    }

    /// `None` where the archive ends.
    fn block(&mut self) -> Result<Option<[u8; BLOCK]>, TarError> {
        let mut block = [0; BLOCK];
        let mut filled = 0;
        while filled < BLOCK {
            match self.input.read(&mut block[filled..]) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => return Err(TarError::Read { offset: self.offset, source }),
            }
        }
        self.offset += filled as u64;
        match filled {
            0 => Ok(None),
            BLOCK => Ok(Some(block)),
            _ => Err(TarError::Truncated { offset: self.offset }),
        }
    }

    fn skip_rest(&mut self) -> Result<(), TarError> {
        let offset = self.offset;
        let rest = self.unread.checked_add(self.padding).ok_or(bad("size", offset))?;
        if rest > 0 {
            let skipped = self.input.skip(rest).map_err(|source| TarError::Read { offset, source })?;
            self.offset += skipped;
            if skipped < rest {
                return Err(TarError::Truncated { offset: self.offset });
            }
        }
        (self.unread, self.padding, self.sparse) = (0, 0, None);
        Ok(())
    }
}

/// An entry's bytes. Ends early, without an error, if the archive does: the entry's size tells.
pub(crate) struct Content<'a, R> {
    archive: &'a mut Archive<R>,
    sparse: Option<SparseMap>,
}

impl<R: Skip> Read for Content<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.archive.unread).map_or(buffer.len(), |unread| unread.min(buffer.len()));
        let count = match &mut self.sparse {
            None => self.archive.input.read(&mut buffer[..most])?,
            Some(map) => match map.next_run(buffer.len()) {
                sparse::Run::Hole(length) => {
                    buffer[..length].fill(0);
                    map.advance(length);
                    return Ok(length);
                }
                sparse::Run::Data(length) => {
                    let count = self.archive.input.read(&mut buffer[..length.min(most)])?;
                    map.advance(count);
                    count
                }
            },
        };
        self.archive.unread -= count as u64;
        self.archive.offset += count as u64;
        Ok(count)
    }
}

fn bad(field: &'static str, offset: u64) -> TarError {
    TarError::Field { field, offset }
}

fn bounded(pax: &Pax, limit: u64, offset: u64) -> Result<(), TarError> {
    let size = pax.memory_bytes();
    if size > limit { Err(TarError::Extensions { size, limit, offset }) } else { Ok(()) }
}

fn until_nul(mut bytes: Vec<u8>) -> Vec<u8> {
    if let Some(end) = bytes.iter().position(|&byte| byte == 0) {
        bytes.truncate(end);
    }
    bytes
}

#[cfg(test)]
#[path = "tar_test.rs"]
mod tests;
