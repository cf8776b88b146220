//! The interrupt line of one device: a status word that the guest reads and acknowledges, and an irqfd that KVM listens to.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use vmm_sys_util::eventfd::EventFd;

/// "Used buffer notification" in InterruptStatus (virtio 1.3 §4.2.2).
pub const USED_BUFFER: u32 = 1;
/// "Configuration change notification".
pub const CONFIG_CHANGE: u32 = 2;

/// Clones share one line.
#[derive(Clone, Debug)]
pub struct Irq {
    status: Arc<AtomicU32>,
    line: Arc<EventFd>,
}

impl Irq {
    /// # Errors
    /// When the process is out of descriptors.
    pub fn new() -> std::io::Result<Self> {
        let line = EventFd::new(libc::EFD_NONBLOCK | libc::EFD_CLOEXEC)?;
        Ok(Self { status: Arc::new(AtomicU32::new(0)), line: Arc::new(line) })
    }

    /// The descriptor to hand to KVM as an irqfd.
    #[must_use]
    pub fn line(&self) -> &EventFd {
        &self.line
    }

    /// Records the cause, then raises the line. The order matters: the guest's handler reads the status first.
    pub fn raise(&self, cause: u32) {
        self.status.fetch_or(cause, Ordering::SeqCst);
        // EAGAIN means that 2^64-2 interrupts are pending, and one pending edge is as good as any number of them.
        let _ = self.line.write(1);
    }

    #[must_use]
    pub fn status(&self) -> u32 {
        self.status.load(Ordering::SeqCst)
    }

    pub fn acknowledge(&self, causes: u32) {
        self.status.fetch_and(!causes, Ordering::SeqCst);
    }
}
