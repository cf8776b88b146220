//! Signals that the caller sends us, for the command in the guest.

use super::terminal;
use crate::sys::held_signals;
use std::future::poll_fn;
use std::io;
use std::task::Poll;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// What arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caught {
    /// To be forwarded, as a signal number.
    Forward(u8),
    /// The terminal has a new size.
    Resized,
}

pub const HANG_UP: u8 = 1;
const TERMINATE: u8 = 15;

/// Watches them.
pub struct Signals {
    forwarded: Vec<(u8, Signal)>,
    resized: Signal,
    terminations: u32,
    /// We were started on a terminal.
    terminal: bool,
}

impl Signals {
    /// # Errors
    /// When a handler cannot be installed.
    pub fn watch() -> io::Result<Self> {
        // Who started us with a signal ignored (nohup, a shell's background job) wants it ignored.
        let ignored = held_signals::ignored();
        let numbers = held_signals::ENDING.into_iter().filter_map(|signal| u8::try_from(signal as i32).ok());
        let wanted = numbers.filter(|number| !held_signals::is_in(ignored, (*number).into()));
        let forwarded = wanted.map(|number| Ok((number, signal(SignalKind::from_raw(number.into()))?)));
        Ok(Self {
            forwarded: forwarded.collect::<io::Result<_>>()?,
            resized: signal(SignalKind::window_change())?,
            terminations: 0,
            terminal: !terminal::none_controls(),
        })
    }

    /// Whether the terminal that we were started on is gone. Where there never was one, SIGHUP is a word to the command and nothing else.
    #[must_use]
    pub fn lost_terminal(&self) -> bool {
        self.terminal && terminal::none_controls()
    }

    /// The next signal that asks for an end, for as long as there is no command to forward it to.
    pub async fn termination(&mut self) -> u8 {
        loop {
            if let (Caught::Forward(signal), _) = self.next().await {
                return signal;
            }
        }
    }

    /// The next signal, and whether it is the second request to terminate: then the bottle ends at once. Cancel-safe.
    pub async fn next(&mut self) -> (Caught, bool) {
        let Self { forwarded, resized, .. } = self;
        let caught = poll_fn(|context| {
            for (number, signal) in forwarded.iter_mut() {
                if signal.poll_recv(context).is_ready() {
                    return Poll::Ready(Caught::Forward(*number));
                }
            }
            resized.poll_recv(context).map(|_| Caught::Resized)
        })
        .await;
        if caught == Caught::Forward(TERMINATE) {
            self.terminations += 1;
        }
        (caught, self.terminations > 1)
    }
}
