//! Where words go while nobody listens: the kernel's log, which the monitor shows when a guest dies early.

use std::error::Error;
use std::fmt::Arguments;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::sync::OnceLock;

use crate::power;

/// `KERN_CRIT` (Documentation/core-api/printk-basics.rst): shown on a console even with `quiet` on the command line.
const CRITICAL: &str = "<2>";

static KERNEL_LOG: OnceLock<File> = OnceLock::new();

/// From now on reports go to `/dev/kmsg`. It stays open, so a root without a usable `/dev` does not silence us.
pub(crate) fn to_kernel_log() {
    if let Ok(log) = OpenOptions::new().write(true).open("/dev/kmsg") {
        let _ = KERNEL_LOG.set(log); // a second call changes nothing
    }
}

/// One line. Failing to report is not reported.
pub(crate) fn critical(line: Arguments<'_>) {
    let line = format!("{CRITICAL}bottle-agent: {line}\n"); // one write is one record
    let _ = match KERNEL_LOG.get() {
        Some(mut log) => log.write_all(line.as_bytes()),
        None => std::io::stderr().write_all(line.as_bytes()),
    };
}

/// An error and its sources in one line.
pub(crate) fn critical_chain(error: &dyn Error) {
    let mut line = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        line.push_str(": ");
        line.push_str(&cause.to_string());
        source = cause.source();
    }
    critical(format_args!("{line}"));
}

/// A panic is reported, and ends the machine if we are its PID 1: the kernel would only say that init was killed.
pub(crate) fn on_panic() {
    std::panic::set_hook(Box::new(|panic| {
        critical(format_args!("{panic}"));
        if power::is_init() {
            power::reset();
        }
    }));
}
