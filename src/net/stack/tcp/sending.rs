//! The half of a connection towards the guest: read from the host's socket, sent, kept until it is acknowledged.
//!
//! Data is read from the socket only when the guest has room for it; what waits, waits in the host's kernel.

use super::super::host::HostSocket;
use super::segment::Seq;
use std::collections::VecDeque;
use std::io::ErrorKind;

/// Most bytes in one segment: what an IP packet of the largest size holds.
pub(in super::super) const SEGMENT_MAX: usize = super::super::packet::MTU as usize - 40;
/// Most bytes under way to the guest in one connection, whatever window it has: enough to keep it busy while we are woken.
const FLIGHT_MAX: usize = 1 << 20;
/// Bytes read from hosts and not acknowledged, over all connections.
const LENT_MAX: usize = 64 << 20;
/// Reads shorter than this are kept in memory of their own size.
const SMALL: usize = 8 << 10;
/// What a piece takes beside its bytes, at most: its place in a queue that has just doubled, and the allocator's own.
const OVERHEAD: usize = 128;
/// Spare buffers.
const SPARE_MAX: usize = 32;

/// Memory for what is under way to the guest, shared by all connections.
#[derive(Debug, Default)]
pub(in super::super) struct Pool {
    spare: Vec<Box<[u8]>>,
    lent: usize,
}

/// Bytes under way.
#[derive(Debug)]
pub(in super::super) struct Piece {
    bytes: Box<[u8]>,
    from: usize,
    to: usize,
}

impl Piece {
    fn bytes(&self) -> &[u8] {
        self.bytes.get(self.from..self.to).unwrap_or_default()
    }

    fn len(&self) -> usize {
        self.to.saturating_sub(self.from)
    }
}

impl Pool {
    pub(in super::super) fn is_exhausted(&self) -> bool {
        self.lent >= LENT_MAX
    }

    fn take(&mut self) -> Box<[u8]> {
        self.spare.pop().unwrap_or_else(|| vec![0; SEGMENT_MAX].into_boxed_slice())
    }

    fn keep(&mut self, bytes: Box<[u8]>, length: usize) -> Piece {
        let bytes = if length < SMALL {
            let small = bytes.get(..length).unwrap_or_default().into();
            self.put_back(bytes);
            small
        } else {
            bytes
        };
        self.lent += bytes.len() + OVERHEAD;
        Piece { bytes, from: 0, to: length }
    }

    fn release(&mut self, piece: Piece) {
        self.lent = self.lent.saturating_sub(piece.bytes.len() + OVERHEAD);
        self.put_back(piece.bytes);
    }

    fn put_back(&mut self, bytes: Box<[u8]>) {
        if bytes.len() == SEGMENT_MAX && self.spare.len() < SPARE_MAX {
            self.spare.push(bytes);
        }
    }
}

/// How far the host's end of the stream has been told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// More may come.
    Open,
    /// The socket said that it was all.
    Read,
    /// A FIN is under way.
    Sent,
    Acknowledged,
}

/// What reading from the host has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Supply {
    /// A piece is there to be sent.
    Data,
    /// A FIN is.
    Fin,
    Nothing,
    /// The pool is exhausted: try again when it is not.
    Starved,
    /// The socket is broken.
    Broken,
}

#[derive(Debug)]
pub(in super::super) struct Sending {
    /// First byte that the guest has not acknowledged.
    una: Seq,
    /// First byte that it was not sent; behind what was sent already when that is sent again.
    next: Seq,
    /// Behind everything it was ever sent.
    max: Seq,
    /// Bytes from `una` on that the guest takes.
    window: usize,
    /// The largest window so far.
    window_max: usize,
    scale: u8,
    /// Bytes of data in a segment that the guest can take.
    pub(in super::super) mss: usize,
    pieces: VecDeque<Piece>,
    /// How many of them lie before `next`, and how many bytes of the one after those.
    passed: usize,
    inside: usize,
    /// Bytes of data in the segment that is to be sent next.
    ready: usize,
    end: End,
    /// Where in the sequence the FIN is, once it was sent.
    fin: Option<Seq>,
    /// The socket may have something: it has not said that it has nothing since it was last said to be ready.
    readable: bool,
    duplicates: u8,
    /// No second resend before everything up to here is acknowledged.
    recover: Option<Seq>,
}

