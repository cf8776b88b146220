//! Progress for people: bars on a terminal, nothing elsewhere. Never on standard output.

use crate::progress::Progress;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::cell::OnceCell;
use std::time::Duration;

/// A bar on standard error, made when there is something to tell: most runs find everything in the cache and need no thread for it.
pub struct Bar(OnceCell<ProgressBar>);

impl Bar {
    pub fn new() -> Self {
        Self(OnceCell::new())
    }

    fn get(&self) -> &ProgressBar {
        self.0.get_or_init(|| {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
            bar.set_style(spinner());
            bar.enable_steady_tick(Duration::from_millis(200));
            bar
        })
    }
}

fn spinner() -> ProgressStyle {
    ProgressStyle::with_template("{spinner} {msg} {elapsed}").unwrap_or_else(|_| ProgressStyle::default_spinner())
}

fn bar() -> ProgressStyle {
    ProgressStyle::with_template("{msg} [{bar:30}] {percent}% {eta} left")
        .unwrap_or_else(|_| ProgressStyle::default_bar())
}

impl Progress for Bar {
    fn step(&self, what: &str) {
        let shown = self.get();
        shown.set_style(spinner());
        shown.unset_length();
        shown.set_position(0);
        shown.set_message(what.to_owned());
    }

    fn advance(&self, done: u64, total: u64) {
        let shown = self.get();
        if shown.length() != Some(total) {
            shown.set_style(bar());
            shown.set_length(total);
        }
        shown.set_position(done);
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        if let Some(bar) = self.0.get() {
            bar.finish_and_clear();
        }
    }
}
