//! The kernel command line. Every process of the guest can read it: it carries no secret. The caller's own words come last.

use super::super::devices::virtio::mmio::MmioWindow;
use super::super::x86_64::layout;
use std::fmt::Write as _;

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum CmdlineError {
    #[error("the kernel command line is {length} bytes long, the kernel takes {}", layout::CMDLINE_MAX - 1)]
    TooLong { length: usize },
    #[error("the kernel command line has a NUL byte at {position}")]
    Nul { position: usize },
}

/// Always given:
/// - `reboot=k`, `panic=-1`: the guest ends by the reset line that [`crate::vmm::devices::reset`] listens to, at once after a panic;
/// - `tsc=reliable`, `no_timer_check`: KVM's clock is trusted, nothing is calibrated;
/// - `random.trust_cpu=on`: the pool is ready before virtio-rng's driver is;
/// - `cryptomgr.notests`: a kernel that tests its ciphers at each boot takes its time for it;
/// - `noreplace-smp`: with one vCPU Linux would overwrite each of its thousands of `lock` prefixes, one change of the address space and
///   back for each (`alternatives_smp_unlock`, arch/x86/kernel/alternative.c), which costs a short bottle more than it saves.
const ALWAYS: &str =
    "reboot=k panic=-1 tsc=reliable no_timer_check random.trust_cpu=on cryptomgr.notests noreplace-smp";

/// The log stays in the guest until the kernel dies: `loglevel=3` keeps warnings off the port (each character is an exit), a panic
/// raises the level by itself, and `keep_bootcon` leaves the early console there for it, as no other one is ever registered.
const QUIET: &str = "console=ttynull earlycon=uart8250,io,0x3f8 keep_bootcon loglevel=3 8250.nr_uarts=0";
const VERBOSE: &str = "console=ttyS0 earlycon=uart8250,io,0x3f8 ignore_loglevel 8250.nr_uarts=1";

/// All words for a machine with these virtio-mmio windows; `extra` comes last, so that it can override.
#[must_use]
pub fn kernel_command_line(windows: &[MmioWindow], verbose: bool, extra: &str) -> String {
    let mut line = format!("{ALWAYS} {}", if verbose { VERBOSE } else { QUIET });
    for window in windows {
        // Documentation/admin-guide/kernel-parameters.txt, virtio_mmio.device=<size>@<baseaddr>:<irq>
        let _ = write!(line, " virtio_mmio.device={}K@{:#x}:{}", window.length >> 10, window.base, window.gsi);
    }
    if !extra.is_empty() {
        let _ = write!(line, " {extra}");
    }
    line
}

/// # Errors
/// When the line is too long or holds a NUL.
pub(super) fn nul_terminated(line: &str) -> Result<Vec<u8>, CmdlineError> {
    if let Some(position) = line.bytes().position(|byte| byte == 0) {
        return Err(CmdlineError::Nul { position });
    }
    if line.len() >= layout::CMDLINE_MAX {
        return Err(CmdlineError::TooLong { length: line.len() });
    }
    Ok([line.as_bytes(), &[0]].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_announced_in_order_and_extra_words_come_last() {
        let windows = [
            MmioWindow { base: 0xd000_0000, length: 0x1000, gsi: 5 },
            MmioWindow { base: 0xd000_1000, length: 0x1000, gsi: 6 },
        ];
        let line = kernel_command_line(&windows, false, "loglevel=7");
        assert!(
            line.ends_with("virtio_mmio.device=4K@0xd0000000:5 virtio_mmio.device=4K@0xd0001000:6 loglevel=7"),
            "{line}"
        );
    }

    #[test]
    fn a_line_that_does_not_fit_or_hides_something_behind_a_nul_is_refused() {
        assert_eq!(nul_terminated("a\0b"), Err(CmdlineError::Nul { position: 1 }));
        assert_eq!(nul_terminated(&"x".repeat(2048)), Err(CmdlineError::TooLong { length: 2048 }));
        assert_eq!(nul_terminated(&"x".repeat(2047)).unwrap().len(), 2048);
    }
}
