//! The one thread that serves every device: epoll over queue notifications and the devices' own host descriptors.
//!
//! Everything is registered edge-triggered. A queue's eventfd is therefore never read (each guest notification is a new edge),
//! and a host descriptor stays registered whether or not its device can use it at the moment: the device remembers.

use super::devices::virtio::VirtioDevice;
use super::stop::{Stop, StopReason};
use std::os::fd::{AsRawFd, RawFd};
use std::sync::{Arc, Mutex, PoisonError};
use vmm_sys_util::epoll::{ControlOperation, Epoll, EpollEvent, EventSet};

#[derive(Debug, thiserror::Error)]
pub enum EventLoopError {
    #[error("cannot watch a descriptor")]
    Watch(#[source] std::io::Error),
    #[error("cannot wait for events")]
    Wait(#[source] std::io::Error),
}

/// A virtio device, shared by its transport (vCPU threads) and the event loop.
pub type SharedDevice = Arc<Mutex<dyn VirtioDevice>>;

const STOP_TOKEN: u64 = u64::MAX;
const LAUNCHER_TOKEN: u64 = u64::MAX - 1;
/// Marks the token of a queue; the other tokens of a device are its own.
const QUEUE_BIT: u32 = 1 << 31;
const EVENTS_AT_ONCE: usize = 32;

/// Lets one device watch host descriptors. Tokens are the device's own, below 2^31.
#[derive(Clone, Debug)]
pub struct Registrar {
    epoll: Arc<Epoll>,
    device: u32,
}

impl Registrar {
    /// Watches `fd` for reading, writing and hang-up until it is closed.
    ///
    /// # Errors
    /// When epoll refuses, e.g. over the user's limit of watches.
    pub fn watch(&self, fd: RawFd, token: u32) -> Result<(), EventLoopError> {
        let events = EventSet::IN | EventSet::OUT | EventSet::READ_HANG_UP | EventSet::EDGE_TRIGGERED;
        let data = (u64::from(self.device) << 32) | u64::from(token & !QUEUE_BIT);
        self.epoll.ctl(ControlOperation::Add, fd, EpollEvent::new(events, data)).map_err(EventLoopError::Watch)
    }

    /// Watches a queue's notification.
    ///
    /// # Errors
    /// When epoll refuses.
    pub fn watch_queue(&self, fd: RawFd, queue: u16) -> Result<(), EventLoopError> {
        let data = (u64::from(self.device) << 32) | u64::from(QUEUE_BIT | u32::from(queue));
        let event = EpollEvent::new(EventSet::IN | EventSet::EDGE_TRIGGERED, data);
        self.epoll.ctl(ControlOperation::Add, fd, event).map_err(EventLoopError::Watch)
    }
}

pub struct EventLoop {
    epoll: Arc<Epoll>,
    devices: Vec<SharedDevice>,
}

impl EventLoop {
    /// # Errors
    /// When the process is out of descriptors.
    pub fn new() -> Result<Self, EventLoopError> {
        Ok(Self { epoll: Arc::new(Epoll::new().map_err(EventLoopError::Watch)?), devices: Vec::new() })
    }

    /// The registrar of the device that the next [`EventLoop::add`] adds.
    #[must_use]
    pub fn next_registrar(&self) -> Registrar {
        Registrar { epoll: Arc::clone(&self.epoll), device: u32::try_from(self.devices.len()).unwrap_or(u32::MAX) }
    }

    pub fn add(&mut self, device: SharedDevice) {
        self.devices.push(device);
    }

    /// Serves devices until the machine stops; `launcher` hanging up stops it too, and whatever it sends is left to `heard`.
    ///
    /// # Errors
    /// When waiting itself fails.
    pub fn run(&self, stop: &Stop, launcher: RawFd, mut heard: impl FnMut()) -> Result<StopReason, EventLoopError> {
        let watch = |fd, token, events| {
            self.epoll.ctl(ControlOperation::Add, fd, EpollEvent::new(events, token)).map_err(EventLoopError::Watch)
        };
        watch(stop.event().as_raw_fd(), STOP_TOKEN, EventSet::IN)?;
        watch(launcher, LAUNCHER_TOKEN, EventSet::IN | EventSet::READ_HANG_UP)?;
        let mut events = [EpollEvent::default(); EVENTS_AT_ONCE];
        loop {
            let count = match self.epoll.wait(-1, &mut events) {
                Ok(count) => count,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(EventLoopError::Wait(error)),
            };
            for event in events.iter().take(count) {
                match event.data() {
                    STOP_TOKEN => {}
                    LAUNCHER_TOKEN if event.event_set().contains(EventSet::READ_HANG_UP) => {
                        stop.request(StopReason::LauncherGone);
                    }
                    LAUNCHER_TOKEN => heard(),
                    data => self.dispatch(data, event.event_set()),
                }
            }
            if let Some(reason) = stop.reason() {
                self.last_words();
                return Ok(reason);
            }
        }
    }

    /// What the guest had queued before it ended: it may have notified us in the same moment.
    fn last_words(&self) {
        for device in &self.devices {
            let mut device = device.lock().unwrap_or_else(PoisonError::into_inner);
            for queue in 0..u16::try_from(device.queue_sizes().len()).unwrap_or(0) {
                device.queue_notified(queue);
            }
        }
    }

    fn dispatch(&self, data: u64, events: EventSet) {
        let (device, token) = split(data);
        let Some(device) = self.devices.get(device) else { return };
        let mut device = device.lock().unwrap_or_else(PoisonError::into_inner);
        match u16::try_from(token & !QUEUE_BIT) {
            Ok(queue) if token & QUEUE_BIT != 0 => device.queue_notified(queue),
            _ => device.host_event(token, events),
        }
    }
}

fn split(data: u64) -> (usize, u32) {
    let token = u32::try_from(data & u64::from(u32::MAX)).unwrap_or(0);
    (usize::try_from(data >> 32).unwrap_or(usize::MAX), token)
}
