//! Between the thread that runs programs and one that looks for signals meanwhile. Law: a signal ends the program that is at work, or else
//! none is started after it.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};

/// What a thread's programs go through. Each side writes its own word and then reads the other's, in one order for both: they cannot miss
/// each other.
#[derive(Debug, Default)]
pub struct Gate {
    /// Programs that run now, and find the signals that come.
    at_work: AtomicUsize,
    closed: AtomicBool,
}

thread_local! {
    /// Open, unless somebody else knows of it.
    static OURS: RefCell<Arc<Gate>> = RefCell::default();
}

impl Gate {
    /// From here on this thread's programs go through it.
    pub fn stand_before_this_thread(self: &Arc<Self>) {
        OURS.set(Arc::clone(self));
    }

    /// No program is started any more, unless one is at work: that finds the signal, and the gate stays open. Returns whether it is closed.
    #[must_use]
    pub fn close(&self) -> bool {
        self.closed.store(true, SeqCst);
        let closed = self.at_work.load(SeqCst) == 0;
        if !closed {
            self.open();
        }
        closed
    }

    pub fn open(&self) {
        self.closed.store(false, SeqCst);
    }
}

/// A program of this thread is at work as long as this lives, or will be in a moment.
pub(super) struct AtWork(Arc<Gate>);

impl AtWork {
    pub(super) fn begin() -> Self {
        let gate = OURS.with_borrow(Arc::clone);
        gate.at_work.fetch_add(1, SeqCst);
        Self(gate)
    }

    /// The gate had been closed before.
    pub(super) fn is_too_late(&self) -> bool {
        self.0.closed.load(SeqCst)
    }
}

impl Drop for AtWork {
    fn drop(&mut self) {
        self.0.at_work.fetch_sub(1, SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_stays_open_for_as_long_as_a_program_is_at_work() {
        let gate = Arc::new(Gate::default());
        gate.stand_before_this_thread();
        let (outer, inner) = (AtWork::begin(), AtWork::begin());
        drop(inner);
        assert!(!gate.close() && !outer.is_too_late() && !AtWork::begin().is_too_late());
        drop(outer);
        assert!(gate.close() && AtWork::begin().is_too_late());
        gate.open();
        assert!(!AtWork::begin().is_too_late());
    }

    #[test]
    fn other_threads_have_their_own() {
        let gate = Arc::new(Gate::default());
        gate.stand_before_this_thread();
        assert!(gate.close() && AtWork::begin().is_too_late());
        std::thread::spawn(|| assert!(!AtWork::begin().is_too_late())).join().unwrap();
    }
}
