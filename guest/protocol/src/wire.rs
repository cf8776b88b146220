//! Fields inside a payload: a reader that cannot run past the end, a writer into plain or secret buffers.

use std::ffi::CString;

use crate::error::ProtocolError;
use crate::header::{HEADER_LEN, Header, Kind, ProcessId};
use crate::limits::MAX_TEXT;
use crate::secret::SecretBytes;

/// Reads fields from the front of a payload.
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn new(payload: &'a [u8]) -> Self {
        Self { rest: payload }
    }

    pub(crate) fn bytes(&mut self, count: usize, field: &'static str) -> Result<&'a [u8], ProtocolError> {
        let (bytes, rest) = self.rest.split_at_checked(count).ok_or(ProtocolError::Truncated { field })?;
        self.rest = rest;
        Ok(bytes)
    }

    fn array<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], ProtocolError> {
        let (bytes, rest) = self.rest.split_first_chunk().ok_or(ProtocolError::Truncated { field })?;
        self.rest = rest;
        Ok(*bytes)
    }

    pub(crate) fn magic(&mut self) -> Result<[u8; 4], ProtocolError> {
        self.array("magic")
    }

    pub(crate) fn u8(&mut self, field: &'static str) -> Result<u8, ProtocolError> {
        Ok(u8::from_le_bytes(self.array(field)?))
    }

    pub(crate) fn u16(&mut self, field: &'static str) -> Result<u16, ProtocolError> {
        Ok(u16::from_le_bytes(self.array(field)?))
    }

    pub(crate) fn u32(&mut self, field: &'static str) -> Result<u32, ProtocolError> {
        Ok(u32::from_le_bytes(self.array(field)?))
    }

    pub(crate) fn i32(&mut self, field: &'static str) -> Result<i32, ProtocolError> {
        Ok(i32::from_le_bytes(self.array(field)?))
    }

    pub(crate) fn u64(&mut self, field: &'static str) -> Result<u64, ProtocolError> {
        Ok(u64::from_le_bytes(self.array(field)?))
    }

    pub(crate) fn flag(&mut self, field: &'static str) -> Result<bool, ProtocolError> {
        match self.u8(field)? {
            0 => Ok(false),
            1 => Ok(true),
            value => Err(ProtocolError::UnknownValue { field, value: value.into() }),
        }
    }

    /// A count of entries of at least `least` bytes each: refused before memory is taken if they cannot all be there.
    pub(crate) fn count(&mut self, least: usize, field: &'static str) -> Result<usize, ProtocolError> {
        let count = self.u32(field)?;
        let room = self.rest.len().checked_div(least).unwrap_or(0);
        usize::try_from(count).ok().filter(|&entries| entries <= room).ok_or(ProtocolError::Count {
            field,
            count,
            room,
        })
    }

    /// Bytes behind their own length.
    pub(crate) fn counted(&mut self, field: &'static str) -> Result<&'a [u8], ProtocolError> {
        let length = self.count(1, field)?;
        self.bytes(length, field)
    }

    pub(crate) fn c_string(&mut self, field: &'static str) -> Result<CString, ProtocolError> {
        CString::new(self.counted(field)?).map_err(|_| ProtocolError::Nul { field })
    }

    pub(crate) fn text(&mut self, field: &'static str) -> Result<&'a str, ProtocolError> {
        std::str::from_utf8(self.counted(field)?).map_err(|_| ProtocolError::NotText { field })
    }

    /// There must be nothing left.
    pub(crate) fn end(self) -> Result<(), ProtocolError> {
        if self.rest.is_empty() { Ok(()) } else { Err(ProtocolError::Trailing { bytes: self.rest.len() }) }
    }
}

/// Where frames are written. `SecretBytes` is one so that a frame with secrets never grows by leaving a copy behind.
pub(crate) trait Sink {
    fn put(&mut self, bytes: &[u8]);
    fn length(&self) -> usize;
    /// Overwrites bytes put earlier.
    fn patch(&mut self, at: usize, bytes: &[u8]);
    fn cut(&mut self, length: usize);

    fn put_u32(&mut self, value: u32) {
        self.put(&value.to_le_bytes());
    }

    /// A length or count; what does not fit in 32 bits is far over the limit of any frame, which [`frame`] then says.
    fn put_count(&mut self, count: usize) {
        self.put_u32(u32::try_from(count).unwrap_or(u32::MAX));
    }

    fn put_counted(&mut self, bytes: &[u8]) {
        self.put_count(bytes.len());
        self.put(bytes);
    }

    /// Text for people: cut at a character if it is too long, since half a sentence is better than none.
    fn put_text(&mut self, text: &str) {
        let end = (0..=MAX_TEXT.min(text.len())).rev().find(|&end| text.is_char_boundary(end)).unwrap_or(0);
        self.put_counted(text.get(..end).unwrap_or_default().as_bytes());
    }
}

impl Sink for Vec<u8> {
    fn put(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }

    fn length(&self) -> usize {
        self.len()
    }

    fn patch(&mut self, at: usize, bytes: &[u8]) {
        overwrite(self, at, bytes);
    }

    fn cut(&mut self, length: usize) {
        self.truncate(length);
    }
}

impl Sink for SecretBytes {
    fn put(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }

    fn length(&self) -> usize {
        self.len()
    }

    fn patch(&mut self, at: usize, bytes: &[u8]) {
        overwrite(self.as_mut_slice(), at, bytes);
    }

    fn cut(&mut self, length: usize) {
        self.truncate(length);
    }
}

fn overwrite(buffer: &mut [u8], at: usize, bytes: &[u8]) {
    if let Some(place) = buffer.get_mut(at..).and_then(|tail| tail.get_mut(..bytes.len())) {
        place.copy_from_slice(bytes);
    }
}

/// Appends one frame: the header, with the length of what `body` then writes. On an error nothing is appended.
pub(crate) fn frame<S: Sink>(
    out: &mut S,
    kind: Kind,
    process: Option<ProcessId>,
    body: impl FnOnce(&mut S),
) -> Result<(), ProtocolError> {
    let start = out.length();
    out.put(&[0; HEADER_LEN]);
    body(out);
    let length = out.length().saturating_sub(start).saturating_sub(HEADER_LEN);
    match Header::new(kind, process, length) {
        Ok(header) => {
            out.patch(start, &header.encode());
            Ok(())
        }
        Err(error) => {
            out.cut(start);
            Err(error)
        }
    }
}
