//! The end of the machine.

use nix::sys::reboot::{RebootMode, reboot};

/// Whether the machine lives and dies with this process.
pub(crate) fn is_init() -> bool {
    std::process::id() == 1
}

/// Resets the machine, which the monitor takes for its end. Nothing is synced: what a bottle wrote is thrown away.
pub(crate) fn reset() -> ! {
    let Err(errno) = reboot(RebootMode::RB_AUTOBOOT);
    crate::report::critical(format_args!("cannot reset: {errno}"));
    loop {
        nix::unistd::pause(); // PID 1 must not exit: the kernel would panic, and its words would bury ours
    }
}
