use super::header::{Header, SHUTDOWN_RECEIVE};
use super::*;
use crate::vmm::devices::virtio::testing::{Buffer, FakeDriver, RAM_END, SEAM};
use crate::vmm::event_loop::EventLoop;
use crate::vmm::stop::{Stop, StopReason};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::sync::Arc;
use vmm_sys_util::epoll::{ControlOperation, Epoll, EpollEvent};
use vmm_sys_util::eventfd::EventFd;

const GUEST_PORT: u32 = 1025;
const HEADER: usize = 44;

/// What the device told the guest.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Packet {
    header: Header,
    payload: Vec<u8>,
}

impl Packet {
    fn parse(bytes: &[u8]) -> Self {
        let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
        let half = |at: usize| u16::from_le_bytes(bytes[at..at + 2].try_into().unwrap());
        let long = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
        let header = Header {
            src_cid: long(0),
            dst_cid: long(8),
            src_port: word(16),
            dst_port: word(20),
            len: word(24),
            socket_type: half(28),
            op: half(30),
            flags: word(32),
            buf_alloc: word(36),
            fwd_cnt: word(40),
        };
        assert_eq!(bytes.len(), HEADER + header.len as usize, "the used length is the packet's");
        Self { header, payload: bytes[HEADER..].to_vec() }
    }
}

fn encode(header: &Header) -> Vec<u8> {
    [
        header.src_cid.to_le_bytes().as_slice(),
        &header.dst_cid.to_le_bytes(),
        &header.src_port.to_le_bytes(),
        &header.dst_port.to_le_bytes(),
        &header.len.to_le_bytes(),
        &header.socket_type.to_le_bytes(),
        &header.op.to_le_bytes(),
        &header.flags.to_le_bytes(),
        &header.buf_alloc.to_le_bytes(),
        &header.fwd_cnt.to_le_bytes(),
    ]
    .concat()
}

/// A packet from the guest to `port`, with plenty of credit.
fn to(port: u32, op: u16) -> Header {
    Header {
        src_cid: 3,
        dst_cid: 2,
        src_port: GUEST_PORT,
        dst_port: port,
        socket_type: TYPE_STREAM,
        op,
        buf_alloc: 1 << 20,
        ..Header::default()
    }
}

/// A guest with a vsock, and the host's ends of its ports.
struct Guest {
    driver: FakeDriver<Vsock>,
    /// Receive buffers that the device has, by head.
    posted: BTreeMap<u16, Buffer>,
    host: BTreeMap<u32, UnixStream>,
    event_loop: EventLoop,
}

impl Guest {
    fn new(ports: &[u32]) -> Self {
        let event_loop = EventLoop::new().unwrap();
        let (host, guest) = ports
            .iter()
            .map(|port| {
                let (host, guest) = UnixStream::pair().unwrap();
                host.set_nonblocking(true).unwrap();
                ((*port, host), (*port, guest))
            })
            .unzip();
        let device = Vsock::new(GuestCid::ONLY, guest, event_loop.next_registrar());
        Self { driver: FakeDriver::started(device), posted: BTreeMap::new(), host, event_loop }
    }

    /// With receive buffers, as a Linux driver has them.
    fn ready(ports: &[u32]) -> Self {
        let mut guest = Self::new(ports);
        guest.post(32, 4096);
        guest
    }

    fn connected(ports: &[u32]) -> Self {
        let mut guest = Self::ready(ports);
        for port in ports {
            guest.send(to(*port, op::REQUEST), b"");
            assert_eq!(guest.told(), [(*port, op::RESPONSE)]);
        }
        guest
    }

    fn post(&mut self, count: usize, size: usize) {
        for _ in 0..count {
            let buffer = self.driver.room(size);
            self.post_one(buffer);
        }
        self.driver.notify(RX_QUEUE);
    }

    fn post_one(&mut self, buffer: Buffer) {
        let head = self.driver.add(RX_QUEUE, &[buffer]);
        self.posted.insert(head, buffer);
    }

    /// Sends a packet, its length filled in.
    fn send(&mut self, header: Header, payload: &[u8]) {
        self.send_raw(&Header { len: u32::try_from(payload.len()).unwrap(), ..header }, payload);
    }

