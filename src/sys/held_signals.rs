//! Signals that would end us, found when we look instead.
#![expect(unsafe_code, reason = "a child's mask is set between fork and exec")]

use std::cell::Cell;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

/// What a caller ends a program with, or tells it something; each ends one that does not deal with it (signal(7)).
pub const ENDING: [Signal; 7] = [
    Signal::SIGHUP,
    Signal::SIGINT,
    Signal::SIGQUIT,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGALRM,
    Signal::SIGTERM,
];

/// While it lives, this thread (and those that it starts) are not ended by a signal: it is found here. What comes after the last
/// look takes effect when this is released or dropped. One may be held inside another; whoever looks first has the signal.
#[derive(Debug)]
pub struct HeldSignals {
    /// What the mask was; none once it is that again.
    before: Cell<Option<SigSet>>,
    pending: SignalFd,
}

impl HeldSignals {
    /// # Errors
    /// signalfd(2) fails.
    pub fn hold() -> nix::Result<Self> {
        let ignored = ignored();
        let mut ending = SigSet::empty();
        // Who started us with a signal ignored (nohup, a shell's background job) wants it ignored; one that is held is not.
        let wanted = ENDING.into_iter().filter(|signal| !is_in(ignored, *signal as u32));
        wanted.for_each(|signal| ending.add(signal));
        let pending = SignalFd::with_flags(&ending, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
        let before = SigSet::thread_get_mask()?;
        ending.thread_block()?;
        Ok(Self { before: Cell::new(Some(before)), pending })
    }

    /// The next signal that has come, if one has.
    #[must_use]
    pub fn caught(&self) -> Option<u8> {
        let signal = self.pending.read_signal().ok()??;
        u8::try_from(signal.ssi_signo).ok()
    }

    /// From here on signals are somebody else's to deal with.
    pub fn release(&self) {
        if let Some(before) = self.before.take() {
            let _restored = before.thread_set_mask();
        }
    }
}

/// Has a program end by signals as usual; it would inherit that they are held.
pub fn not_held_in(command: &mut Command) {
    let mut ending = SigSet::empty();
    ENDING.into_iter().for_each(|signal| ending.add(signal));
    // SAFETY: between fork and exec this calls pthread_sigmask(3) alone, on a set that lies on the stack; it allocates nothing and takes no lock.
    unsafe { command.pre_exec(move || Ok(ending.thread_unblock()?)) };
}

/// The signals that this process ignores: bit N - 1 is signal N.
#[must_use]
pub fn ignored() -> u64 {
    std::fs::read_to_string("/proc/self/status").map_or(0, |status| ignored_in(&status))
}

/// Whether a signal is in such a set.
#[must_use]
pub fn is_in(set: u64, signal: u32) -> bool {
    signal.checked_sub(1).and_then(|bit| set.checked_shr(bit)).is_some_and(|set| set & 1 == 1)
}

/// `SigIgn` of proc_pid_status(5).
fn ignored_in(status: &str) -> u64 {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}

/// Readable when there is a signal.
impl AsFd for HeldSignals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pending.as_fd()
    }
}

impl Drop for HeldSignals {
    fn drop(&mut self) {
        self.release();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ignored_signals_are_read_from_the_status() {
        let set = ignored_in("Name:\tx\nSigIgn:\t0000000000001001\nSigCgt:\tff\n");
        assert_eq!(set, 1 << 12 | 1);
        let ignored: Vec<_> = (0..200).filter(|signal| is_in(set, *signal)).collect();
        assert_eq!(ignored, [1, 13]);
        assert_eq!(ignored_in(""), 0);
    }

    #[test]
    fn a_program_that_is_started_meanwhile_ends_by_signals_as_usual() {
        let mask = |command: &mut Command| {
            let output = command.args(["SigBlk", "/proc/self/status"]).output().unwrap();
            u64::from_str_radix(String::from_utf8(output.stdout).unwrap().split_once('\t').unwrap().1.trim(), 16)
                .unwrap()
        };
        let outer = HeldSignals::hold().unwrap();
        let inner = HeldSignals::hold().unwrap();
        let inherited = mask(&mut Command::new("grep"));
        assert!(is_in(inherited, Signal::SIGTERM as u32), "or this test could not fail");
        let mut command = Command::new("grep");
        not_held_in(&mut command);
        assert_eq!(mask(&mut command), inherited & !0b110_1010_0000_0111);
        drop(inner);
        assert!(SigSet::thread_get_mask().unwrap().contains(Signal::SIGTERM), "the outer one holds still");
        outer.release();
        assert!(!SigSet::thread_get_mask().unwrap().contains(Signal::SIGTERM));
    }

    #[test]
    fn a_signal_is_found_once_and_by_whoever_looks_first() {
        let outer = HeldSignals::hold().unwrap();
        let inner = HeldSignals::hold().unwrap();
        // raise(3) sends to this thread alone; other tests have theirs.
        nix::sys::signal::raise(Signal::SIGTERM).unwrap();
        assert_eq!((inner.caught(), outer.caught()), (Some(15), None));
    }
}
