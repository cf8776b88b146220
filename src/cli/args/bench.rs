//! `bottle-vmm bench`, as it is typed.

use clap::{Args, Subcommand};
use std::ffi::OsString;
use std::path::PathBuf;

/// Measure
#[derive(Debug, Subcommand)]
pub enum BenchCommand {
    Boot(BootBench),
}

/// Boot bottles, and tell how long each phase took
///
/// Each boot is a whole `bottle-vmm run … -- /bin/true` in a process of its own. Times differ between machines and between days:
/// compare with --against, which takes turns, or with a baseline saved on the same machine a moment ago.
#[derive(Debug, Args)]
#[command(after_help = BENCH_EXAMPLES)]
pub struct BootBench {
    /// Number of boots (of each side, with --against), after one that is not counted
    #[arg(short, long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    pub n: u32,

    /// Print the result as JSON
    #[arg(long)]
    pub json: bool,

    /// Keep the result in a file, to be a --baseline later
    #[arg(long, value_name = "FILE")]
    pub save: Option<PathBuf>,

    /// Compare with a result that was kept
    #[arg(long, value_name = "FILE")]
    pub baseline: Option<PathBuf>,

    /// Fail (exit code 1) if the median of the whole run is more than this many times that of the baseline, or of --against
    #[arg(long, value_name = "FACTOR")]
    pub fail_above: Option<f64>,

    /// Take turns with another bottle-vmm program, or with another kernel of `kernel list`
    #[arg(long, value_name = "PROGRAM|KERNEL", conflicts_with = "baseline")]
    pub against: Option<PathBuf>,

    /// Options for `run`, and the command [default: --mem 256M -- /bin/true]
    #[arg(last = true, value_name = "RUN OPTIONS")]
    pub run: Vec<OsString>,
}

const BENCH_EXAMPLES: &str = "\
Examples:
  bottle-vmm bench boot -n 20
  bottle-vmm bench boot -n 50 --save main.json
  bottle-vmm bench boot -n 50 --baseline main.json --fail-above 1.10
  bottle-vmm bench boot --against ./bottle-vmm.old --fail-above 1.05
  bottle-vmm bench boot --json -- --image agent.tar --cpus 2 -- /bin/true";
