//! `kvmhost -- CMD ARGS…`: runs a command in the emulated KVM host.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use kvmhost::report::{self, Lines};
use kvmhost::session::{self, Stdin};
use kvmhost::{Host, HostError};

/// Run a command as root on an emulated machine whose /dev/kvm runs Linux.
///
/// Its root directory is this machine's, under an overlay that vanishes with it; the working directory and those given by
/// --rw are this machine's own.
///
/// Exit code: the command's; 124 if it did not end in time; 125 if the emulated machine failed.
#[derive(Debug, Parser)]
#[command(name = "kvmhost")]
struct Args {
    /// Number of processors; with more than one, QEMU's emulation of SVM fails now and then
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=64))]
    smp: u32,
    /// Memory
    #[arg(long, default_value_t = 2048, value_name = "MIB", value_parser = clap::value_parser!(u32).range(512..=1 << 20))]
    mem: u32,
    /// A further directory to be read and written
    #[arg(long, value_name = "DIR")]
    rw: Vec<PathBuf>,
    /// End the command after so long; 0 for never
    #[arg(long, default_value_t = 600, value_name = "SECONDS")]
    timeout: u64,
    /// Give the command this standard input
    #[arg(short = 'i', long)]
    stdin: bool,
    /// Give the command a terminal
    #[arg(short = 't', long)]
    tty: bool,
    /// Write the console of the emulated machine's kernel to a file
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,
    /// Only get everything ready
    #[arg(long)]
    setup: bool,
    /// Say how long it took
    #[arg(short, long)]
    verbose: bool,
    /// The command and its arguments
    #[arg(last = true, required_unless_present = "setup")]
    command: Vec<OsString>,
}

impl Args {
    fn host(&self) -> Host {
        let timeout = (self.timeout > 0).then(|| Duration::from_secs(self.timeout));
        let host = Host::default().smp(self.smp).mem_mib(self.mem).timeout(timeout);
        let host = self.rw.iter().fold(host, Host::share);
        match &self.log {
            Some(log) => host.log(log),
            None => host,
        }
    }
}

fn main() -> ExitCode {
    let args = Args::parse();
    let started = Instant::now();
    let ended = run(&args);
    if args.verbose {
        report::say("kvmhost", &format!("{:.2} s in all", started.elapsed().as_secs_f64()));
    }
    session::exit_code("kvmhost", ended)
}

fn run(args: &Args) -> Result<u8, HostError> {
    let progress = Lines { program: "kvmhost" };
    if args.setup {
        args.host().set_up(&progress)?;
        return Ok(0);
    }
    let stdin = match (args.tty, args.stdin) {
        (true, _) => Stdin::Terminal,
        (false, true) => Stdin::Pipe,
        (false, false) => Stdin::Nothing,
    };
    session::run(&args.host(), &args.command, stdin, &progress)
}
