//! Address → device, for memory-mapped and port I/O alike.
//!
//! An access that no device claims reads as all ones and is dropped on write, as on a PC bus: the guest may try anything.

use std::sync::Arc;

/// What a write asks of the machine. Devices never hold the machine; they ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    None,
    Reset,
    PowerOff,
}

/// Reached by guest loads, stores, IN and OUT, from any vCPU thread. Never fails: a bad access reads as all ones.
pub trait BusDevice: Send + Sync {
    /// `data` comes filled with ones; its length is the guest's choice: 1 to 8 for memory, up to a page for the string instructions on
    /// ports.
    fn read(&self, offset: u64, data: &mut [u8]);
    fn write(&self, offset: u64, data: &[u8]) -> Effect;
}

/// Ranges do not overlap ([`Bus::insert`] sees to it). A handful of devices: a scan beats a tree.
#[derive(Default)]
pub struct Bus {
    ranges: Vec<(u64, u64, Arc<dyn BusDevice>)>,
}

impl Bus {
    /// # Panics
    /// When the range overlaps one that is there: the map is ours, not the guest's.
    pub fn insert(&mut self, base: u64, length: u64, device: Arc<dyn BusDevice>) {
        let end = base + length;
        assert!(self.ranges.iter().all(|(b, l, _)| end <= *b || base >= b + l), "device ranges overlap at {base:#x}");
        self.ranges.push((base, length, device));
    }

    pub fn read(&self, address: u64, data: &mut [u8]) {
        data.fill(0xff);
        if let Some((offset, device)) = self.find(address) {
            device.read(offset, data);
        }
    }

    #[must_use]
    pub fn write(&self, address: u64, data: &[u8]) -> Effect {
        self.find(address).map_or(Effect::None, |(offset, device)| device.write(offset, data))
    }

    fn find(&self, address: u64) -> Option<(u64, &dyn BusDevice)> {
        self.ranges.iter().find_map(|(base, length, device)| {
            let offset = address.checked_sub(*base)?;
            (offset < *length).then_some((offset, device.as_ref()))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Echo;
    impl BusDevice for Echo {
        fn read(&self, offset: u64, data: &mut [u8]) {
            data.fill(u8::try_from(offset).unwrap());
        }
        fn write(&self, _: u64, _: &[u8]) -> Effect {
            Effect::Reset
        }
    }

    #[test]
    fn the_first_and_last_byte_belong_to_the_device_and_nothing_beyond() {
        let mut bus = Bus::default();
        bus.insert(0x100, 0x10, Arc::new(Echo));
        let read = |address| {
            let mut data = [0];
            bus.read(address, &mut data);
            data[0]
        };
        assert_eq!([read(0x100), read(0x10f), read(0xff), read(0x110), read(u64::MAX)], [0, 0xf, 0xff, 0xff, 0xff]);
        assert_eq!(bus.write(0x10f, &[0]), Effect::Reset);
        assert_eq!(bus.write(0x110, &[0]), Effect::None);
    }

    #[test]
    #[should_panic(expected = "overlap")]
    fn overlapping_ranges_are_a_mistake_of_ours() {
        let mut bus = Bus::default();
        bus.insert(0x100, 0x10, Arc::new(Echo));
        bus.insert(0x10f, 1, Arc::new(Echo));
    }
}
