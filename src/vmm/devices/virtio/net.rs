//! virtio-net (virtio 1.3 §5.1): frames between the guest and a [`FrameBackend`], which knows what they mean.
//!
//! Two queues: frames for the guest, frames from it. Frames from the guest are shown to the backend where they lie; frames for it are
//! copied once, into as many receive buffers as they need. At worst a guest loses its own frames. One call moves a bounded number of
//! them, as [`Active::drain`] does. Runs on the event loop's thread.

use super::used::{Used, give_back};
use super::{Active, DeviceKind, F_EVENT_IDX, F_VERSION_1, Served, VirtioDevice, copy_config};
use crate::vmm::memory::GuestRam;
use virtio_queue::desc::split::Descriptor;
use virtio_queue::{DescriptorChain, Queue, QueueOwnedT as _, QueueT as _};
use vm_memory::{GuestMemoryBackend as _, VolatileSlice};
use vmm_sys_util::epoll::EventSet;

const RX_QUEUE: usize = 0;
const TX_QUEUE: usize = 1;
/// A frame of 64 KiB takes up to 18 descriptors of a Linux driver's: 14 of them are under way at a time.
const QUEUE_SIZE: u16 = 256;
/// Frames per direction and call: 4 MiB at most.
const BUDGET: u16 = 64;

/// Feature bits (§5.1.3).
mod feature {
    pub(super) const CSUM: u64 = 1 << 0;
    pub(super) const GUEST_CSUM: u64 = 1 << 1;
    pub(super) const MTU: u64 = 1 << 3;
    pub(super) const MAC: u64 = 1 << 5;
    pub(super) const GUEST_TSO4: u64 = 1 << 7;
    pub(super) const HOST_TSO4: u64 = 1 << 11;
    pub(super) const MRG_RXBUF: u64 = 1 << 15;
}

/// `struct virtio_net_hdr` (§5.1.6), `num_buffers` included, before each frame in either direction.
const HEADER: usize = 12;
const NEEDS_CSUM: u8 = 1;
const GSO_NONE: u8 = 0;
const GSO_TCPV4: u8 = 1;

/// A frame from the guest, Ethernet header first, where the guest has put it: it may change it at any moment.
#[derive(Debug)]
pub struct GuestFrame<'a> {
    pub parts: Vec<VolatileSlice<'a>>,
}

/// A frame for the guest: `head` and then `body`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FrameForGuest<'a> {
    pub head: &'a [u8],
    pub body: &'a [u8],
    /// The transport's checksum is left to the guest: where its data start and where, from there, it stands, in bytes. The field
    /// holds the sum over the pseudo header. Only with [`Offloads::checksum`].
    pub checksum: Option<(u16, u16)>,
    /// The body is TCP data over IPv4 to be taken as segments of this many bytes. Only with [`Offloads::segmentation`].
    pub segment: Option<u16>,
}

/// What the driver takes off the backend.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offloads {
    /// TCP and UDP checksums of frames for the guest need not be computed.
    pub checksum: bool,
    /// TCP data for the guest may be longer than a segment.
    pub segmentation: bool,
}

/// The other end of the wire. Called on the event loop's thread, always under the device's lock.
pub trait FrameBackend: Send {
    /// The driver has started.
    fn start(&mut self, offloads: Offloads);

    /// How many frames may be handed to [`Self::receive`] now; the answer may change at each of the backend's events.
    fn quota(&mut self) -> u16;

    /// A frame from the guest.
    fn receive(&mut self, frame: &GuestFrame<'_>);

    /// The frame that the guest is to have next; the same until [`Self::sent`].
    fn next(&mut self) -> Option<FrameForGuest<'_>>;

    /// The guest has what [`Self::next`] said.
    fn sent(&mut self);

    /// A descriptor that the backend watches had an event.
    fn host_event(&mut self, token: u32, events: EventSet);
}

impl<B: FrameBackend + ?Sized> FrameBackend for Box<B> {
    fn start(&mut self, offloads: Offloads) {
        (**self).start(offloads);
    }

    fn quota(&mut self) -> u16 {
        (**self).quota()
    }

    fn receive(&mut self, frame: &GuestFrame<'_>) {
        (**self).receive(frame);
    }

    fn next(&mut self) -> Option<FrameForGuest<'_>> {
        (**self).next()
    }

    fn sent(&mut self) {
        (**self).sent();
    }

    fn host_event(&mut self, token: u32, events: EventSet) {
        (**self).host_event(token, events);
    }
}

/// What a network device is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NetConfig {
    /// The guest's address.
    pub mac: [u8; 6],
    /// Bytes of the largest IP packet, 68 to 65,535 (§5.1.4.1).
    pub mtu: u16,
}

