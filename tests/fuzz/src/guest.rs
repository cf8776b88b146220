//! Bytes become what a guest can do to a device: loads and stores, descriptors, available entries, notifications.
//!
//! Generic over the device; a target adds what happens on the host's side.

use arbitrary::Arbitrary;
use bottle_vmm::vmm::devices::virtio::VirtioDevice;
use bottle_vmm::vmm::devices::virtio::testing::{Buffer, FakeDriver, RAM_END};
use virtio_queue::desc::split::Descriptor;

/// One thing that a guest does.
#[derive(Arbitrary, Debug)]
pub enum Step {
    Load {
        offset: u16,
        width: u8,
    },
    Store {
        offset: u16,
        data: [u8; 4],
        width: u8,
    },
    Start {
        features: u64,
    },
    Descriptor {
        queue: u8,
        index: u8,
        address: Address,
        length: u32,
        flags: u8,
        next: u8,
    },
    Publish {
        queue: u8,
        head: u16,
    },
    AvailableIndex {
        queue: u8,
        index: u16,
    },
    Poke {
        address: u32,
        bytes: Vec<u8>,
    },
    /// A well-formed chain of any buffers.
    Chain {
        queue: u8,
        buffers: Vec<(Address, u16, bool)>,
    },
    /// A readable buffer with these bytes, and a writable one.
    Request {
        queue: u8,
        bytes: Vec<u8>,
        room: u16,
    },
    Kick {
        queue: u8,
    },
    Used {
        queue: u8,
    },
}

/// Mostly near RAM, where mistakes would be, sometimes anywhere.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub enum Address {
    Near(u32),
    BehindTheEnd(u8),
    Anywhere(u64),
}

impl Address {
    fn get(self) -> u64 {
        match self {
            Self::Near(address) => u64::from(address) % (RAM_END + 4096),
            Self::BehindTheEnd(back) => RAM_END - u64::from(back),
            Self::Anywhere(address) => address,
        }
    }
}

const SCRATCH: u64 = 2 << 20;

/// Lets the guest do one thing.
pub fn act<D: VirtioDevice + 'static>(driver: &mut FakeDriver<D>, queues: u8, step: Step) {
    let of = |queue: u8| usize::from(queue % queues);
    match step {
        Step::Load { offset, width } => drop(driver.load(offset.into(), usize::from(width % 8) + 1)),
        Step::Store { offset, data, width } => driver.store((offset % 0x200).into(), &data[..usize::from(width % 5)]),
        Step::Start { features } => driver.start(features | 1 << 32),
        Step::Descriptor { queue, index, address, length, flags, next } => {
            let descriptor = Descriptor::new(address.get(), length, (flags & 7).into(), next.into());
            driver.descriptor(of(queue), index.into(), descriptor);
        }
        Step::Publish { queue, head } => driver.publish(of(queue), head),
        Step::AvailableIndex { queue, index } => driver.set_avail_index(of(queue), index),
        Step::Poke { address, bytes } => driver.poke(u64::from(address) % (RAM_END - bytes.len() as u64), &bytes),
        Step::Chain { queue, buffers } => {
            let buffer = |(address, length, writable): (Address, u16, bool)| Buffer {
                address: address.get(),
                length: length.into(),
                writable,
            };
            add(driver, of(queue), &buffers.into_iter().map(buffer).collect::<Vec<_>>());
        }
        Step::Request { queue, bytes, room } => {
            driver.poke(SCRATCH, &bytes);
            let read = Buffer::readable(SCRATCH, u32::try_from(bytes.len()).unwrap_or(0));
            add(driver, of(queue), &[read, Buffer::writable(SCRATCH + (1 << 20), room.into())]);
        }
        Step::Kick { queue } => driver.kick(of(queue)),
        Step::Used { queue } => drop(driver.used(of(queue))),
    }
}

fn add<D: VirtioDevice + 'static>(driver: &mut FakeDriver<D>, queue: usize, buffers: &[Buffer]) {
    if !buffers.is_empty() && buffers.len() <= driver.space(queue) {
        driver.add(queue, buffers);
        driver.notify(queue);
    }
}
