//! What the stack does not take: dropped and counted, or answered so that nobody waits.

use super::*;

/// Counts, and says nothing: no frame, no question.
fn dropped(reason: DropReason, frames: impl IntoIterator<Item = Vec<u8>>) {
    let mut guest = Guest::new();
    let mut count = 0;
    for frame in frames {
        guest.send(frame.clone());
        count += 1;
        assert_eq!(guest.stack.drops().total(reason), count, "{frame:x?}");
        assert_eq!((guest.frames(), guest.requests()), (vec![], vec![]), "{frame:x?}");
    }
    assert!(count > 0);
}

/// Counts, and says that it is prohibited; asks nobody.
fn prohibited(reason: DropReason, frames: impl IntoIterator<Item = Vec<u8>>) {
    let mut guest = Guest::new();
    for (count, frame) in (1..).zip(frames) {
        guest.send(frame.clone());
        assert_eq!(guest.stack.drops().total(reason), count, "{frame:x?}");
        let (kind, code, from, quote) = icmp_of(&guest.next().expect("an answer"));
        assert_eq!((kind, code, from), (3, 13, GATEWAY));
        assert_eq!(quote[..20], frame[14..34]);
        assert_eq!((guest.frames(), guest.requests()), (vec![], vec![]));
    }
}

fn syn_to(server: SocketAddrV4) -> Vec<u8> {
    let mut frame = Vec::new();
    to(server).tcp(PORT, server.port(), 1, 100).syn().write(&mut frame, &[]).unwrap();
    frame
}

fn address(address: [u8; 4], port: u16) -> SocketAddrV4 {
    SocketAddrV4::new(address.into(), port)
}

/// The checksum made right again after bytes of the header were changed.
fn with_ip_bytes(change: impl FnOnce(&mut [u8])) -> Vec<u8> {
    let mut frame = syn_to(SERVER);
    change(&mut frame[14..34]);
    frame[24..26].fill(0);
    let sum = etherparse::checksum::Sum16BitWords::new().add_slice(&frame[14..34]).ones_complement();
    frame[24..26].copy_from_slice(&sum.to_le_bytes());
    frame
}

fn arp(operation: u16, sender_mac: [u8; 6], sender: Ipv4Addr, target: Ipv4Addr) -> Vec<u8> {
    let packet = etherparse::ArpEthIpv4Packet {
        operation: etherparse::ArpOperation(operation),
        sender_mac,
        sender_ipv4: sender.octets(),
        target_mac: [0; 6],
        target_ipv4: target.octets(),
    };
    let header = etherparse::Ethernet2Header {
        source: GUEST_MAC,
        destination: [0xff; 6],
        ether_type: etherparse::EtherType::ARP,
    };
    [&header.to_bytes()[..], &packet.to_bytes()].concat()
}

#[test]
fn arp_is_answered_for_gateway_and_bundle_alone() {
    let mut guest = Guest::new();
    for target in [GATEWAY, BUNDLE] {
        guest.send(arp(1, GUEST_MAC, GUEST, target));
        let answer = guest.next().unwrap();
        assert_eq!(answer[..6], GUEST_MAC);
        assert_eq!(answer[20..32], [&[0, 2][..], &OUR_MAC, &target.octets()].concat());
    }
    // An address that it tries out for itself is nobody else's.
    guest.send(arp(1, GUEST_MAC, Ipv4Addr::UNSPECIFIED, GUEST));
    guest.send(arp(1, GUEST_MAC, GUEST, GUEST));
    assert_eq!((guest.frames(), guest.stack.drops().total(DropReason::ArpTarget)), (vec![], 0));
    let others = [[192, 168, 7, 4], [192, 168, 8, 1], [8, 8, 8, 8]];
    dropped(DropReason::ArpTarget, others.map(|target| arp(1, GUEST_MAC, GUEST, target.into())));
}

#[test]
fn arp_in_somebody_elses_name_is_dropped() {
    dropped(
        DropReason::LinkSpoofing,
        [
            arp(1, OUR_MAC, GUEST, GATEWAY),
            arp(1, GUEST_MAC, GATEWAY, BUNDLE),
            arp(2, GUEST_MAC, BUNDLE, GUEST),
            arp(1, GUEST_MAC, Ipv4Addr::new(192, 168, 7, 9), GATEWAY),
        ],
    );
    dropped(DropReason::ArpForm, [arp(2, GUEST_MAC, GUEST, GATEWAY), arp(8, GUEST_MAC, GUEST, GATEWAY)]);
    dropped(DropReason::Truncated, (14..42).map(|length| arp(1, GUEST_MAC, GUEST, GATEWAY)[..length].to_vec()));
}

