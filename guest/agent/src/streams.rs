//! Standard input and output of a process, between its pipes or terminal and the windows of the channel.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use bottle_protocol::{DataKind, MAX_DATA, OutputStream, ProcessId, ProtocolError, ReceiveWindow, ToHost, Window};

use crate::link::{Forwarded, Link, LinkError};
use crate::pty;
use crate::queue::ByteQueue;
use crate::sys;

/// What a terminal is drained of after its process has ended. The kernel holds less (64 KiB between its two sides and
/// a line buffer); a background process that goes on writing must not keep us here.
const MOST_OF_TERMINAL: usize = 256 * 1024;

/// The way in.
///
/// ```text
///   Open ── no more will come, all written ──> Closed
///    └── the process has closed its end ─────> Closed     what comes then is discarded, and credited
/// ```
pub(crate) struct Input {
    to: Option<OwnedFd>,
    terminal: bool,
    queue: ByteQueue,
    window: ReceiveWindow,
    ended: bool,
}

impl Input {
    /// `to` must not block. `None`: everything is discarded.
    pub(crate) fn new(to: Option<OwnedFd>, terminal: bool) -> Self {
        Self { to, terminal, queue: ByteQueue::default(), window: ReceiveWindow::new(), ended: false }
    }

    /// Bytes from the host. The window bounds the queue.
    pub(crate) fn receive(&mut self, bytes: &[u8]) -> Result<(), ProtocolError> {
        self.window.receive(bytes.len())?;
        self.queue.push(bytes);
        Ok(())
    }

    /// No more will come.
    pub(crate) fn end(&mut self) {
        if !self.ended && self.terminal {
            // There is no end of file on a terminal but what its line discipline makes of a character.
            if let Some(character) = self.to.as_ref().and_then(pty::end_of_file) {
                self.queue.push(&[character]);
            }
        }
        self.ended = true;
    }

    /// The process is gone.
    pub(crate) fn close(&mut self) {
        self.to = None;
    }

    /// The descriptor to wait for, if there is something to write to it.
    pub(crate) fn waits_for(&self) -> Option<BorrowedFd<'_>> {
        self.to.as_ref().filter(|_| !self.queue.is_empty()).map(AsFd::as_fd)
    }

    /// Writes what the process takes now, and gives credit for it.
    pub(crate) fn push(&mut self, process: ProcessId, link: &mut Link) -> Result<(), LinkError> {
        let written = match &self.to {
            Some(to) => self.queue.write_to(to.as_fd()).ok(),
            None => None,
        };
        let disposed = written.unwrap_or_else(|| {
            self.to = None;
            self.queue.discard()
        });
        // The terminal's end-of-file character was never received, so it is not credited.
        let credit = self.window.dispose(disposed.min(self.window.undisposed() as usize))?;
        if let Some(bytes) = credit {
            link.send(&ToHost::Credit { process, bytes })?;
        }
        if self.ended && self.queue.is_empty() && !self.terminal {
            self.to = None; // the process reads an end of file
        }
        Ok(())
    }
}

/// A way out.
pub(crate) struct Output {
    stream: OutputStream,
    from: Option<OwnedFd>,
    window: Window,
    /// Bytes that were there when the process ended, and are all that will be taken.
    left: Option<usize>,
}

impl Output {
    /// `from` must not block.
    pub(crate) fn new(stream: OutputStream, from: OwnedFd) -> Self {
        Self { stream, from: Some(from), window: Window::new(), left: None }
    }

    pub(crate) fn stream(&self) -> OutputStream {
        self.stream
    }

    pub(crate) fn is_open(&self) -> bool {
        self.from.is_some()
    }

    /// The host has disposed of `bytes`.
    pub(crate) fn credit(&mut self, bytes: u32) -> Result<(), ProtocolError> {
        self.window.refill(bytes)
    }

    /// Nobody wants what may still come.
    pub(crate) fn abandon(&mut self) {
        self.from = None;
    }

    /// The process has ended: what is there now is all that counts, even if others still hold the other end.
    pub(crate) fn settle(&mut self, terminal: bool) {
        if let Some(from) = &self.from {
            let held = if terminal { MOST_OF_TERMINAL } else { sys::readable_bytes(from.as_fd()).unwrap_or(0) };
            self.left = Some(held);
        }
    }

    /// The descriptor to wait for, if there is a window for what it would bring.
    pub(crate) fn waits_for(&self) -> Option<BorrowedFd<'_>> {
        self.from.as_ref().filter(|_| self.window.available() > 0).map(AsFd::as_fd)
    }

    /// Sends one frame of what is there. `false`: not now.
    pub(crate) fn pull(&mut self, process: ProcessId, link: &mut Link) -> Result<bool, LinkError> {
        let Some(from) = &self.from else { return Ok(false) };
        let left = self.left.unwrap_or(usize::MAX);
        if left == 0 {
            self.close(process, link)?;
            return Ok(false);
        }
        let most = left.min(self.window.available().min(MAX_DATA) as usize);
        if most == 0 || !link.has_room_for_output() {
            return Ok(false);
        }
        match link.forward(self.data_kind(), process, from.as_fd(), most)? {
            Forwarded::Bytes(bytes) => {
                self.window.consume(u32::try_from(bytes).unwrap_or(u32::MAX))?;
                self.left = self.left.map(|left| left.saturating_sub(bytes));
                Ok(true)
            }
            Forwarded::Nothing if self.left.is_none() => Ok(false),
            Forwarded::Nothing | Forwarded::End => {
                self.close(process, link)?;
                Ok(false)
            }
        }
    }

    fn close(&mut self, process: ProcessId, link: &mut Link) -> Result<(), LinkError> {
        self.from = None;
        link.send(&ToHost::Eof { process, stream: self.stream })
    }

    fn data_kind(&self) -> DataKind {
        match self.stream {
            OutputStream::Stdout => DataKind::Stdout,
            OutputStream::Stderr => DataKind::Stderr,
        }
    }
}
