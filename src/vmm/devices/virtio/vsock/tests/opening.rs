//! How a connection begins, and which does not.

use super::*;

#[test]
fn configuration_space_is_the_cid() {
    let guest = Guest::new(&[]);
    assert_eq!(guest.driver.load(0x100, 8), 3u64.to_le_bytes());
    assert_eq!(guest.driver.load(0x104, 4), [0; 4]);
}

#[test]
fn a_request_is_answered_with_a_response_that_tells_the_credit() {
    let mut guest = Guest::ready(&[5]);
    guest.send(to(5, op::REQUEST), b"");
    let expected = Header {
        src_cid: 2,
        dst_cid: 3,
        src_port: 5,
        dst_port: GUEST_PORT,
        socket_type: TYPE_STREAM,
        op: op::RESPONSE,
        buf_alloc: BUFFER_BYTES,
        ..Header::default()
    };
    assert_eq!(guest.receive(), [Packet { header: expected, payload: vec![] }]);
    assert_eq!(guest.driver.interrupts(), 2, "for the request taken, and for the answer");
}

#[test]
fn a_port_that_nobody_was_given_is_refused() {
    let mut guest = Guest::ready(&[5]);
    for port in [0, 4, 6, u32::MAX] {
        guest.send(to(port, op::REQUEST), b"");
        assert_eq!(guest.told(), [(port, op::RST)]);
    }
}

#[test]
fn a_port_takes_one_connection_ever() {
    let mut guest = Guest::connected(&[5]);
    guest.send(Header { src_port: 9, ..to(5, op::REQUEST) }, b"");
    let told = guest.receive();
    assert_eq!((told[0].header.op, told[0].header.dst_port), (op::RST, 9));
    guest.send(to(5, op::RST), b"");
    guest.send(to(5, op::REQUEST), b"");
    assert_eq!(guest.told(), [(5, op::RST)], "nor after the first has ended");
}

#[test]
fn a_second_request_on_an_open_connection_ends_it() {
    let mut guest = Guest::connected(&[5]);
    guest.send(to(5, op::REQUEST), b"");
    assert_eq!(guest.told(), [(5, op::RST)]);
    assert!(guest.host_sees_the_end(5));
}

// --- Data --------------------------------------------------------------------------------------------------------------------