    fn send_raw(&mut self, header: &Header, payload: &[u8]) {
        let buffer = self.driver.data(&[encode(header).as_slice(), payload].concat());
        self.send_chain(&[buffer]);
    }

    fn send_chain(&mut self, chain: &[Buffer]) {
        let head = self.driver.add(TX_QUEUE, chain);
        self.driver.notify(TX_QUEUE);
        let used = self.driver.used(TX_QUEUE);
        assert_eq!(used.iter().map(|used| (used.head, used.written)).collect::<Vec<_>>(), [(head, 0)]);
    }

    /// Everything that was received; the buffers go back to the device.
    fn receive(&mut self) -> Vec<Packet> {
        let used = self.driver.used(RX_QUEUE);
        // First all, then back: a buffer that is posted takes a head that one of the others may have had.
        let used: Vec<_> =
            used.into_iter().map(|used| (self.posted.remove(&used.head).unwrap(), used.written)).collect();
        let mut packets = Vec::new();
        for (buffer, written) in used.into_iter().filter(|(_, written)| *written > 0) {
            packets.push(Packet::parse(&self.driver.peek(buffer.address, written as usize)));
            self.post_one(buffer);
        }
        packets
    }

    /// Ports and operations of what was received.
    fn told(&mut self) -> Vec<(u32, u16)> {
        self.receive().iter().map(|packet| (packet.header.src_port, packet.header.op)).collect()
    }

    /// What the event loop does when the host's side of `port` had an event.
    fn wake(&mut self, port: u32) {
        self.driver.device().host_event(port, EventSet::IN);
    }

    fn host(&mut self, port: u32) -> &mut UnixStream {
        self.host.get_mut(&port).unwrap()
    }

    fn host_writes(&mut self, port: u32, bytes: &[u8]) {
        self.host(port).write_all(bytes).unwrap();
        self.wake(port);
    }

    /// All that the host can read now.
    fn host_reads(&mut self, port: u32) -> Vec<u8> {
        let mut read = Vec::new();
        match self.host(port).read_to_end(&mut read) {
            Ok(_) => {}
            // What it wrote and the guest never took.
            Err(error) => assert!(matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::ConnectionReset)),
        }
        read
    }

    fn host_sees_the_end(&mut self, port: u32) -> bool {
        matches!(self.host(port).read(&mut [0]), Ok(0))
    }
}

fn payload(packets: &[Packet]) -> Vec<u8> {
    packets.iter().flat_map(|packet| packet.payload.iter().copied()).collect()
}

fn counting(length: usize) -> Vec<u8> {
    (0..length).map(|i| u8::try_from(i % 251).unwrap()).collect()
}

// --- Opening -----------------------------------------------------------------------------------------------------------------

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

#[test]
fn bytes_of_the_guest_reach_the_host() {
    let mut guest = Guest::connected(&[5]);
    guest.send(to(5, op::RW), b"hello ");
    guest.send(to(5, op::RW), b"world");
    assert_eq!(guest.host_reads(5), b"hello world");
    assert_eq!(guest.told(), [], "small packets cost no credit updates");
}

#[test]
fn bytes_of_the_host_reach_the_guest() {
    let mut guest = Guest::connected(&[5]);
    guest.host_writes(5, b"hello");
    let told = guest.receive();
    assert_eq!(payload(&told), b"hello");
    assert_eq!(told[0].header.op, op::RW);
}

#[test]
fn bytes_written_before_the_guest_connects_are_not_lost() {
    let mut guest = Guest::ready(&[5]);
    guest.host(5).write_all(b"early").unwrap();
    guest.send(to(5, op::REQUEST), b"");
    let told = guest.receive();
    assert_eq!(told[0].header.op, op::RESPONSE);
    assert_eq!(payload(&told), b"early");
}

#[test]
fn an_empty_packet_is_nothing() {
    let mut guest = Guest::connected(&[5]);
    guest.send(to(5, op::RW), b"");
    assert_eq!((guest.host_reads(5), guest.told()), (vec![], vec![]));
}

#[test]
fn a_long_answer_is_spread_over_buffers() {
    let mut guest = Guest::connected(&[5]);
    let data = counting(50_000);
    guest.host_writes(5, &data);
    let told = guest.receive();
    assert_eq!(payload(&told), data);
    assert!(told[..told.len() - 1].iter().all(|packet| packet.payload.len() == 4096 - HEADER));
}

