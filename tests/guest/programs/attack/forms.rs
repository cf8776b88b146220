//! The forms that frames are tried in. Law: no I/O.

use crate::disguises::{HELLO, REQUEST};
use crate::wire::{GUEST, HOST};
use etherparse::{
    ArpEthIpv4Packet, ArpOperation, Icmpv6Type, IpHeaders, IpNumber, Ipv4HeaderSlice, PacketBuilder, PacketBuilderStep,
};
use std::net::{Ipv4Addr, SocketAddrV4};

pub type Frame = Vec<u8>;

/// Where things stand in a frame: Ethernet header, IPv4 header, transport header.
const ETHERNET: usize = 14;
const IP: usize = ETHERNET;
const TRANSPORT: usize = IP + 20;
/// The largest packet that the interface takes.
const MTU: usize = 65_520;

const EVERYONE: [u8; 6] = [0xff; 6];
const STRANGER: [u8; 6] = [0x02, 0x62, 0x6f, 0x74, 0, 9];

const FLOOD: u16 = 20_000;
const NOISE: u64 = 2_000;

/// What a name server would be asked for.
const QUERY: &[u8] = b"\x13\x37\x01\0\0\x01\0\0\0\0\0\0\x07allowed\x04test\0\0\x01\0\x01";

/// A frame that the kernel is told to be of segments of this many bytes (`struct virtio_net_hdr`, virtio 1.3 §5.1.6): it takes as much as one
/// likes then.
pub struct Segments {
    pub frame: Frame,
    pub size: u16,
}

/// More than the interface takes; `None` if there is no such form.
pub fn segments(form: &str, to: SocketAddrV4, from: SocketAddrV4) -> Option<Segments> {
    // GSO_BY_FRAGS, the largest number, means something else.
    const SIZE: u16 = u16::MAX - 1;
    match form {
        // Cut by nobody: the device has said that it takes such.
        "oversized-segments" => Some(Segments { frame: long(to, from, usize::from(u16::MAX))?, size: 1460 }),
        // Over what the driver hands on in one: the kernel cuts it, and the first segment has no length that IP could express.
        "oversized" => Some(Segments { frame: long(to, from, usize::from(SIZE) + 2000)?, size: SIZE }),
        _ => None,
    }
}

/// An acknowledgement of nothing with so much behind it that the frame has `length` bytes.
fn long(to: SocketAddrV4, from: SocketAddrV4, length: usize) -> Option<Frame> {
    let mut frame = segment(from, to, "a", &[])?;
    frame.resize(length, 0x55);
    let packet = u16::try_from(length - IP).unwrap_or(u16::MAX);
    put(&mut frame, IP + 2, &packet.to_be_bytes());
    reseal(&mut frame);
    Some(frame)
}

/// The frames of a form; `None` if there is no such form.
pub fn frames(form: &str, to: SocketAddrV4, from: SocketAddrV4) -> Option<Vec<Frame>> {
    let one = |frame: Option<Frame>| Some(vec![frame?]);
    match form {
        "syn" => one(segment(from, to, "s", &[])),
        "early" => one(segment(from, to, "s", REQUEST)),
        "query" => one(datagram(from, to, QUERY)),
        "ping" => one(echo(*from.ip(), *to.ip(), 8)),
        "pong" => one(echo(*from.ip(), *to.ip(), 0)),
        "redirect" => one(echo(*from.ip(), *to.ip(), 5)),
        "who-has" => one(arp(ArpOperation::REQUEST, *from.ip(), *to.ip())),
        "claim" => one(arp(ArpOperation::REPLY, *to.ip(), *from.ip())),
        "who-has-for-other" => one(arp(ArpOperation::REQUEST, *to.ip(), neighbour(*from.ip(), 1))),
        "solicit" => one(solicitation()),
        "as-mapped" => one(mapped(from, to)),
        "flood" => (0..FLOOD).map(|more| segment(SocketAddrV4::new(*from.ip(), 1024 + more), to, "s", &[])).collect(),
        "cut" => {
            segment(from, to, "s", &[]).map(|frame| (ETHERNET..frame.len()).map(|end| frame[..end].to_vec()).collect())
        }
        "noise" => segment(from, to, "s", HELLO).map(|frame| (1..=NOISE).map(|seed| noise(&frame, seed)).collect()),
        "pieces" => segment(from, to, "s", HELLO).map(|frame| pieces(&frame)),
        "giant" => one(datagram(from, to, &vec![0x55; MTU - 28])),
        // The kernel lets four bytes more than that pass for the tag: 65,538 bytes.
        "giant-in-vlan" => one(datagram(from, to, &vec![0x55; MTU - 28]).map(tagged)),
        _ => flags(form).map_or_else(|| mangled(form, from, to), |flags| one(segment(from, to, flags, &[]))),
    }
}

/// Segments that no connection begins with.
fn flags(form: &str) -> Option<&'static str> {
    Some(match form {
        "null" => "",
        "ack" => "a",
        "syn-ack" => "sa",
        "syn-fin" => "sf",
        "syn-rst" => "sr",
        "xmas" => "fpu",
        _ => return None,
    })
}

