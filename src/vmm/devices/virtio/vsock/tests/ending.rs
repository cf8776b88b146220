//! How a connection ends: half, whole, or broken.

use super::*;

#[test]
fn a_guest_that_stops_sending_still_receives() {
    let mut guest = Guest::connected(&[5]);
    guest.send(to(5, op::RW), b"last words");
    guest.send(Header { flags: SHUTDOWN_SEND, ..to(5, op::SHUTDOWN) }, b"");
    assert_eq!(guest.host_reads(5), b"last words");
    assert!(guest.host_sees_the_end(5));
    guest.host_writes(5, b"answer");
    assert_eq!(payload(&guest.receive()), b"answer");
    drop(guest.host.remove(&5));
    guest.wake(5);
    assert_eq!(guest.told(), [(5, op::SHUTDOWN), (5, op::RST)]);
}

#[test]
fn a_guest_that_closes_is_reset_and_the_host_sees_the_end() {
    let mut guest = Guest::connected(&[5]);
    guest.send(Header { flags: SHUTDOWN_SEND | SHUTDOWN_RECEIVE, ..to(5, op::SHUTDOWN) }, b"");
    assert_eq!(guest.told(), [(5, op::RST)]);
    assert!(guest.host_sees_the_end(5));
}

#[test]
fn a_guest_that_closes_with_bytes_on_the_way_is_reset_when_they_have_arrived() {
    let mut guest = Guest::connected(&[5]);
    let chunk = counting(64 << 10);
    for _ in 0..4 {
        guest.send(to(5, op::RW), &chunk);
    }
    guest.send(Header { flags: SHUTDOWN_SEND | SHUTDOWN_RECEIVE, ..to(5, op::SHUTDOWN) }, b"");
    let mut read = Vec::new();
    while read.len() < 4 * chunk.len() {
        read.extend(guest.host_reads(5));
        guest.wake(5);
    }
    assert_eq!(read, chunk.repeat(4));
    assert_eq!(guest.told().last(), Some(&(5, op::RST)));
    assert!(guest.host_sees_the_end(5));
}

#[test]
fn the_host_learns_that_the_guest_no_longer_reads() {
    let mut guest = Guest::connected(&[5]);
    guest.send(Header { flags: SHUTDOWN_RECEIVE, ..to(5, op::SHUTDOWN) }, b"");
    assert_eq!(guest.host(5).write(b"x").unwrap_err().kind(), ErrorKind::BrokenPipe);
    guest.wake(5);
    assert_eq!(guest.told(), [], "a deaf guest is told nothing");
    guest.send(to(5, op::RW), b"but it can talk");
    assert_eq!(guest.host_reads(5), b"but it can talk");
}

#[test]
fn data_after_the_end_of_sending_breaks_the_connection() {
    let mut guest = Guest::connected(&[5]);
    guest.send(Header { flags: SHUTDOWN_SEND, ..to(5, op::SHUTDOWN) }, b"");
    guest.send(to(5, op::RW), b"more");
    assert_eq!(guest.told(), [(5, op::RST)]);
    assert_eq!(guest.host_reads(5), b"");
}

#[test]
fn a_shutdown_of_nothing_is_nothing() {
    let mut guest = Guest::connected(&[5]);
    guest.send(Header { flags: !3, ..to(5, op::SHUTDOWN) }, b"");
    guest.send(to(5, op::RW), b"x");
    assert_eq!((guest.host_reads(5), guest.told()), (b"x".to_vec(), vec![]));
}

#[test]
fn a_host_that_stops_sending_still_receives() {
    let mut guest = Guest::connected(&[5]);
    guest.host(5).write_all(b"bye").unwrap();
    guest.host(5).shutdown(std::net::Shutdown::Write).unwrap();
    guest.wake(5);
    let told = guest.receive();
    assert_eq!(payload(&told), b"bye");
    assert_eq!((told[1].header.op, told[1].header.flags), (op::SHUTDOWN, SHUTDOWN_SEND));
    guest.send(to(5, op::RW), b"thanks");
    assert_eq!(guest.host_reads(5), b"thanks");
    guest.wake(5);
    assert_eq!(guest.told(), [], "the end is told once");
}

#[test]
fn a_host_that_is_gone_resets_a_guest_that_goes_on() {
    let mut guest = Guest::connected(&[5]);
    drop(guest.host.remove(&5));
    guest.wake(5);
    assert_eq!(guest.told(), [(5, op::SHUTDOWN)]);
    guest.send(to(5, op::RW), b"anyone?");
    assert_eq!(guest.told(), [(5, op::RST)]);
    guest.send(to(5, op::RW), b"anyone?");
    assert_eq!(guest.told(), [(5, op::RST)], "as for any connection that is not there");
}

#[test]
fn a_reset_by_the_guest_ends_the_connection_without_an_answer() {
    let mut guest = Guest::connected(&[5]);
    guest.send(to(5, op::RST), b"");
    assert_eq!(guest.told(), []);
    assert!(guest.host_sees_the_end(5));
}

// --- Packets that are none ---------------------------------------------------------------------------------------------------
