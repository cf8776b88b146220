//! What each side may send, and what the other does about more.

use super::*;

#[test]
fn the_host_gets_no_further_than_the_guests_credit() {
    let mut guest = Guest::ready(&[5]);
    guest.send(Header { buf_alloc: 10, ..to(5, op::REQUEST) }, b"");
    guest.host_writes(5, &counting(25));
    assert_eq!(payload(&guest.receive()), counting(25)[..10]);
    guest.wake(5);
    assert_eq!(guest.receive(), []);
    guest.send(Header { buf_alloc: 10, fwd_cnt: 7, ..to(5, op::CREDIT_UPDATE) }, b"");
    assert_eq!(payload(&guest.receive()), counting(25)[10..17]);
    guest.send(Header { buf_alloc: 100, fwd_cnt: 17, ..to(5, op::CREDIT_UPDATE) }, b"");
    assert_eq!(payload(&guest.receive()), counting(25)[17..]);
}

#[test]
fn a_guest_without_any_buffer_gets_its_response_and_no_data() {
    let mut guest = Guest::ready(&[5]);
    guest.send(Header { buf_alloc: 0, ..to(5, op::REQUEST) }, b"");
    guest.host_writes(5, b"data");
    assert_eq!(guest.told(), [(5, op::RESPONSE)]);
}

#[test]
fn a_guest_that_lies_about_what_it_consumed_starves_until_it_tells_the_truth() {
    let mut guest = Guest::connected(&[5]);
    for lie in [1, 1000, 1 << 31, u32::MAX] {
        guest.send(Header { fwd_cnt: lie, ..to(5, op::CREDIT_UPDATE) }, b"");
        guest.host_writes(5, b"x");
    }
    // u32::MAX is "one byte less than nothing": less credit, not more.
    assert!(payload(&guest.receive()).len() <= 4);
    guest.send(to(5, op::CREDIT_UPDATE), b"");
    guest.wake(5);
    guest.receive();
    guest.host_writes(5, b"y");
    assert_eq!(payload(&guest.receive()), b"y");
}

#[test]
fn credit_comes_back_when_the_host_has_read() {
    let mut guest = Guest::connected(&[5]);
    let chunk = counting(64 << 10);
    let mut sent = 0;
    // Up to what the device promised to hold, and no byte more.
    while sent + chunk.len() <= BUFFER_BYTES as usize {
        guest.send(to(5, op::RW), &chunk);
        sent += chunk.len();
    }
    let mut read = 0;
    while read < sent {
        read += guest.host_reads(5).len();
        guest.wake(5);
    }
    let updates = guest.receive();
    assert!(updates.iter().all(|packet| packet.header.op == op::CREDIT_UPDATE));
    let last = updates.last().expect("at least one update for a whole buffer");
    assert!(sent - last.header.fwd_cnt as usize <= BUFFER_BYTES as usize / 2, "{last:?}");
}

#[test]
fn a_credit_request_is_answered_at_once() {
    let mut guest = Guest::connected(&[5]);
    guest.send(to(5, op::RW), b"12345");
    guest.send(to(5, op::CREDIT_REQUEST), b"");
    let told = guest.receive();
    assert_eq!((told[0].header.op, told[0].header.fwd_cnt, told.len()), (op::CREDIT_UPDATE, 5, 1));
}

#[test]
fn every_packet_tells_the_credit() {
    let mut guest = Guest::connected(&[5]);
    guest.send(to(5, op::RW), b"123");
    guest.host_writes(5, b"x");
    let told = guest.receive();
    assert_eq!((told[0].header.fwd_cnt, told[0].header.buf_alloc), (3, BUFFER_BYTES));
}

#[test]
fn a_guest_that_sends_more_than_its_credit_is_cut_off() {
    let mut guest = Guest::connected(&[5]);
    let chunk = counting(64 << 10);
    let mut sent = 0;
    let arena = guest.driver.allocate(0);
    let told = loop {
        guest.driver.free_from(arena);
        guest.send(to(5, op::RW), &chunk);
        sent += chunk.len();
        assert!(sent < 4 << 20, "nobody reads: this has to end");
        let told = guest.told();
        if told.iter().any(|(_, operation)| *operation == op::RST) {
            break told;
        }
    };
    assert_eq!(told.last(), Some(&(5, op::RST)));
    let read = guest.host_reads(5);
    assert!(
        read.len() < sent && read.chunks(chunk.len()).all(|part| chunk.starts_with(part)),
        "a prefix of what was sent"
    );
    assert!(guest.host_sees_the_end(5));
}

// --- Ending ------------------------------------------------------------------------------------------------------------------
