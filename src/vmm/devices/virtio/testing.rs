//! The driver's half, for tests, benches and fuzz targets: guest RAM, split virtqueues in it (virtio 1.3 §2.7), and the register
//! writes of a guest, so that a device test reads like a guest.
//!
//! Behind the transport stands the real device; only KVM is missing, so that [`FakeDriver::kick`] calls what an ioeventfd would have
//! woken, and interrupts are counted on the eventfd that KVM would have listened to. Always compiled, because benches and fuzz
//! targets live outside the crate; nothing of the program uses it. A mistake of the test's own panics here; what it makes a
//! hostile guest write never does.

mod ring;

pub use ring::{Buffer, Used};

use super::mmio::{MmioTransport, register, status};
use super::{F_EVENT_IDX, Notification, VirtioDevice};
use crate::vmm::bus::BusDevice as _;
use crate::vmm::irq::Irq;
use crate::vmm::memory::GuestRam;
use ring::{QUEUE_AREA, Ring};
use std::sync::atomic::{Ordering, fence};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use virtio_queue::desc::RawDescriptor;
use virtio_queue::desc::split::Descriptor;
use vm_memory::{Bytes as _, GuestAddress};

/// RAM is two regions that touch, so that a buffer may lie across a seam of the host's mappings.
pub const SEAM: u64 = 4 << 20;
/// End of RAM: nothing lies beyond.
pub const RAM_END: u64 = 8 << 20;
/// Buffers are allocated from here on.
const ARENA: u64 = 1 << 20;

/// Descriptor flags (§2.7.5).
pub const NEXT: u16 = 1;
pub const WRITE: u16 = 2;
pub const INDIRECT: u16 = 4;

/// A guest with one device.
pub struct FakeDriver<D> {
    device: Arc<Mutex<D>>,
    transport: MmioTransport,
    ram: GuestRam,
    irq: Irq,
    notifications: Vec<Notification>,
    rings: Vec<Ring>,
    event_idx: bool,
    free_from: u64,
}

impl<D: VirtioDevice + 'static> FakeDriver<D> {
    /// A guest that has not touched its device yet.
    ///
    /// # Panics
    /// When the host is out of memory or descriptors.
    #[must_use]
    pub fn new(device: D) -> Self {
        let ranges = [(GuestAddress(0), SEAM), (GuestAddress(SEAM), RAM_END - SEAM)];
        let ranges = ranges.map(|(start, length)| (start, usize::try_from(length).expect("64-bit host")));
        let ram = GuestRam::from_ranges(&ranges).expect("memory for a fake guest");
        let rings = device.queue_sizes().iter().enumerate().map(|(index, &size)| Ring::new(index, size)).collect();
        let irq = Irq::new().expect("an eventfd");
        let notifications: Vec<_> =
            device.queue_sizes().iter().map(|_| Notification::new().expect("an eventfd")).collect();
        let device = Arc::new(Mutex::new(device));
        let transport = MmioTransport::new(device.clone(), ram.clone(), irq.clone(), notifications.clone())
            .expect("queue sizes are powers of two");
        Self { device, transport, ram, irq, notifications, rings, event_idx: false, free_from: ARENA }
    }

    /// A guest whose driver is up, with all features of the device.
    #[must_use]
    pub fn started(device: D) -> Self {
        let mut driver = Self::new(device);
        driver.start(u64::MAX);
        driver
    }

    /// A guest whose driver is up and declined [`F_EVENT_IDX`].
    #[must_use]
    pub fn started_without_event_idx(device: D) -> Self {
        let mut driver = Self::new(device);
        driver.start(!F_EVENT_IDX);
        driver
    }

    /// The initialisation sequence (§3.1.1, §4.2.3.1), from reset to DRIVER_OK, with those of the device's features that are in
    /// `wanted`. Forgets what the rings held.
    pub fn start(&mut self, wanted: u64) {
        self.set_status(0);
        self.set_status(status::ACKNOWLEDGE);
        self.set_status(status::ACKNOWLEDGE | status::DRIVER);
        self.accept(self.offered() & wanted);
        self.set_status(status::ACKNOWLEDGE | status::DRIVER | status::FEATURES_OK);
        for index in 0..self.rings.len() {
            self.set_up_queue(index);
        }
        self.set_status(status::ACKNOWLEDGE | status::DRIVER | status::FEATURES_OK | status::DRIVER_OK);
    }

    /// The device, between two calls of the guest's.
    pub fn device(&self) -> MutexGuard<'_, D> {
        self.device.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The device as an event loop takes it.
    #[must_use]
    pub fn shared(&self) -> Arc<Mutex<D>> {
        Arc::clone(&self.device)
    }

    #[must_use]
    pub fn irq(&self) -> &Irq {
        &self.irq
    }
}

