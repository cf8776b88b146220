//! Work that a signal ends, with what it had begun taken back by whoever held the signals: nothing is lost on the way out.

use super::progress::Bar;
use super::report::Failure;
use super::tty::Caught;
use crate::builder::Gate;
use crate::sys::held_signals::HeldSignals;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::io;
use std::os::fd::AsFd as _;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

/// How long a program that runs for us has to find a signal, before it is looked for again.
const TURN: Duration = Duration::from_millis(20);

/// # Errors
/// There is no way to hold them.
pub fn hold() -> Result<HeldSignals, Failure> {
    HeldSignals::hold().map_err(|errno| Failure::new(format!("cannot watch for signals: {}", errno.desc()), None))
}

/// # Errors
/// The person has left.
pub fn check(signals: &HeldSignals) -> Result<(), Failure> {
    signals.caught().map_or(Ok(()), |signal| Err(Failure::interrupted(Caught(signal))))
}

/// Work that may take its time, on a thread of its own. Where it has no means to end sooner it is left behind, and ends with the process;
/// so it must leave nothing if it is cut off that the next run does not sweep up (`draft`). A builder's program is ended first, and none is
/// started after.
///
/// # Errors
/// The person has left.
pub fn until_signal<T: Send + 'static>(
    signals: &HeldSignals,
    work: impl FnOnce(&Bar) -> T + Send + 'static,
) -> Result<T, Failure> {
    check(signals)?;
    beside(signals, work)
}

fn beside<T: Send + 'static>(
    signals: &HeldSignals,
    work: impl FnOnce(&Bar) -> T + Send + 'static,
) -> Result<T, Failure> {
    let failed = |error: io::Error| Failure::new(format!("cannot start a thread: {error}"), None);
    let (done, doing) = io::pipe().map_err(failed)?;
    let bar = Arc::new(Bar::new());
    let shown = Arc::clone(&bar);
    let gate = Arc::new(Gate::default());
    let before = Arc::clone(&gate);
    let thread = thread::Builder::new().name("image".to_owned()).spawn(move || {
        let _until_the_end = doing;
        before.stand_before_this_thread();
        work(&shown)
    });
    let thread = thread.map_err(failed)?;
    loop {
        let mut watched = [signals.as_fd(), done.as_fd()].map(|it| PollFd::new(it, PollFlags::POLLIN));
        // Whatever it says, both are looked at.
        let _any = poll(&mut watched, PollTimeout::NONE);
        let [signalled, ended] = watched.map(|it| it.any().unwrap_or_default());
        if ended {
            return thread.join().or_else(|panic| resume_unwind(panic));
        }
        if signalled && gate.close() {
            bar.clear();
            check(signals)?;
            gate.open(); // a program that has ended by now had it
        } else if signalled {
            thread::sleep(TURN);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::signal::{Signal, raise};
    use std::sync::mpsc;

    #[test]
    fn work_comes_to_its_end_or_is_left_behind_at_a_signal() {
        let signals = hold().unwrap();
        assert_eq!(until_signal(&signals, |_| 7).unwrap(), 7);
        let (_never, stuck) = mpsc::channel::<()>();
        raise(Signal::SIGTERM).unwrap();
        let failure = beside(&signals, move |_| stuck.recv()).unwrap_err();
        assert_eq!(failure.code(), 143);
        assert!(check(&signals).is_ok(), "one signal, one end");
    }

    #[test]
    fn work_is_not_begun_after_a_signal() {
        let signals = hold().unwrap();
        let (begun, begins) = mpsc::channel();
        // Not SIGHUP, which whoever started the tests may ignore (nohup does).
        raise(Signal::SIGTERM).unwrap();
        let failure = until_signal(&signals, move |_| begun.send(())).unwrap_err();
        assert_eq!((failure.code(), begins.recv()), (143, Err(mpsc::RecvError)));
    }
}