/// A good frame that would open a connection, spoilt in one place. Its IP checksum is good again, except where that is what is spoilt.
fn mangled(form: &str, from: SocketAddrV4, to: SocketAddrV4) -> Option<Vec<Frame>> {
    let mut frame = segment(from, to, "s", &[])?;
    let length = u16::try_from(frame.len() - IP).ok()?;
    match form {
        "from-stranger" => put(&mut frame, IP + 12, &[10, 9, 9, 9]),
        "from-neighbour" => put(&mut frame, IP + 12, &neighbour(*from.ip(), 77).octets()),
        "from-loopback" => put(&mut frame, IP + 12, &[127, 0, 0, 1]),
        "from-itself" => put(&mut frame, IP + 12, &to.ip().octets()),
        "from-nobody" => put(&mut frame, IP + 12, &[0; 4]),
        "from-other-link" => put(&mut frame, 6, &STRANGER),
        "to-other-link" => put(&mut frame, 0, &STRANGER),
        "to-every-link" => put(&mut frame, 0, &EVERYONE),
        "record-route" => options(&mut frame, [7, 7, 4, 0, 0, 0, 0, 0]),
        "source-route" => options(&mut frame, [131, 7, 4, 127, 0, 0, 1, 0]),
        "router-alert" => options(&mut frame, [148, 4, 0, 0, 1, 1, 1, 0]),
        "fragment-first" => put(&mut frame, IP + 6, &[0x20, 0]),
        "fragment-later" => put(&mut frame, IP + 6, &[0, 1]),
        "fragment-last" => put(&mut frame, IP + 6, &[0x1f, 0xff]),
        "version" => put(&mut frame, IP, &[0x65]),
        "header-short" => put(&mut frame, IP, &[0x44]),
        "header-long" => put(&mut frame, IP, &[0x4f]),
        "length-long" => put(&mut frame, IP + 2, &(length + 1).to_be_bytes()),
        "length-longest" => put(&mut frame, IP + 2, &[0xff, 0xff]),
        "length-short" => put(&mut frame, IP + 2, &[0, 19]),
        "length-none" => put(&mut frame, IP + 2, &[0, 0]),
        "tcp-header-short" => put(&mut frame, TRANSPORT + 12, &[0x40]),
        "tcp-header-long" => put(&mut frame, TRANSPORT + 12, &[0xf0]),
        "tcp-cut" => put(&mut frame, IP + 2, &[0, 39]),
        "in-ip" => encapsulate(&mut frame, IpNumber::IPV4),
        "in-gre" => encapsulate(&mut frame, IpNumber::GRE),
        "in-ipv6-in-ip" => encapsulate(&mut frame, IpNumber::IPV6),
        "sctp" => put(&mut frame, IP + 9, &[132]),
        "udp-lite" => put(&mut frame, IP + 9, &[136]),
        "in-vlan" => frame = tagged(frame),
        "in-two-vlans" => drop(frame.splice(12..12, [0x88, 0xa8, 0, 1, 0x81, 0, 0, 1])),
        "in-802.3" => put(&mut frame, 12, &[0, 40]),
        "as-ipv6" => put(&mut frame, 12, &[0x86, 0xdd]),
        "as-arp" => put(&mut frame, 12, &[8, 6]),
        "checksum" => {
            frame[IP + 10] ^= 0xff;
            return Some(vec![frame]);
        }
        _ => return None,
    }
    reseal(&mut frame);
    Some(vec![frame])
}

/// In a VLAN (IEEE 802.1Q).
fn tagged(mut frame: Frame) -> Frame {
    frame.splice(12..12, [0x81, 0, 0, 1]);
    frame
}

fn put(frame: &mut Frame, at: usize, bytes: &[u8]) {
    frame.splice(at..at + bytes.len(), bytes.iter().copied());
}

/// Makes the IP checksum good.
fn reseal(frame: &mut Frame) {
    if let Ok(header) = Ipv4HeaderSlice::from_slice(&frame[IP..]) {
        let sum = header.to_header().calc_header_checksum();
        put(frame, IP + 10, &sum.to_be_bytes());
    }
}

fn options(frame: &mut Frame, options: [u8; 8]) {
    frame[IP] += 2;
    frame[IP + 3] += 8;
    frame.splice(TRANSPORT..TRANSPORT, options);
}

/// The packet becomes what another packet to the same destination carries.
fn encapsulate(frame: &mut Frame, protocol: IpNumber) {
    let gre: &[u8] = if protocol == IpNumber::GRE { &[0, 0, 8, 0] } else { &[] };
    let mut outer = frame[IP..TRANSPORT].to_vec();
    outer[9] = protocol.0;
    outer[3] += u8::try_from(outer.len() + gre.len()).unwrap_or(0);
    outer.extend(gre);
    frame.splice(IP..IP, outer);
}

