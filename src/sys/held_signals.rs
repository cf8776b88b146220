//! Signals that would end us, found when we look instead.

use std::os::fd::{AsFd, BorrowedFd};

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

/// What ends a program at a terminal, in a pipeline and at the end of a session.
const ENDING: [Signal; 4] = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGQUIT];

/// While it lives, this thread (and those that it starts) are not ended by a signal: it is found here. What comes after the last
/// look takes effect when this is dropped.
#[derive(Debug)]
pub struct HeldSignals {
    before: SigSet,
    pending: SignalFd,
}

impl HeldSignals {
    /// # Errors
    /// signalfd(2) fails.
    pub fn hold() -> nix::Result<Self> {
        let mut ending = SigSet::empty();
        ENDING.into_iter().for_each(|signal| ending.add(signal));
        let pending = SignalFd::with_flags(&ending, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
        let before = SigSet::thread_get_mask()?;
        ending.thread_block()?;
        Ok(Self { before, pending })
    }

    /// Starts a program, which would inherit the mask. (A signal that comes right now still ends us, and leaves a program
    /// that has no one to write to.)
    pub fn released<T>(&self, start: impl FnOnce() -> T) -> T {
        let held = SigSet::thread_get_mask();
        let _set = self.before.thread_set_mask();
        let result = start();
        let _set = held.map(|mask| mask.thread_set_mask());
        result
    }

    /// The next signal that has come, if one has.
    #[must_use]
    pub fn caught(&self) -> Option<u8> {
        let signal = self.pending.read_signal().ok()??;
        u8::try_from(signal.ssi_signo).ok()
    }
}

/// Readable when there is a signal.
impl AsFd for HeldSignals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pending.as_fd()
    }
}

impl Drop for HeldSignals {
    fn drop(&mut self) {
        let _restored = self.before.thread_set_mask();
    }
}
