//! The MMIO transport, version 2 (virtio 1.3 §4.2): registers in front of one device.
//!
//! What the guest can do at worst: misconfigure its own device, which then asks to be reset. Registers are reached from vCPU threads;
//! queue notifications do not come here, KVM turns them into eventfd writes.

use super::super::super::bus::{BusDevice, Effect};
use super::super::super::event_loop::SharedDevice;
use super::super::super::irq::{CONFIG_CHANGE, Irq};
use super::super::super::memory::GuestRam;
use super::{Active, F_EVENT_IDX, F_VERSION_1, Notification};
use std::sync::{Mutex, MutexGuard, PoisonError};
use virtio_queue::{Queue, QueueT};

/// Where a device's registers and its interrupt are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MmioWindow {
    pub base: u32,
    /// Bytes.
    pub length: u32,
    pub gsi: u32,
}

/// Register offsets (§4.2.2, table 4.1).
pub(super) mod register {
    pub(in super::super) const MAGIC: u64 = 0x00;
    pub(in super::super) const VERSION: u64 = 0x04;
    pub(in super::super) const DEVICE_ID: u64 = 0x08;
    pub(in super::super) const VENDOR_ID: u64 = 0x0c;
    pub(in super::super) const DEVICE_FEATURES: u64 = 0x10;
    pub(in super::super) const DEVICE_FEATURES_SELECT: u64 = 0x14;
    pub(in super::super) const DRIVER_FEATURES: u64 = 0x20;
    pub(in super::super) const DRIVER_FEATURES_SELECT: u64 = 0x24;
    pub(in super::super) const QUEUE_SELECT: u64 = 0x30;
    pub(in super::super) const QUEUE_SIZE_MAX: u64 = 0x34;
    pub(in super::super) const QUEUE_SIZE: u64 = 0x38;
    pub(in super::super) const QUEUE_READY: u64 = 0x44;
    pub(in super::super) const QUEUE_NOTIFY: u64 = 0x50;
    pub(in super::super) const INTERRUPT_STATUS: u64 = 0x60;
    pub(in super::super) const INTERRUPT_ACK: u64 = 0x64;
    pub(in super::super) const STATUS: u64 = 0x70;
    pub(in super::super) const QUEUE_DESC_LOW: u64 = 0x80;
    pub(in super::super) const QUEUE_DESC_HIGH: u64 = 0x84;
    pub(in super::super) const QUEUE_DRIVER_LOW: u64 = 0x90;
    pub(in super::super) const QUEUE_DRIVER_HIGH: u64 = 0x94;
    pub(in super::super) const QUEUE_DEVICE_LOW: u64 = 0xa0;
    pub(in super::super) const QUEUE_DEVICE_HIGH: u64 = 0xa4;
    pub(in super::super) const SHM_LENGTH_LOW: u64 = 0xb0;
    pub(in super::super) const SHM_LENGTH_HIGH: u64 = 0xb4;
    pub(in super::super) const CONFIG_GENERATION: u64 = 0xfc;
    pub(in super::super) const CONFIG: u64 = 0x100;
}

/// Offset of the register that ioeventfds stand on.
pub const QUEUE_NOTIFY: u64 = register::QUEUE_NOTIFY;

const MAGIC: u32 = 0x7472_6976; // "virt"
const VERSION: u32 = 2;
const VENDOR: u32 = u32::from_le_bytes(*b"BTLV");

/// Device status bits (§2.1).
pub(super) mod status {
    pub(in super::super) const ACKNOWLEDGE: u32 = 1;
    pub(in super::super) const DRIVER: u32 = 2;
    pub(in super::super) const DRIVER_OK: u32 = 4;
    pub(in super::super) const FEATURES_OK: u32 = 8;
    pub(in super::super) const NEEDS_RESET: u32 = 64;
    pub(in super::super) const FAILED: u32 = 128;
}

pub struct MmioTransport {
    device: SharedDevice,
    ram: GuestRam,
    irq: Irq,
    notifications: Vec<Notification>,
    registers: Mutex<Registers>,
}

/// What the driver has written so far.
struct Registers {
    status: u32,
    device_features_select: u32,
    driver_features_select: u32,
    driver_features: u64,
    queue_select: u32,
    queues: Vec<Queue>,
    offered: u64,
    kind: u32,
}

