//! One program, two processes: what people start, and the monitor that it starts itself as.

use bottle_vmm::{cli, monitor};
use std::process::ExitCode;

/// PID 1 of every guest, built by `build.rs`.
static AGENT: &[u8] = include_bytes!(env!("BOTTLE_AGENT"));

fn main() -> ExitCode {
    let mut arguments = std::env::args_os();
    if arguments.nth(1).is_some_and(|word| word == monitor::MONITOR_WORD) {
        return monitor::main(AGENT);
    }
    cli::main()
}
