//! What waits for the guest to have room, and who comes first then.

use super::*;

#[test]
fn what_is_to_be_told_waits_for_buffers() {
    let mut guest = Guest::new(&[5]);
    guest.send(to(5, op::REQUEST), b"");
    guest.send(to(7, op::REQUEST), b"");
    guest.host_writes(5, b"data");
    assert_eq!(guest.told(), []);
    guest.post(1, 4096);
    assert_eq!(guest.told(), [(7, op::RST)]);
    guest.driver.notify(RX_QUEUE);
    assert_eq!(guest.told(), [(5, op::RESPONSE)]);
    guest.driver.notify(RX_QUEUE);
    assert_eq!(payload(&guest.receive()), b"data");
}

#[test]
fn buffers_without_room_come_back_empty_and_the_data_goes_into_the_next() {
    let mut guest = Guest::new(&[5]);
    for size in [0, 1, 43, 44] {
        guest.post(3, size);
    }
    guest.send(to(5, op::REQUEST), b"");
    guest.host_writes(5, b"data");
    assert_eq!(guest.told(), []);
    assert_eq!(guest.posted.len(), 0, "each came back, once");
    guest.post(2, 45);
    assert_eq!(guest.told(), [(5, op::RESPONSE), (5, op::RW)]);
}

#[test]
fn a_buffer_of_a_header_and_a_data_descriptor_takes_data() {
    let mut guest = Guest::new(&[5]);
    let (header, data) = (guest.driver.room(HEADER), guest.driver.room(100));
    for chain in [[header, data], [guest.driver.room(HEADER), guest.driver.room(100)]] {
        guest.driver.add(RX_QUEUE, &chain);
    }
    guest.send(to(5, op::REQUEST), b"");
    guest.host_writes(5, b"data");
    let written = guest.driver.used(RX_QUEUE).iter().map(|used| used.written).collect::<Vec<_>>();
    assert_eq!(written, [44, 48]);
}

#[test]
fn buffers_that_are_not_the_devices_to_write_come_back_empty() {
    let mut guest = Guest::new(&[5]);
    let readable = guest.driver.data(&[0x5a; 4096]);
    let header = guest.driver.room(HEADER);
    let bad: [&[Buffer]; 6] = [
        &[readable],
        &[header, readable],
        &[Buffer::writable(RAM_END - 10, 4096)],
        &[Buffer::writable(u64::MAX - 10, 4096)],
        &[header, Buffer::writable(RAM_END, 4096)],
        &[header, Buffer { length: 0, ..header }],
    ];
    for chain in bad {
        guest.driver.add(RX_QUEUE, chain);
    }
    guest.send(to(7, op::REQUEST), b"");
    let used = guest.driver.used(RX_QUEUE);
    assert_eq!(used.iter().map(|used| used.written).collect::<Vec<_>>(), [0, 0, 0, 0, 0, 44]);
    assert_eq!(guest.driver.bytes(readable), [0x5a; 4096]);
}

#[test]
fn answers_that_nobody_takes_are_bounded() {
    let mut guest = Guest::new(&[]);
    for port in 0..100 {
        guest.send(to(port, op::REQUEST), b"");
    }
    guest.post(100, 64);
    let told = guest.told();
    assert_eq!(told, (0..64).map(|port| (port, op::RST)).collect::<Vec<_>>());
    guest.send(to(100, op::REQUEST), b"");
    assert_eq!(guest.told(), [(100, op::RST)], "there is room again");
}

#[test]
fn two_connections_take_turns() {
    let mut guest = Guest::connected(&[5, 6]);
    guest.host(5).write_all(&counting(60_000)).unwrap();
    guest.host(6).write_all(&counting(60_000)).unwrap();
    guest.driver.device().muxer.host_ready(5);
    guest.wake(6);
    let ports: Vec<u32> = guest.told().iter().map(|(port, _)| *port).collect();
    assert!(ports.len() > 20 && ports.windows(2).all(|pair| pair[0] != pair[1]), "{ports:?}");
}

#[test]
fn one_connection_that_is_stuck_does_not_hold_up_another() {
    let mut guest = Guest::ready(&[5, 6]);
    guest.send(Header { buf_alloc: 0, ..to(5, op::REQUEST) }, b"");
    guest.send(to(6, op::REQUEST), b"");
    guest.receive();
    guest.host_writes(5, b"stuck");
    guest.host_writes(6, b"flows");
    assert_eq!(payload(&guest.receive()), b"flows");
}

// --- The device --------------------------------------------------------------------------------------------------------------