/// Linux from 6.17 on hands over the pages of a large payload one by one.
#[test]
fn a_payload_over_many_descriptors_is_one_payload() {
    let mut guest = Guest::connected(&[5]);
    let data = counting(60_000);
    let header = guest.driver.data(&encode(&Header { len: 60_000, ..to(5, op::RW) }));
    let pages = data.chunks(4096).map(|page| guest.driver.data(page)).collect::<Vec<_>>();
    guest.send_chain(&[&[header], pages.as_slice()].concat());
    assert_eq!(guest.host_reads(5), data);
}

#[test]
fn a_header_over_many_descriptors_is_one_header() {
    let mut guest = Guest::connected(&[5]);
    let whole = guest.driver.data(&[encode(&Header { len: 3, ..to(5, op::RW) }).as_slice(), b"abc"].concat());
    let [first, rest] = whole.split(1);
    let [second, rest] = rest.split(42);
    let [last, payload] = rest.split(2);
    guest.send_chain(&[first, Buffer { length: 0, ..second }, second, last, payload]);
    assert_eq!(guest.host_reads(5), b"abc");
}

#[test]
fn a_packet_across_the_seam_of_two_regions_is_one_packet() {
    for before in [1, 20, 43, 44, 45] {
        let mut guest = Guest::connected(&[5]);
        let bytes = [encode(&Header { len: 3, ..to(5, op::RW) }).as_slice(), b"abc"].concat();
        guest.driver.poke(SEAM - before, &bytes);
        guest.send_chain(&[Buffer::readable(SEAM - before, u32::try_from(bytes.len()).unwrap())]);
        assert_eq!(guest.host_reads(5), b"abc", "{before}");
    }
}

#[test]
fn what_follows_the_payload_in_a_buffer_is_not_sent() {
    let mut guest = Guest::connected(&[5]);
    guest.send_raw(&Header { len: 2, ..to(5, op::RW) }, b"abcdef");
    assert_eq!(guest.host_reads(5), b"ab");
}

// --- Credit ------------------------------------------------------------------------------------------------------------------

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

#[test]
fn a_reset_of_the_device_drops_every_connection_and_every_answer() {
    let mut guest = Guest::new(&[5, 6]);
    guest.send(to(5, op::REQUEST), b"");
    guest.send(to(7, op::REQUEST), b"");
    guest.driver.set_status(0);
    assert!(guest.host_sees_the_end(5));
    guest.driver.start(u64::MAX);
    guest.posted.clear();
    guest.post(8, 4096);
    assert_eq!(guest.told(), []);
    guest.send(to(6, op::REQUEST), b"");
    assert_eq!(guest.told(), [(6, op::RESPONSE)], "ports that were not used are still there");
}

#[test]
fn notifications_and_host_events_of_an_inactive_device_are_nothing() {
    let (_host, end) = UnixStream::pair().unwrap();
    let event_loop = EventLoop::new().unwrap();
    let mut device = Vsock::new(GuestCid::ONLY, vec![(5, end)], event_loop.next_registrar());
    for queue in [0, 1, 2, 3, u16::MAX] {
        device.queue_notified(queue);
    }
    device.host_event(5, EventSet::IN);
    device.reset();
}

#[test]
fn the_event_queue_and_queues_that_are_not_there_can_be_notified() {
    let mut guest = Guest::connected(&[5]);
    for queue in [2, 3, u16::MAX] {
        guest.driver.device().queue_notified(queue);
    }
    let event = guest.driver.room(8);
    guest.driver.add(2, &[event]);
    guest.driver.kick(2);
    assert_eq!(guest.driver.used(2), [], "no event ever happens");
}

#[test]
fn packets_queued_before_the_start_are_served_at_the_start() {
    let mut guest = Guest::new(&[5]);
    guest.driver.set_status(0);
    // As `start`, with packets on the rings at DRIVER_OK.
    guest.driver.set_status(3);
    guest.driver.accept(F_VERSION_1);
    guest.driver.set_status(11);
    (0..3).for_each(|queue| guest.driver.set_up_queue(queue));
    let request = guest.driver.data(&encode(&to(5, op::REQUEST)));
    let room = guest.driver.room(4096);
    guest.driver.add(TX_QUEUE, &[request]);
    guest.post_one(room);
    guest.driver.set_status(15);
    assert_eq!(guest.told(), [(5, op::RESPONSE)]);
}

