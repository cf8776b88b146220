//! Progress for people: bars on a terminal, nothing elsewhere. Never on standard output.

use crate::progress::Progress;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::time::Duration;

/// A bar on standard error that appears once a step takes longer than a moment.
pub struct Bar(ProgressBar);

impl Bar {
    pub fn new() -> Self {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        bar.set_style(spinner());
        bar.enable_steady_tick(Duration::from_millis(200));
        Self(bar)
    }
}

fn spinner() -> ProgressStyle {
    ProgressStyle::with_template("{spinner} {msg} {elapsed}").unwrap_or_else(|_| ProgressStyle::default_spinner())
}

fn bar() -> ProgressStyle {
    ProgressStyle::with_template("{msg} [{bar:30}] {percent}% {eta} left").unwrap_or_else(|_| ProgressStyle::default_bar())
}

impl Progress for Bar {
    fn step(&self, what: &str) {
        self.0.set_style(spinner());
        self.0.unset_length();
        self.0.set_position(0);
        self.0.set_message(what.to_owned());
    }

    fn advance(&self, done: u64, total: u64) {
        if self.0.length() != Some(total) {
            self.0.set_style(bar());
            self.0.set_length(total);
        }
        self.0.set_position(done);
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
