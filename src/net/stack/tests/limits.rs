//! What a guest can make grow, and how far.

use super::*;
use crate::net::stack::flows::{ASKING_MAX, ASKING_PER_DESTINATION, DATAGRAM_FLOWS_MAX, FLOWS_MAX, GREETING_MAX};

fn syn(guest_port: u16, server: SocketAddrV4) -> Vec<u8> {
    let mut frame = Vec::new();
    to(server).tcp(guest_port, server.port(), 7, 64_000).syn().write(&mut frame, &[]).unwrap();
    frame
}

fn server(number: u16) -> SocketAddrV4 {
    let [high, low] = number.to_be_bytes();
    SocketAddrV4::new(Ipv4Addr::new(198, 18, high, low), 443)
}

fn asked(guest: &mut Guest) -> Vec<u32> {
    let flow = |request| if let Request::Connect { flow, .. } = request { Some(flow) } else { None };
    guest.requests().into_iter().filter_map(flow).collect()
}

#[test]
fn a_flood_to_one_destination_leaves_room_for_another() {
    let mut guest = Guest::new();
    for port in 1..=20_000 {
        guest.send(syn(port, SERVER));
    }
    assert_eq!(asked(&mut guest).len(), ASKING_PER_DESTINATION);
    guest.send(syn(1, server(1)));
    assert_eq!(asked(&mut guest).len(), 1);
    assert_eq!(guest.stack.drops().total(DropReason::Full), 20_000 - ASKING_PER_DESTINATION as u64);
}

#[test]
fn a_flood_to_all_destinations_ends_with_the_answers() {
    let mut guest = Guest::new();
    for number in 1..=20_000 {
        guest.send(syn(number, server(number)));
    }
    let flows = asked(&mut guest);
    assert_eq!((flows.len(), guest.stack.flows()), (ASKING_MAX, ASKING_MAX));
    for flow in flows {
        guest.stack.refused(flow, Cause::Denied);
    }
    assert_eq!(guest.stack.flows(), 0);
    // Answers that the guest does not fetch are not kept without end; what it misses it finds out when it asks again.
    assert_eq!(guest.frames().len(), ANSWERS_MAX);
    guest.send(syn(1, server(1)));
    assert_eq!(asked(&mut guest).len(), 1);
}

#[test]
fn connections_that_the_guest_never_completes_give_way() {
    let mut guest = Guest::new();
    let mut hosts = Vec::new();
    for port in 1..=3000 {
        guest.send(syn(port, SERVER));
        for flow in asked(&mut guest) {
            let host = Socket::new();
            guest.stack.connected(flow, host.end(), guest.now);
            hosts.push(host);
        }
        guest.frames();
    }
    assert_eq!(guest.stack.flows(), GREETING_MAX);
    let closed = hosts.iter().filter(|host| host.with(|host| host.closed)).count();
    assert_eq!(closed, 3000 - GREETING_MAX);
    assert!(hosts[0].with(|host| host.closed) && !hosts[2999].with(|host| host.closed), "the oldest go first");
}

#[test]
fn ten_thousand_connections_live_and_the_table_has_an_end() {
    let mut guest = Guest::new();
    let mut refused = 0;
    for number in 0..u16::try_from(FLOWS_MAX + 100).unwrap() {
        guest.send(syn(10_000, server(number)));
        for flow in asked(&mut guest) {
            guest.stack.connected(flow, Socket::new().end(), guest.now);
        }
        for frame in guest.frames() {
            let packet = SlicedPacket::from_ethernet(&frame).unwrap();
            let Some(TransportSlice::Tcp(tcp)) = packet.transport else { panic!() };
            refused += u32::from(tcp.rst());
            let mut answer = Vec::new();
            let ack = tcp.sequence_number().wrapping_add(1);
            to(server(number)).tcp(10_000, 443, 8, 64_000).ack(ack).write(&mut answer, &[]).unwrap();
            if tcp.syn() {
                guest.send(answer);
            }
        }
    }
    assert_eq!((guest.stack.flows(), refused), (FLOWS_MAX, 0));
    assert_eq!(guest.stack.drops().total(DropReason::Full), 100, "put off");
}

