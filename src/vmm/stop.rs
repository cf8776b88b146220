//! Why the machine ended, told once by whoever sees it first.

use std::sync::{Mutex, PoisonError};
use vmm_sys_util::eventfd::EventFd;

/// How a virtual machine came to its end.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StopReason {
    /// The guest wrote the sleep register.
    PowerOff,
    /// The guest asked for a reset, by the keyboard controller's line or the ACPI register. Nothing starts it again.
    Reset,
    /// A triple fault, or a kernel that resets by causing one.
    Shutdown,
    /// KVM could not go on with a vCPU; the text has KVM's own numbers.
    Vcpu { index: u8, detail: String },
    /// A verified disk (0 is vda) cannot hand out what it should, at this byte of its file.
    Disk { index: usize, offset: u64, fault: DiskFault },
    /// The launcher closed its side of the control socket.
    LauncherGone,
}

/// Why a disk cannot do what the guest may ask of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DiskFault {
    /// It is not the block that the hash tree tells of, or the file ends before it.
    Changed,
    /// The host cannot read it.
    Unreadable { errno: i32 },
    /// The host cannot write it: a sparse file grows, and the disk that it lies on may be full.
    Unwritable { errno: i32 },
}

/// Set once; later reasons are consequences of the first.
#[derive(Debug)]
pub struct Stop {
    reason: Mutex<Option<StopReason>>,
    event: EventFd,
}

impl Stop {
    /// # Errors
    /// When the process is out of descriptors.
    pub fn new() -> std::io::Result<Self> {
        Ok(Self { reason: Mutex::new(None), event: EventFd::new(libc::EFD_NONBLOCK | libc::EFD_CLOEXEC)? })
    }

    pub fn request(&self, reason: StopReason) {
        self.reason.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(reason);
        let _ = self.event.write(1);
    }

    #[must_use]
    pub fn reason(&self) -> Option<StopReason> {
        self.reason.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Readable once a reason is set.
    #[must_use]
    pub fn event(&self) -> &EventFd {
        &self.event
    }
}
