//! Files on their way into the guest: what the `Stdin` of a [`crate::Put`] carries. One entry behind the other, a directory before what is
//! in it:
//!
//! ```text
//!   0        1          3            5                          13
//!   +--------+----------+------------+--------------------------+---------------+----------------+
//!   | kind   | mode     | length of  | size                     | path          | `size` bytes   |
//!   | u8     | u16      | path: u16  | u64                      |               |                |
//!   +--------+----------+------------+--------------------------+---------------+----------------+
//! ```

use crate::error::ProtocolError;
use crate::limits::MAX_PATH;

/// Length of an encoded entry without its path and its contents.
pub const ENTRY_LEN: usize = 13;

/// What is to be at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum EntryKind {
    /// A directory: made, with this mode, unless there is one.
    Directory = 1,
    /// A regular file, in place of whatever was there.
    File = 2,
    /// A symbolic link; its contents are where it points to.
    Link = 3,
    /// Nothing: what is there is removed, with all that is in it.
    Nothing = 4,
}

/// The head of an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub kind: EntryKind,
    /// Permission bits, 0 to 0o777: none of these files needs more.
    pub mode: u16,
    /// Absolute, without `.`, `..` and empty components.
    pub path: Vec<u8>,
    /// Bytes of contents that follow; 0 for a directory and for nothing, at most [`MAX_PATH`] for a link.
    pub size: u64,
}

impl EntryKind {
    fn from_number(number: u8) -> Option<Self> {
        [Self::Directory, Self::File, Self::Link, Self::Nothing].into_iter().find(|kind| *kind as u8 == number)
    }

    fn most(self) -> u64 {
        match self {
            Self::Directory | Self::Nothing => 0,
            Self::Link => MAX_PATH as u64,
            Self::File => u64::MAX,
        }
    }
}

impl Entry {
    /// Appends it to `out`; `size` bytes of contents are to follow.
    pub fn encode(&self, out: &mut Vec<u8>) -> Result<(), ProtocolError> {
        let length = u16::try_from(self.path.len()).map_err(|_| ProtocolError::Path)?;
        self.judge()?;
        out.push(self.kind as u8);
        out.extend_from_slice(&self.mode.to_le_bytes());
        out.extend_from_slice(&length.to_le_bytes());
        out.extend_from_slice(&self.size.to_le_bytes());
        out.extend_from_slice(&self.path);
        Ok(())
    }

    fn judge(&self) -> Result<(), ProtocolError> {
        let inside = |part: &[u8]| !matches!(part, b"" | b"." | b"..") && !part.contains(&0);
        let path = self.path.strip_prefix(b"/").ok_or(ProtocolError::Path)?;
        if self.path.len() > MAX_PATH || !path.split(|byte| *byte == b'/').all(inside) {
            return Err(ProtocolError::Path);
        }
        if self.mode > 0o777 {
            return Err(ProtocolError::UnknownValue { field: "mode", value: self.mode.into() });
        }
        if self.size > self.kind.most() {
            return Err(ProtocolError::UnknownValue {
                field: "size",
                value: u32::try_from(self.size).unwrap_or(u32::MAX),
            });
        }
        Ok(())
    }
}

/// What comes out of the stream.
#[derive(Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    Entry(Entry),
    /// Contents of the entry before; not empty.
    Contents(&'a [u8]),
}

/// Takes the stream apart, in pieces of any size. It holds no more than the head of one entry.
#[derive(Default)]
pub struct TreeDecoder {
    head: Vec<u8>,
    /// Contents of the current entry that are still to come.
    left: u64,
}

impl TreeDecoder {
    /// The next piece in front of `input`, which is moved behind it; `None` when more has to come first.
    pub fn next<'a>(&mut self, input: &mut &'a [u8]) -> Result<Option<Piece<'a>>, ProtocolError> {
        if input.is_empty() {
            return Ok(None);
        }
        if self.left > 0 {
            let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(input.len());
            let (contents, rest) = input.split_at(most);
            *input = rest;
            self.left = self.left.saturating_sub(most as u64);
            return Ok(Some(Piece::Contents(contents)));
        }
        if !self.fill(ENTRY_LEN, input) {
            return Ok(None);
        }
        let Some(&[kind, m0, m1, l0, l1, s0, s1, s2, s3, s4, s5, s6, s7]) = self.head.first_chunk() else {
            return Ok(None);
        };
        let length = usize::from(u16::from_le_bytes([l0, l1]));
        if length > MAX_PATH {
            return Err(ProtocolError::Path);
        }
        if !self.fill(ENTRY_LEN.saturating_add(length), input) {
            return Ok(None);
        }
        let kind = EntryKind::from_number(kind)
            .ok_or(ProtocolError::UnknownValue { field: "kind of entry", value: kind.into() })?;
        let entry = Entry {
            kind,
            mode: u16::from_le_bytes([m0, m1]),
            path: self.head.split_off(ENTRY_LEN),
            size: u64::from_le_bytes([s0, s1, s2, s3, s4, s5, s6, s7]),
        };
        entry.judge()?;
        self.head.clear();
        self.left = entry.size;
        Ok(Some(Piece::Entry(entry)))
    }

    /// Whether the current entry has all its contents.
    pub fn is_complete(&self) -> bool {
        self.left == 0
    }

    /// The stream may end here only.
    pub fn finish(&self) -> Result<(), ProtocolError> {
        if self.left == 0 && self.head.is_empty() { Ok(()) } else { Err(ProtocolError::Truncated { field: "tree" }) }
    }

    fn fill(&mut self, length: usize, input: &mut &[u8]) -> bool {
        let (more, rest) = input.split_at(length.saturating_sub(self.head.len()).min(input.len()));
        self.head.extend_from_slice(more);
        *input = rest;
        self.head.len() >= length
    }
}

#[cfg(test)]
#[path = "tree_test.rs"]
mod tests;