pub struct Net<B> {
    backend: B,
    /// MAC, status, number of queue pairs, MTU (§5.1.4).
    config: [u8; 12],
    active: Option<Active>,
}

impl<B: FrameBackend> Net<B> {
    #[must_use]
    pub fn new(config: NetConfig, backend: B) -> Self {
        let mut bytes = [0; 12];
        bytes[..6].copy_from_slice(&config.mac);
        bytes[10..].copy_from_slice(&config.mtu.to_le_bytes());
        Self { backend, config: bytes, active: None }
    }

    /// The backend, for tests.
    #[doc(hidden)]
    pub fn backend(&mut self) -> &mut B {
        &mut self.backend
    }

    fn turn(&mut self) {
        // One interrupt tells of both: what was taken, and the answer to it.
        let (taken, given) = (self.receive(), self.send());
        if let Some(active) = &mut self.active {
            active.signal_used(
                [(taken, TX_QUEUE), (given, RX_QUEUE)].into_iter().filter(|(used, _)| *used).map(|(_, queue)| queue),
            );
        }
    }

    /// Takes what the guest has sent; whether there was anything.
    fn receive(&mut self) -> bool {
        let Some(active) = &mut self.active else { return false };
        let backend = &mut self.backend;
        // With no quota left, the backend's own event brings us back here when there is some.
        let quota = backend.quota().min(BUDGET);
        quota > 0
            && active.drain_some(TX_QUEUE, quota.into(), |ram, chain| {
                frame(ram, chain).iter().for_each(|frame| backend.receive(frame));
                Served { written: 0, cost: 1 }
            })
    }

    /// Gives the guest what there is for it; whether there was anything.
    fn send(&mut self) -> bool {
        let Some(active) = &mut self.active else { return false };
        let mergeable = active.features & feature::MRG_RXBUF != 0;
        let Some(queue) = active.queues.get_mut(RX_QUEUE).filter(|queue| queue.ready()) else { return false };
        let mut room = Room { queue, ram: &active.ram, mergeable, buffers: Vec::new(), filled: Vec::new() };
        let mut sent = 0;
        while sent < BUDGET {
            let Some(frame) = self.backend.next() else { break };
            if !room.place(&frame) {
                break;
            }
            self.backend.sent();
            sent += 1;
        }
        if sent == BUDGET {
            active.come_back_to(RX_QUEUE);
        }
        sent > 0
    }
}

/// What a chain holds behind the header, which says nothing that we need: no checksum of a packet that ends here is of interest,
/// and a packet to be cut into segments is welcome whole. `None` if the chain is broken.
fn frame<'r>(ram: &'r GuestRam, chain: DescriptorChain<&'r GuestRam>) -> Option<GuestFrame<'r>> {
    let (mut parts, mut header) = (Vec::new(), HEADER);
    // An indirect table, which is not offered, could hold many more.
    for descriptor in chain.take(QUEUE_SIZE.into()) {
        let descriptor: Descriptor = descriptor;
        if descriptor.is_write_only() {
            return None;
        }
        for slice in ram.get_slices(descriptor.addr(), usize::try_from(descriptor.len()).ok()?) {
            let slice = slice.ok()?;
            let skipped = header.min(slice.len());
            header -= skipped;
            if skipped < slice.len() {
                parts.push(slice.offset(skipped).ok()?);
            }
        }
    }
    (header == 0).then_some(GuestFrame { parts })
}

/// The guest's receive buffers.
struct Room<'a> {
    queue: &'a mut Queue,
    ram: &'a GuestRam,
    mergeable: bool,
    /// Those of the frame at hand, and what became of them; kept for their memory.
    buffers: Vec<Buffer<'a>>,
    filled: Vec<Used>,
}

/// One chain.
struct Buffer<'a> {
    head: u16,
    parts: Vec<VolatileSlice<'a>>,
    length: usize,
}

impl<'a> Room<'a> {
    /// Copies a frame to the guest; false if there are not enough buffers: the driver then notifies of more.
    fn place(&mut self, frame: &FrameForGuest<'_>) -> bool {
        let length = HEADER + frame.head.len() + frame.body.len();
        if !self.gather(length) {
            return false;
        }
        let header = header(frame, u16::try_from(self.buffers.len()).unwrap_or(0));
        self.filled.clear();
        let mut source = [&header, frame.head, frame.body].into_iter();
        let mut rest: &[u8] = source.next().unwrap_or_default();
        for buffer in self.buffers.drain(..) {
            let mut written = 0;
            for part in buffer.parts {
                let mut at = 0;
                while let Some(to) = part.offset(at).ok().filter(|to| !to.is_empty()) {
                    if rest.is_empty() {
                        match source.next() {
                            Some(next) => rest = next,
                            None => break,
                        }
                        continue;
                    }
                    let moved = rest.len().min(to.len());
                    to.copy_from(&rest[..moved]);
                    rest = &rest[moved..];
                    at += moved;
                }
                written += at;
            }
            self.filled.push(Used { head: buffer.head, written: u32::try_from(written).unwrap_or(0) });
        }
        give_back(self.queue, self.ram, &self.filled);
        true
    }

