//! One stream between the guest and a host socket: its credit, what waits to be written to the host, what is to be told the guest.
//!
//! ```text
//!   REQUEST accepted ──▶ open ──▶ guest shut its sending side ──┐
//!                         │  └──▶ host closed its sending side ─┴─▶ both ──▶ RST to the guest, gone
//!                         └──▶ RST from either side, or a broken rule ──▶ gone
//! ```
//!
//! Credit (virtio 1.3 §5.10.6.3): each side tells how much it can buffer (`buf_alloc`) and how much it has disposed of
//! (`fwd_cnt`, wrapping); what the other may still send is `buf_alloc - (sent - fwd_cnt)`.
//!
//! Data for the guest is read from the socket straight into guest memory. Only data from the guest can wait here, at most
//! [`BUFFER_BYTES`] of it, and the guest knows: more breaks the rules and ends the connection.

use super::header::{Header, SHUTDOWN_RECEIVE, SHUTDOWN_SEND};
use std::collections::VecDeque;
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::net::UnixStream;
use vm_memory::{ReadVolatile, VolatileMemoryError, VolatileSlice, WriteVolatile};

/// What a guest may have in flight towards one host socket, i.e. the memory that a reader which does not read costs us.
pub const BUFFER_BYTES: u32 = 256 << 10;

/// Told the guest in one packet each, most urgent first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pending {
    Reset,
    Response,
    Data,
    Shutdown,
    CreditUpdate,
}

#[derive(Debug)]
pub struct Connection {
    stream: UnixStream,
    guest: GuestCredit,
    /// Bytes of the guest's that reached the host socket, wrapping.
    forwarded: u32,
    /// The last `fwd_cnt` the guest was told.
    told_forwarded: u32,
    waiting: VecDeque<u8>,
    /// The socket has data or its end; unknown is yes.
    readable: bool,
    respond: bool,
    update: bool,
    reset: bool,
    host_done: Done,
    /// The guest will send no more.
    guest_done: bool,
    /// The guest will not receive any more.
    guest_deaf: bool,
}

/// The host's sending side.
#[derive(Debug, PartialEq, Eq)]
enum Done {
    No,
    Untold,
    Told,
}

/// What the guest can take.
#[derive(Debug, Default)]
struct GuestCredit {
    buf_alloc: u32,
    fwd_cnt: u32,
    sent: u32,
}

impl GuestCredit {
    fn update(&mut self, header: &Header) {
        self.buf_alloc = header.buf_alloc;
        self.fwd_cnt = header.fwd_cnt;
    }

    /// A guest that lies about `fwd_cnt` only starves itself: the difference wraps to more than any buffer.
    fn available(&self) -> u32 {
        self.buf_alloc.saturating_sub(self.sent.wrapping_sub(self.fwd_cnt))
    }
}

/// The guest broke the rules; the connection must be reset.
#[derive(Debug, PartialEq, Eq)]
pub struct Violation;

impl Connection {
    /// Answers a REQUEST whose `header` told the guest's buffer. `stream` is non-blocking.
    pub fn accept(stream: UnixStream, header: &Header) -> Self {
        let mut guest = GuestCredit::default();
        guest.update(header);
        Self {
            stream,
            guest,
            forwarded: 0,
            told_forwarded: 0,
            waiting: VecDeque::new(),
            readable: true,
            respond: true,
            update: false,
            reset: false,
            host_done: Done::No,
            guest_done: false,
            guest_deaf: false,
        }
    }

    /// The next thing to tell the guest.
    pub fn pending(&self) -> Option<Pending> {
        if self.reset || self.finished() {
            return Some(Pending::Reset);
        }
        if self.respond {
            return Some(Pending::Response);
        }
        if self.readable && self.host_done == Done::No && !self.guest_deaf && self.guest.available() > 0 {
            return Some(Pending::Data);
        }
        match self.host_done {
            Done::Untold => Some(Pending::Shutdown),
            Done::No | Done::Told => self.update.then_some(Pending::CreditUpdate),
        }
    }

    /// Both sides are done and nothing waits: the RST that follows ends the connection on the guest's side too (§5.10.6.5).
    fn finished(&self) -> bool {
        self.guest_done && self.waiting.is_empty() && (self.host_done == Done::Told || self.guest_deaf)
    }

    /// Records that `pending` was told; `fwd_cnt` goes with every packet.
    pub fn told(&mut self, pending: Pending) {
        match pending {
            Pending::Response => self.respond = false,
            Pending::Shutdown => self.host_done = Done::Told,
            Pending::Reset | Pending::Data | Pending::CreditUpdate => {}
        }
        self.update = false;
        self.told_forwarded = self.forwarded;
    }

    /// The `fwd_cnt` to put into a packet.
    pub fn forwarded(&self) -> u32 {
        self.forwarded
    }

