//! virtio-rng (virtio 1.3 §5.4): the host's entropy for the guest.
//!
//! At worst a guest asks for entropy without end; each request is cut at [`REQUEST_MAX`], and serving one costs the guest an exit.
//! Runs on the event loop's thread.

use super::{Active, DeviceKind, F_EVENT_IDX, F_VERSION_1, VirtioDevice};
use crate::vmm::memory::GuestRam;
use std::fs::File;
use virtio_queue::DescriptorChain;
use virtio_queue::desc::split::Descriptor;
use vm_memory::{GuestMemoryBackend, ReadVolatile};

/// Bytes given per request: a guest cannot make the host produce more in one go, whatever length its buffers claim.
const REQUEST_MAX: usize = 4096;

pub struct Entropy {
    /// `/dev/urandom`, read straight into guest memory.
    source: File,
    active: Option<Active>,
}

impl Entropy {
    #[must_use]
    pub fn new(source: File) -> Self {
        Self { source, active: None }
    }
}

/// Fills the writable buffers of a chain; returns how many bytes.
fn fill(source: &mut File, ram: &GuestRam, chain: DescriptorChain<&GuestRam>) -> u32 {
    let mut filled = 0usize;
    // An indirect table, which is not offered, could hold many more.
    for descriptor in chain.take(QUEUE_SIZE.into()).filter(Descriptor::is_write_only) {
        let wanted = usize::try_from(descriptor.len()).unwrap_or(0).min(REQUEST_MAX - filled);
        for slice in ram.get_slices(descriptor.addr(), wanted) {
            let Ok(mut slice) = slice else { return u32::try_from(filled).unwrap_or(0) };
            match source.read_volatile(&mut slice) {
                // A short read leaves a hole: what is counted has to be filled from the start without one (§2.7.8.2).
                Ok(read) if read < slice.len() => return u32::try_from(filled + read).unwrap_or(0),
                Ok(read) => filled += read,
                Err(_) => return u32::try_from(filled).unwrap_or(0),
            }
        }
        if filled >= REQUEST_MAX {
            break;
        }
    }
    u32::try_from(filled).unwrap_or(0)
}

const REQUEST_QUEUE: u16 = 0;
const QUEUE_SIZE: u16 = 16;

impl VirtioDevice for Entropy {
    fn kind(&self) -> DeviceKind {
        DeviceKind::Entropy
    }

    fn features(&self) -> u64 {
        F_VERSION_1 | F_EVENT_IDX
    }

    fn queue_sizes(&self) -> &'static [u16] {
        &[QUEUE_SIZE]
    }

    fn read_config(&self, _offset: u64, _data: &mut [u8]) {}

    fn activate(&mut self, active: Active) {
        self.active = Some(active);
    }

    fn reset(&mut self) {
        self.active = None;
    }

    fn queue_notified(&mut self, queue: u16) {
        if let (Some(active), REQUEST_QUEUE) = (&mut self.active, queue) {
            active.drain(REQUEST_QUEUE.into(), |ram, chain| fill(&mut self.source, ram, chain));
        }
    }
}

#[cfg(test)]
#[path = "rng_test.rs"]
mod tests;