impl MmioTransport {
    /// `notifications` has one for each of the device's queues.
    ///
    /// # Errors
    /// Never in practice: a queue size that is no power of two, which would be a mistake of the device's author.
    pub fn new(
        device: SharedDevice,
        ram: GuestRam,
        irq: Irq,
        notifications: Vec<Notification>,
    ) -> Result<Self, virtio_queue::Error> {
        let (offered, kind, queues) = {
            let device = device.lock().unwrap_or_else(PoisonError::into_inner);
            let queues = device.queue_sizes().iter().map(|&size| Queue::new(size)).collect::<Result<Vec<_>, _>>()?;
            (device.features(), device.kind() as u32, queues)
        };
        let registers = Registers {
            status: 0,
            device_features_select: 0,
            driver_features_select: 0,
            driver_features: 0,
            queue_select: 0,
            queues,
            offered,
            kind,
        };
        Ok(Self { device, ram, irq, notifications, registers: Mutex::new(registers) })
    }

    fn registers(&self) -> MutexGuard<'_, Registers> {
        self.registers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read_register(&self, offset: u64) -> u32 {
        let registers = self.registers();
        match offset {
            register::MAGIC => MAGIC,
            register::VERSION => VERSION,
            register::DEVICE_ID => registers.kind,
            register::VENDOR_ID => VENDOR,
            register::DEVICE_FEATURES => half(registers.offered, registers.device_features_select),
            register::QUEUE_SIZE_MAX => registers.selected().map_or(0, |queue| queue.max_size().into()),
            register::QUEUE_READY => registers.selected().map_or(0, |queue| queue.ready().into()),
            register::INTERRUPT_STATUS => self.irq.status(),
            register::STATUS => registers.status,
            // No shared memory regions: a length of all ones says so (§4.2.2).
            register::SHM_LENGTH_LOW | register::SHM_LENGTH_HIGH => u32::MAX,
            _ => 0,
        }
    }

    fn write_register(&self, offset: u64, value: u32) {
        if offset == register::INTERRUPT_ACK {
            return self.irq.acknowledge(value);
        }
        let mut registers = self.registers();
        match offset {
            register::STATUS => self.write_status(&mut registers, value),
            register::QUEUE_SELECT => registers.queue_select = value,
            register::DEVICE_FEATURES_SELECT => registers.device_features_select = value,
            register::DRIVER_FEATURES_SELECT => registers.driver_features_select = value,
            register::DRIVER_FEATURES => registers.write_driver_features(value),
            _ => registers.write_queue(offset, value),
        }
    }

    /// The driver only ever adds bits; zero resets (§2.1.1, §4.2.2.1).
    fn write_status(&self, registers: &mut Registers, value: u32) {
        if value == 0 {
            self.device.lock().unwrap_or_else(PoisonError::into_inner).reset();
            self.irq.acknowledge(u32::MAX);
            return registers.reset();
        }
        let added = value & !registers.status;
        if added & status::FAILED != 0 {
            registers.status |= status::FAILED;
        }
        if added & (status::ACKNOWLEDGE | status::DRIVER) != 0 {
            registers.status |= added & (status::ACKNOWLEDGE | status::DRIVER);
        }
        // FEATURES_OK that does not stay set tells the driver that its choice is not supported (§2.1, §3.1.1 step 6).
        if added & status::FEATURES_OK != 0 && registers.features_acceptable() {
            registers.status |= status::FEATURES_OK;
        }
        // After a failure of either side only a reset leads on (§2.1.2, §3.1.1).
        let startable =
            registers.status & (status::FEATURES_OK | status::NEEDS_RESET | status::FAILED) == status::FEATURES_OK;
        if added & status::DRIVER_OK != 0 && startable {
            self.activate(registers);
        }
    }

    fn activate(&self, registers: &mut Registers) {
        let event_idx = registers.driver_features & F_EVENT_IDX != 0;
        // An available ring at address zero is one whose address was never written, for the queue that will be asked to read it.
        let usable = |queue: &Queue| queue.is_valid(&self.ram) && queue.avail_ring() != 0;
        let usable = registers.queues.iter().all(|queue| !queue.ready() || usable(queue));
        if !usable {
            registers.status |= status::NEEDS_RESET;
            return self.irq.raise(CONFIG_CHANGE);
        }
        registers.status |= status::DRIVER_OK;
        let queues = registers.queues.iter_mut().map(|queue| take_queue(queue, event_idx)).collect();
        let active = Active {
            ram: self.ram.clone(),
            queues,
            irq: self.irq.clone(),
            notifications: self.notifications.clone(),
            features: registers.driver_features,
        };
        self.device.lock().unwrap_or_else(PoisonError::into_inner).activate(active);
        // Drivers may fill queues, and notify, before DRIVER_OK (FreeBSD's entropy driver does): nobody listened then. This is a
        // vCPU's thread: the event loop serves.
        self.notifications.iter().for_each(Notification::ring);
    }
}

