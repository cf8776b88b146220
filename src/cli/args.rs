//! The command line: what can be typed, its help, and nothing else. Man page and completions are made from it.

use super::quantity::{Bytes, Seconds};
use crate::image::RootCompression;
use clap::{Args, Parser, Subcommand};
use std::ffi::OsString;
use std::path::PathBuf;

/// Run a command in a throw-away microVM
///
/// bottle-vmm boots a container image under its own monitor on /dev/kvm, runs one command in it, and leaves nothing behind.
#[derive(Debug, Parser)]
#[command(name = "bottle-vmm", version, propagate_version = true, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    Run(Box<RunArgs>),
    #[command(subcommand)]
    Kernel(KernelCommand),
    /// Check whether this machine can run bottles, and say what to do if not
    ///
    /// Exit code 1 if `run` cannot work.
    Doctor {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    #[command(subcommand)]
    Bench(BenchCommand),
    /// Print completions for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Print the manual page (roff)
    Man,
}

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

/// Run a command in a new bottle
///
/// The command's streams, signals, terminal and exit code are the caller's. Exit codes of our own are docker's: 125 when bottle-vmm
/// failed, 126 when the command cannot be executed, 127 when it is not there, 128+N after signal N, 124 after --timeout.
#[derive(Debug, Args)]
// As with docker, what is given twice counts the second time, so that an alias can be overridden.
#[command(after_help = RUN_EXAMPLES, args_override_self = true)]
pub struct RunArgs {
    /// What to boot: a `docker save` archive, an OCI layout or archive, a root directory, or - for an archive on standard input
    ///
    /// Without it, a small root made of Debian's busybox-static.
    #[arg(long, value_name = "IMAGE")]
    pub image: Option<PathBuf>,

    /// How the root file system is compressed when the image is packed: none, lz4 (every kernel reads it) or zstd (a third
    /// smaller, slower to pack; Linux 6.10 or later)
    #[arg(long, value_name = "HOW", default_value_t)]
    pub compression: RootCompression,

    /// Pass a variable on, with the value it has in this environment (repeatable)
    ///
    /// NAME=VALUE is refused: a command line is seen by every user of the machine.
    #[arg(short, long, value_name = "NAME")]
    pub env: Vec<OsString>,

    /// Read variables from a file of NAME=VALUE lines, or from standard input with - (repeatable)
    #[arg(long, value_name = "PATH|-")]
    pub env_file: Vec<PathBuf>,

    /// Pass standard input on
    #[arg(short, long)]
    pub interactive: bool,

    /// Give the command a terminal
    #[arg(short, long)]
    pub tty: bool,

    /// Run as this user of the image: a name or a number, with :GROUP if wanted [default: the image's]
    #[arg(short, long, value_name = "USER[:GROUP]")]
    pub user: Option<String>,

    /// Working directory, made if it is not there [default: the image's]
    #[arg(short, long, value_name = "DIR")]
    pub workdir: Option<String>,

    /// Replace the image's entrypoint; empty for none
    #[arg(long, value_name = "COMMAND")]
    pub entrypoint: Option<String>,

    /// End the command after this long, with exit code 124 (e.g. 90, 90s, 10m, 2h)
    #[arg(long, value_name = "TIME")]
    pub timeout: Option<Seconds>,

    /// vCPUs
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=64))]
    pub cpus: u8,

    /// Memory of the guest, taken from the host as it is used (e.g. 512M, 4G)
    #[arg(short, long, value_name = "SIZE", default_value = "1G")]
    pub mem: Bytes,

    /// What the command may write goes to a sparse disk of this size, thrown away afterwards, instead of into memory (e.g. 20G)
    #[arg(long, value_name = "SIZE")]
    pub disk: Option<Bytes>,

    /// Host name in the guest [default: the bottle's name]
    #[arg(long, value_name = "NAME")]
    pub hostname: Option<String>,

    /// Name of the bottle, taken as long as it runs [default: made up]
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,

    /// Remove everything at the end; always so, accepted for docker's sake
    #[arg(long)]
    pub rm: bool,

    /// Kernel: a name of `kernel list`, or the path of a vmlinux or bzImage [default: the first of the list]
    #[arg(long, value_name = "NAME|PATH", env = "BOTTLE_VMM_KERNEL")]
    pub kernel: Option<PathBuf>,

    /// More words for the kernel's command line, which every process of the guest can read
    #[arg(long, value_name = "WORDS", default_value = "", hide_short_help = true)]
    pub kernel_args: String,

    /// Show the guest kernel's log on standard error
    #[arg(long)]
    pub console: bool,

    /// How long the guest may take to come up
    #[arg(long, value_name = "TIME", default_value = "60", hide_short_help = true)]
    pub boot_timeout: Seconds,

    /// Write when each phase was reached, as JSON
    #[arg(long, value_name = "FILE", hide_short_help = true)]
    pub timings: Option<PathBuf>,

    /// The command and its arguments [default: the image's]
    #[arg(last = true, value_name = "COMMAND")]
    pub command: Vec<OsString>,
}

const RUN_EXAMPLES: &str = "\
Examples:
  bottle-vmm run -- uname -a
  bottle-vmm run --image agent.tar -- sh -c 'id; exit 7'
  docker save debian:12 | bottle-vmm run --image - -- cat /etc/os-release
  bottle-vmm run -it --image agent.tar --mem 4G --cpus 2 --disk 20G
  API_KEY=... bottle-vmm run -e API_KEY --image agent.tar -- agent --task 'fix the tests'";

/// Kernels for guests
#[derive(Debug, Subcommand)]
pub enum KernelCommand {
    /// Install Debian's cloud kernel
    ///
    /// Needs no root: the package is fetched by apt with a configuration of its own and unpacked into the kernel store.
    Install {
        /// Take the newest kernel of the backports suite
        #[arg(long, conflicts_with = "deb")]
        backports: bool,
        /// Unpack this linux-image-*.deb instead of fetching one
        #[arg(long, value_name = "FILE")]
        deb: Option<PathBuf>,
        /// Print what was installed as JSON
        #[arg(long)]
        json: bool,
    },
    /// Build the firmware kernel: small, everything built in, the fastest to boot
    ///
    /// Debian's kernel source with our configuration. Takes minutes the first time; the result is kept by what it is made of.
    Build {
        /// Compiler processes at once [default: the number of CPUs]
        #[arg(short, long, value_name = "N")]
        jobs: Option<usize>,
        /// Print what was built as JSON
        #[arg(long)]
        json: bool,
    },
    /// List installed kernels, the one that `run` takes first
    List {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
}