    /// Pops buffers for `length` bytes. If there are too few, or the one that a driver without mergeable buffers gets is too small,
    /// puts them back; a frame that no buffer of such a driver holds is lost with the buffer that it should have gone into. So is one that
    /// the whole ring does not hold: there is no more to wait for, and a guest that offers the same buffers again while we look must not
    /// keep us here.
    fn gather(&mut self, length: usize) -> bool {
        self.buffers.clear();
        let mut room = 0;
        while room < length && self.buffers.len() < self.queue.size().into() {
            let Some(buffer) = self.pop() else {
                for _ in self.buffers.drain(..) {
                    self.queue.go_to_previous_position();
                }
                return false;
            };
            room += buffer.length;
            self.buffers.push(buffer);
            if !self.mergeable {
                break;
            }
        }
        true
    }

    /// A buffer. When there is none, the driver is asked to notify us of the next, and the queue is looked at once more.
    fn pop(&mut self) -> Option<Buffer<'a>> {
        if let Some(chain) = self.queue.pop_descriptor_chain(self.ram) {
            return Some(buffer(self.ram, chain));
        }
        self.queue.enable_notification(self.ram).ok().filter(|more| *more)?;
        let chain = self.queue.pop_descriptor_chain(self.ram)?;
        Some(buffer(self.ram, chain))
    }
}

/// The writable part of a chain, up to what is no memory.
fn buffer<'r>(ram: &'r GuestRam, chain: DescriptorChain<&'r GuestRam>) -> Buffer<'r> {
    let head = chain.head_index();
    let mut parts = Vec::new();
    for descriptor in chain.take(QUEUE_SIZE.into()).filter(Descriptor::is_write_only) {
        let length = usize::try_from(descriptor.len()).unwrap_or(0);
        parts.extend(ram.get_slices(descriptor.addr(), length).map_while(Result::ok));
    }
    let length = parts.iter().map(VolatileSlice::len).sum();
    Buffer { head, parts, length }
}

fn header(frame: &FrameForGuest<'_>, buffers: u16) -> [u8; HEADER] {
    let (flags, (start, offset)) = frame.checksum.map_or((0, (0, 0)), |place| (NEEDS_CSUM, place));
    let (gso, size) = frame.segment.map_or((GSO_NONE, 0), |size| (GSO_TCPV4, size));
    let length = if gso == GSO_NONE { 0 } else { u16::try_from(frame.head.len()).unwrap_or(0) };
    let mut bytes = [0; HEADER];
    bytes[..2].copy_from_slice(&[flags, gso]);
    for (place, word) in bytes[2..].chunks_exact_mut(2).zip([length, size, start, offset, buffers]) {
        place.copy_from_slice(&word.to_le_bytes());
    }
    bytes
}

impl<B: FrameBackend> VirtioDevice for Net<B> {
    fn kind(&self) -> DeviceKind {
        DeviceKind::Network
    }

    fn features(&self) -> u64 {
        use feature::{CSUM, GUEST_CSUM, GUEST_TSO4, HOST_TSO4, MAC, MRG_RXBUF, MTU};
        F_VERSION_1 | F_EVENT_IDX | CSUM | GUEST_CSUM | MTU | MAC | GUEST_TSO4 | HOST_TSO4 | MRG_RXBUF
    }

    fn queue_sizes(&self) -> &'static [u16] {
        &[QUEUE_SIZE, QUEUE_SIZE]
    }

    fn read_config(&self, offset: u64, data: &mut [u8]) {
        copy_config(&self.config, offset, data);
    }

    fn activate(&mut self, active: Active) {
        let checksum = active.features & feature::GUEST_CSUM != 0;
        // Segments without checksums are what segmentation is (§5.1.3.1); a driver that wants one only gets neither.
        let segmentation = checksum && active.features & feature::GUEST_TSO4 != 0;
        self.backend.start(Offloads { checksum, segmentation });
        self.active = Some(active);
    }

    fn reset(&mut self) {
        self.active = None;
    }

    fn queue_notified(&mut self, _queue: u16) {
        self.turn();
    }

    fn host_event(&mut self, token: u32, events: EventSet) {
        self.backend.host_event(token, events);
        self.turn();
    }
}

#[cfg(test)]
#[path = "net_test.rs"]
mod tests;
