//! One connection of the guest's, from its SYN to the end of both directions.
//!
//! ```text
//!   SYN ──▶ asking ──connected──▶ greeting ──ACK of our SYN──▶ open ──both FINs──▶ gone
//!             │ refused              │ no ACK                    │ RST of either side,
//!             ▼                      ▼                           ▼ silence
//!            RST or ICMP            gone                      aborted ──RST told──▶ gone
//! ```
//!
//! What the guest sends goes straight from its memory into the socket; what the socket does not take waits here, and the guest's
//! window is as much smaller. The window is a promise that is kept: its right edge never moves back (RFC 9293 §3.8.6).

use super::super::host::HostSocket;
use super::super::packet::{ETHERNET, ipv4_head};
use super::super::payload::Payload;
use super::segment::{Greeting, Reply, Segment, Seq};
use super::sending::{Pool, SEGMENT_MAX, Sending, Supply};
use etherparse::IpNumber;
use std::collections::VecDeque;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;
use vm_memory::VolatileSlice;

/// What one connection may have waiting for the host's socket: the window that a guest gets.
const WINDOW: usize = 1 << 20;
/// The same over all connections.
const WAITING_MAX: usize = 64 << 20;
/// The window field counts units of 2^this: enough for [`WINDOW`].
const SCALE: u8 = 7;

/// After that long without progress what is under way is sent again, or the guest is asked for its window. Doubled each time that
/// it does not say anything.
const RESEND: Duration = Duration::from_secs(1);
/// After that many times without a word the guest is taken for dead: two minutes.
const TRIES_MAX: u32 = 6;
/// Silence in both directions after which a connection ends (RFC 5382 §5, REQ-5: not under 2 hours 4 minutes).
const IDLE: Duration = Duration::from_secs(124 * 60);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Stage {
    /// The broker has not answered.
    Asking,
    /// It has connected; the guest has not acknowledged our SYN.
    Greeting,
    Open,
    /// To be forgotten as soon as the guest is told.
    Aborted,
    /// Over; nothing is to be told.
    Gone,
}

/// What the guest is to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Emission {
    Greeting,
    Data,
    Fin,
    Acknowledgement,
    /// A segment that it must answer: its window may have opened unheard.
    Probe,
    Reset,
}

/// What all connections share.
#[derive(Debug, Default)]
pub(in super::super) struct Shared {
    pub(in super::super) pool: Pool,
    /// Bytes that wait for hosts.
    waiting: usize,
    /// Whether data may be longer than a segment.
    pub(in super::super) segmentation: bool,
}

pub(in super::super) struct Connection<S> {
    stage: Stage,
    socket: Option<S>,
    pub(in super::super) sending: Sending,
    /// Next byte that the guest is to send, and the right edge of the window that it was told.
    expected: Seq,
    edge: Seq,
    /// Whether windows are scaled: both sides have to say so.
    scaled: bool,
    waiting: VecDeque<u8>,
    /// The guest has sent its FIN; and the socket was told.
    guest_done: bool,
    host_told: bool,
    /// The host's side takes no more: what it had said before is passed on, and then the guest is told.
    deaf: bool,
    acknowledge: bool,
    probe: bool,
    /// When the guest was last heard, when it last acknowledged something new, and how often it was tried to make it speak since.
    heard: Duration,
    progress: Duration,
    tries: u32,
    /// The pool was exhausted.
    pub(in super::super) starved: bool,
}

impl<S: HostSocket> Connection<S> {
    /// For the guest's SYN. `first` is where our own sequence begins.
    pub(in super::super) fn new(segment: &Segment<'_>, first: Seq, now: Duration) -> Self {
        let mut sending = Sending::new(first, segment.mss.unwrap_or(536), segment.scale.unwrap_or(0));
        sending.greeting_window(segment.window);
        let expected = segment.seq.plus(1);
        Self {
            stage: Stage::Asking,
            socket: None,
            sending,
            expected,
            edge: expected,
            scaled: segment.scale.is_some(),
            waiting: VecDeque::new(),
            guest_done: false,
            host_told: false,
            deaf: false,
            acknowledge: false,
            probe: false,
            heard: now,
            progress: now,
            tries: 0,
            starved: false,
        }
    }

