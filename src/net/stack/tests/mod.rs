//! A scripted guest, a scripted host and a clock that is set.

mod judged;
mod limits;
mod machine;
mod tcp;
mod udp;

use super::*;
use etherparse::{Icmpv4Slice, NetSlice, PacketBuilder, SlicedPacket, TransportSlice};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::rc::Rc;
use vm_memory::VolatileSlice;

pub(super) const GUEST: Ipv4Addr = Ipv4Addr::new(192, 168, 7, 3);
pub(super) const GATEWAY: Ipv4Addr = Ipv4Addr::new(192, 168, 7, 1);
pub(super) const BUNDLE: Ipv4Addr = Ipv4Addr::new(192, 168, 7, 2);
pub(super) const SERVER: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 10), 443);
pub(super) const PORT: u16 = 40_000;

pub(super) fn spec() -> NetSpec {
    NetSpec { bundle: Some(BUNDLE), ..NetSpec::in_network(Ipv4Addr::new(192, 168, 7, 0)) }
}

/// What a socket of the host's does, and what was done to it.
#[derive(Debug, Default)]
pub(super) struct Host {
    pub(super) incoming: VecDeque<Vec<u8>>,
    pub(super) at_end: bool,
    pub(super) error: Option<ErrorKind>,
    /// Said instead of the next thing that is asked of it.
    pub(super) error_once: Option<ErrorKind>,
    pub(super) sent: Vec<u8>,
    /// One for each call.
    pub(super) datagrams: Vec<Vec<u8>>,
    pub(super) room: usize,
    pub(super) finished: bool,
    pub(super) aborted: bool,
    pub(super) closed: bool,
    pub(super) reads: usize,
}

#[derive(Clone)]
pub(super) struct Socket(pub(super) Rc<RefCell<Host>>);

/// The stack's end: its drop is seen.
pub(super) struct End(Rc<RefCell<Host>>);

impl Socket {
    pub(super) fn new() -> Self {
        Self(Rc::new(RefCell::new(Host { room: usize::MAX, ..Host::default() })))
    }

    pub(super) fn end(&self) -> End {
        End(Rc::clone(&self.0))
    }

    pub(super) fn with<T>(&self, look: impl FnOnce(&mut Host) -> T) -> T {
        look(&mut self.0.borrow_mut())
    }
}

impl Drop for End {
    fn drop(&mut self) {
        self.0.borrow_mut().closed = true;
    }
}

impl HostSocket for End {
    fn send(&mut self, parts: &[VolatileSlice<'_>]) -> io::Result<usize> {
        let mut host = self.0.borrow_mut();
        if let Some(error) = host.error_once.take().or(host.error) {
            return Err(error.into());
        }
        let mut bytes = vec![0; parts.iter().map(VolatileSlice::len).sum()];
        payload::copy(parts, &mut bytes);
        if host.room == 0 && !bytes.is_empty() {
            return Err(ErrorKind::WouldBlock.into());
        }
        bytes.truncate(host.room);
        host.room -= bytes.len();
        host.sent.extend(&bytes);
        let count = bytes.len();
        host.datagrams.push(bytes);
        Ok(count)
    }

    fn receive(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut host = self.0.borrow_mut();
        host.reads += 1;
        if let Some(error) = host.error_once.take() {
            return Err(error.into());
        }
        if let Some(mut bytes) = host.incoming.pop_front() {
            let count = bytes.len().min(buffer.len());
            buffer[..count].copy_from_slice(&bytes[..count]);
            if count < bytes.len() {
                host.incoming.push_front(bytes.split_off(count));
            }
            return Ok(count);
        }
        match host.error {
            Some(error) => Err(error.into()),
            None if host.at_end => Ok(0),
            None => Err(ErrorKind::WouldBlock.into()),
        }
    }

    fn finish(&mut self) {
        self.0.borrow_mut().finished = true;
    }

    fn abort(&mut self) {
        self.0.borrow_mut().aborted = true;
    }
}

/// A TCP segment that the guest got.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Got {
    pub(super) from: Option<SocketAddrV4>,
    pub(super) seq: u32,
    pub(super) ack: Option<u32>,
    pub(super) window: u16,
    pub(super) syn: bool,
    pub(super) fin: bool,
    pub(super) rst: bool,
    pub(super) data: Vec<u8>,
}

pub(super) struct Guest {
    pub(super) stack: Stack<End>,
    pub(super) now: Duration,
    told: Vec<Request>,
}

impl Guest {
    pub(super) fn new() -> Self {
        Self { stack: Stack::new(spec()), now: Duration::from_secs(1), told: vec![] }
    }

    pub(super) fn send(&mut self, mut frame: Vec<u8>) {
        // In two pieces, as drivers have headers and data apart.
        let at = frame.len().min(54);
        let (head, body) = frame.split_at_mut(at);
        self.stack.receive(&[VolatileSlice::from(head), VolatileSlice::from(body)], self.now);
    }

