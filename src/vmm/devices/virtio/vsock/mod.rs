//! virtio-vsock (virtio 1.3 §5.10): streams between the guest and sockets that the monitor was given.
//!
//! Three queues: packets to the guest, packets from it, and events (never any: CIDs do not change). Host-side rules are in
//! [`muxer`], one stream is in [`connection`]. At worst a guest breaks its own connections. Runs on the event loop's thread.

mod connection;
mod header;
mod muxer;

use super::{Active, DeviceKind, F_EVENT_IDX, F_VERSION_1, VirtioDevice, copy_config};
use crate::vmm::event_loop::Registrar;
use connection::{BUFFER_BYTES, Pending};
use header::{SHUTDOWN_SEND, TYPE_STREAM, op};
use muxer::{HOST_CID, Muxer, Next};
use std::os::unix::net::UnixStream;
use virtio_queue::{QueueOwnedT, QueueT};
use virtio_vsock::packet::{PKT_HEADER_SIZE, VsockPacket};
use vmm_sys_util::epoll::EventSet;

const QUEUE_SIZE: u16 = 256;
const RX_QUEUE: usize = 0;
const TX_QUEUE: usize = 1;
/// Largest payload in one packet: what Linux drivers send at most (VIRTIO_VSOCK_MAX_PKT_BUF_SIZE).
const PAYLOAD_MAX: u32 = 64 << 10;

/// A guest's context id: 0 to 2 and all ones are reserved (virtio 1.3 §5.10.4), the upper half must be zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GuestCid(u32);

impl GuestCid {
    /// The one that every bottle's guest has: CIDs are private to a monitor, since no vhost is shared.
    pub const ONLY: Self = Self(3);

    #[must_use]
    pub fn get(self) -> u64 {
        self.0.into()
    }
}

pub struct Vsock {
    cid: GuestCid,
    muxer: Muxer,
    active: Option<Active>,
}

impl Vsock {
    /// `ports` are the host's sides of the ports that the guest may connect to, once each.
    #[must_use]
    pub fn new(cid: GuestCid, ports: Vec<(u32, UnixStream)>, registrar: Registrar) -> Self {
        Self { cid, muxer: Muxer::new(cid.get(), ports, registrar), active: None }
    }

    /// Takes everything the guest has sent.
    fn receive(&mut self) {
        let Some(active) = &mut self.active else { return };
        active.drain(TX_QUEUE, |ram, chain| {
            if let Some(packet) = header::parse(ram, chain, PAYLOAD_MAX) {
                self.muxer.receive(&packet);
            }
            0
        });
    }

    /// Fills the guest's receive buffers as long as there are some and something to tell; at most a ring's worth at once, as in
    /// [`Active::drain`].
    fn send(&mut self) {
        let Some(active) = &mut self.active else { return };
        let mut sent = 0;
        while let Some(next) = self.muxer.next() {
            match fill_one(active, &mut self.muxer, next, self.cid) {
                Filled::Sent => sent += 1,
                Filled::NothingToSend => {}
                Filled::NoBuffer => break,
            }
            if sent == QUEUE_SIZE {
                active.come_back_to(RX_QUEUE);
                break;
            }
        }
        if sent > 0 {
            active.signal_used([RX_QUEUE]);
        }
    }
}

enum Filled {
    Sent,
    /// The connection turned out to have nothing after all; its buffer went back.
    NothingToSend,
    NoBuffer,
}

