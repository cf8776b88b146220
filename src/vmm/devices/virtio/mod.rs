//! virtio devices behind the MMIO transport (virtio 1.3 §4.2).
//!
//! ```text
//!            driver writes DRIVER_OK, every queue valid
//!   inactive ─────────────────────────────────────────▶ active   (the device owns its queues)
//!      ▲                                                  │
//!      └───────────── driver writes status 0 ─────────────┘
//! ```

pub mod blk;
pub mod mmio;
pub mod net;
mod notification;
pub mod rng;
mod used;
pub mod vsock;

#[doc(hidden)]
pub mod testing;

pub use notification::Notification;

use super::super::irq::{Irq, USED_BUFFER};
use super::super::memory::GuestRam;
use virtio_queue::{DescriptorChain, Queue, QueueT};
use vmm_sys_util::epoll::EventSet;

/// Device types (virtio 1.3 §5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum DeviceKind {
    Network = 1,
    Block = 2,
    Entropy = 4,
    Socket = 19,
}

/// VIRTIO_F_VERSION_1 (§6): the only transport spoken is the modern one.
pub const F_VERSION_1: u64 = 1 << 32;
/// VIRTIO_F_EVENT_IDX (§2.7.10): both sides say when they want to hear of progress, which saves exits and interrupts.
pub const F_EVENT_IDX: u64 = 1 << 29;

/// What became of a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Served {
    /// Bytes written to guest memory.
    pub written: u32,
    /// Of the budget of [`Active::drain_some`], at least 1.
    pub cost: u32,
}

/// What a device owns while the driver runs it.
pub struct Active {
    pub ram: GuestRam,
    pub queues: Vec<Queue>,
    pub irq: Irq,
    /// One a queue.
    pub notifications: Vec<Notification>,
    /// What the driver accepted, a subset of what was offered.
    pub features: u64,
}

impl Active {
    /// Pops the chains of a queue, hands each to `handle`, and gives it back with the number of bytes that `handle` says it
    /// wrote; then interrupts the guest if it wants to know.
    ///
    /// At most a ring's worth at once: a guest that refills its ring as fast as it is emptied must not keep the event loop from the
    /// other devices and from the launcher. What is left is come back to.
    pub fn drain(&mut self, index: usize, mut handle: impl FnMut(&GuestRam, DescriptorChain<&GuestRam>) -> u32) {
        let ring = self.queues.get(index).map_or(0, |queue| queue.size().into());
        if self.drain_some(index, ring, |ram, chain| Served { written: handle(ram, chain), cost: 1 }) {
            self.signal_used([index]);
        }
    }

    /// The same without the interrupt, until what chains have cost comes to `budget`; true if any chain was given back.
    pub fn drain_some(
        &mut self,
        index: usize,
        mut budget: u32,
        mut handle: impl FnMut(&GuestRam, DescriptorChain<&GuestRam>) -> Served,
    ) -> bool {
        // A queue that was never set up has its rings at address zero, where the guest keeps something else.
        let Some(queue) = self.queues.get_mut(index).filter(|queue| queue.ready()) else { return false };
        let mut used = false;
        let mut fruitless = false;
        loop {
            // Both only fail when the rings are not in RAM, which `is_valid` has excluded; then nothing is popped either.
            let _ = queue.disable_notification(&self.ram);
            let before = budget;
            while budget > 0
                && let Some(chain) = queue.pop_descriptor_chain(&self.ram)
            {
                let head = chain.head_index();
                let Served { written, cost } = handle(&self.ram, chain);
                budget = budget.saturating_sub(cost.max(1));
                used |= queue.add_used(&self.ram, head, written).is_ok();
            }
            if budget == 0 {
                self.notifications.get(index).into_iter().for_each(Notification::ring);
                break;
            }
            // More is said to be there, and the try after that found nothing: an index further ahead than the ring is long can
            // never be popped, and would be waited for for ever.
            let hopeless = fruitless && budget == before;
            if !queue.enable_notification(&self.ram).unwrap_or(false) || hopeless {
                break;
            }
            fruitless = budget == before;
        }
        used
    }

    /// Has the event loop come back to a queue.
    pub fn come_back_to(&self, queue: usize) {
        self.notifications.get(queue).into_iter().for_each(Notification::ring);
    }

    /// Interrupts the guest, once, if the driver wants to hear of what was just put into the used ring of any of `queues`.
    pub fn signal_used(&mut self, queues: impl IntoIterator<Item = usize>) {
        let mut wanted = false;
        for index in queues {
            if let Some(queue) = self.queues.get_mut(index) {
                // Each is asked, as each remembers what it was told. A ring that cannot be read is answered with an interrupt too
                // many rather than with one too few.
                wanted |= queue.needs_notification(&self.ram).unwrap_or(true);
            }
        }
        if wanted {
            self.irq.raise(USED_BUFFER);
        }
    }
}

/// Driven by the transport and the event loop, always under the device's lock, so that one call is over before the next.
pub trait VirtioDevice: Send {
    fn kind(&self) -> DeviceKind;

    /// Feature bits offered, [`F_VERSION_1`] included. Constant.
    fn features(&self) -> u64;

    /// Largest size of each queue, a power of two. Constant; its length is the number of queues.
    fn queue_sizes(&self) -> &'static [u16];

    /// Fills `data` from configuration space; what lies beyond it stays as it came (zero).
    fn read_config(&self, offset: u64, data: &mut [u8]);

    /// Called once after the driver set DRIVER_OK; every queue it enabled is valid, the others are not ready. Each is then notified, as
    /// something may lie in it already.
    fn activate(&mut self, active: Active);

    /// Called when the driver resets the device, in any state, as often as it likes. Gives up the queues and host state.
    fn reset(&mut self);

    /// The driver notified `queue`, or the device asked to be called again. May come while inactive and for queues that do not
    /// exist. Does a bounded amount of work (see [`Active::drain`]).
    fn queue_notified(&mut self, queue: u16);

    /// A host descriptor that the device watches had an event.
    fn host_event(&mut self, _token: u32, _events: EventSet) {}
}

/// Copies the part of a little-endian configuration structure that a read asks for.
fn copy_config(config: &[u8], offset: u64, data: &mut [u8]) {
    let Some(rest) = usize::try_from(offset).ok().and_then(|offset| config.get(offset..)) else { return };
    for (to, from) in data.iter_mut().zip(rest) {
        *to = *from;
    }
}