    pub(in super::super) fn stage(&self) -> Stage {
        self.stage
    }

    /// The broker has connected.
    pub(in super::super) fn connected(&mut self, socket: S, now: Duration) {
        (self.stage, self.socket, self.progress) = (Stage::Greeting, Some(socket), now);
    }

    /// The answer to a SYN that the broker refused.
    pub(in super::super) fn refusal(&self) -> Reply {
        Reply { ack: Some(self.expected), rst: true, ..Reply::default() }
    }

    /// The first 28 bytes of the guest's SYN, as an ICMP error quotes them.
    pub(in super::super) fn quote(&self, to: SocketAddrV4, guest: (Ipv4Addr, u16)) -> Vec<u8> {
        let head = ipv4_head(guest.0, *to.ip(), IpNumber::TCP, 20);
        let seq = self.expected.0.wrapping_sub(1);
        let ports = [guest.1.to_be_bytes(), to.port().to_be_bytes()].concat();
        [head.get(ETHERNET..).unwrap_or_default(), &ports, &seq.to_be_bytes()].concat()
    }

    /// Ends it: the host's side sees a reset, and so does the guest if `tell`.
    pub(in super::super) fn abort(&mut self, tell: bool, shared: &mut Shared) {
        if let Some(mut socket) = self.socket.take() {
            socket.abort();
        }
        shared.waiting = shared.waiting.saturating_sub(self.waiting.len());
        self.waiting = VecDeque::new();
        self.sending.clear(&mut shared.pool);
        self.stage = if tell { Stage::Aborted } else { Stage::Gone };
    }

    /// Takes a segment.
    pub(in super::super) fn receive(&mut self, segment: &Segment<'_>, now: Duration, shared: &mut Shared) {
        match self.stage {
            Stage::Asking if segment.rst => return self.abort(false, shared),
            Stage::Asking | Stage::Aborted | Stage::Gone => return,
            Stage::Greeting | Stage::Open => {}
        }
        (self.heard, self.tries) = (now, 0);
        if segment.rst {
            // Only one in the window is meant (RFC 5961 §3.2); the guest's own kernel sends the exact one.
            if segment.seq.since(self.expected).is_some_and(|ahead| ahead <= WINDOW) {
                self.abort(false, shared);
            }
            return;
        }
        if segment.syn {
            return self.receive_syn(segment);
        }
        let Some(ack) = segment.ack else { return };
        let bare = segment.length() == 0;
        let una = self.sending.una();
        if !self.sending.acknowledge(ack, segment.window, bare, &mut shared.pool) {
            self.acknowledge = true;
            return;
        }
        if self.sending.una() != una {
            self.progress = now;
            if self.stage == Stage::Greeting {
                self.stage = Stage::Open;
            }
        }
        if self.stage == Stage::Open {
            self.take(segment, shared);
        }
    }

    /// A SYN again: ours was lost, or the guest has forgotten the connection (RFC 5961 §4.2).
    fn receive_syn(&mut self, segment: &Segment<'_>) {
        if self.stage == Stage::Greeting && segment.seq.plus(1) == self.expected {
            self.sending.resend();
        } else {
            self.acknowledge = true;
        }
    }

    /// Takes the data and the end of a segment.
    fn take(&mut self, segment: &Segment<'_>, shared: &mut Shared) {
        if segment.length() == 0 {
            // A question whether we are there has a sequence number that is not the next one.
            self.acknowledge |= segment.seq != self.expected;
            return;
        }
        self.acknowledge = true;
        // What lies before has been taken already; what lies behind a gap comes again.
        let Some(old) = self.expected.since(segment.seq) else { return };
        let fresh = segment.payload.len().saturating_sub(old);
        // The units of the window field let its edge creep: each answer to a small segment rounds it up. What waits is bounded all the same.
        let bound = (WINDOW + (1 << SCALE)).saturating_sub(self.waiting.len());
        let room = self.edge.since(self.expected).unwrap_or(0).min(bound);
        if self.guest_done || old > segment.payload.len() {
            return;
        }
        let taken = self.pass_on(&segment.payload.skip(old).truncate(room), shared);
        self.expected = self.expected.plus(taken);
        if segment.fin && taken == fresh {
            self.expected = self.expected.plus(1);
            self.guest_done = true;
            self.tell_end();
        }
    }

