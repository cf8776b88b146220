//! Signals that the caller sends us, for the command in the guest.

use std::io;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// What arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caught {
    /// To be forwarded, as a signal number.
    Forward(u8),
    /// The terminal has a new size.
    Resized,
}

/// Watches the signals that a caller ends or resizes a command with.
pub struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hang_up: Signal,
    quit: Signal,
    resized: Signal,
    terminations: u32,
}

impl Signals {
    /// # Errors
    /// When a handler cannot be installed.
    pub fn watch() -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hang_up: signal(SignalKind::hangup())?,
            quit: signal(SignalKind::quit())?,
            resized: signal(SignalKind::window_change())?,
            terminations: 0,
        })
    }

    /// The next signal that asks for an end, for as long as there is no command to forward it to.
    pub async fn termination(&mut self) -> u8 {
        loop {
            if let (Caught::Forward(signal), _) = self.next().await {
                return signal;
            }
        }
    }

    /// The next signal, and whether it is the second request to terminate: then the bottle ends at once.
    pub async fn next(&mut self) -> (Caught, bool) {
        let caught = tokio::select! {
            _ = self.interrupt.recv() => Caught::Forward(2),
            _ = self.terminate.recv() => Caught::Forward(15),
            _ = self.hang_up.recv() => Caught::Forward(1),
            _ = self.quit.recv() => Caught::Forward(3),
            _ = self.resized.recv() => Caught::Resized,
        };
        if caught == Caught::Forward(15) {
            self.terminations += 1;
        }
        (caught, self.terminations > 1)
    }
}