/// Registers.
impl<D: VirtioDevice + 'static> FakeDriver<D> {
    /// A load of `width` bytes, as the bus passes it on.
    #[must_use]
    pub fn load(&self, offset: u64, width: usize) -> Vec<u8> {
        let mut data = vec![0xff; width];
        self.transport.read(offset, &mut data);
        data
    }

    /// A store of any width.
    pub fn store(&self, offset: u64, data: &[u8]) {
        let _ = self.transport.write(offset, data);
    }

    /// # Panics
    /// Never: four bytes are read.
    #[must_use]
    pub fn read(&self, offset: u64) -> u32 {
        u32::from_le_bytes(self.load(offset, 4).try_into().expect("four bytes"))
    }

    pub fn write(&self, offset: u64, value: u32) {
        self.store(offset, &value.to_le_bytes());
    }

    #[must_use]
    pub fn status(&self) -> u32 {
        self.read(register::STATUS)
    }

    pub fn set_status(&self, status: u32) {
        self.write(register::STATUS, status);
        self.settle();
    }

    #[must_use]
    pub fn offered(&self) -> u64 {
        [1, 0].into_iter().fold(0, |features, half| {
            self.write(register::DEVICE_FEATURES_SELECT, half);
            (features << 32) | u64::from(self.read(register::DEVICE_FEATURES))
        })
    }

    pub fn accept(&mut self, features: u64) {
        self.event_idx = features & F_EVENT_IDX != 0;
        for half in 0..2 {
            self.write(register::DRIVER_FEATURES_SELECT, half);
            self.write(register::DRIVER_FEATURES, low(features >> (32 * half)));
        }
    }

    /// Clears a queue's rings and tells the device where they are.
    pub fn set_up_queue(&mut self, index: usize) {
        let ring = Ring::new(index, self.rings[index].size);
        let (base, size) = (ring.base, ring.size);
        let (driver_area, device_area) = (ring.driver_area(), ring.device_area());
        self.rings[index] = ring;
        self.poke(base, &vec![0; usize::try_from(QUEUE_AREA).expect("64-bit host")]);
        self.write(register::QUEUE_SELECT, low(index as u64));
        self.write(register::QUEUE_SIZE, size.into());
        let areas = [
            (register::QUEUE_DESC_LOW, register::QUEUE_DESC_HIGH, base),
            (register::QUEUE_DRIVER_LOW, register::QUEUE_DRIVER_HIGH, driver_area),
            (register::QUEUE_DEVICE_LOW, register::QUEUE_DEVICE_HIGH, device_area),
        ];
        for (low_half, high_half, address) in areas {
            self.write(low_half, low(address));
            self.write(high_half, low(address >> 32));
        }
        self.write(register::QUEUE_READY, 1);
    }
}

/// Memory.
impl<D: VirtioDevice + 'static> FakeDriver<D> {
    /// # Panics
    /// When the test's buffers outgrow RAM.
    pub fn allocate(&mut self, length: usize) -> u64 {
        let address = self.free_from;
        self.free_from += (length as u64).next_multiple_of(16);
        assert!(self.free_from <= RAM_END, "the fake guest is out of memory");
        address
    }

    /// Forgets allocations from `address` on, for a test that streams more than RAM holds; the memory keeps what it holds.
    pub fn free_from(&mut self, address: u64) {
        self.free_from = address;
    }

    /// A buffer for the device to read.
    pub fn data(&mut self, bytes: &[u8]) -> Buffer {
        let address = self.allocate(bytes.len());
        self.poke(address, bytes);
        Buffer::readable(address, low(bytes.len() as u64))
    }

    /// A buffer for the device to write, filled with 0xa5.
    pub fn room(&mut self, length: usize) -> Buffer {
        let address = self.allocate(length);
        self.poke(address, &vec![0xa5; length]);
        Buffer::writable(address, low(length as u64))
    }

    /// # Panics
    /// When the range is not RAM.
    pub fn poke(&self, address: u64, bytes: &[u8]) {
        self.ram.write_slice(bytes, GuestAddress(address)).expect("a test writes its own RAM");
    }

    /// # Panics
    /// When the range is not RAM.
    #[must_use]
    pub fn peek(&self, address: u64, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        self.ram.read_slice(&mut bytes, GuestAddress(address)).expect("a test reads its own RAM");
        bytes
    }

    /// What a buffer holds.
    #[must_use]
    pub fn bytes(&self, buffer: Buffer) -> Vec<u8> {
        self.peek(buffer.address, buffer.length as usize)
    }

    fn peek_u16(&self, address: u64) -> u16 {
        self.ram.read_obj(GuestAddress(address)).map(u16::from_le).expect("rings are in RAM")
    }

    fn poke_u16(&self, address: u64, value: u16) {
        self.poke(address, &value.to_le_bytes());
    }
}