    /// Passes data to the socket, keeps what it does not take; how many bytes are taken either way.
    fn pass_on(&mut self, payload: &Payload<'_>, shared: &mut Shared) -> usize {
        if payload.len() == 0 {
            return 0;
        }
        let mut taken = 0;
        if self.deaf {
            return payload.len();
        }
        if self.waiting.is_empty() {
            match self.socket.as_mut().map(|socket| socket.send(payload.parts())) {
                Some(Ok(sent)) => taken = sent,
                Some(Err(error)) if passes(error.kind()) => {}
                _ => {
                    self.turn_deaf(shared);
                    return payload.len();
                }
            }
        }
        // No more than it was told it may send; all connections together may have been told too much.
        let rest = payload.skip(taken).truncate(WAITING_MAX.saturating_sub(shared.waiting));
        if rest.len() > 0 {
            self.waiting.extend(rest.to_vec());
            shared.waiting += rest.len();
        }
        taken + rest.len()
    }

    /// The socket can be written, or read, or has hung up.
    pub(in super::super) fn host_ready(&mut self, shared: &mut Shared) {
        self.sending.host_ready();
        if !matches!(self.stage, Stage::Greeting | Stage::Open) {
            return;
        }
        while !self.waiting.is_empty() {
            let (front, _) = self.waiting.as_mut_slices();
            match self.socket.as_mut().map(|socket| socket.send(&[VolatileSlice::from(front)])) {
                Some(Ok(0)) => break,
                Some(Ok(sent)) => {
                    self.waiting.drain(..sent);
                    shared.waiting = shared.waiting.saturating_sub(sent);
                }
                Some(Err(error)) if passes(error.kind()) => break,
                _ => self.turn_deaf(shared),
            }
        }
        if self.waiting.is_empty() {
            self.waiting = VecDeque::new();
            self.tell_end();
        } else if self.waiting.capacity() > 4 * self.waiting.len() {
            // What is counted is what waits: a queue would keep the room that it once needed.
            self.waiting.shrink_to(2 * self.waiting.len());
        }
        // A guest that was told of a smaller window than there is now, by half of the largest, hears of it.
        let told = self.edge.since(self.expected).unwrap_or(0);
        self.acknowledge |= self.window().saturating_sub(told) >= self.window_max() / 2;
    }

    /// A server may answer, end and reset while it is still sent something (a request that is too long for it): natively, the answer can be
    /// read all the same.
    fn turn_deaf(&mut self, shared: &mut Shared) {
        self.deaf = true;
        shared.waiting = shared.waiting.saturating_sub(self.waiting.len());
        self.waiting = VecDeque::new();
        self.sending.host_ready();
    }

    fn tell_end(&mut self) {
        if self.guest_done && self.waiting.is_empty() && !self.host_told {
            self.host_told = true;
            self.socket.iter_mut().for_each(HostSocket::finish);
        }
    }

    /// Bytes that the guest may send.
    fn window(&self) -> usize {
        WINDOW.saturating_sub(self.waiting.len()).min(self.window_max())
    }

    fn window_max(&self) -> usize {
        if self.scaled { WINDOW } else { u16::MAX.into() }
    }

    /// Nothing is left to do or to tell.
    pub(in super::super) fn is_over(&self) -> bool {
        match self.stage {
            Stage::Gone => true,
            Stage::Open => self.host_told && self.sending.is_finished() && !self.acknowledge,
            Stage::Asking | Stage::Greeting | Stage::Aborted => false,
        }
    }

