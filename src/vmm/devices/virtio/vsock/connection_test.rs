use super::*;
use std::io::Read as _;

fn header(buf_alloc: u32, fwd_cnt: u32) -> Header {
    Header { buf_alloc, fwd_cnt, ..Header::default() }
}

/// An accepted connection whose response was told, and the host's end.
fn open(buf_alloc: u32) -> (Connection, UnixStream) {
    let (host, end) = UnixStream::pair().unwrap();
    host.set_nonblocking(true).unwrap();
    prepare(&end).unwrap();
    let mut connection = Connection::accept(end, &header(buf_alloc, 0));
    assert_eq!(connection.pending(), Some(Pending::Response));
    connection.told(Pending::Response);
    (connection, host)
}

fn receive(connection: &mut Connection, bytes: &[u8]) -> Result<(), Violation> {
    connection.receive(&[VolatileSlice::from(bytes.to_vec().as_mut_slice())])
}

fn read(connection: &mut Connection, room: usize) -> Vec<u8> {
    let mut buffer = vec![0; room];
    let count = connection.read_into(&VolatileSlice::from(buffer.as_mut_slice()));
    buffer.truncate(count as usize);
    buffer
}

/// Sends until bytes wait in the connection: how many reached the socket, and how many wait.
fn fill(connection: &mut Connection) -> (usize, usize) {
    let mut sent = 0;
    while connection.waiting.is_empty() {
        receive(connection, &[7; 60_000]).unwrap();
        sent += 60_000;
    }
    (sent - connection.waiting.len(), connection.waiting.len())
}

#[test]
fn credit_counts_across_the_wrap_of_its_counters() {
    let mut credit = GuestCredit { buf_alloc: 100, fwd_cnt: u32::MAX - 10, sent: u32::MAX - 10 };
    assert_eq!(credit.available(), 100);
    credit.sent = credit.sent.wrapping_add(60);
    assert_eq!(credit.available(), 40);
    credit.update(&header(100, 20));
    assert_eq!(credit.available(), 71);
}

#[test]
fn credit_is_never_more_than_the_buffer_whatever_the_guest_says() {
    for (buf_alloc, fwd_cnt, sent) in
        [(100, 1, 0), (100, u32::MAX, 0), (0, 0, u32::MAX), (10, 5, 1 << 31), (u32::MAX, 1, 0)]
    {
        let credit = GuestCredit { buf_alloc, fwd_cnt, sent };
        assert!(credit.available() <= buf_alloc);
    }
    // A buffer that shrank below what is on the way.
    assert_eq!(GuestCredit { buf_alloc: 5, fwd_cnt: 0, sent: 10 }.available(), 0);
}

#[test]
fn nothing_is_pending_on_an_idle_connection() {
    let (mut connection, _host) = open(100);
    assert_eq!(connection.pending(), Some(Pending::Data), "unknown is yes");
    assert_eq!(read(&mut connection, 10), b"");
    assert_eq!(connection.pending(), None);
    connection.host_ready();
    assert_eq!(connection.pending(), Some(Pending::Data));
}

#[test]
fn a_read_is_bounded_by_buffer_and_credit() {
    let (mut connection, mut host) = open(7);
    host.write_all(b"0123456789").unwrap();
    assert_eq!(read(&mut connection, 4), b"0123");
    assert_eq!(read(&mut connection, 100), b"456");
    assert_eq!(connection.pending(), None, "out of credit");
    connection.update_credit(&header(7, 5));
    assert_eq!(read(&mut connection, 100), b"789");
}

#[test]
fn running_out_of_credit_is_not_the_end_of_the_stream() {
    let (mut connection, mut host) = open(1);
    host.write_all(b"ab").unwrap();
    assert_eq!(read(&mut connection, 10), b"a");
    assert_eq!(connection.pending(), None);
    connection.update_credit(&header(1, 1));
    assert_eq!(read(&mut connection, 10), b"b");
}