#[test]
fn echo_is_answered_for_gateway_and_bundle_alone() {
    let echo = |target: Ipv4Addr| {
        let mut frame = Vec::new();
        to(SocketAddrV4::new(target, 0)).icmpv4_echo_request(1, 2).write(&mut frame, b"tunnel?").unwrap();
        frame
    };
    let mut guest = Guest::new();
    for target in [GATEWAY, BUNDLE] {
        guest.send(echo(target));
        let (kind, code, from, data) = icmp_of(&guest.next().unwrap());
        assert_eq!((kind, code, from, data.as_slice()), (0, 0, target, b"tunnel?".as_slice()));
    }
    prohibited(DropReason::Icmp, [echo(*SERVER.ip()), echo(Ipv4Addr::new(192, 168, 7, 77))]);
}

#[test]
fn other_icmp_is_dropped_without_a_word() {
    let message = |kind: u8| {
        let mut frame = Vec::new();
        to(SocketAddrV4::new(GATEWAY, 0)).icmpv4_raw(kind, 0, [0; 4]).write(&mut frame, &[0; 32]).unwrap();
        frame
    };
    dropped(
        DropReason::Icmp,
        (0..=255).filter(|kind| *kind != 8).map(message).filter(|frame| frame[34] != 13 && frame[34] != 14),
    );
}

#[test]
fn other_protocols_are_prohibited() {
    prohibited(
        DropReason::Protocol,
        [0, 2, 41, 47, 50, 89, 132, 255].map(|protocol| with_ip_bytes(|ip| ip[9] = protocol)),
    );
}

#[test]
fn a_source_that_is_not_the_guests_is_dropped() {
    let sources = [[192, 168, 7, 1], [192, 168, 7, 4], [127, 0, 0, 1], [0, 0, 0, 0], [255; 4], [8, 8, 8, 8]];
    dropped(DropReason::IpSpoofing, sources.map(|source| with_ip_bytes(|ip| ip[12..16].copy_from_slice(&source))));
    let mut frame = syn_to(SERVER);
    frame[6..12].copy_from_slice(&[2, 0, 0, 0, 0, 9]);
    dropped(DropReason::LinkSpoofing, [frame]);
}

#[test]
fn options_and_fragments_are_prohibited_and_later_fragments_dropped() {
    let mut guest = Guest::new();
    let mut frame = Vec::new();
    let mut header =
        etherparse::Ipv4Header::new(20, 64, etherparse::IpNumber::TCP, GUEST.octets(), SERVER.ip().octets()).unwrap();
    // A record of the route.
    header.options = [7, 7, 4, 0, 0, 0, 0, 0].into();
    header.total_len += 8;
    header.header_checksum = header.calc_header_checksum();
    frame.extend(&syn_to(SERVER)[..14]);
    frame.extend(header.to_bytes());
    frame.extend(&syn_to(SERVER)[34..]);
    guest.send(frame);
    assert_eq!(guest.stack.drops().total(DropReason::IpOptions), 1);
    let (_, code, _, quote) = icmp_of(&guest.next().unwrap());
    assert_eq!((code, guest.requests()), (13, vec![]));
    // Its own kernel looks for the ports behind the options; so does whoever reads the log.
    assert_eq!(quote.len(), 36);
    assert_eq!(quote[28..32], syn_to(SERVER)[34..38]);
    guest.pass(Duration::from_secs(1));
    let (cause, destination) = (crate::net::wire::Unasked::Malformed, SERVER.into());
    assert_eq!(guest.reports(), [Request::Unasked { cause, protocol: 6, destination, count: 1 }]);
    prohibited(DropReason::IpFragment, [with_ip_bytes(|ip| ip[6] = 0x20)]);
    dropped(
        DropReason::IpFragment,
        [with_ip_bytes(|ip| ip[7] = 1), with_ip_bytes(|ip| ip[6..8].copy_from_slice(&[0x3f, 0xff]))],
    );
}

#[test]
fn groups_are_dropped() {
    let targets = [[224, 0, 0, 1], [239, 255, 255, 250], [255, 255, 255, 255], [192, 168, 7, 255], [0, 0, 0, 0]];
    dropped(DropReason::Group, targets.map(|target| datagram(address(target, 67), 68, b"DISCOVER")));
    let mut frame = datagram(SERVER, PORT, b"by ethernet");
    frame[..6].fill(0xff);
    dropped(DropReason::Group, [frame]);
}

#[test]
fn ipv6_and_what_nobody_knows_are_dropped() {
    let mut solicitation = Vec::new();
    PacketBuilder::ethernet2(GUEST_MAC, [0x33, 0x33, 0, 0, 0, 2])
        .ipv6([0xfe; 16], [0xff; 16], 255)
        .icmpv6_raw(133, 0, [0; 4])
        .write(&mut solicitation, &[])
        .unwrap();
    dropped(DropReason::Ipv6, [solicitation]);
    dropped(
        DropReason::EtherType,
        [0x8100u16, 0x88cc, 0x0600, 0x0010].map(|ether_type| {
            let mut frame = syn_to(SERVER);
            frame[12..14].copy_from_slice(&ether_type.to_be_bytes());
            frame
        }),
    );
    let mut frame = syn_to(SERVER);
    frame[5] ^= 1;
    dropped(DropReason::ForeignLink, [frame]);
}

