use super::*;
use crate::vmm::event_loop::EventLoop;
use std::io::{Read as _, Write as _};

const CID: u64 = 3;

fn muxer(ports: std::ops::Range<u32>) -> (Muxer, Vec<UnixStream>, EventLoop) {
    let event_loop = EventLoop::new().unwrap();
    let (hosts, ends) = ports
        .map(|port| {
            let (host, end) = UnixStream::pair().unwrap();
            (host, (port, end))
        })
        .unzip();
    (Muxer::new(CID, ends, event_loop.next_registrar()), hosts, event_loop)
}

fn packet(ports: Ports, op: u16) -> GuestPacket<'static> {
    let header = Header {
        src_cid: CID,
        dst_cid: HOST_CID,
        src_port: ports.0,
        dst_port: ports.1,
        socket_type: TYPE_STREAM,
        op,
        buf_alloc: 1000,
        ..Header::default()
    };
    GuestPacket { header, payload: Some(Vec::new()) }
}

fn tell(muxer: &mut Muxer) -> Option<Next> {
    let next = muxer.next();
    next.into_iter().for_each(|next| muxer.told(next));
    next
}

#[test]
fn answers_come_before_data_and_in_order() {
    let (mut muxer, _hosts, _loop) = muxer(5..6);
    muxer.receive(&packet((9, 5), op::REQUEST));
    muxer.receive(&packet((9, 70), op::REQUEST));
    muxer.receive(&packet((9, 71), op::REQUEST));
    assert_eq!(tell(&mut muxer), Some(Next::Reset((9, 70))));
    assert_eq!(tell(&mut muxer), Some(Next::Reset((9, 71))));
    assert_eq!(tell(&mut muxer), Some(Next::Connection((9, 5), Pending::Response)));
}

#[test]
fn connections_are_served_in_turn_however_they_are_numbered() {
    let (mut muxer, _hosts, _loop) = muxer(5..9);
    for port in [8, 5, 7, 6] {
        muxer.receive(&packet((9, port), op::REQUEST));
        muxer.told(Next::Connection((9, port), Pending::Response));
    }
    let mut turns = Vec::new();
    for _ in 0..8 {
        let Some(next @ Next::Connection((_, port), Pending::Data)) = muxer.next() else { panic!("data is pending") };
        turns.push(port);
        muxer.told(next);
    }
    assert_eq!(turns[..4], turns[4..]);
    turns.truncate(4);
    turns.sort_unstable();
    assert_eq!(turns, [5, 6, 7, 8]);
}

#[test]
fn there_are_at_most_64_connections() {
    let (mut muxer, _hosts, _loop) = muxer(0..70);
    for port in 0..70 {
        muxer.receive(&packet((9, port), op::REQUEST));
    }
    assert_eq!(muxer.connections.len(), 64);
    assert_eq!(muxer.next(), Some(Next::Reset((9, 64))));
    // A place that became free is given to the next.
    muxer.receive(&packet((9, 0), op::RST));
    muxer.receive(&packet((9, 64), op::REQUEST));
    assert!(muxer.connections.contains_key(&(9, 64)));
}

#[test]
fn the_same_guest_port_may_reach_two_host_ports() {
    let (mut muxer, mut hosts, _loop) = muxer(5..7);
    muxer.receive(&packet((9, 5), op::REQUEST));
    muxer.receive(&packet((9, 6), op::REQUEST));
    muxer.receive(&packet((9, 5), op::RST));
    assert_eq!(hosts[0].read(&mut [0]).unwrap(), 0);
    hosts[1].write_all(b"x").unwrap();
    assert!(muxer.connection_mut((9, 6)).is_some());
}

#[test]
fn a_packet_from_another_guest_port_does_not_touch_a_connection() {
    let (mut muxer, _hosts, _loop) = muxer(5..6);
    muxer.receive(&packet((9, 5), op::REQUEST));
    tell(&mut muxer);
    for op in [op::RST, op::SHUTDOWN, op::RW] {
        muxer.receive(&packet((10, 5), op));
    }
    assert!(muxer.connection_mut((9, 5)).is_some());
    assert_eq!((tell(&mut muxer), tell(&mut muxer)), (Some(Next::Reset((10, 5))), Some(Next::Reset((10, 5)))));
}

#[test]
fn a_reset_that_was_told_leaves_nothing_behind() {
    let (mut muxer, hosts, _loop) = muxer(5..6);
    muxer.receive(&packet((9, 5), op::REQUEST));
    drop(hosts);
    let connection = muxer.connection_mut((9, 5)).unwrap();
    connection.shut_down(3);
    assert_eq!(tell(&mut muxer), Some(Next::Connection((9, 5), Pending::Reset)));
    assert_eq!((muxer.next(), muxer.connections.len()), (None, 0));
}

#[test]
fn telling_what_is_gone_meanwhile_is_harmless() {
    let (mut muxer, _hosts, _loop) = muxer(5..6);
    muxer.told(Next::Connection((1, 1), Pending::Data));
    muxer.told(Next::Connection((1, 1), Pending::Reset));
    muxer.told(Next::Reset((1, 1)));
    assert_eq!(muxer.next(), None);
}

#[test]
fn an_event_of_a_port_without_a_connection_is_nothing() {
    let (mut muxer, _hosts, _loop) = muxer(5..6);
    for port in [0, 5, 6, u32::MAX] {
        muxer.host_ready(port);
    }
    assert_eq!(muxer.next(), None);
}

#[test]
fn clearing_closes_the_host_sockets_of_connections_only() {
    let (mut muxer, mut hosts, _loop) = muxer(5..7);
    muxer.receive(&packet((9, 5), op::REQUEST));
    muxer.receive(&packet((9, 99), op::REQUEST));
    muxer.clear();
    assert_eq!(muxer.next(), None);
    assert_eq!(hosts[0].read(&mut [0]).unwrap(), 0);
    hosts[1].set_nonblocking(true).unwrap();
    assert_eq!(hosts[1].read(&mut [0]).unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
}
