//! UDP (RFC 768): a connected socket of the host's for each pair of ports, until both have been silent for long enough.

use super::drops::DropReason;
use super::host::HostSocket;
use super::packet::{ETHERNET, Head, IPV4, Ipv4, ipv4_head, pseudo_sum};
use super::payload::Payload;
use etherparse::{IpNumber, UdpHeader, UdpHeaderSlice};
use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;
use vm_memory::VolatileSlice;

/// RFC 4787 §4.3, REQ-5: not under two minutes.
const IDLE: Duration = Duration::from_secs(120);
/// Kept while the broker is asked: what a resolver sends at once, and no more; or a single datagram of any size.
const WAITING_DATAGRAMS: usize = 4;
const WAITING_BYTES: usize = 16 << 10;
/// The most that fits a packet for the guest.
const DATAGRAM_MAX: usize = super::packet::MTU as usize - IPV4 - HEADER;
const HEADER: usize = 8;
/// Datagrams that are too long, in one go: others want their turn, and the next one that comes is told of.
const TOO_LONG_MAX: u32 = 32;

/// Where the checksum of a datagram covers and stands.
pub(super) const CHECKSUM: (usize, usize) = (ETHERNET + IPV4, 6);

/// A datagram from the guest.
#[derive(Debug)]
pub(super) struct Datagram<'a> {
    pub(super) guest_port: u16,
    pub(super) port: u16,
    pub(super) payload: Payload<'a>,
}

impl<'a> Datagram<'a> {
    pub(super) fn parse(packet: &Ipv4<'a>) -> Result<Self, DropReason> {
        let header = UdpHeaderSlice::from_slice(packet.head()).map_err(|_| DropReason::UdpHeader)?;
        // What lies behind the datagram's end would be a way to say more than is looked at.
        if usize::from(header.length()) != packet.length() {
            return Err(DropReason::UdpHeader);
        }
        Ok(Self { guest_port: header.source_port(), port: header.destination_port(), payload: packet.payload(HEADER)? })
    }
}

/// What the guest is to be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum News {
    /// A datagram.
    Datagram,
    /// What the socket said of one that it was sent: that nobody listens there, that it is too long for the way, …
    Failed(ErrorKind),
}

pub(super) struct Association<S> {
    socket: Option<S>,
    waiting: VecDeque<Vec<u8>>,
    readable: bool,
    /// Read, and not yet given to the guest.
    arrived: Option<Vec<u8>>,
    /// Not told yet.
    failed: Option<ErrorKind>,
    /// The socket said so instead of giving a datagram.
    erred: bool,
    touched: Duration,
}

impl<S: HostSocket> Association<S> {
    pub(super) fn new(now: Duration) -> Self {
        Self {
            socket: None,
            waiting: VecDeque::new(),
            readable: true,
            arrived: None,
            failed: None,
            erred: false,
            touched: now,
        }
    }

    pub(super) fn connected(&mut self, socket: S) {
        self.socket = Some(socket);
        for mut datagram in std::mem::take(&mut self.waiting) {
            self.pass_on(&[VolatileSlice::from(datagram.as_mut_slice())]);
        }
    }

    pub(super) fn touched(&self) -> Duration {
        self.touched
    }

    pub(super) fn is_idle(&self, now: Duration) -> bool {
        now.saturating_sub(self.touched) >= IDLE
    }

    /// Sends a datagram of the guest's on, or keeps it while the broker is asked. False: there is no room for it.
    pub(super) fn send(&mut self, payload: &Payload<'_>, now: Duration) -> bool {
        self.touched = now;
        if self.socket.is_none() {
            let bytes: usize = self.waiting.iter().map(Vec::len).sum();
            let few = self.waiting.len() < WAITING_DATAGRAMS && bytes + payload.len() <= WAITING_BYTES;
            let fits = self.waiting.is_empty() || few;
            if fits {
                self.waiting.push_back(payload.to_vec());
            }
            return fits;
        }
        self.pass_on(payload.parts());
        true
    }

    fn pass_on(&mut self, parts: &[VolatileSlice<'_>]) {
        // Linux tells here of what became of an earlier one (udp(7)), and has not sent this one then.
        for _ in 0..2 {
            match self.socket.as_mut().map(|socket| socket.send(parts)) {
                Some(Err(error)) if !is_lost(&error) => self.failed = Some(error.kind()),
                _ => return,
            }
        }
    }

    pub(super) fn host_ready(&mut self) {
        (self.readable, self.erred) = (true, false);
    }

    /// What the guest is to be told next: a datagram until [`Self::sent`], a failure once.
    pub(super) fn news(&mut self, buffer: &mut [u8]) -> Option<News> {
        if self.arrived.is_some() {
            return Some(News::Datagram);
        }
        let socket = self.socket.as_mut()?;
        let mut too_long = 0;
        while self.readable && self.failed.is_none() && too_long < TOO_LONG_MAX {
            match socket.receive(buffer) {
                // Longer than the guest can be given.
                Ok(length) if length > DATAGRAM_MAX => too_long += 1,
                Ok(length) => {
                    self.erred = false;
                    self.arrived = buffer.get(..length).map(Into::into);
                    return Some(News::Datagram);
                }
                Err(error) => match error.kind() {
                    ErrorKind::WouldBlock => self.readable = false,
                    ErrorKind::Interrupted => {}
                    // What is told twice in a row stays, and is not to be told for ever.
                    _ if self.erred => self.readable = false,
                    kind => (self.failed, self.erred) = (Some(kind), true),
                },
            }
        }
        self.failed.take().map(News::Failed)
    }

    pub(super) fn arrived(&self) -> &[u8] {
        self.arrived.as_deref().unwrap_or_default()
    }

    pub(super) fn sent(&mut self, now: Duration) {
        self.touched = now;
        self.arrived = None;
    }
}

/// There was no room for it at this moment: lost, as anywhere on the way.
fn is_lost(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted | ErrorKind::OutOfMemory)
        || error.raw_os_error() == Some(libc::ENOBUFS)
}

/// The headers of a datagram for the guest. With `offload` it does without the checksum and gets its first part.
pub(super) fn head(from: SocketAddrV4, guest: (Ipv4Addr, u16), body: &[u8], offload: bool) -> Head {
    let length = HEADER + body.len();
    let field = u16::try_from(length).unwrap_or(u16::MAX);
    let mut header = UdpHeader { source_port: from.port(), destination_port: guest.1, length: field, checksum: 0 };
    header.checksum = if offload {
        pseudo_sum(*from.ip(), guest.0, IpNumber::UDP, length)
    } else {
        header.calc_checksum_ipv4_raw(from.ip().octets(), guest.0.octets(), body).unwrap_or(0)
    };
    let mut head = ipv4_head(*from.ip(), guest.0, IpNumber::UDP, length);
    head.extend(header.to_bytes());
    head
}

/// The first 28 bytes of a datagram that the guest has sent, as an ICMP error quotes them.
pub(super) fn quote(guest: (Ipv4Addr, u16), to: SocketAddrV4) -> Vec<u8> {
    let head = ipv4_head(guest.0, *to.ip(), IpNumber::UDP, HEADER);
    let header = UdpHeader { source_port: guest.1, destination_port: to.port(), length: 8, checksum: 0 };
    [head.get(ETHERNET..).unwrap_or_default(), &header.to_bytes()].concat()
}