    /// Reads from the host socket into the guest's buffer: as much as there is, fits, and the guest has credit for.
    /// `Ok(0)` means that there is nothing to send now; why, [`Connection::pending`] knows afterwards.
    pub fn read_into(&mut self, buffer: &VolatileSlice<'_>) -> u32 {
        let length = buffer.len().min(self.guest.available() as usize);
        let Ok(mut part) = buffer.subslice(0, length) else { return 0 };
        match self.stream.read_volatile(&mut part) {
            Ok(0) => {
                self.host_done = Done::Untold;
                0
            }
            Ok(read) => {
                let read = u32::try_from(read).unwrap_or(0);
                self.guest.sent = self.guest.sent.wrapping_add(read);
                read
            }
            Err(error) => {
                self.readable = false;
                if !would_block(&error) {
                    self.host_done = Done::Untold;
                }
                0
            }
        }
    }

    /// Takes a packet's payload: to the socket as far as it goes, the rest waits.
    ///
    /// # Errors
    /// [`Violation`] when the guest sends more than it was told it may, or after it said that it is done.
    pub fn receive(&mut self, payload: &[VolatileSlice<'_>]) -> Result<(), Violation> {
        let length: usize = payload.iter().map(VolatileSlice::len).sum();
        if self.guest_done || self.waiting.len() + length > BUFFER_BYTES as usize {
            return Err(Violation);
        }
        for slice in payload {
            let written = if self.waiting.is_empty() { self.write(slice) } else { 0 };
            self.forward(written);
            if let Ok(rest) = slice.offset(written) {
                self.keep(&rest);
            }
        }
        Ok(())
    }

    fn write(&mut self, slice: &VolatileSlice<'_>) -> usize {
        let mut written = 0;
        while written < slice.len() {
            let Ok(rest) = slice.offset(written) else { break };
            match self.stream.write_volatile(&rest) {
                Ok(count) => written += count,
                Err(error) if would_block(&error) => break,
                // Nobody reads any more: what the guest still sends is disposed of, as after a close.
                Err(_) => return self.discard(slice.len()),
            }
        }
        written
    }

    fn discard(&mut self, length: usize) -> usize {
        self.reset = true;
        length
    }

    fn keep(&mut self, slice: &VolatileSlice<'_>) {
        let start = self.waiting.len();
        self.waiting.resize(start + slice.len(), 0);
        let (front, back) = self.waiting.as_mut_slices();
        let in_front = front.len().saturating_sub(start).min(slice.len());
        if in_front > 0 {
            slice.copy_to(&mut front[start..start + in_front]);
        }
        if let Ok(rest) = slice.offset(in_front) {
            let back_start = back.len() - rest.len();
            rest.copy_to(&mut back[back_start..]);
        }
    }

    fn forward(&mut self, bytes: usize) {
        self.forwarded = self.forwarded.wrapping_add(u32::try_from(bytes).unwrap_or(0));
        // Half a buffer: a guest that waits for credit gets it in time, one that does not costs no packets.
        if self.forwarded.wrapping_sub(self.told_forwarded) >= BUFFER_BYTES / 2 {
            self.update = true;
        }
    }

    /// The socket changed: tries again whatever waited for it.
    pub fn host_ready(&mut self) {
        self.readable = true;
        self.flush();
    }

    fn flush(&mut self) {
        while !self.waiting.is_empty() {
            let (front, _) = self.waiting.as_slices();
            match self.stream.write(front) {
                Ok(count) => {
                    self.waiting.drain(..count);
                    self.forward(count);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => {
                    self.waiting.clear();
                    self.reset = true;
                    return;
                }
            }
        }
        if self.guest_done {
            let _ = self.stream.shutdown(std::net::Shutdown::Write);
        }
    }

    /// The guest told its credit, in whatever packet.
    pub fn update_credit(&mut self, header: &Header) {
        self.guest.update(header);
    }

    /// The guest asks for ours.
    pub fn request_credit_update(&mut self) {
        self.update = true;
    }

    /// The guest will send, or receive, no more.
    pub fn shut_down(&mut self, flags: u32) {
        self.guest_done |= flags & SHUTDOWN_SEND != 0;
        self.guest_deaf |= flags & SHUTDOWN_RECEIVE != 0;
        if self.guest_deaf {
            // Whoever writes to the host socket learns now that nobody reads, instead of filling it and waiting.
            let _ = self.stream.shutdown(std::net::Shutdown::Read);
        }
        self.flush();
    }
}

fn would_block(error: &VolatileMemoryError) -> bool {
    matches!(error, VolatileMemoryError::IOError(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted))
}

/// # Errors
/// When the socket cannot be made non-blocking.
pub fn prepare(stream: &UnixStream) -> io::Result<()> {
    stream.set_nonblocking(true)
}

#[cfg(test)]
#[path = "connection_test.rs"]
mod tests;
