//! The end of processes: ours, and every orphan of the machine, which PID 1 inherits.

use std::os::fd::{AsFd, BorrowedFd};

use bottle_protocol::ExitStatus;
use nix::errno::Errno;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use crate::sys;

pub(crate) struct Reaper {
    signals: SignalFd,
}

impl Reaper {
    /// From now on SIGCHLD is blocked and arrives here. Children must unblock it.
    pub(crate) fn new() -> Result<Self, Errno> {
        let mut mask = SigSet::empty();
        mask.add(Signal::SIGCHLD);
        mask.thread_block()?;
        Ok(Self { signals: SignalFd::with_flags(&mask, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)? })
    }

    /// Readable when a process may have ended.
    pub(crate) fn descriptor(&self) -> BorrowedFd<'_> {
        self.signals.as_fd()
    }

    /// Every process that has ended since the last call.
    pub(crate) fn ended(&self) -> impl Iterator<Item = (u32, ExitStatus)> {
        // Emptied before waiting: a child that ends in between then makes it readable again, and is not missed.
        while let Ok(Some(_)) = self.signals.read_signal() {}
        std::iter::from_fn(sys::wait_for_any)
    }
}
