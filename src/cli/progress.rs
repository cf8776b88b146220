//! Progress for people: bars on a terminal, nothing elsewhere; for programs, JSON lines. Never on standard output.

use super::args::ProgressStyle as Style;
use crate::progress::{Progress, Silent};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::cell::Cell;
use std::io::Write as _;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Whoever tells progress as `wanted`; a command that prints JSON is read by a program.
pub fn of(wanted: Option<Style>, json: bool) -> Box<dyn Progress> {
    match (wanted, json) {
        (Some(Style::Json), _) | (None, true) => Box::new(JsonLines::default()),
        (Some(Style::None), _) => Box::new(Silent),
        (Some(Style::Auto), _) | (None, false) => Box::new(Bar::new()),
    }
}

/// A bar on standard error, made when there is something to tell: most runs find everything in the cache and need no thread for it.
pub struct Bar {
    bar: OnceLock<ProgressBar>,
    in_bytes: AtomicBool,
}

impl Bar {
    pub fn new() -> Self {
        Self { bar: OnceLock::new(), in_bytes: AtomicBool::new(false) }
    }

    fn get(&self) -> &ProgressBar {
        self.bar.get_or_init(|| {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
            bar.set_style(spinner(false));
            bar.enable_steady_tick(Duration::from_millis(200));
            bar
        })
    }

    /// Takes it away: there is something else to say.
    pub fn clear(&self) {
        if let Some(bar) = self.bar.get() {
            bar.finish_and_clear();
        }
    }

    fn begin(&self, what: &str, in_bytes: bool) {
        self.in_bytes.store(in_bytes, Ordering::Relaxed);
        let shown = self.get();
        shown.set_style(spinner(false));
        shown.unset_length();
        // The rate and the time left are those of this step.
        shown.reset();
        shown.set_message(what.to_owned());
        shown.set_prefix(what.to_owned());
    }
}

fn spinner(in_bytes: bool) -> ProgressStyle {
    let template = if in_bytes {
        "{spinner} {msg} {binary_bytes} {binary_bytes_per_sec} {elapsed}"
    } else {
        "{spinner} {msg} {elapsed}"
    };
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_spinner())
}

/// A spinner with the last line of a program's output under it.
fn talking() -> ProgressStyle {
    ProgressStyle::with_template("{spinner} {prefix} {elapsed}\n  {wide_msg:.dim}")
        .unwrap_or_else(|_| ProgressStyle::default_spinner())
}

fn bar(in_bytes: bool) -> ProgressStyle {
    let template = if in_bytes {
        "{msg} [{bar:30}] {percent}% of {binary_total_bytes} {binary_bytes_per_sec} {eta} left"
    } else {
        "{msg} [{bar:30}] {percent}% {eta} left"
    };
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

impl Progress for Bar {
    fn step(&self, what: &str) {
        self.begin(what, false);
    }

    fn step_of_bytes(&self, what: &str) {
        self.begin(what, true);
    }

    fn advance(&self, done: u64, total: u64) {
        let shown = self.get();
        match (total, shown.length()) {
            (0, _) if shown.position() == 0 => shown.set_style(spinner(self.in_bytes.load(Ordering::Relaxed))),
            (0, _) => {}
            (total, length) if length != Some(total) => {
                shown.set_style(bar(self.in_bytes.load(Ordering::Relaxed)));
                shown.set_length(total);
            }
            _ => {}
        }
        shown.set_position(done);
    }

    fn detail(&self, line: &str) {
        let shown = self.get();
        if shown.is_hidden() {
            return;
        }
        shown.set_style(talking());
        shown.set_message(line.to_owned());
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.clear();
    }
}

/// One object a line; `--progress` in the help says which.
#[derive(Default)]
pub struct JsonLines {
    told: Cell<Option<(Instant, u64)>>,
}

/// Between two lines about one step.
const PAUSE: Duration = Duration::from_millis(100);

impl JsonLines {
    fn begin(&self, what: &str, unit: Option<&str>) {
        self.told.set(None);
        tell(&serde_json::json!({ "event": "step", "what": what, "unit": unit }));
    }
}

fn tell(event: &serde_json::Value) {
    // Who closes standard error does not want to know.
    let _ = writeln!(std::io::stderr(), "{event}");
}

impl Progress for JsonLines {
    fn step(&self, what: &str) {
        self.begin(what, None);
    }

    fn step_of_bytes(&self, what: &str) {
        self.begin(what, Some("bytes"));
    }

    fn advance(&self, done: u64, total: u64) {
        if self.told.get().is_some_and(|(when, told)| told == done || (done < total && when.elapsed() < PAUSE)) {
            return;
        }
        self.told.set(Some((Instant::now(), done)));
        tell(&serde_json::json!({ "event": "progress", "done": done, "total": (total > 0).then_some(total) }));
    }

    fn detail(&self, line: &str) {
        tell(&serde_json::json!({ "event": "output", "line": line }));
    }
}
