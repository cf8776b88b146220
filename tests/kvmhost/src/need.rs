//! Whether this machine can run Linux guests by itself.

use std::fmt;

use bottle_vmm::host::kvm::{self, KvmUnusable};

/// `direct` or `emulated` decides instead of the machine.
pub const OVERRIDE: &str = "BOTTLE_VMM_TEST_KVM";

/// Whether the emulated KVM host is needed.
#[derive(Debug)]
pub enum Need {
    /// `/dev/kvm` can run Linux.
    No,
    Yes(Reason),
}

/// Why the emulated KVM host is needed.
#[derive(Debug)]
pub enum Reason {
    /// By [`OVERRIDE`].
    Requested,
    Unusable(KvmUnusable),
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::Requested => write!(f, "{OVERRIDE} is `emulated`"),
            Reason::Unusable(reason) => reason.fmt(f),
        }
    }
}

/// Whether the emulated KVM host is needed here: what `bottle-vmm doctor` says of `/dev/kvm`, unless [`OVERRIDE`] is set.
pub fn needed() -> Need {
    match std::env::var(OVERRIDE).as_deref() {
        Ok("direct") => Need::No,
        Ok("emulated") => Need::Yes(Reason::Requested),
        _ => kvm::open().map_or_else(|reason| Need::Yes(Reason::Unusable(reason)), |_| Need::No),
    }
}