/// The device behind the real event loop, both sides blocking: a notification, an interrupt or an epoll edge that got lost would
/// hang here.
#[test]
fn echo_through_the_event_loop_arrives_intact() {
    const TOTAL: usize = 3 << 20;
    let mut guest = Guest::connected(&[5]);
    let mut host = guest.host.remove(&5).unwrap();
    host.set_nonblocking(false).unwrap();
    let echo = std::thread::spawn(move || {
        let mut buffer = vec![0; 30_000];
        while let Ok(count @ 1..) = host.read(&mut buffer) {
            host.write_all(&buffer[..count]).unwrap();
        }
    });

    let kicks = [EventFd::new(libc::EFD_NONBLOCK).unwrap(), EventFd::new(libc::EFD_NONBLOCK).unwrap()];
    let registrar = guest.event_loop.next_registrar();
    for (queue, kick) in (0..).zip(&kicks) {
        registrar.watch_queue(kick.as_raw_fd(), queue).unwrap();
    }
    let (stop, mut event_loop) =
        (Arc::new(Stop::new().unwrap()), std::mem::replace(&mut guest.event_loop, EventLoop::new().unwrap()));
    event_loop.add(guest.driver.shared());
    let (launcher, _launcher_end) = UnixStream::pair().unwrap();
    let thread = std::thread::spawn({
        let stop = Arc::clone(&stop);
        move || event_loop.run(&stop, launcher.as_raw_fd(), || {}).unwrap()
    });

    let (mut sent, mut received, mut consumed, mut credit) = (0, Vec::new(), 0u32, 0usize);
    let slots: Vec<u64> = (0..8).map(|_| guest.driver.allocate(HEADER + 20_000)).collect();
    let mut free = slots.clone();
    let mut lent = BTreeMap::new();
    while received.len() < TOTAL {
        while sent < TOTAL && sent - credit + 20_000 <= BUFFER_BYTES as usize {
            let Some(slot) = free.pop() else { break };
            let length = (TOTAL - sent).min(20_000);
            let data: Vec<u8> = (sent..sent + length).map(|at| u8::try_from(at % 253).unwrap()).collect();
            let header = Header { len: u32::try_from(length).unwrap(), fwd_cnt: consumed, ..to(5, op::RW) };
            guest.driver.poke(slot, &[encode(&header).as_slice(), &data].concat());
            lent.insert(
                guest.driver.add(TX_QUEUE, &[Buffer::readable(slot, u32::try_from(HEADER + length).unwrap())]),
                slot,
            );
            sent += length;
        }
        for (queue, kick) in kicks.iter().enumerate() {
            if guest.driver.owes_notification(queue) {
                kick.write(1).unwrap();
            }
        }
        let mut progress = false;
        for used in guest.driver.used(TX_QUEUE) {
            free.push(lent.remove(&used.head).unwrap());
            progress = true;
        }
        for packet in guest.receive() {
            progress = true;
            assert!(matches!(packet.header.op, op::RW | op::CREDIT_UPDATE), "{packet:?}");
            credit = packet.header.fwd_cnt as usize;
            consumed += packet.header.len;
            received.extend(packet.payload);
        }
        if !progress {
            wait(guest.driver.irq().line());
            let _ = guest.driver.interrupts();
        }
    }
    assert!(received.iter().enumerate().all(|(at, byte)| usize::from(*byte) == at % 253));
    stop.request(StopReason::PowerOff);
    assert!(matches!(thread.join().unwrap(), StopReason::PowerOff));
    drop(guest);
    echo.join().unwrap();
}

/// Until readable. The limit only turns a hang into a failure.
fn wait(line: &EventFd) {
    let epoll = Epoll::new().unwrap();
    epoll.ctl(ControlOperation::Add, line.as_raw_fd(), EpollEvent::new(EventSet::IN, 0)).unwrap();
    let ready = epoll.wait(60_000, &mut [EpollEvent::default()]).unwrap();
    assert_eq!(ready, 1, "the device forgot to interrupt");
}