impl Sending {
    /// `una` is the sequence number of the SYN.
    pub(in super::super) fn new(una: Seq, mss: u16, scale: u8) -> Self {
        Self {
            una,
            next: una,
            max: una,
            window: 0,
            window_max: 0,
            scale,
            // Less would only make work; a guest that means it gets it.
            mss: usize::from(mss).clamp(88, SEGMENT_MAX),
            pieces: VecDeque::new(),
            passed: 0,
            inside: 0,
            ready: 0,
            end: End::Open,
            fin: None,
            readable: true,
            duplicates: 0,
            recover: None,
        }
    }

    pub(in super::super) fn next(&self) -> Seq {
        self.next
    }

    pub(in super::super) fn max(&self) -> Seq {
        self.max
    }

    pub(in super::super) fn una(&self) -> Seq {
        self.una
    }

    /// The SYN was sent, the first time or again.
    pub(in super::super) fn greeted(&mut self) {
        self.next = self.una.plus(1);
        self.max = self.next;
    }

    /// Whether something waits for an acknowledgement.
    pub(in super::super) fn is_under_way(&self) -> bool {
        self.una != self.max
    }

    /// The guest has no room, and something may wait for it to have some.
    pub(in super::super) fn is_shut_out(&self) -> bool {
        // An end alone needs no room, but it comes behind what does.
        self.window == 0 && (!self.pieces.is_empty() || self.end == End::Open && self.readable)
    }

    pub(in super::super) fn is_finished(&self) -> bool {
        self.end == End::Acknowledged
    }

    /// The host has ended, and the guest has all of it.
    pub(in super::super) fn is_spent(&self) -> bool {
        self.end != End::Open && self.pieces.is_empty()
    }

    /// The socket has something, or has hung up.
    pub(in super::super) fn host_ready(&mut self) {
        self.readable = true;
    }

    /// The window of a segment that is not a SYN, whose window is not scaled.
    pub(in super::super) fn update_window(&mut self, window: u16) {
        self.window = usize::from(window) << self.scale;
        self.window_max = self.window_max.max(self.window);
    }

    pub(in super::super) fn greeting_window(&mut self, window: u16) {
        self.window = window.into();
        self.window_max = self.window;
    }

    /// Takes an acknowledgement; false if it is of something that was never sent. `bare`: the segment had nothing else.
    pub(in super::super) fn acknowledge(&mut self, ack: Seq, window: u16, bare: bool, pool: &mut Pool) -> bool {
        if ack.is_after(self.max) {
            return false;
        }
        let Some(mut count) = ack.since(self.una) else { return true };
        let same_window = usize::from(window) << self.scale == self.window;
        self.update_window(window);
        if count == 0 {
            if bare && same_window && self.is_under_way() {
                self.duplicates = self.duplicates.saturating_add(1);
                if self.duplicates == 3 && self.recover.is_none() {
                    self.resend();
                }
            }
            return true;
        }
        self.duplicates = 0;
        // In the middle of a resend the guest may turn out to have had more than what was lost.
        if ack.is_after(self.next) {
            self.next = ack;
        }
        self.una = ack;
        while count > 0
            && let Some(piece) = self.pieces.front_mut()
        {
            let part = count.min(piece.len());
            piece.from += part;
            count -= part;
            if self.passed == 0 {
                self.inside = self.inside.saturating_sub(part);
            }
            if piece.len() > 0 {
                break;
            }
            self.passed = self.passed.saturating_sub(1);
            if let Some(piece) = self.pieces.pop_front() {
                pool.release(piece);
            }
        }
        // What is left of the count is the place of the SYN or the FIN.
        if self.fin.is_some_and(|fin| ack.is_after(fin)) {
            self.end = End::Acknowledged;
        }
        if self.recover.is_some_and(|recover| !recover.is_after(ack)) {
            self.recover = None;
        }
        true
    }