#[test]
fn headers_that_lie_are_dropped() {
    let bad_sum = |_| {
        let mut frame = syn_to(SERVER);
        frame[24] ^= 0x10;
        frame
    };
    dropped(DropReason::IpHeader, [()].map(bad_sum));
    let versions = [0x44u8, 0x55, 0x65, 0x40, 0x05];
    dropped(DropReason::IpHeader, versions.map(|byte| with_ip_bytes(|ip| ip[0] = byte)));
    let lengths = [0u16, 19, 55, 65_535];
    dropped(
        DropReason::Truncated,
        lengths.map(|length| with_ip_bytes(|ip| ip[2..4].copy_from_slice(&length.to_be_bytes()))),
    );
    let offsets = [0u8, 0x10, 0x40, 0xf0];
    dropped(
        DropReason::TcpHeader,
        offsets.map(|offset| {
            let mut frame = syn_to(SERVER);
            frame[46] = offset;
            frame
        }),
    );
}

#[test]
fn a_frame_cut_anywhere_is_dropped_once() {
    let whole = syn_to(SERVER);
    for length in 0..whole.len() {
        let mut guest = Guest::new();
        guest.send(whole[..length].to_vec());
        let reasons = [DropReason::Truncated, DropReason::IpHeader];
        let total: u64 = reasons.iter().map(|reason| guest.stack.drops().total(*reason)).sum();
        assert_eq!((total, guest.requests(), guest.frames()), (1, vec![], vec![]), "{length}");
    }
}

#[test]
fn a_frame_in_too_many_pieces_is_dropped() {
    let mut guest = Guest::new();
    let mut frame = Vec::new();
    to(SERVER).udp(PORT, 9).write(&mut frame, &[7; 1000]).unwrap();
    for (size, dropped) in [(25, 0), (10, 1)] {
        let pieces: Vec<_> = frame.chunks_mut(size).map(VolatileSlice::from).collect();
        guest.stack.receive(&pieces, guest.now);
        assert_eq!(guest.stack.drops().total(DropReason::Oversized), dropped, "{} pieces", pieces.len());
    }
}

#[test]
fn what_lies_behind_a_packet_is_not_part_of_it() {
    let mut guest = Guest::new();
    let mut frame = datagram(SERVER, PORT, b"data");
    frame.extend(b"padding");
    guest.send(frame);
    let flow = guest.asked();
    let host = Socket::new();
    guest.stack.connected(flow, host.end(), guest.now);
    assert_eq!(host.with(|host| host.datagrams.clone()), [b"data".to_vec()]);
}

#[test]
fn the_first_drop_of_a_kind_is_told_at_once_and_the_others_in_one() {
    let mut guest = Guest::new();
    let destination = address([224, 0, 0, 251], 5353).into();
    let line = |count| Request::Unasked { cause: crate::net::wire::Unasked::Group, protocol: 17, destination, count };
    for round in 0..2 {
        for drop in 0..3 {
            guest.send(datagram(address([224, 0, 0, 251], 5353), 5353, b""));
            assert_eq!(guest.reports().first(), (drop == 0).then(|| line(1)).as_ref(), "{round}");
        }
        guest.pass(Duration::from_secs(1));
        assert_eq!(guest.reports(), [line(2)], "{round}");
        assert_eq!(guest.stack.due(), None, "{round}");
    }
}

#[test]
fn the_report_of_a_period_is_bounded_and_loses_nothing() {
    let mut guest = Guest::new();
    for host in 0..1000u16 {
        let [high, low] = host.to_be_bytes();
        guest.send(arp(1, GUEST_MAC, GUEST, Ipv4Addr::new(10, 1, high, low)));
    }
    let at_once = guest.reports();
    guest.pass(Duration::from_secs(1));
    let report = [at_once, guest.reports()].concat();
    assert!(report.len() <= 80, "{}", report.len());
    let counted: u32 =
        report.iter().map(|line| if let Request::Unasked { count, .. } = line { *count } else { 0 }).sum();
    assert_eq!(counted, 1000);
}

#[test]
fn what_would_be_asked_is_what_is_asked() {
    let stack = Guest::new().stack;
    for (target, asks) in [
        ("192.0.2.10:443", true),
        ("127.0.0.1:80", true),
        ("169.254.169.254:80", true),
        ("192.168.7.2:8888", true),
        ("192.168.7.255:8888", false),
        ("224.0.0.1:1", false),
        ("[::1]:80", false),
        ("[::ffff:127.0.0.1]:80", false),
    ] {
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            assert_eq!(stack.asks(protocol, target.parse().unwrap()), asks, "{target}");
        }
    }
}