/// Queues.
impl<D: VirtioDevice + 'static> FakeDriver<D> {
    /// Makes a chain available, without notifying the device.
    ///
    /// # Panics
    /// When the queue is out of descriptors.
    pub fn add(&mut self, queue: usize, buffers: &[Buffer]) -> u16 {
        let ring = &mut self.rings[queue];
        let left = ring.free.len().checked_sub(buffers.len()).expect("free descriptors");
        let chain = ring.free.split_off(left);
        let head = chain[0];
        for (position, buffer) in buffers.iter().enumerate() {
            let next = chain.get(position + 1);
            let flags = if next.is_some() { NEXT } else { 0 } | if buffer.writable { WRITE } else { 0 };
            let next = next.copied().unwrap_or(0);
            self.descriptor(queue, chain[position], Descriptor::new(buffer.address, buffer.length, flags, next));
        }
        self.rings[queue].lent.insert(head, chain);
        self.publish(queue, head);
        head
    }

    /// Writes any descriptor, good or bad.
    pub fn descriptor(&self, queue: usize, index: u16, descriptor: Descriptor) {
        let address = self.rings[queue].base + 16 * u64::from(index);
        self.ram.write_obj(RawDescriptor::from(descriptor), GuestAddress(address)).expect("tables are in RAM");
    }

    /// Puts any head, good or bad, into the available ring.
    pub fn publish(&mut self, queue: usize, head: u16) {
        let ring = &mut self.rings[queue];
        let slot = ring.driver_area() + 4 + 2 * u64::from(ring.next_avail % ring.size);
        ring.next_avail = ring.next_avail.wrapping_add(1);
        let index = ring.next_avail;
        self.poke_u16(slot, head);
        self.set_avail_index(queue, index);
    }

    /// Sets the available ring's index to anything.
    pub fn set_avail_index(&self, queue: usize, index: u16) {
        self.poke_u16(self.rings[queue].driver_area() + 2, index);
    }

    /// Notifies the device, wanted or not.
    pub fn kick(&mut self, queue: usize) {
        self.rings[queue].notified = self.rings[queue].next_avail;
        self.device().queue_notified(u16::try_from(queue).expect("few queues"));
        self.settle();
    }

    /// Comes back to the queues that the device wants to be come back to, as the event loop does, until there is none.
    pub fn settle(&self) {
        while let Some(queue) = self.rung() {
            self.device().queue_notified(queue);
        }
    }

    /// A queue that the device wants to be come back to.
    #[must_use]
    pub fn rung(&self) -> Option<u16> {
        (0..).zip(&self.notifications).find_map(|(queue, notification)| notification.was_rung().then_some(queue))
    }

    /// Whether the device asked to be notified of what was added since the last question (§2.7.10, §2.7.13.4.1).
    pub fn owes_notification(&mut self, queue: usize) -> bool {
        // The device looks at the index after it has asked: one of the two sees what the other wrote.
        fence(Ordering::SeqCst);
        let ring = &self.rings[queue];
        let (index, added) = (ring.next_avail, ring.next_avail.wrapping_sub(ring.notified));
        let wanted = if self.event_idx {
            index.wrapping_sub(self.peek_u16(ring.avail_event())).wrapping_sub(1) < added
        } else {
            added > 0 && self.peek_u16(ring.device_area()) & 1 == 0
        };
        self.rings[queue].notified = index;
        wanted
    }

    /// Notifies the device if it asked for it, as a real driver does. True if so.
    pub fn notify(&mut self, queue: usize) -> bool {
        let wanted = self.owes_notification(queue);
        if wanted {
            self.kick(queue);
        }
        wanted
    }

    /// Takes what the device gave back since the last time, and asks to be interrupted for the next.
    pub fn used(&mut self, queue: usize) -> Vec<Used> {
        let mut taken = Vec::new();
        loop {
            let (index, event) = (self.rings[queue].device_area() + 2, self.rings[queue].used_event());
            let end = self.peek_u16(index);
            fence(Ordering::SeqCst);
            while self.rings[queue].next_used != end {
                taken.push(self.take_one(queue));
            }
            if self.event_idx {
                self.poke_u16(event, end);
            }
            // What came between the look and the question is not told: look again.
            fence(Ordering::SeqCst);
            if self.peek_u16(index) == end {
                return taken;
            }
        }
    }

    fn take_one(&mut self, queue: usize) -> Used {
        let ring = &self.rings[queue];
        let entry = ring.device_area() + 4 + 8 * u64::from(ring.next_used % ring.size);
        let [head, written] =
            [0, 4].map(|at| self.ram.read_obj(GuestAddress(entry + at)).map(u32::from_le).expect("rings are in RAM"));
        // A hostile guest may have had the device write over its rings.
        let head = u16::try_from(head).unwrap_or(u16::MAX);
        let ring = &mut self.rings[queue];
        ring.next_used = ring.next_used.wrapping_add(1);
        ring.free.extend(ring.lent.remove(&head).into_iter().flatten());
        Used { head, written }
    }

    /// How many more chains of one buffer fit into the queue.
    #[must_use]
    pub fn space(&self, queue: usize) -> usize {
        self.rings[queue].free.len()
    }

    /// One chain there and back: how many bytes the device says it wrote. `None` if the chain did not come back.
    pub fn round_trip(&mut self, queue: usize, buffers: &[Buffer]) -> Option<u32> {
        let head = self.add(queue, buffers);
        self.kick(queue);
        self.used(queue).into_iter().find(|used| used.head == head).map(|used| used.written)
    }

    /// Interrupts since the last call.
    #[must_use]
    pub fn interrupts(&self) -> u64 {
        self.irq.line().read().unwrap_or(0)
    }
}

fn low(value: u64) -> u32 {
    u32::try_from(value & u64::from(u32::MAX)).unwrap_or(0)
}
