//! What the fake driver keeps about its queues, and where it puts them. Numbers only; memory is [`super::FakeDriver`]'s.

use std::collections::BTreeMap;

/// Queue `i` has its three parts in the 64 KiB at `(i + 1) << 16`.
pub(super) const QUEUE_AREA: u64 = 1 << 16;
const DRIVER_AREA: u64 = 0x8000;
const DEVICE_AREA: u64 = 0xc000;

/// A piece of guest memory, readable or writable for the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Buffer {
    pub address: u64,
    pub length: u32,
    pub writable: bool,
}

impl Buffer {
    #[must_use]
    pub fn readable(address: u64, length: u32) -> Self {
        Self { address, length, writable: false }
    }

    #[must_use]
    pub fn writable(address: u64, length: u32) -> Self {
        Self { address, length, writable: true }
    }

    /// Two buffers for one: the first `at` bytes, and the others.
    #[must_use]
    pub fn split(self, at: u32) -> [Self; 2] {
        let rest = Self { address: self.address + u64::from(at), length: self.length - at, ..self };
        [Self { length: at, ..self }, rest]
    }
}

/// An entry of the used ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Used {
    pub head: u16,
    /// Bytes that the device says it wrote.
    pub written: u32,
}

/// What a driver keeps about one queue.
pub(super) struct Ring {
    pub(super) base: u64,
    pub(super) size: u16,
    pub(super) free: Vec<u16>,
    /// Descriptors of each chain that the device has, by head.
    pub(super) lent: BTreeMap<u16, Vec<u16>>,
    pub(super) next_avail: u16,
    pub(super) next_used: u16,
    /// `next_avail` at the last notification.
    pub(super) notified: u16,
}

impl Ring {
    pub(super) fn new(index: usize, size: u16) -> Self {
        let base = (index as u64 + 1) * QUEUE_AREA;
        let free = (0..size).rev().collect();
        Self { base, size, free, lent: BTreeMap::new(), next_avail: 0, next_used: 0, notified: 0 }
    }

    /// Where the driver says from which used entry on it wants interrupts (§2.7.7).
    pub(super) fn used_event(&self) -> u64 {
        self.base + DRIVER_AREA + 4 + 2 * u64::from(self.size)
    }

    /// Where the device says from which available entry on it wants notifications (§2.7.10).
    pub(super) fn avail_event(&self) -> u64 {
        self.base + DEVICE_AREA + 4 + 8 * u64::from(self.size)
    }

    /// The driver's part, flags first, then the index, then the heads.
    pub(super) fn driver_area(&self) -> u64 {
        self.base + DRIVER_AREA
    }

    /// The device's part, flags first, then the index, then the used entries.
    pub(super) fn device_area(&self) -> u64 {
        self.base + DEVICE_AREA
    }
}
