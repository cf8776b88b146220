//! Flow control: how many bytes of a stream may be under way.
//!
//! Each of stdin, stdout and stderr of a process has one window of [`INITIAL_WINDOW`] bytes. The sender keeps a
//! [`Window`], the receiver a [`ReceiveWindow`]; the two mirror each other with the frames in between. Arithmetic is
//! checked: a peer that sends more than it may, or gives credit for bytes that never were, breaks the protocol.

use crate::error::ProtocolError;
use crate::limits::INITIAL_WINDOW;

/// The sender's side.
#[derive(Debug, PartialEq, Eq)]
pub struct Window {
    available: u32,
    size: u32,
}

impl Window {
    pub fn new() -> Self {
        Self::of(INITIAL_WINDOW)
    }

    fn of(size: u32) -> Self {
        Self { available: size, size }
    }

    /// Bytes that may be sent now.
    pub fn available(&self) -> u32 {
        self.available
    }

    /// `bytes` were sent.
    pub fn consume(&mut self, bytes: u32) -> Result<(), ProtocolError> {
        let overrun = ProtocolError::Overrun { bytes, available: self.available };
        self.available = self.available.checked_sub(bytes).ok_or(overrun)?;
        Ok(())
    }

    /// The receiver has disposed of `bytes`.
    pub fn refill(&mut self, bytes: u32) -> Result<(), ProtocolError> {
        let outstanding = self.size.saturating_sub(self.available); // `available` never exceeds `size`
        if bytes > outstanding {
            return Err(ProtocolError::Overcredit { bytes, outstanding });
        }
        self.available = self.available.saturating_add(bytes);
        Ok(())
    }
}

impl Default for Window {
    fn default() -> Self {
        Self::new()
    }
}

/// The receiver's side: judges what arrives and says when a credit frame is worth sending.
#[derive(Debug, PartialEq, Eq)]
pub struct ReceiveWindow {
    window: Window,
    owed: u32,
}

impl ReceiveWindow {
    /// Credit below this is kept back, so that many small writes do not each cost a frame. The sender is never stuck
    /// by it: with nothing left undisposed it still has the other three quarters.
    const WORTH_A_FRAME: u32 = INITIAL_WINDOW / 4;

    pub fn new() -> Self {
        Self { window: Window::new(), owed: 0 }
    }

    /// `bytes` have arrived.
    pub fn receive(&mut self, bytes: usize) -> Result<(), ProtocolError> {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX); // more than any window; refused by the next line
        self.window.consume(bytes)
    }

    /// Bytes that arrived and are not disposed of.
    pub fn undisposed(&self) -> u32 {
        self.window.size.saturating_sub(self.window.available).saturating_sub(self.owed)
    }

    /// `bytes` of those that arrived are disposed of. `Some` is the credit to give now.
    #[must_use = "credit that is not sent stalls the stream"]
    pub fn dispose(&mut self, bytes: usize) -> Result<Option<u32>, ProtocolError> {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        if bytes > self.undisposed() {
            return Err(ProtocolError::Overcredit { bytes, outstanding: self.undisposed() });
        }
        self.owed = self.owed.saturating_add(bytes);
        if self.owed < Self::WORTH_A_FRAME {
            return Ok(None);
        }
        let credit = std::mem::take(&mut self.owed);
        self.window.refill(credit)?;
        Ok(Some(credit))
    }
}

impl Default for ReceiveWindow {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
#[path = "window_test.rs"]
mod tests;