    /// Starts again from what is not acknowledged.
    pub(in super::super) fn resend(&mut self) {
        self.recover = Some(self.max);
        self.duplicates = 0;
        self.next = self.una;
        (self.passed, self.inside) = (0, 0);
        if self.end == End::Sent {
            self.end = End::Read;
        }
    }

    /// Bytes that may be sent now.
    fn usable(&self) -> usize {
        let flight = self.next.since(self.una).unwrap_or(0);
        self.window.min(FLIGHT_MAX).saturating_sub(flight)
    }

    /// Makes the next thing to send ready; `limit` is what a segment may hold.
    pub(in super::super) fn supply<S: HostSocket>(&mut self, socket: &mut S, pool: &mut Pool, limit: usize) -> Supply {
        let usable = self.usable();
        if let Some(piece) = self.pieces.get(self.passed) {
            self.ready = usable.min(limit).min(piece.len().saturating_sub(self.inside));
            return if self.ready > 0 { Supply::Data } else { Supply::Nothing };
        }
        match self.end {
            End::Open => {}
            End::Read => return Supply::Fin,
            End::Sent | End::Acknowledged => return Supply::Nothing,
        }
        // A sliver is not worth a segment while more room is on its way (RFC 9293 §3.8.6.2.1).
        let sliver = usable < self.mss.min(self.window_max / 2) && self.next != self.una;
        if !self.readable || usable == 0 || sliver {
            return Supply::Nothing;
        }
        if pool.is_exhausted() {
            return Supply::Starved;
        }
        self.read(socket, pool, usable.min(limit))
    }

    fn read<S: HostSocket>(&mut self, socket: &mut S, pool: &mut Pool, length: usize) -> Supply {
        let mut buffer = pool.take();
        let length = length.min(buffer.len());
        let result = loop {
            match socket.receive(buffer.get_mut(..length).unwrap_or_default()) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                result => break result,
            }
        };
        match result {
            Ok(0) => {
                pool.put_back(buffer);
                self.end = End::Read;
                Supply::Fin
            }
            Ok(read) => {
                // A short read may not have emptied the socket: a read ends before an urgent byte (tcp(7)), and what lies there is
                // not told of again.
                self.pieces.push_back(pool.keep(buffer, read));
                (self.inside, self.ready) = (0, read);
                Supply::Data
            }
            Err(error) => {
                pool.put_back(buffer);
                match error.kind() {
                    ErrorKind::WouldBlock => {
                        self.readable = false;
                        Supply::Nothing
                    }
                    _ => Supply::Broken,
                }
            }
        }
    }

    /// The data of the next segment.
    pub(in super::super) fn body(&self) -> &[u8] {
        let piece = self.pieces.get(self.passed).map_or(&[][..], Piece::bytes);
        piece.get(self.inside..self.inside + self.ready).unwrap_or_default()
    }

    /// The guest has the segment that was next.
    pub(in super::super) fn data_sent(&mut self) {
        self.next = self.next.plus(self.ready);
        self.inside += self.ready;
        if self.pieces.get(self.passed).is_some_and(|piece| self.inside >= piece.len()) {
            (self.passed, self.inside) = (self.passed + 1, 0);
        }
        self.note_sent();
    }

    pub(in super::super) fn fin_sent(&mut self) {
        let fin = *self.fin.get_or_insert(self.next);
        self.next = fin.plus(1);
        self.end = End::Sent;
        self.note_sent();
    }

    fn note_sent(&mut self) {
        if self.next.is_after(self.max) {
            self.max = self.next;
        }
    }

    /// Gives the memory back.
    pub(in super::super) fn clear(&mut self, pool: &mut Pool) {
        self.pieces.drain(..).for_each(|piece| pool.release(piece));
        (self.passed, self.inside) = (0, 0);
    }
}
