//! Datagrams.

use super::*;

fn udp_of(frame: &[u8]) -> (SocketAddrV4, u16, Vec<u8>) {
    let packet = SlicedPacket::from_ethernet(frame).unwrap();
    let (Some(NetSlice::Ipv4(ip)), Some(TransportSlice::Udp(udp))) = (&packet.net, &packet.transport) else {
        panic!("no UDP: {frame:x?}")
    };
    let header = udp.to_header();
    let sum = header.calc_checksum_ipv4_raw(ip.header().source(), ip.header().destination(), udp.payload());
    assert_eq!(sum.unwrap(), udp.checksum());
    (SocketAddrV4::new(ip.header().source_addr(), udp.source_port()), udp.destination_port(), udp.payload().to_vec())
}

fn flow(guest: &mut Guest) -> (u32, Socket) {
    guest.send(datagram(SERVER, PORT, b"first"));
    let flow = guest.asked();
    let host = Socket::new();
    assert!(guest.stack.connected(flow, host.end(), guest.now).is_none());
    (flow, host)
}

#[test]
fn datagrams_keep_their_bounds_both_ways() {
    let mut guest = Guest::new();
    guest.send(datagram(SERVER, PORT, b"one"));
    guest.send(datagram(SERVER, PORT, b""));
    let flow = guest.asked();
    let host = Socket::new();
    guest.stack.connected(flow, host.end(), guest.now);
    guest.send(datagram(SERVER, PORT, b"three"));
    assert_eq!(host.with(|host| host.datagrams.clone()), [b"one".to_vec(), Vec::new(), b"three".to_vec()]);
    host.with(|host| host.incoming.extend([b"four".to_vec(), b"five".to_vec()]));
    guest.stack.host_ready(flow);
    let got: Vec<_> = guest.frames().iter().map(|frame| udp_of(frame)).collect();
    assert_eq!(got, [(SERVER, PORT, b"four".to_vec()), (SERVER, PORT, b"five".to_vec())]);
}

#[test]
fn refusals_come_at_once() {
    for (cause, code) in [(Cause::Denied, 13), (Cause::ConnectionRefused, 3), (Cause::TimedOut, 1)] {
        let mut guest = Guest::new();
        guest.send(datagram(SERVER, PORT, b"?"));
        let flow = guest.asked();
        guest.stack.refused(flow, cause);
        let (kind, got, _, quote) = icmp_of(&guest.next().unwrap());
        assert_eq!((kind, got), (3, code), "{cause:?}");
        assert_eq!(quote[20..24], [PORT.to_be_bytes(), SERVER.port().to_be_bytes()].concat());
        assert_eq!(guest.stack.flows(), 0);
    }
}

#[test]
fn a_datagram_that_is_put_off_is_dropped_and_the_next_asks_again() {
    let mut guest = Guest::new();
    guest.send(datagram(SERVER, PORT, b"?"));
    let flow = guest.asked();
    guest.stack.refused(flow, Cause::Busy);
    assert_eq!((guest.frames(), guest.stack.flows()), (vec![], 0));
    guest.send(datagram(SERVER, PORT, b"again"));
    let (flow, host) = (guest.asked(), Socket::new());
    guest.stack.connected(flow, host.end(), guest.now);
    assert_eq!(host.with(|host| host.datagrams.clone()), [b"again".to_vec()]);
}

#[test]
fn nobody_listening_is_told_and_the_flow_goes_on() {
    let mut guest = Guest::new();
    let (flow, host) = flow(&mut guest);
    host.with(|host| host.error = Some(ErrorKind::ConnectionRefused));
    guest.stack.host_ready(flow);
    let told = guest.frames();
    let (kind, code, from, _) = icmp_of(&told[0]);
    assert_eq!((told.len(), kind, code, from), (1, 3, 3, *SERVER.ip()), "once, though the socket says it for ever");
    host.with(|host| host.error = None);
    guest.send(datagram(SERVER, PORT, b"again"));
    assert_eq!(host.with(|host| host.datagrams.last().cloned()), Some(b"again".to_vec()));
}