#[derive(Clone, Debug)]
enum Step {
    GuestSends(usize),
    HostWrites(usize),
    HostReads(usize),
    GuestConsumes,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (1usize..70_000).prop_map(|length| Step::GuestSends(length.min(65_536))),
        (1usize..70_000).prop_map(Step::HostWrites),
        (1usize..200_000).prop_map(Step::HostReads),
        Just(Step::GuestConsumes),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Whatever the chunks and whoever is slow: what arrives is what was sent, in both directions, and credit never stops it.
    #[test]
    fn streams_arrive_as_they_were_sent(steps in prop::collection::vec(step(), 1..120), buf_alloc in 2000u32..100_000) {
        let mut guest = Guest::ready(&[5]);
        let arena = guest.driver.allocate(1 << 17);
        guest.send(Header { buf_alloc, ..to(5, op::REQUEST) }, b"");
        let [mut sent, mut arrived, mut written, mut received]: [Vec<u8>; 4] = Default::default();
        let (mut told, mut consumed) = (0usize, 0u32);
        let drain = steps.iter().cloned().chain((0..2000).flat_map(|_| [Step::HostReads(1 << 20), Step::GuestConsumes]));
        for (index, step) in drain.enumerate() {
            match step {
                Step::GuestSends(length) => {
                    let length = length.min(BUFFER_BYTES as usize - (sent.len() - told));
                    let bytes: Vec<u8> = (0..length).map(|at| u8::try_from((at + index) % 256).unwrap()).collect();
                    let header = Header { len: u32::try_from(length).unwrap(), buf_alloc, fwd_cnt: consumed, ..to(5, op::RW) };
                    guest.driver.poke(arena, &[encode(&header).as_slice(), &bytes].concat());
                    guest.send_chain(&[Buffer::readable(arena, u32::try_from(HEADER + length).unwrap())]);
                    sent.extend(bytes);
                }
                Step::HostWrites(length) => {
                    let bytes: Vec<u8> = (0..length).map(|at| u8::try_from((at * 7 + index) % 256).unwrap()).collect();
                    if let Ok(count) = guest.host(5).write(&bytes) {
                        written.extend(&bytes[..count]);
                    }
                    guest.wake(5);
                }
                Step::HostReads(length) => {
                    let mut bytes = vec![0; length];
                    if let Ok(count) = guest.host(5).read(&mut bytes) {
                        prop_assert!(count > 0, "the connection was closed");
                        arrived.extend(&bytes[..count]);
                    }
                    guest.wake(5);
                }
                Step::GuestConsumes => {
                    for packet in guest.receive() {
                        prop_assert!(packet.header.op != op::RST);
                        told = packet.header.fwd_cnt as usize;
                        received.extend(packet.payload);
                    }
                    prop_assert!(received.len() - consumed as usize <= buf_alloc as usize, "more than the guest can take");
                    consumed = u32::try_from(received.len()).unwrap();
                    guest.send(Header { buf_alloc, fwd_cnt: consumed, ..to(5, op::CREDIT_UPDATE) }, b"");
                    guest.driver.notify(RX_QUEUE);
                    guest.driver.free_from(arena + (1 << 17));
                }
            }
            if index >= steps.len() && arrived.len() == sent.len() && received.len() == written.len() {
                break;
            }
        }
        prop_assert_eq!(arrived.len(), sent.len());
        prop_assert!(arrived == sent);
        prop_assert_eq!(received.len(), written.len());
        prop_assert!(received == written);
    }

    #[test]
    fn no_packet_breaks_the_device(packets in prop::collection::vec(
        (any::<(u16, u32, u32, u32, u32)>(), 0u16..10, prop::sample::select(vec![5u32, 6, 7]), 0usize..300), 1..40)
    ) {
        let mut guest = Guest::ready(&[5, 6]);
        for ((socket_type, flags, buf_alloc, fwd_cnt, len), op, port, length) in packets {
            let socket_type = if socket_type % 4 == 0 { socket_type } else { TYPE_STREAM };
            let len = if len % 3 == 0 { len } else { u32::try_from(length).unwrap() };
            guest.send_raw(&Header { socket_type, flags, buf_alloc, fwd_cnt, len, ..to(port, op) }, &counting(length));
            let _ = guest.host(5).write(b"x");
            guest.wake(5);
            guest.receive();
            guest.driver.notify(RX_QUEUE);
        }
        guest.driver.set_status(0);
        prop_assert!(guest.host_reads(5).len() < 1 << 20);
    }
}
