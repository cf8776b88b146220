//! What wakes the event loop for a queue: the guest by its notification register (an ioeventfd, so KVM writes it), the device
//! itself when it stopped before the queue was empty.

use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;
use vmm_sys_util::eventfd::EventFd;

/// Clones share one eventfd.
#[derive(Clone, Debug)]
pub struct Notification(Arc<EventFd>);

impl Notification {
    /// # Errors
    /// When the process is out of descriptors.
    pub fn new() -> std::io::Result<Self> {
        Ok(Self(Arc::new(EventFd::new(libc::EFD_NONBLOCK | libc::EFD_CLOEXEC)?)))
    }

    /// The descriptor to hand to KVM as an ioeventfd.
    #[must_use]
    pub fn event(&self) -> &EventFd {
        &self.0
    }

    /// Has the event loop come back to this queue after it has served the others.
    pub fn ring(&self) {
        // EAGAIN means that 2^64-2 are pending; epoll then has an edge to report already.
        let _ = self.0.write(1);
    }

    /// Whether it was rung since the last question. For tests: the event loop watches edges and never reads.
    #[must_use]
    pub fn was_rung(&self) -> bool {
        self.0.read().is_ok()
    }
}

impl AsRawFd for Notification {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}
