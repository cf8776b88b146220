//! What a person reads on standard error: progress of the set-up, and errors with their causes and the way out.

use std::error::Error;
use std::fmt::Write as _;
use std::io::{self, Write as _};

use bottle_vmm::progress::Progress;

use crate::host::HostError;

/// A line per step of a set-up. A machine that is set up shows none.
#[derive(Debug)]
pub struct Lines {
    /// What the lines begin with.
    pub program: &'static str,
}

impl Progress for Lines {
    fn step(&self, what: &str) {
        say(self.program, what);
    }

    fn advance(&self, _done: u64, _total: u64) {}
}

/// One message of the program's own. Directly and not by `eprintln`: a test harness would keep it back.
pub fn say(program: &str, what: &str) {
    // There is nobody else to tell.
    let _ = writeln!(io::stderr(), "{program}: {what}");
}

/// The error and what caused it.
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let line = error.to_string();
        // A transparent error shows its cause as itself.
        if !text.ends_with(&line) {
            // Writing to a String cannot fail.
            let _ = write!(text, "\n  because {line}");
        }
        cause = error.source();
    }
    text
}

/// The error, what caused it, and the way out.
pub fn describe(error: &HostError) -> String {
    let mut text = chain(error);
    if let HostError::TimedOut { console, .. } = error
        && !console.is_empty()
    {
        let _ = write!(text, "; the end of its console:\n{console}");
    }
    if let Some(hint) = error.hint() {
        let _ = write!(text, "\nhint: {hint}");
    }
    text
}
