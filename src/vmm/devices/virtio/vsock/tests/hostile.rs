//! Packets that no driver sends.

use super::*;

#[test]
fn packets_of_other_cids_are_dropped_unanswered() {
    let mut guest = Guest::connected(&[5]);
    for (src_cid, dst_cid) in
        [(4, 2), (2, 2), (3, 1), (3, 3), (0, 2), (3 | 1 << 32, 2), (3, 2 | 1 << 32), (u64::MAX, 2)]
    {
        guest.send(Header { src_cid, dst_cid, ..to(5, op::RW) }, b"forged");
        guest.send(Header { src_cid, dst_cid, ..to(6, op::REQUEST) }, b"");
    }
    assert_eq!((guest.host_reads(5), guest.told()), (vec![], vec![]));
}

#[test]
fn other_socket_types_are_refused() {
    let mut guest = Guest::ready(&[5]);
    for socket_type in [0, 2, 3, u16::MAX] {
        guest.send(Header { socket_type, ..to(5, op::REQUEST) }, b"");
        assert_eq!(guest.told(), [(5, op::RST)]);
    }
    guest.send(to(5, op::REQUEST), b"");
    assert_eq!(guest.told(), [(5, op::RESPONSE)], "the port is still free");
}

#[test]
fn operations_that_make_no_sense_end_a_connection() {
    for operation in [0, op::REQUEST, op::RESPONSE, 8, u16::MAX] {
        let mut guest = Guest::connected(&[5]);
        guest.send(to(5, operation), b"");
        assert_eq!(guest.told(), [(5, op::RST)], "{operation}");
        assert!(guest.host_sees_the_end(5));
    }
}

#[test]
fn operations_without_a_connection_are_refused_but_a_reset_is_not_answered() {
    let mut guest = Guest::ready(&[5]);
    for operation in [0, op::RESPONSE, op::SHUTDOWN, op::RW, op::CREDIT_UPDATE, op::CREDIT_REQUEST, 99] {
        guest.send(to(5, operation), b"");
        assert_eq!(guest.told(), [(5, op::RST)], "{operation}");
    }
    guest.send(to(5, op::RST), b"");
    assert_eq!(guest.told(), [], "or two sides would reset each other for ever");
}

#[test]
fn a_length_beyond_the_payload_ends_the_connection_rather_than_leaving_a_hole() {
    for len in [4, 65_536, 65_537, 1 << 31, u32::MAX] {
        let mut guest = Guest::connected(&[5]);
        guest.send_raw(&Header { len, ..to(5, op::RW) }, b"abc");
        assert_eq!(guest.told(), [(5, op::RST)], "{len}");
        assert_eq!(guest.host_reads(5), b"");
    }
}

#[test]
fn the_largest_packet_passes_and_one_byte_more_does_not() {
    let mut guest = Guest::connected(&[5, 6]);
    guest.send(to(5, op::RW), &counting(65_536));
    assert_eq!(guest.host_reads(5), counting(65_536));
    guest.send(to(6, op::RW), &counting(65_537));
    assert_eq!(guest.told(), [(6, op::RST)]);
}

#[test]
fn chains_without_a_whole_readable_header_come_back_unanswered() {
    let mut guest = Guest::connected(&[5]);
    let header = guest.driver.data(&encode(&to(6, op::REQUEST)));
    let [short, rest] = header.split(43);
    for chain in [
        vec![short],
        vec![Buffer { length: 0, ..header }],
        vec![Buffer { writable: true, ..header }],
        vec![short, Buffer { writable: true, ..rest }],
        vec![header, Buffer { writable: true, ..rest }],
        vec![Buffer::readable(RAM_END, 44)],
        vec![Buffer::readable(RAM_END - 43, 44)],
        vec![Buffer::readable(u64::MAX - 10, 44)],
        vec![header, Buffer::readable(RAM_END, 1)],
        vec![header, Buffer::readable(0, u32::MAX - 44)],
    ] {
        guest.send_chain(&chain);
        assert_eq!(guest.told(), [], "{chain:?}");
    }
    guest.send(to(5, op::RW), b"still here");
    assert_eq!(guest.host_reads(5), b"still here");
}

// --- Receive buffers ---------------------------------------------------------------------------------------------------------
