//! Bytes of a stream in, messages out.
//!
//! The decoder hands out the very place where the next bytes belong ([`Decoder::space`]), so that a reader fills it
//! without a buffer of its own: the payload of a `Start` is in exactly one allocation, made at its full size, and that
//! one is wiped. Memory is bounded by the limit of the frame's kind, which is judged when the 12 header bytes are there.
//!
//! ```text
//!   Header(0..12 bytes) ── complete, length > 0 ──> Payload(0..length bytes) ── complete ──> message, Header(0)
//!           └───────────── complete, length = 0 ───────────────────────────────────────────> message, Header(0)
//!   any error ──> Failed, for good
//! ```

use std::marker::PhantomData;

use crate::error::ProtocolError;
use crate::header::{HEADER_LEN, Header};
use crate::secret::SecretBytes;

/// A direction of the channel: what a [`Decoder`] can yield. Implemented by `ToAgent` and `ToHost`.
pub trait Message: Sized {
    /// Whether this kind of frame travels in this direction.
    fn carries(header: &Header) -> bool;

    /// Reads a complete payload. A message of plain data takes the buffer instead of copying it.
    fn parse(header: &Header, payload: &mut SecretBytes) -> Result<Self, ProtocolError>;
}

/// Reads frames of one direction.
pub struct Decoder<M> {
    header: [u8; HEADER_LEN],
    payload: Option<(Header, SecretBytes)>,
    filled: usize,
    failed: Option<ProtocolError>,
    direction: PhantomData<fn() -> M>,
}

impl<M: Message> Decoder<M> {
    pub fn new() -> Self {
        Self { header: [0; HEADER_LEN], payload: None, filled: 0, failed: None, direction: PhantomData }
    }

    /// Where the next bytes of the stream belong. Never empty, unless the stream has failed.
    pub fn space(&mut self) -> &mut [u8] {
        if self.failed.is_some() {
            return &mut [];
        }
        let whole = match &mut self.payload {
            Some((_, payload)) => payload.as_mut_slice(),
            None => &mut self.header,
        };
        whole.get_mut(self.filled..).unwrap_or_default()
    }

    /// The first `bytes` of [`Self::space`] have been filled. `None`: more are needed.
    pub fn advance(&mut self, bytes: usize) -> Result<Option<M>, ProtocolError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        let result = self.step(bytes);
        if let Err(error) = &result {
            self.failed = Some(error.clone());
            self.payload = None;
        }
        result
    }

    /// Copies from the front of `input` until there is a message or `input` is empty.
    pub fn feed(&mut self, input: &mut &[u8]) -> Result<Option<M>, ProtocolError> {
        loop {
            let space = self.space();
            let bytes = space.len().min(input.len());
            let (front, rest) = input.split_at(bytes);
            space[..bytes].copy_from_slice(front);
            *input = rest;
            let message = self.advance(bytes)?;
            if message.is_some() || input.is_empty() {
                return Ok(message);
            }
        }
    }

    /// The stream has ended: fine between two frames only.
    pub fn finish(&self) -> Result<(), ProtocolError> {
        match &self.failed {
            Some(error) => Err(error.clone()),
            None if self.filled > 0 || self.payload.is_some() => Err(ProtocolError::Cut),
            None => Ok(()),
        }
    }

    fn step(&mut self, bytes: usize) -> Result<Option<M>, ProtocolError> {
        let wanted = self.payload.as_ref().map_or(HEADER_LEN, |(header, _)| header.length());
        self.filled = self.filled.saturating_add(bytes).min(wanted);
        if self.filled < wanted {
            return Ok(None);
        }
        self.filled = 0;
        let (header, mut payload) = match self.payload.take() {
            Some(complete) => complete,
            None => {
                let header = Header::decode(&self.header)?;
                if !M::carries(&header) {
                    return Err(ProtocolError::WrongDirection { kind: header.kind() });
                }
                if header.length() > 0 {
                    self.payload = Some((header, SecretBytes::zeroed(header.length())));
                    return Ok(None);
                }
                (header, SecretBytes::new())
            }
        };
        M::parse(&header, &mut payload).map(Some)
    }
}

impl<M: Message> Default for Decoder<M> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
#[path = "decoder_test.rs"]
mod tests;
