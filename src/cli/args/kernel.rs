//! `bottle-vmm kernel`, as it is typed.

use clap::Subcommand;
use std::path::PathBuf;

/// Kernels for guests
#[derive(Debug, Subcommand)]
pub enum KernelCommand {
    /// Install Debian's cloud kernel
    ///
    /// Of several kernels `run` takes firmware before stock and newer before older, unless it is told with --kernel. Needs no root: the package is fetched by apt with a configuration of its own and unpacked into the kernel store.
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
    /// Remove an installed kernel
    Remove {
        /// Its name in `kernel list`
        #[arg(value_name = "NAME")]
        name: String,
    },
    /// List installed kernels, the one that `run` takes first
    List {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
}
