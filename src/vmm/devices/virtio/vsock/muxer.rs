//! Connections by port pair, and what to tell the guest next.
//!
//! The guest connects to ports of the host that were given a socket before boot; each takes one connection, ever. Everything else is
//! answered with RST: there is no port to scan and no host program behind one.
//!
//! What a guest can do at worst: fill its [`CONNECTIONS_MAX`] places (it has fewer ports than that) and [`RESETS_MAX`] answers.

use super::connection::{Connection, Pending, prepare};
use super::header::{GuestPacket, Header, TYPE_STREAM, op};
use crate::vmm::event_loop::Registrar;
use std::collections::{BTreeMap, VecDeque};
use std::os::fd::AsRawFd as _;
use std::os::unix::net::UnixStream;

/// VMADDR_CID_HOST.
pub const HOST_CID: u64 = 2;
/// Live connections of one guest.
const CONNECTIONS_MAX: usize = 64;
/// Answers that wait for receive buffers; beyond, packets that deserve one are dropped unanswered.
const RESETS_MAX: usize = 64;

/// (port of the guest, port of the host).
pub type Ports = (u32, u32);

/// Something to tell the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// A RST without a connection behind it.
    Reset(Ports),
    Connection(Ports, Pending),
}

pub struct Muxer {
    guest_cid: u64,
    registrar: Registrar,
    /// Host sockets that wait for the guest to connect, by port.
    listening: BTreeMap<u32, UnixStream>,
    connections: BTreeMap<Ports, Connection>,
    resets: VecDeque<Ports>,
    /// The connection served last: the others come first the next time.
    last: Ports,
}

impl Muxer {
    pub fn new(guest_cid: u64, ports: Vec<(u32, UnixStream)>, registrar: Registrar) -> Self {
        Self {
            guest_cid,
            registrar,
            listening: ports.into_iter().collect(),
            connections: BTreeMap::new(),
            resets: VecDeque::new(),
            last: (0, 0),
        }
    }

    /// Takes one packet from the guest.
    pub fn receive(&mut self, packet: &GuestPacket<'_>) {
        let header = &packet.header;
        // §5.10.6.4.1: a packet that does not come from this guest's CID, or is not for us, is not ours to answer.
        if header.src_cid != self.guest_cid || header.dst_cid != HOST_CID {
            return;
        }
        let ports = (header.src_port, header.dst_port);
        if header.socket_type != TYPE_STREAM {
            return self.refuse(ports);
        }
        match (self.connections.get_mut(&ports), header.op) {
            (None, op::REQUEST) => self.connect(ports, header),
            (None, op::RST) => {}
            (None, _) => self.refuse(ports),
            (Some(_), op::RST) => drop(self.connections.remove(&ports)),
            (Some(connection), operation) => {
                connection.update_credit(header);
                if !apply(connection, operation, packet) {
                    self.connections.remove(&ports);
                    self.refuse(ports);
                }
            }
        }
    }

    fn connect(&mut self, ports: Ports, header: &Header) {
        let Some(stream) =
            (self.connections.len() < CONNECTIONS_MAX).then(|| self.listening.remove(&ports.1)).flatten()
        else {
            return self.refuse(ports);
        };
        // The host port is unique among live connections, as each listens once: it serves as the event loop's token.
        if prepare(&stream).is_err() || self.registrar.watch(stream.as_raw_fd(), ports.1).is_err() {
            return self.refuse(ports);
        }
        self.connections.insert(ports, Connection::accept(stream, header));
    }

    fn refuse(&mut self, ports: Ports) {
        if self.resets.len() < RESETS_MAX {
            self.resets.push_back(ports);
        }
    }

    /// What to tell the guest next, in turn over all connections.
    pub fn next(&self) -> Option<Next> {
        if let Some(ports) = self.resets.front() {
            return Some(Next::Reset(*ports));
        }
        let after = self.connections.range((std::ops::Bound::Excluded(self.last), std::ops::Bound::Unbounded));
        let before = self.connections.range(..=self.last);
        let mut turn = after.chain(before);
        turn.find_map(|(ports, connection)| Some(Next::Connection(*ports, connection.pending()?)))
    }

    pub fn connection_mut(&mut self, ports: Ports) -> Option<&mut Connection> {
        self.connections.get_mut(&ports)
    }

    /// Records that `next` was told.
    pub fn told(&mut self, next: Next) {
        match next {
            Next::Reset(_) => drop(self.resets.pop_front()),
            Next::Connection(ports, Pending::Reset) => drop(self.connections.remove(&ports)),
            Next::Connection(ports, pending) => {
                self.last = ports;
                if let Some(connection) = self.connections.get_mut(&ports) {
                    connection.told(pending);
                }
            }
        }
    }

    pub fn host_ready(&mut self, host_port: u32) {
        for (_, connection) in self.connections.iter_mut().filter(|(ports, _)| ports.1 == host_port) {
            connection.host_ready();
        }
    }

    /// The driver reset the device: every connection is gone, and with it its host socket.
    pub fn clear(&mut self) {
        self.connections.clear();
        self.resets.clear();
    }
}

/// False if the connection must be reset.
fn apply(connection: &mut Connection, operation: u16, packet: &GuestPacket<'_>) -> bool {
    match operation {
        // Passing over a packet in the middle of a stream would corrupt what the host reads.
        op::RW => return packet.payload.as_ref().is_some_and(|payload| connection.receive(payload).is_ok()),
        op::CREDIT_UPDATE => {}
        op::CREDIT_REQUEST => connection.request_credit_update(),
        op::SHUTDOWN => connection.shut_down(packet.header.flags),
        _ => return false,
    }
    true
}

#[cfg(test)]
#[path = "muxer_test.rs"]
mod tests;