    /// What the guest is to be sent next. Answers the same until [`Self::sent`], or until something happened.
    pub(in super::super) fn emission(&mut self, shared: &mut Shared) -> Option<Emission> {
        match self.stage {
            Stage::Asking | Stage::Gone => return None,
            Stage::Aborted => return Some(Emission::Reset),
            Stage::Greeting => return (self.sending.next() == self.sending.una()).then_some(Emission::Greeting),
            Stage::Open => {}
        }
        let limit = if shared.segmentation { SEGMENT_MAX } else { self.sending.mss };
        let socket = self.socket.as_mut()?;
        match self.sending.supply(socket, &mut shared.pool, limit) {
            Supply::Data => return Some(Emission::Data),
            Supply::Fin if !self.deaf => return Some(Emission::Fin),
            Supply::Starved => self.starved = true,
            Supply::Nothing if !(self.deaf && self.sending.is_spent()) => {}
            // Where sending was told of the reset, reading comes to an end that is none.
            Supply::Broken | Supply::Fin | Supply::Nothing => {
                self.abort(true, shared);
                return Some(Emission::Reset);
            }
        }
        if self.probe {
            return Some(Emission::Probe);
        }
        self.acknowledge.then_some(Emission::Acknowledgement)
    }

    /// The header of an emission.
    pub(in super::super) fn reply(&self, emission: Emission) -> Reply {
        let ack = Some(self.expected);
        let reply = Reply { seq: self.sending.next(), ack, window: self.window_field(), ..Reply::default() };
        match emission {
            Emission::Greeting => {
                let greeting =
                    Greeting { mss: u16::try_from(SEGMENT_MAX).unwrap_or(0), scale: self.scaled.then_some(SCALE) };
                Reply { syn: Some(greeting), window: reply_window(WINDOW), ..reply }
            }
            Emission::Data => Reply { push: true, ..reply },
            Emission::Fin => Reply { fin: true, ..reply },
            Emission::Acknowledgement => Reply { seq: self.sending.max(), ..reply },
            Emission::Probe => Reply { seq: Seq(self.sending.una().0.wrapping_sub(1)), ..reply },
            Emission::Reset => Reply { seq: self.sending.max(), window: 0, rst: true, ..reply },
        }
    }

    fn window_field(&self) -> u16 {
        let window = self.told_edge().since(self.expected).unwrap_or(0);
        reply_window(if self.scaled { window >> SCALE } else { window })
    }

    /// The right edge that the guest is told now: never before what it was told, and as far behind that as the units ask for.
    fn told_edge(&self) -> Seq {
        let edge = self.expected.plus(self.window());
        let edge = if edge.is_after(self.edge) { edge } else { self.edge };
        let window = edge.since(self.expected).unwrap_or(0);
        self.expected.plus(if self.scaled { window.next_multiple_of(1 << SCALE) } else { window })
    }

    /// The guest has it.
    pub(in super::super) fn sent(&mut self, emission: Emission, now: Duration) {
        self.edge = self.told_edge();
        match emission {
            Emission::Greeting => self.sending.greeted(),
            Emission::Data => {
                if !self.sending.is_under_way() {
                    self.progress = now;
                }
                self.sending.data_sent();
            }
            Emission::Fin => {
                if !self.sending.is_under_way() {
                    self.progress = now;
                }
                self.sending.fin_sent();
            }
            Emission::Acknowledgement => {}
            Emission::Probe => self.probe = false,
            Emission::Reset => self.stage = Stage::Gone,
        }
        self.acknowledge = false;
    }

    /// Whether it has to be looked at within the second.
    pub(in super::super) fn is_pressing(&self) -> bool {
        self.stage == Stage::Greeting || self.sending.is_under_way() || self.sending.is_shut_out()
    }

    /// Time has passed.
    pub(in super::super) fn tick(&mut self, now: Duration, shared: &mut Shared) {
        if !matches!(self.stage, Stage::Greeting | Stage::Open) {
            return;
        }
        let due = RESEND * 2u32.saturating_pow(self.tries.min(TRIES_MAX));
        if self.is_pressing() && now.saturating_sub(self.progress) >= due {
            if self.tries >= TRIES_MAX {
                return self.abort(true, shared);
            }
            (self.progress, self.tries) = (now, self.tries + 1);
            if self.sending.is_shut_out() {
                self.probe = true;
            } else {
                self.sending.resend();
            }
        }
        if now.saturating_sub(self.heard) >= IDLE {
            self.abort(true, shared);
        }
    }
}

fn reply_window(window: usize) -> u16 {
    u16::try_from(window).unwrap_or(u16::MAX)
}

/// Errors that are none: the socket says when it is ready.
fn passes(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::WouldBlock | ErrorKind::Interrupted)
}