    /// Everything that there is for the guest.
    pub(super) fn frames(&mut self) -> Vec<Vec<u8>> {
        let mut frames = Vec::new();
        while let Some(frame) = self.stack.outgoing() {
            frames.push([frame.head, frame.body].concat());
            self.stack.sent(self.now);
        }
        frames
    }

    pub(super) fn next(&mut self) -> Option<Vec<u8>> {
        let frame = self.stack.outgoing().map(|frame| [frame.head, frame.body].concat())?;
        self.stack.sent(self.now);
        Some(frame)
    }

    /// The segments among them, checksums judged.
    pub(super) fn segments(&mut self) -> Vec<Got> {
        self.frames().iter().map(|frame| segment_of(frame)).collect()
    }

    /// What the broker is asked or told, but for what was refused.
    pub(super) fn requests(&mut self) -> Vec<Request> {
        let is_report = |request: &Request| matches!(request, Request::Unasked { .. });
        let (reports, requests): (Vec<_>, _) = std::iter::from_fn(|| self.stack.request()).partition(is_report);
        self.told.extend(reports);
        requests
    }

    /// What the broker is told that was refused, since the last call.
    pub(super) fn reports(&mut self) -> Vec<Request> {
        assert_eq!(self.requests(), []);
        std::mem::take(&mut self.told)
    }

    /// The flow that the broker is asked about.
    pub(super) fn asked(&mut self) -> u32 {
        match self.requests().as_slice() {
            [Request::Connect { flow, .. }] => *flow,
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn pass(&mut self, time: Duration) {
        self.now += time;
        self.stack.tick(self.now);
    }
}

pub(super) fn segment_of(frame: &[u8]) -> Got {
    let packet = SlicedPacket::from_ethernet(frame).unwrap();
    let Some(NetSlice::Ipv4(ip)) = &packet.net else { panic!("no IPv4: {frame:x?}") };
    let Some(TransportSlice::Tcp(tcp)) = &packet.transport else { panic!("no TCP: {frame:x?}") };
    assert_eq!(ip.header().to_header().calc_header_checksum(), ip.header().header_checksum());
    assert_eq!(tcp.calc_checksum_ipv4(ip.header().source(), ip.header().destination()).unwrap(), tcp.checksum());
    assert_eq!((ip.header().destination_addr(), tcp.destination_port()), (GUEST, PORT));
    Got {
        from: Some(SocketAddrV4::new(ip.header().source_addr(), tcp.source_port())),
        seq: tcp.sequence_number(),
        ack: tcp.ack().then_some(tcp.acknowledgment_number()),
        window: tcp.window_size(),
        syn: tcp.syn(),
        fin: tcp.fin(),
        rst: tcp.rst(),
        data: tcp.payload().to_vec(),
    }
}

/// Type and code of an ICMP message, who it is from, and what it quotes or brings back.
pub(super) fn icmp_of(frame: &[u8]) -> (u8, u8, Ipv4Addr, Vec<u8>) {
    let packet = SlicedPacket::from_ethernet(frame).unwrap();
    let Some(NetSlice::Ipv4(ip)) = &packet.net else { panic!("no IPv4: {frame:x?}") };
    let Some(TransportSlice::Icmpv4(icmp)) = &packet.transport else { panic!("no ICMP: {frame:x?}") };
    let icmp: &Icmpv4Slice<'_> = icmp;
    assert!(icmp.header().icmp_type.calc_checksum(icmp.payload()) == icmp.checksum());
    (icmp.type_u8(), icmp.code_u8(), ip.header().source_addr(), icmp.payload().to_vec())
}

pub(super) fn to(server: SocketAddrV4) -> etherparse::PacketBuilderStep<etherparse::IpHeaders> {
    PacketBuilder::ethernet2(GUEST_MAC, OUR_MAC).ipv4(GUEST.octets(), server.ip().octets(), 64)
}

/// A segment of the guest's.
#[derive(Clone, Debug)]
pub(super) struct Say<'a> {
    pub(super) seq: u32,
    pub(super) ack: Option<u32>,
    pub(super) window: u16,
    pub(super) flags: &'a str,
    pub(super) data: &'a [u8],
}

pub(super) fn say(say: &Say<'_>) -> Vec<u8> {
    let mut step = to(SERVER).tcp(PORT, SERVER.port(), say.seq, say.window);
    if let Some(ack) = say.ack {
        step = step.ack(ack);
    }
    for flag in say.flags.chars() {
        step = match flag {
            's' => step.syn(),
            'f' => step.fin(),
            'r' => step.rst(),
            'u' => step.urg(1),
            other => panic!("{other}"),
        };
    }
    if say.flags.contains('s') {
        let options =
            [etherparse::TcpOptionElement::MaximumSegmentSize(1460), etherparse::TcpOptionElement::WindowScale(7)];
        step = step.options(&options).unwrap();
    }
    let mut frame = Vec::new();
    step.write(&mut frame, say.data).unwrap();
    frame
}

pub(super) fn datagram(server: SocketAddrV4, port: u16, data: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    to(server).udp(port, server.port()).write(&mut frame, data).unwrap();
    frame
}
