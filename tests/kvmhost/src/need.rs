//! Whether this machine can run Linux guests by itself.

use std::fmt;
use std::fs::{self, OpenOptions};
use std::io;

/// `direct` or `emulated` decides instead of the machine.
pub const OVERRIDE: &str = "BOTTLE_VMM_TEST_KVM";

/// Whether the emulated KVM host is needed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Need {
    /// `/dev/kvm` can run Linux.
    No,
    Yes(Reason),
}

/// Why the emulated KVM host is needed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    Requested,
    /// `/dev/kvm` cannot be opened.
    Closed(io::ErrorKind),
    /// There is a `/dev/kvm`, and the processor has neither `vmx` nor `svm`: nested software KVM (PVM, say), which runs
    /// no unmodified Linux kernel.
    NoExtensions,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::Requested => write!(f, "{OVERRIDE}=emulated"),
            Reason::Closed(kind) => write!(f, "/dev/kvm cannot be opened: {kind}"),
            Reason::NoExtensions => write!(f, "/dev/kvm cannot run Linux: no `vmx` or `svm` in /proc/cpuinfo"),
        }
    }
}

/// Whether the emulated KVM host is needed here.
pub fn needed() -> Need {
    match std::env::var(OVERRIDE).as_deref() {
        Ok("direct") => return Need::No,
        Ok("emulated") => return Need::Yes(Reason::Requested),
        _ => {}
    }
    if let Err(error) = OpenOptions::new().read(true).write(true).open("/dev/kvm") {
        return Need::Yes(Reason::Closed(error.kind()));
    }
    // An unreadable /proc says nothing against an openable /dev/kvm.
    match fs::read_to_string("/proc/cpuinfo") {
        Ok(cpuinfo) if !has_extensions(&cpuinfo) => Need::Yes(Reason::NoExtensions),
        _ => Need::No,
    }
}

fn has_extensions(cpuinfo: &str) -> bool {
    cpuinfo
        .lines()
        .filter_map(|line| line.split_once(':'))
        .filter(|(name, _)| name.trim() == "flags")
        .any(|(_, flags)| flags.split_ascii_whitespace().any(|flag| matches!(flag, "vmx" | "svm")))
}

#[cfg(test)]
#[path = "need_test.rs"]
mod tests;