/// Hands the configured queue to the device; what stays behind answers the driver's questions about it.
fn take_queue(queue: &mut Queue, event_idx: bool) -> Queue {
    let mut stays = Queue::default();
    if let Ok(mut same) = Queue::new(queue.max_size()) {
        same.set_ready(queue.ready());
        stays = same;
    }
    let mut taken = std::mem::replace(queue, stays);
    taken.set_event_idx(event_idx);
    taken
}

/// The 32 bits that a feature select register names.
fn half(features: u64, select: u32) -> u32 {
    let half = if select < 2 { (features >> (32 * select)) & u64::from(u32::MAX) } else { 0 };
    u32::try_from(half).unwrap_or(0)
}

impl Registers {
    fn selected(&self) -> Option<&Queue> {
        self.queues.get(usize::try_from(self.queue_select).ok()?)
    }

    fn reset(&mut self) {
        for queue in &mut self.queues {
            queue.reset();
        }
        (self.status, self.queue_select, self.driver_features) = (0, 0, 0);
        (self.device_features_select, self.driver_features_select) = (0, 0);
    }

    fn features_acceptable(&self) -> bool {
        self.driver_features & !self.offered == 0 && self.driver_features & F_VERSION_1 != 0
    }

    fn write_driver_features(&mut self, value: u32) {
        if self.status & status::FEATURES_OK != 0 || self.driver_features_select > 1 {
            return;
        }
        let shift = 32 * self.driver_features_select;
        let mask = u64::from(u32::MAX) << shift;
        self.driver_features = (self.driver_features & !mask) | (u64::from(value) << shift);
    }

    /// Queues may be set up between FEATURES_OK and DRIVER_OK only (§3.1.1).
    fn write_queue(&mut self, offset: u64, value: u32) {
        let configurable =
            self.status & (status::FEATURES_OK | status::DRIVER_OK | status::FAILED) == status::FEATURES_OK;
        let Some(queue) = usize::try_from(self.queue_select).ok().and_then(|index| self.queues.get_mut(index)) else {
            return;
        };
        if !configurable {
            return;
        }
        match offset {
            register::QUEUE_SIZE => queue.set_size(u16::try_from(value).unwrap_or(0)),
            register::QUEUE_READY => queue.set_ready(value == 1),
            register::QUEUE_DESC_LOW => queue.set_desc_table_address(Some(value), None),
            register::QUEUE_DESC_HIGH => queue.set_desc_table_address(None, Some(value)),
            register::QUEUE_DRIVER_LOW => queue.set_avail_ring_address(Some(value), None),
            register::QUEUE_DRIVER_HIGH => queue.set_avail_ring_address(None, Some(value)),
            register::QUEUE_DEVICE_LOW => queue.set_used_ring_address(Some(value), None),
            register::QUEUE_DEVICE_HIGH => queue.set_used_ring_address(None, Some(value)),
            _ => {}
        }
    }
}

impl BusDevice for MmioTransport {
    fn read(&self, offset: u64, data: &mut [u8]) {
        data.fill(0);
        if let Some(offset) = offset.checked_sub(register::CONFIG) {
            return self.device.lock().unwrap_or_else(PoisonError::into_inner).read_config(offset, data);
        }
        // §4.2.2.2: registers are read and written as 32 bits, aligned. CONFIG_GENERATION is zero as configurations never change.
        const { assert!(register::CONFIG_GENERATION < register::CONFIG) };
        if let ([_, _, _, _], 0) = (&data, offset % 4) {
            data.copy_from_slice(&self.read_register(offset).to_le_bytes());
        }
    }

    fn write(&self, offset: u64, data: &[u8]) -> Effect {
        if let (Ok(value), true) = (<[u8; 4]>::try_from(data), offset < register::CONFIG) {
            self.write_register(offset, u32::from_le_bytes(value));
        }
        Effect::None
    }
}

#[cfg(test)]
#[path = "mmio_test.rs"]
mod tests;
