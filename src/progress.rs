//! How long work tells that it goes on.
//!
//! Law: the library never prints; whoever started the work decides what a person sees.

/// Told by work that takes seconds or minutes. Implementations must not block or fail.
pub trait Progress {
    /// A new step has begun, in a person's words: `unpacking linux-source-6.12`.
    fn step(&self, what: &str);

    /// A new step has begun, whose units are bytes.
    fn step_of_bytes(&self, what: &str) {
        self.step(what);
    }

    /// The current step has done `done` of about `total` of its units; `total` may grow, and 0 is not known.
    fn advance(&self, done: u64, total: u64);

    /// What the program said last that does the current step: one line, fit to be shown.
    fn detail(&self, _line: &str) {}
}

/// Tells nobody.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Progress for Silent {
    fn step(&self, _what: &str) {}

    fn advance(&self, _done: u64, _total: u64) {}
}
