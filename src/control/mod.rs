//! The host's end of the control channel: frames over the stream that the guest's agent opened.
//!
//! What comes from the agent comes from the guest, so it is hostile: frames are bounded by the protocol crate, and a guest that does
//! not read what it is sent ends its bottle instead of growing this process.

use bottle_protocol::{Decoder, ProtocolError, SecretBytes, ToAgent, ToHost};
use std::io;
use std::sync::Arc;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;

/// Frames that may wait for a guest to read them. What the guest itself brings about, credit above all, is held far below it by the
/// windows; standard input, which may come byte by byte, is to wait for [`Room`] first.
const QUEUE_MAX: usize = 1024;

#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    #[error("the guest agent breaks the protocol of the control channel")]
    Protocol(#[from] ProtocolError),
    #[error("the control channel failed")]
    Stream(#[source] io::Error),
    #[error("the guest agent does not read what it is sent")]
    NotReading,
}

/// Receives messages.
pub struct Receiver {
    stream: OwnedReadHalf,
    decoder: Decoder<ToHost>,
}

/// Sends messages in order, without waiting: a task of its own writes them.
pub struct Sender {
    queue: mpsc::Sender<SecretBytes>,
    written: Arc<Notify>,
    writer: JoinHandle<()>,
}

/// Tells when a sender can take more.
pub struct Room {
    queue: mpsc::Sender<SecretBytes>,
    written: Arc<Notify>,
}

/// # Errors
/// When the stream cannot be handed to the runtime. Must be called inside one.
pub fn open(stream: std::os::unix::net::UnixStream) -> Result<(Sender, Receiver), ControlError> {
    stream.set_nonblocking(true).map_err(ControlError::Stream)?;
    let (read, write) = UnixStream::from_std(stream).map_err(ControlError::Stream)?.into_split();
    let (queue, frames) = mpsc::channel(QUEUE_MAX);
    let written = Arc::new(Notify::new());
    let writer = tokio::spawn(write_frames(write, frames, Arc::clone(&written)));
    Ok((Sender { queue, written, writer }, Receiver { stream: read, decoder: Decoder::new() }))
}

async fn write_frames(mut stream: OwnedWriteHalf, mut frames: mpsc::Receiver<SecretBytes>, written: Arc<Notify>) {
    while let Some(frame) = frames.recv().await {
        // The reading side sees the same end and reports it.
        if stream.write_all(frame.expose()).await.is_err() {
            return;
        }
        written.notify_one();
    }
}

impl Room {
    /// Resolves when half of the queue is free. Cancel-safe. For one task: another would miss what this one is told.
    pub async fn wait(&self) {
        while !self.queue.is_closed() && self.queue.capacity() < QUEUE_MAX / 2 {
            self.written.notified().await;
        }
    }
}

impl Sender {
    #[must_use]
    pub fn room(&self) -> Room {
        Room { queue: self.queue.clone(), written: Arc::clone(&self.written) }
    }

    /// # Errors
    /// [`ControlError::NotReading`] when too much waits already.
    pub fn send(&self, message: &ToAgent) -> Result<(), ControlError> {
        let mut frame = SecretBytes::new();
        message.encode(&mut frame)?;
        self.queue_frame(frame)
    }

    /// Standard input, without the copy that [`ToAgent::Stdin`] would make.
    ///
    /// # Errors
    /// As [`Sender::send`].
    pub fn send_stdin(&self, process: bottle_protocol::ProcessId, bytes: &[u8]) -> Result<(), ControlError> {
        let header = bottle_protocol::data_header(bottle_protocol::DataKind::Stdin, process, bytes.len())?;
        let mut frame = SecretBytes::with_capacity(header.len() + bytes.len());
        frame.extend_from_slice(&header);
        frame.extend_from_slice(bytes);
        self.queue_frame(frame)
    }

    fn queue_frame(&self, frame: SecretBytes) -> Result<(), ControlError> {
        match self.queue.try_send(frame) {
            // A closed queue means that the stream ended, which the receiver reports.
            Ok(()) | Err(mpsc::error::TrySendError::Closed(_)) => Ok(()),
            Err(mpsc::error::TrySendError::Full(_)) => Err(ControlError::NotReading),
        }
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        self.writer.abort();
    }
}

impl Receiver {
    /// The next message; `None` when the guest closed the channel. Cancel-safe: what was read stays in the decoder.
    ///
    /// # Errors
    /// When the guest breaks the protocol.
    pub async fn next(&mut self) -> Result<Option<ToHost>, ControlError> {
        loop {
            let space = self.decoder.space();
            let read = match self.stream.read(space).await {
                Ok(0) => return self.decoder.finish().map(|()| None).map_err(Into::into),
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(None),
                Err(error) => return Err(ControlError::Stream(error)),
            };
            if let Some(message) = self.decoder.advance(read)? {
                return Ok(Some(message));
            }
        }
    }
}

#[cfg(test)]
#[path = "control_test.rs"]
mod tests;