fn fill_one(active: &mut Active, muxer: &mut Muxer, next: Next, cid: GuestCid) -> Filled {
    let Some(queue) = active.queues.get_mut(RX_QUEUE) else { return Filled::NoBuffer };
    let Some(mut chain) = next_buffer(queue, &active.ram) else { return Filled::NoBuffer };
    let head = chain.head_index();
    let Ok(mut packet) = VsockPacket::from_rx_virtq_chain(&active.ram, &mut chain, u32::MAX) else {
        // A buffer that can hold no packet is given back empty; the driver that queued it loses it.
        return if queue.add_used(&active.ram, head, 0).is_ok() { Filled::Sent } else { Filled::NoBuffer };
    };
    if packet.data_slice().is_none() && matches!(next, Next::Connection(_, Pending::Data)) {
        // A buffer without room for data would be offered for the same data for ever.
        return if queue.add_used(&active.ram, head, 0).is_ok() { Filled::Sent } else { Filled::NoBuffer };
    }
    if !write_packet(&mut packet, muxer, next, cid) {
        queue.go_to_previous_position();
        return Filled::NothingToSend;
    }
    let length = u32::try_from(PKT_HEADER_SIZE).unwrap_or(0) + packet.len();
    muxer.told(next);
    if queue.add_used(&active.ram, head, length).is_ok() { Filled::Sent } else { Filled::NoBuffer }
}

/// A receive buffer. When there is none, the driver is asked to notify us of the next, and the queue is looked at once more.
fn next_buffer<'r>(
    queue: &mut virtio_queue::Queue,
    ram: &'r crate::vmm::memory::GuestRam,
) -> Option<virtio_queue::DescriptorChain<&'r crate::vmm::memory::GuestRam>> {
    if !queue.ready() {
        return None;
    }
    if let Some(chain) = queue.pop_descriptor_chain(ram) {
        return Some(chain);
    }
    queue.enable_notification(ram).ok().filter(|more| *more)?;
    queue.pop_descriptor_chain(ram)
}

/// Writes what `next` says into the guest's buffer; false if there is nothing to write.
fn write_packet(packet: &mut VsockPacket<'_, ()>, muxer: &mut Muxer, next: Next, cid: GuestCid) -> bool {
    let (ports, pending) = match next {
        Next::Reset(ports) => (ports, Pending::Reset),
        Next::Connection(ports, pending) => (ports, pending),
    };
    let connection = muxer.connection_mut(ports);
    let forwarded = connection.as_ref().map_or(0, |connection| connection.forwarded());
    let mut length = 0;
    if pending == Pending::Data {
        length = match (connection, packet.data_slice()) {
            (Some(connection), Some(buffer)) => connection.read_into(buffer),
            _ => 0,
        };
        if length == 0 {
            return false;
        }
    }
    let (operation, flags) = match pending {
        Pending::Reset => (op::RST, 0),
        Pending::Response => (op::RESPONSE, 0),
        Pending::Data => (op::RW, 0),
        Pending::Shutdown => (op::SHUTDOWN, SHUTDOWN_SEND),
        Pending::CreditUpdate => (op::CREDIT_UPDATE, 0),
    };
    packet
        .set_src_cid(HOST_CID)
        .set_dst_cid(cid.get())
        .set_src_port(ports.1)
        .set_dst_port(ports.0)
        .set_type(TYPE_STREAM)
        .set_op(operation)
        .set_flags(flags)
        .set_len(length)
        .set_buf_alloc(BUFFER_BYTES)
        .set_fwd_cnt(forwarded);
    true
}

impl VirtioDevice for Vsock {
    fn kind(&self) -> DeviceKind {
        DeviceKind::Socket
    }

    fn features(&self) -> u64 {
        F_VERSION_1 | F_EVENT_IDX
    }

    fn queue_sizes(&self) -> &'static [u16] {
        &[QUEUE_SIZE, QUEUE_SIZE, 16]
    }

    fn read_config(&self, offset: u64, data: &mut [u8]) {
        copy_config(&self.cid.get().to_le_bytes(), offset, data);
    }

    fn activate(&mut self, active: Active) {
        self.active = Some(active);
    }

    fn reset(&mut self) {
        self.active = None;
        self.muxer.clear();
    }

    fn queue_notified(&mut self, queue: u16) {
        if usize::from(queue) == TX_QUEUE {
            self.receive();
        }
        self.send();
    }

    fn host_event(&mut self, token: u32, _events: EventSet) {
        self.muxer.host_ready(token);
        self.send();
    }
}

#[cfg(test)]
mod tests;