#[test]
fn bytes_that_wait_keep_their_order() {
    let (mut connection, mut host) = open(100);
    let mut sent: Vec<u8> = Vec::new();
    for value in 0..20u8 {
        let part = vec![value; 23_456];
        match receive(&mut connection, &part) {
            Ok(()) => sent.extend(part),
            Err(Violation) => break,
        }
    }
    let mut arrived: Vec<u8> = Vec::new();
    while arrived.len() < sent.len() {
        let mut buffer = [0; 10_007];
        if let Ok(count) = host.read(&mut buffer) {
            arrived.extend(&buffer[..count]);
        }
        connection.host_ready();
    }
    assert!(arrived == sent);
    assert_eq!(connection.forwarded() as usize, sent.len());
}

#[test]
fn what_waits_is_bounded_to_the_byte() {
    let (mut connection, _host) = open(100);
    let (_, waiting) = fill(&mut connection);
    let left = BUFFER_BYTES as usize - waiting;
    receive(&mut connection, &vec![1; left]).unwrap();
    assert_eq!(receive(&mut connection, &[1]), Err(Violation));
    assert_eq!(connection.waiting.len(), BUFFER_BYTES as usize);
    assert_eq!(receive(&mut connection, &[]), Ok(()));
}

#[test]
fn only_bytes_that_reached_the_host_count_as_forwarded() {
    let (mut connection, _host) = open(100);
    let (reached, _) = fill(&mut connection);
    assert_eq!(connection.forwarded() as usize, reached);
}

#[test]
fn an_update_is_due_after_half_a_buffer_and_any_packet_tells_it() {
    let (mut connection, mut host) = open(100);
    read(&mut connection, 1);
    let half = BUFFER_BYTES as usize / 2;
    let mut sent = 0;
    while sent < half {
        assert_eq!(connection.pending(), None, "after {sent} bytes");
        let part = vec![0; (half - sent).min(8192)];
        receive(&mut connection, &part).unwrap();
        sent += part.len();
        host.read_exact(&mut vec![0; part.len()]).unwrap();
    }
    assert_eq!(connection.pending(), Some(Pending::CreditUpdate));
    connection.told(Pending::Data);
    assert_eq!(connection.pending(), None);
}

#[test]
fn the_end_of_the_host_is_told_once_and_after_its_data() {
    let (mut connection, mut host) = open(100);
    host.write_all(b"end").unwrap();
    drop(host);
    assert_eq!(read(&mut connection, 10), b"end");
    assert_eq!(connection.pending(), Some(Pending::Data));
    assert_eq!(read(&mut connection, 10), b"");
    assert_eq!(connection.pending(), Some(Pending::Shutdown));
    connection.told(Pending::Shutdown);
    connection.host_ready();
    assert_eq!(connection.pending(), None);
}

#[test]
fn a_host_that_does_not_read_any_more_resets() {
    let (mut connection, host) = open(100);
    drop(host);
    receive(&mut connection, b"lost").unwrap();
    assert_eq!(connection.pending(), Some(Pending::Reset));
}

#[test]
fn a_host_that_goes_while_bytes_wait_resets() {
    let (mut connection, host) = open(100);
    fill(&mut connection);
    drop(host);
    connection.host_ready();
    assert_eq!(connection.pending(), Some(Pending::Reset));
    assert!(connection.waiting.is_empty());
}

#[test]
fn both_ends_done_is_the_end() {
    let (mut connection, mut host) = open(100);
    connection.shut_down(SHUTDOWN_SEND);
    assert_eq!(host.read(&mut [0; 1]).unwrap(), 0);
    drop(host);
    assert_eq!(read(&mut connection, 1), b"");
    assert_eq!(connection.pending(), Some(Pending::Shutdown));
    connection.told(Pending::Shutdown);
    assert_eq!(connection.pending(), Some(Pending::Reset));
}

#[test]
fn the_end_waits_for_the_bytes_before_it() {
    let (mut connection, mut host) = open(100);
    let (reached, waiting) = fill(&mut connection);
    connection.shut_down(SHUTDOWN_SEND | SHUTDOWN_RECEIVE);
    assert_ne!(connection.pending(), Some(Pending::Reset));
    let mut arrived = 0;
    while let Ok(count @ 1..) = host.read(&mut [0; 4096]) {
        arrived += count;
        connection.host_ready();
    }
    assert_eq!(arrived, reached + waiting);
    assert_eq!(connection.pending(), Some(Pending::Reset));
}
