//! A guest that speaks through rings, and the host's ends of its ports.

mod buffers;
mod credit;
mod data;
mod device;
mod ending;
mod hostile;
mod opening;
mod whole;

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