/// The packet in fragments of eight bytes, of which the second comes twice, over the first.
fn pieces(frame: &Frame) -> Vec<Frame> {
    let chunks: Vec<_> = frame[TRANSPORT..].chunks(8).zip(0u16..).collect();
    let last = chunks.len() - 1;
    let overlapping = chunks.get(1).map(|(chunk, _)| (*chunk, 0));
    let piece = |(chunk, offset): (&[u8], u16)| {
        let mut piece = [&frame[..TRANSPORT], chunk].concat();
        let more = if usize::from(offset) == last { 0 } else { 0x2000 };
        put(&mut piece, IP + 6, &(offset | more).to_be_bytes());
        put(&mut piece, IP + 2, &[0, u8::try_from(20 + chunk.len()).unwrap_or(28)]);
        reseal(&mut piece);
        piece
    };
    chunks.into_iter().chain(overlapping).map(piece).collect()
}

/// A frame with some bits of it turned over, and another length; some of them with a good IP checksum.
fn noise(frame: &Frame, seed: u64) -> Frame {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut random = |below: usize| {
        // xorshift64 (Marsaglia, 2003)
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state >> 33).unwrap_or(0) % below
    };
    let mut frame = frame.clone();
    for _ in 0..1 + random(8) {
        let at = ETHERNET + random(frame.len() - ETHERNET);
        frame[at] ^= 1 << random(8);
    }
    if random(2) == 0 {
        reseal(&mut frame);
    }
    if random(4) == 0 {
        frame.truncate(ETHERNET + random(frame.len() - ETHERNET));
    }
    frame
}

fn ip(from: Ipv4Addr, to: Ipv4Addr) -> PacketBuilderStep<IpHeaders> {
    PacketBuilder::ethernet2(GUEST, HOST).ipv4(from.octets(), to.octets(), 64)
}

/// Another address of the bottle's network.
fn neighbour(address: Ipv4Addr, host: u8) -> Ipv4Addr {
    let [a, b, c, _] = address.octets();
    Ipv4Addr::new(a, b, c, host)
}

fn segment(from: SocketAddrV4, to: SocketAddrV4, flags: &str, payload: &[u8]) -> Option<Frame> {
    let mut tcp = ip(*from.ip(), *to.ip()).tcp(from.port(), to.port(), 7, 1024);
    for flag in flags.chars() {
        tcp = match flag {
            's' => tcp.syn(),
            'a' => tcp.ack(1),
            'f' => tcp.fin(),
            'r' => tcp.rst(),
            'p' => tcp.psh(),
            _ => tcp.urg(1),
        };
    }
    let mut frame = Frame::new();
    tcp.write(&mut frame, payload).ok()?;
    Some(frame)
}

fn datagram(from: SocketAddrV4, to: SocketAddrV4, payload: &[u8]) -> Option<Frame> {
    let mut frame = Frame::new();
    ip(*from.ip(), *to.ip()).udp(from.port(), to.port()).write(&mut frame, payload).ok()?;
    Some(frame)
}

/// ICMP that carries more than it should.
fn echo(from: Ipv4Addr, to: Ipv4Addr, kind: u8) -> Option<Frame> {
    let mut frame = Frame::new();
    ip(from, to).icmpv4_raw(kind, 0, [0, 1, 0, 1]).write(&mut frame, b"what a tunnel would carry").ok()?;
    Some(frame)
}

fn arp(operation: ArpOperation, sender: Ipv4Addr, target: Ipv4Addr) -> Option<Frame> {
    let packet = ArpEthIpv4Packet {
        operation,
        sender_mac: GUEST,
        sender_ipv4: sender.octets(),
        target_mac: [0; 6],
        target_ipv4: target.octets(),
    };
    let mut frame = Frame::new();
    PacketBuilder::ethernet2(GUEST, EVERYONE).arp(packet.into()).write(&mut frame).ok()?;
    Some(frame)
}

const LINK_LOCAL: [u8; 16] = [0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0x62, 0x6f, 0xff, 0xfe, 0x74, 0, 3];
/// Who routes here? (RFC 4861 §4.1)
fn solicitation() -> Option<Frame> {
    let routers = [0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2];
    let builder = PacketBuilder::ethernet2(GUEST, [0x33, 0x33, 0, 0, 0, 2]).ipv6(LINK_LOCAL, routers, 255);
    let mut frame = Frame::new();
    builder.icmpv6(Icmpv6Type::RouterSolicitation).write(&mut frame, &[]).ok()?;
    Some(frame)
}

/// A connection to an IPv4 address in IPv6 clothes, from such an address.
fn mapped(from: SocketAddrV4, to: SocketAddrV4) -> Option<Frame> {
    let builder = PacketBuilder::ethernet2(GUEST, HOST);
    let addresses = [from, to].map(|end| end.ip().to_ipv6_mapped().octets());
    let mut frame = Frame::new();
    builder
        .ipv6(addresses[0], addresses[1], 64)
        .tcp(from.port(), to.port(), 7, 1024)
        .syn()
        .write(&mut frame, &[])
        .ok()?;
    Some(frame)
}