#[test]
fn what_a_socket_says_of_a_datagram_reaches_the_guest() {
    let cases = [
        (ErrorKind::ConnectionRefused, 3),
        (ErrorKind::HostUnreachable, 1),
        (ErrorKind::NetworkUnreachable, 0),
        (ErrorKind::PermissionDenied, 13),
        // Too long for the way, and whatever else.
        (ErrorKind::Other, 3),
    ];
    for (error, code) in cases {
        let mut guest = Guest::new();
        let (_, host) = flow(&mut guest);
        host.with(|host| host.error = Some(error));
        guest.send(datagram(SERVER, PORT, b"second"));
        let (kind, got, _, quote) = icmp_of(&guest.next().unwrap());
        assert_eq!((kind, got), (3, code), "{error}");
        assert_eq!(quote[20..24], [PORT.to_be_bytes(), SERVER.port().to_be_bytes()].concat());
    }
    let mut guest = Guest::new();
    let (_, host) = flow(&mut guest);
    host.with(|host| host.room = 0);
    guest.send(datagram(SERVER, PORT, b"second"));
    assert_eq!(guest.frames(), Vec::<Vec<u8>>::new(), "a full socket loses it, as anywhere on the way");
}

/// Linux tells of an earlier datagram instead of sending the next, or receiving what has come.
#[test]
fn an_error_costs_no_datagram() {
    let mut guest = Guest::new();
    let (flow, host) = flow(&mut guest);
    host.with(|host| host.error_once = Some(ErrorKind::ConnectionRefused));
    guest.send(datagram(SERVER, PORT, b"second"));
    assert_eq!(host.with(|host| host.datagrams.clone()), [b"first".to_vec(), b"second".to_vec()]);
    assert_eq!(icmp_of(&guest.next().unwrap()).1, 3);
    host.with(|host| {
        host.error_once = Some(ErrorKind::HostUnreachable);
        host.incoming.extend([b"one".to_vec(), b"two".to_vec()]);
    });
    guest.stack.host_ready(flow);
    let frames = guest.frames();
    assert_eq!((frames.len(), icmp_of(&frames[0]).1), (3, 1));
    assert_eq!((udp_of(&frames[1]).2, udp_of(&frames[2]).2), (b"one".to_vec(), b"two".to_vec()));
}

#[test]
fn a_silent_flow_ends() {
    let mut guest = Guest::new();
    let (flow, host) = flow(&mut guest);
    guest.pass(Duration::from_secs(119));
    assert!(!host.with(|host| host.closed));
    guest.pass(Duration::from_secs(1));
    assert!(host.with(|host| host.closed));
    assert_eq!(guest.requests(), [Request::Closed { flow }]);
}

#[test]
fn lengths_that_do_not_agree_are_dropped() {
    let mut guest = Guest::new();
    for length in [0u16, 7, 8, 12, 14, 65_535] {
        let mut frame = datagram(SERVER, PORT, b"hello");
        frame[38..40].copy_from_slice(&length.to_be_bytes());
        guest.send(frame);
    }
    assert_eq!(guest.stack.drops().total(DropReason::UdpHeader), 6);
    assert_eq!((guest.requests(), guest.frames()), (vec![], vec![]));
}

#[test]
fn datagrams_too_long_without_end_hold_nobody_up() {
    let mut guest = Guest::new();
    let (flow, host) = flow(&mut guest);
    host.with(|host| host.incoming.extend(vec![vec![1; 65_500]; 100]));
    host.with(|host| host.reads = 0);
    guest.stack.host_ready(flow);
    assert_eq!((guest.frames(), host.with(|host| host.reads)), (Vec::<Vec<u8>>::new(), 32));
    // With each that comes the socket is looked at again.
    host.with(|host| host.incoming.push_back(b"short".to_vec()));
    let mut frames = Vec::new();
    for _ in 0..3 {
        guest.stack.host_ready(flow);
        frames.extend(guest.frames());
    }
    assert_eq!(frames.iter().map(|frame| udp_of(frame).2).collect::<Vec<_>>(), [b"short".to_vec()]);
}

#[test]
fn a_datagram_too_long_for_the_guest_is_lost_and_the_next_is_not() {
    let mut guest = Guest::new();
    let (flow, host) = flow(&mut guest);
    host.with(|host| host.incoming.extend([vec![1; 65_500], vec![2; 65_492]]));
    guest.stack.host_ready(flow);
    let frames = guest.frames();
    assert_eq!(frames.len(), 1);
    assert_eq!(udp_of(&frames[0]).2, vec![2; 65_492]);
    assert_eq!(frames[0].len(), 14 + 65_520);
}
