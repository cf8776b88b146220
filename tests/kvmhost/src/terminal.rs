//! The caller's terminal in raw mode for the time of a run: what is typed, Ctrl-C included, belongs to the command inside.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use nix::sys::signal::{SigSet, Signal};
use nix::sys::termios::{SetArg, Termios, cfmakeraw, tcgetattr, tcsetattr};

use crate::sys;

/// Rows and columns of a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    pub rows: u16,
    pub columns: u16,
}

impl Size {
    /// The size of the terminal behind `descriptor`; `None` where it is none or does not know.
    pub fn of(descriptor: BorrowedFd<'_>) -> Option<Size> {
        sys::terminal_size(descriptor)
    }
}

/// Standard input's terminal in raw mode; dropped, it is as it was.
#[derive(Debug)]
pub struct RawTerminal {
    before: Termios,
}

impl RawTerminal {
    pub fn enter() -> io::Result<RawTerminal> {
        let stdin = io::stdin();
        let before = tcgetattr(stdin.as_fd())?;
        let mut raw = before.clone();
        cfmakeraw(&mut raw);
        tcsetattr(stdin.as_fd(), SetArg::TCSADRAIN, &raw)?;
        Ok(RawTerminal { before })
    }
}

impl Drop for RawTerminal {
    fn drop(&mut self) {
        // A terminal that went away (SIGHUP) cannot be restored and need not be.
        let _ = tcsetattr(io::stdin().as_fd(), SetArg::TCSADRAIN, &self.before);
    }
}

/// The signals of a terminal session, taken as values by one thread. They must be blocked before any other thread
/// starts, since a signal goes to any thread that does not block it.
#[derive(Debug)]
pub struct SessionSignals {
    set: SigSet,
}

/// What a terminal session is told from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionEvent {
    Resized,
    /// End now; the value is the signal's number.
    End(i32),
}

impl SessionSignals {
    pub fn block() -> io::Result<SessionSignals> {
        let set = SigSet::from_iter([Signal::SIGWINCH, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGINT]);
        set.thread_block()?;
        Ok(SessionSignals { set })
    }

    /// Waits for the next signal.
    pub fn next(&self) -> io::Result<SessionEvent> {
        Ok(match self.set.wait()? {
            Signal::SIGWINCH => SessionEvent::Resized,
            signal => SessionEvent::End(signal as i32),
        })
    }
}
