//! Chains that are given back as one.

use crate::vmm::memory::GuestRam;
use virtio_queue::{Queue, QueueT as _};
use vm_memory::{Bytes as _, GuestAddress};

/// Flags and index of the used ring, and one entry: the chain's head, the bytes written to it (virtio 1.3 §2.7.8).
const HEADER: u64 = 4;
const ENTRY: u64 = 8;

/// A chain and how many bytes were written to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Used {
    pub(super) head: u16,
    pub(super) written: u32,
}

/// Gives `chains`, not more than the ring holds, back to the driver, which sees all of them or none.
///
/// [`Queue::add_used`] shows each at once: a driver that polls on another processor finds the first buffers of a frame without the others,
/// and drops it (§5.1.6.4.1: they are used together).
pub(super) fn give_back(queue: &mut Queue, ram: &GuestRam, chains: &[Used]) {
    let Some((last, others)) = chains.split_last() else { return };
    let size = queue.size().max(1);
    let mut slot = queue.next_used();
    for chain in others {
        let offset = HEADER + ENTRY * u64::from(slot % size);
        let entry = u64::from(chain.head) | u64::from(chain.written) << 32;
        // Fails only for rings outside of RAM, which were refused when the queue was set up.
        if let Some(address) = queue.used_ring().checked_add(offset) {
            let _ = ram.write_obj(entry.to_le(), GuestAddress(address));
        }
        slot = slot.wrapping_add(1);
    }
    // The queue counts its calls to know whether an interrupt is due. Only the first one shows anything new.
    for _ in chains {
        queue.set_next_used(slot);
        let _ = queue.add_used(ram, last.head, last.written);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::Ordering;

    const DESCRIPTORS: u64 = 0;
    const AVAILABLE: u64 = 0x1000;
    const RING: u64 = 0x2000;
    const SIZE: u16 = 16;

    fn queue() -> (Queue, GuestRam) {
        let ram = GuestRam::from_ranges(&[(GuestAddress(0), 0x1_0000)]).unwrap();
        let mut queue = Queue::new(SIZE).unwrap();
        queue.set_size(SIZE);
        for (set, address) in [
            (Queue::set_desc_table_address as fn(&mut Queue, _, _), DESCRIPTORS),
            (Queue::set_avail_ring_address, AVAILABLE),
            (Queue::set_used_ring_address, RING),
        ] {
            set(&mut queue, u32::try_from(address).ok(), Some(0));
        }
        queue.set_ready(true);
        (queue, ram)
    }

    fn index(ram: &GuestRam) -> u16 {
        u16::from_le(ram.load(GuestAddress(RING + 2), Ordering::Acquire).unwrap())
    }

    fn chains(heads: std::ops::Range<u16>) -> Vec<Used> {
        heads.map(|head| Used { head, written: 100 + u32::from(head) }).collect()
    }

    #[test]
    fn entries_are_those_of_the_library_wherever_the_ring_wraps() {
        for first in [0, 3, SIZE - 1, u16::MAX - 1] {
            let ((mut ours, our_ram), (mut theirs, their_ram)) = (queue(), queue());
            for queue in [&mut ours, &mut theirs] {
                queue.set_next_used(first);
                queue.set_event_idx(true);
            }
            let chains = chains(0..5);
            give_back(&mut ours, &our_ram, &chains);
            for chain in &chains {
                theirs.add_used(&their_ram, chain.head, chain.written).unwrap();
            }
            let ring = |ram: &GuestRam| {
                let mut bytes = [0; 0x200];
                ram.read_slice(&mut bytes, GuestAddress(RING)).unwrap();
                bytes
            };
            assert_eq!(ring(&our_ram), ring(&their_ram), "{first}");
            assert_eq!(ours.next_used(), theirs.next_used());
            // The driver asks to hear of the second of the five.
            let event = GuestAddress(AVAILABLE + 4 + 2 * u64::from(SIZE));
            our_ram.write_obj(first.wrapping_add(1).to_le(), event).unwrap();
            assert!(ours.needs_notification(&our_ram).unwrap(), "{first}");
            assert!(!ours.needs_notification(&our_ram).unwrap(), "{first}");
        }
    }

    #[test]
    fn nothing_is_no_entry() {
        let (mut queue, ram) = queue();
        give_back(&mut queue, &ram, &[]);
        assert_eq!((index(&ram), queue.next_used()), (0, 0));
    }

    #[test]
    fn a_driver_that_polls_never_sees_a_part() {
        let (mut queue, ram) = queue();
        let seen = ram.clone();
        let driver = std::thread::spawn(move || {
            let mut last = 0;
            while last != u16::MAX - 3 {
                last = index(&seen);
                assert_eq!(last % 4, 0);
            }
        });
        let chains = chains(0..4);
        for _ in 0..u16::MAX / 4 {
            give_back(&mut queue, &ram, &chains);
        }
        driver.join().unwrap();
    }
}
