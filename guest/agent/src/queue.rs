//! Bytes on their way out to a descriptor that may not take them yet. Whoever pushes sees to the bound.

use std::os::fd::BorrowedFd;

use nix::errno::Errno;
use nix::unistd::write;

#[derive(Default)]
pub(crate) struct ByteQueue {
    bytes: Vec<u8>,
    /// Bytes at the front that are already gone.
    gone: usize,
}

impl ByteQueue {
    /// Below this, moving the rest forward costs more than the memory is worth.
    const WORTH_COMPACTING: usize = 64 * 1024;

    pub(crate) fn len(&self) -> usize {
        self.bytes.len().saturating_sub(self.gone)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// The buffer itself, to append to; what is in front is not to be touched.
    pub(crate) fn tail(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// Forgets everything and says how much that was.
    pub(crate) fn discard(&mut self) -> usize {
        let bytes = self.len();
        *self = Self::default();
        bytes
    }

    /// Writes as much as `fd`, which does not block, takes now. The bytes written count even before an error, which
    /// comes back at the next call.
    pub(crate) fn write_to(&mut self, fd: BorrowedFd<'_>) -> Result<usize, Errno> {
        let before = self.gone;
        while let Some(rest) = self.bytes.get(self.gone..).filter(|rest| !rest.is_empty()) {
            match write(fd, rest) {
                Ok(written) => self.gone = self.gone.saturating_add(written),
                Err(Errno::EINTR) => (),
                Err(Errno::EAGAIN) => break,
                Err(_) if self.gone > before => break,
                Err(errno) => return Err(errno),
            }
        }
        let written = self.gone.saturating_sub(before);
        self.compact();
        Ok(written)
    }

    fn compact(&mut self) {
        if self.is_empty() {
            self.bytes.clear();
            self.gone = 0;
        } else if self.gone >= Self::WORTH_COMPACTING && self.gone >= self.len() {
            self.bytes.drain(..self.gone);
            self.gone = 0;
        }
    }
}

#[cfg(test)]
#[path = "queue_test.rs"]
mod tests;
