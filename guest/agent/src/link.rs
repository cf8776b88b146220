//! The control channel as a non-blocking socket: frames in, frames out.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use bottle_protocol::{DataKind, Decoder, HEADER_LEN, ProcessId, ProtocolError, ToAgent, ToHost, data_header};
use nix::errno::Errno;
use nix::unistd::read;

use crate::queue::ByteQueue;

/// Why the channel is of no more use.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LinkError {
    #[error("the host closed the connection")]
    Closed,
    #[error("cannot receive from the host")]
    Receive(#[source] Errno),
    #[error("cannot send to the host")]
    Send(#[source] Errno),
    #[error("the host broke the protocol")]
    Protocol(#[from] ProtocolError),
}

/// What came of forwarding output.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Forwarded {
    Bytes(usize),
    /// There is nothing to read now.
    Nothing,
    /// There will never be.
    End,
}

pub(crate) struct Link {
    socket: OwnedFd,
    decoder: Decoder<ToAgent>,
    outgoing: ByteQueue,
}

impl Link {
    /// With this much under way no output is added: it is as well off in the pipe of the process.
    const ENOUGH_OUTPUT: usize = 128 * 1024;

    /// With this much under way nothing more is received, since a frame may ask for an answer: a host that asks and
    /// never listens must not grow our memory.
    const ENOUGH_ANSWERS: usize = 1024 * 1024;

    /// `socket` must not block.
    pub(crate) fn new(socket: OwnedFd) -> Self {
        Self { socket, decoder: Decoder::new(), outgoing: ByteQueue::default() }
    }

    pub(crate) fn socket(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    pub(crate) fn wants_to_send(&self) -> bool {
        !self.outgoing.is_empty()
    }

    pub(crate) fn has_room_for_output(&self) -> bool {
        self.outgoing.len() < Self::ENOUGH_OUTPUT
    }

    pub(crate) fn has_room_for_answers(&self) -> bool {
        self.outgoing.len() < Self::ENOUGH_ANSWERS
    }

    pub(crate) fn send(&mut self, message: &ToHost) -> Result<(), LinkError> {
        Ok(message.encode(self.outgoing.tail())?)
    }

    /// Reads at most `most` bytes from `source` into a frame: they are copied nowhere in between.
    pub(crate) fn forward(
        &mut self,
        kind: DataKind,
        process: ProcessId,
        source: BorrowedFd<'_>,
        most: usize,
    ) -> Result<Forwarded, LinkError> {
        let tail = self.outgoing.tail();
        let start = tail.len();
        let data = start.saturating_add(HEADER_LEN);
        tail.resize(data.saturating_add(most), 0);
        let outcome = read(source, tail.get_mut(data..).unwrap_or_default());
        let bytes = outcome.unwrap_or(0);
        if bytes == 0 {
            tail.truncate(start);
        } else {
            tail.truncate(data.saturating_add(bytes));
            let header = data_header(kind, process, bytes)?;
            if let Some(place) = tail.get_mut(start..data) {
                place.copy_from_slice(&header);
            }
        }
        Ok(match outcome {
            Ok(0) => Forwarded::End,
            Ok(bytes) => Forwarded::Bytes(bytes),
            Err(Errno::EAGAIN | Errno::EINTR) => Forwarded::Nothing,
            // A terminal whose last user is gone reads as EIO (`drivers/tty/pty.c`); nothing else can happen to a pipe.
            Err(_) => Forwarded::End,
        })
    }

    /// The next frame, `None` if it is not there yet.
    pub(crate) fn receive(&mut self) -> Result<Option<ToAgent>, LinkError> {
        loop {
            match read(&self.socket, self.decoder.space()) {
                Ok(0) => {
                    self.decoder.finish()?;
                    return Err(LinkError::Closed);
                }
                Ok(bytes) => {
                    if let Some(message) = self.decoder.advance(bytes)? {
                        return Ok(Some(message));
                    }
                }
                Err(Errno::EAGAIN) => return Ok(None),
                Err(Errno::EINTR) => (),
                Err(errno) => return Err(LinkError::Receive(errno)),
            }
        }
    }

    /// Sends what the socket takes now.
    pub(crate) fn flush(&mut self) -> Result<(), LinkError> {
        self.outgoing.write_to(self.socket.as_fd()).map(drop).map_err(LinkError::Send)
    }
}