/// From the first SYN to the last FIN, both sides closing: the number of each is free for the next.
#[test]
fn a_hundred_thousand_connections_one_after_another_leave_nothing_behind() {
    let mut guest = Guest::new();
    let speak = |guest: &mut Guest, seq, ack, flags| {
        guest.send(say(&Say { seq, ack, window: 64_000, flags, data: &[] }));
    };
    for _ in 0..100_000 {
        speak(&mut guest, 7, None, "s");
        assert_eq!(asked(&mut guest), [0]);
        let host = Socket::new();
        host.with(|host| host.at_end = true);
        guest.stack.connected(0, host.end(), guest.now);
        let greeting = guest.segments().pop().unwrap();
        speak(&mut guest, 8, Some(greeting.seq.wrapping_add(1)), "f");
        let farewell = guest.segments().pop().unwrap();
        assert!(greeting.syn && farewell.fin && host.with(|host| host.finished), "{greeting:?} {farewell:?}");
        speak(&mut guest, 9, Some(farewell.seq.wrapping_add(1)), "");
        assert!(host.with(|host| host.closed) && guest.stack.request() == Some(Request::Closed { flow: 0 }));
    }
    assert_eq!((guest.stack.flows(), guest.stack.flows.turns(), guest.frames()), (0, 0, vec![]));
}

#[test]
fn datagram_flows_give_way_to_new_ones() {
    let mut guest = Guest::new();
    let mut hosts = Vec::new();
    for number in 0..2000 {
        guest.now += Duration::from_millis(1);
        guest.send(datagram(server(number), PORT, b"query"));
        for flow in asked(&mut guest) {
            let host = Socket::new();
            guest.stack.connected(flow, host.end(), guest.now);
            hosts.push(host);
        }
    }
    assert_eq!(guest.stack.flows(), DATAGRAM_FLOWS_MAX);
    assert!(hosts[0].with(|host| host.closed) && !hosts[1999].with(|host| host.closed));
}

#[test]
fn datagrams_before_the_broker_has_answered_are_few() {
    let mut guest = Guest::new();
    for _ in 0..1000 {
        guest.send(datagram(SERVER, PORT, &[0; 8000]));
    }
    assert_eq!(guest.stack.drops().total(DropReason::Full), 998);
}

#[test]
fn the_first_datagram_may_be_of_any_size() {
    let mut guest = Guest::new();
    let largest = vec![7; 65_000];
    guest.send(datagram(SERVER, PORT, &largest));
    guest.send(datagram(SERVER, PORT, b"one more is too much beside it"));
    let host = Socket::new();
    let flow = guest.asked();
    guest.stack.connected(flow, host.end(), guest.now);
    assert_eq!(host.with(|host| host.datagrams.clone()), [largest]);
}

#[test]
fn a_guest_that_takes_no_frames_leaves_nothing_behind() {
    let mut guest = Guest::new();
    for _ in 0..1000 {
        guest.send(syn(1, SERVER));
        for flow in asked(&mut guest) {
            guest.stack.connected(flow, Socket::new().end(), guest.now);
        }
        let mut reset = Vec::new();
        to(SERVER).tcp(1, SERVER.port(), 8, 0).rst().write(&mut reset, &[]).unwrap();
        guest.send(reset);
    }
    assert_eq!((guest.stack.flows(), guest.stack.flows.turns()), (0, 0));
}

/// A guest without window scaling fills its small window; it is told when there is room again.
#[test]
fn a_small_window_opens_again() {
    let mut guest = Guest::new();
    guest.send(syn(PORT, SERVER));
    let host = Socket::new();
    host.with(|host| host.room = 0);
    for flow in asked(&mut guest) {
        guest.stack.connected(flow, host.end(), guest.now);
    }
    let greeting = guest.segments().remove(0);
    let data = |seq: u32, bytes: &[u8]| {
        let mut frame = Vec::new();
        let ack = greeting.seq.wrapping_add(1);
        to(SERVER).tcp(PORT, SERVER.port(), seq, 64_000).ack(ack).write(&mut frame, bytes).unwrap();
        frame
    };
    // It waits for each answer: what lies beyond the window that it was told of is not taken.
    guest.send(data(8, &[1; 40_000]));
    guest.segments().pop().unwrap();
    guest.send(data(40_008, &[1; 40_000]));
    let mut told = guest.segments().pop().unwrap();
    let taken = told.ack.unwrap() - 8;
    assert!((u32::from(told.window), taken) == (u32::from(u16::MAX), 80_000), "{told:?}");
    for part in 2..60 {
        guest.send(data(8 + part * 40_000, &[1; 40_000]));
        told = guest.segments().pop().unwrap_or(told);
    }
    assert_eq!(told.window, 0, "{told:?}");
    host.with(|host| host.room = usize::MAX);
    guest.stack.host_ready(0);
    assert_eq!(guest.segments().pop().unwrap().window, u16::MAX);
}
