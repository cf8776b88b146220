//! The command line: what can be typed, its help, and nothing else. Man page and completions are made from it.

use super::egress::BundleWord;
use super::quantity::{Bytes, Seconds};
use crate::monitor::sandbox::Probe;
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
    Pack(PackArgs),
    Inspect(InspectArgs),
    Images(ImagesArgs),
    /// List agents and bottles
    ///
    /// A broken file is listed too, and what is wrong with it is said on standard error.
    List {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Show what an agent gets: its bottle with everything that it extends
    ///
    /// Values of variables are never shown.
    Info {
        /// The agent
        agent: Option<String>,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Write a first bottle and agent, after a few questions
    Init,
    /// Edit an agent or a bottle with $VISUAL or $EDITOR
    ///
    /// The file is replaced only by a valid text; one that is not is kept elsewhere.
    Edit {
        /// The agent or bottle
        name: Option<String>,
        /// Which of the two, where both have the name
        #[arg(long, value_name = "KIND")]
        kind: Option<ManifestKind>,
    },
    /// Print the JSON Schema of manifests, for editors to check them by
    Schema {
        /// Of one of the two [default: of either]
        kind: Option<ManifestKind>,
    },
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
    /// Show what a running bottle has connected to, and what it was refused
    Egress {
        /// The bottle's name
        bottle: String,
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

/// The two kinds of manifests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum ManifestKind {
    Bottle,
    Agent,
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
    /// What to boot: a `docker save` archive, an OCI layout or archive, a root directory, an artifact made by `pack`, or - for any of the
    /// files on standard input
    ///
    /// An artifact boots in place; everything else is packed into the cache the first time, and found there as long as it does not change.
    /// docker-daemon:NAME and containers-storage:NAME (podman's and buildah's) are images kept there, copied by skopeo. Without an image,
    /// a small root made of Debian's busybox-static.
    #[arg(long, value_name = "IMAGE")]
    pub image: Option<PathBuf>,

    /// Build this Dockerfile and boot the result: with docker if its daemon answers, else podman, else buildah
    #[arg(long, value_name = "PATH", conflicts_with = "image")]
    pub dockerfile: Option<PathBuf>,

    /// What the Dockerfile copies from [default: the directory it is in]
    #[arg(long, value_name = "DIR", requires = "dockerfile", conflicts_with = "image")]
    pub context: Option<PathBuf>,

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

    /// Let the command reach these addresses and ports, and nothing else (repeatable)
    ///
    /// Without ports all of them, without a protocol TCP; IPv6 in brackets: 192.0.2.10:443, 10.1.0.0/16:8000-8999, 192.0.2.53:53/udp,
    /// [2001:db8::/32]:443. A range never means loopback, link-local, metadata, multicast or this machine itself: name such an address
    /// alone to allow it. Without --allow and --bundle, the guest has no network at all.
    #[arg(long, value_name = "CIDR[:PORT[-PORT]][/tcp|/udp]")]
    pub allow: Vec<String>,

    /// No network, which is the default without --allow and --bundle
    #[arg(long, value_name = "none", conflicts_with_all = ["allow", "bundle"])]
    pub net: Option<NetMode>,

    /// Let the command reach a bundle's gateways (ports 8888, 9418, 9420, 9100): external=ADDRESS, or sockets=DIR
    ///
    /// external: at that address, and nothing else of that host. sockets: at the second address of the bottle's network, served by
    /// whoever listens on DIR/PORT.sock; nobody but DIR's owner may be able to enter it.
    #[arg(long, value_name = "KIND=WHERE")]
    pub bundle: Option<BundleWord>,

    /// Write what was connected and what was refused to a file, as JSON lines
    #[arg(long, value_name = "FILE")]
    pub egress_log: Option<PathBuf>,

    /// Most new connections a second
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub egress_rate: Option<u32>,

    /// Most bytes a second, in each direction (e.g. 2M)
    #[arg(long, value_name = "SIZE", value_parser = some_bytes)]
    pub egress_bandwidth: Option<Bytes>,

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

    /// How the making of an image is told on standard error
    #[arg(long, value_name = "HOW", hide_short_help = true)]
    pub progress: Option<ProgressStyle>,
    /// Run the monitor without its sandbox, or without one layer of it: landlock, seccomp, user or network
    ///
    /// Not needed on a kernel that has the layers (`bottle-vmm doctor`), and dangerous: a guest that breaks out of its virtual machine
    /// finds that much less in its way.
    #[arg(long, value_name = "LAYER", num_args = 0..=1, require_equals = true, default_missing_value = "all", value_enum, hide_short_help = true)]
    pub no_sandbox: Vec<SandboxPart>,

    /// Have the monitor try to break out of its sandbox, to see that it cannot: for tests
    #[arg(long, value_name = "THREAD:CALL", hide = true)]
    pub sandbox_probe: Option<Probe>,

    /// Write when each phase was reached, as JSON
    #[arg(long, value_name = "FILE", hide_short_help = true)]
    pub timings: Option<PathBuf>,

    /// The command and its arguments [default: the image's]
    #[arg(last = true, value_name = "COMMAND")]
    pub command: Vec<OsString>,
}

/// What `--no-sandbox` leaves out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum SandboxPart {
    All,
    Landlock,
    Seccomp,
    User,
    Network,
}

/// `--net`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum NetMode {
    None,
}

fn some_bytes(text: &str) -> Result<Bytes, String> {
    match text.parse::<Bytes>() {
        Ok(Bytes(0)) => Err("nothing would ever arrive; leave `--allow` out instead".to_owned()),
        Ok(bytes) => Ok(bytes),
        Err(error) => Err(error.to_string()),
    }
}

const RUN_EXAMPLES: &str = "\
Examples:
  bottle-vmm run -- uname -a
  bottle-vmm run --image agent.tar -- sh -c 'id; exit 7'
  docker save debian:12 | bottle-vmm run --image - -- cat /etc/os-release
  bottle-vmm run --dockerfile agent/Dockerfile -- make test
  bottle-vmm run -it --image agent.tar --mem 4G --cpus 2 --disk 20G
  bottle-vmm run --allow 192.0.2.10:443 --image agent.tar -- agent
  API_KEY=... bottle-vmm run -e API_KEY --image agent.tar -- agent --task 'fix the tests'";

/// How progress is told, always on standard error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum ProgressStyle {
    /// Bars on a terminal, nothing elsewhere
    Auto,
    /// A JSON object a line
    Json,
    /// Not at all
    None,
}

/// Pack an image into one file that bottles boot in place
///
/// The file holds a read-only root file system, a hash tree over it, and a manifest: how to run the image, and what it was made of. The
/// same image gives the same file, to the byte. Printed is its digest, which stands for all of it.
#[derive(Debug, Args)]
#[command(after_help = PACK_EXAMPLES)]
pub struct PackArgs {
    /// What to pack: whatever `run --image` takes
    #[arg(value_name = "IMAGE", required_unless_present = "dockerfile")]
    pub image: Option<PathBuf>,

    /// Build this Dockerfile and pack the result, as `run --dockerfile` does
    #[arg(long, value_name = "PATH", conflicts_with = "image")]
    pub dockerfile: Option<PathBuf>,

    /// What the Dockerfile copies from [default: the directory it is in]
    #[arg(long, value_name = "DIR", requires = "dockerfile", conflicts_with = "image")]
    pub context: Option<PathBuf>,

    /// The file to write
    #[arg(short, long, value_name = "FILE.bottle")]
    pub output: PathBuf,

    /// Replace the file if it is there
    #[arg(short, long)]
    pub force: bool,

    /// Print what was packed as JSON, and progress as JSON lines on standard error
    #[arg(long)]
    pub json: bool,

    /// How progress is told on standard error [default: auto; json with --json]
    #[arg(long, value_name = "HOW")]
    pub progress: Option<ProgressStyle>,
}

const PACK_EXAMPLES: &str = "\
Examples:
  bottle-vmm pack agent.tar -o agent.bottle
  docker save debian:12 | bottle-vmm pack - -o debian.bottle
  bottle-vmm pack --dockerfile agent/Dockerfile -o agent.bottle
  bottle-vmm pack --force rootfs/ -o rootfs.bottle
  bottle-vmm run --image agent.bottle -- uname -a";

/// Show what an artifact is, and check that it is whole
#[derive(Debug, Args)]
#[command(after_help = INSPECT_EXAMPLES)]
pub struct InspectArgs {
    /// An artifact, or a name from `images`: of a source, or the beginning of a digest
    #[arg(value_name = "FILE|NAME")]
    pub name: PathBuf,

    /// Read all of it and compare every byte with the digests
    #[arg(long)]
    pub verify: bool,

    /// As JSON, and progress as JSON lines on standard error
    #[arg(long)]
    pub json: bool,

    /// How progress is told on standard error [default: auto; json with --json]
    #[arg(long, value_name = "HOW")]
    pub progress: Option<ProgressStyle>,
}

const INSPECT_EXAMPLES: &str = "\
Examples:
  bottle-vmm inspect agent.bottle
  bottle-vmm inspect --verify agent.bottle
  bottle-vmm inspect --json agent.tar | jq .manifest.config.env";

/// List cached images, the one that was used last first
///
/// `run` packs an image when it first meets it, and keeps the result here. Removing one costs packing it again, and nothing else.
#[derive(Debug, Args)]
#[command(after_help = IMAGES_EXAMPLES, args_conflicts_with_subcommands = true)]
pub struct ImagesArgs {
    #[command(subcommand)]
    pub command: Option<ImagesCommand>,

    /// As JSON; times are seconds since 1970
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Subcommand)]
pub enum ImagesCommand {
    /// Remove cached images that no bottle runs on
    Prune {
        /// Keep this many, those that were used last
        #[arg(long, value_name = "N", default_value_t = 0)]
        keep: usize,
        /// Only tell what would be removed
        #[arg(long)]
        dry_run: bool,
        /// Print what was removed as JSON
        #[arg(long)]
        json: bool,
    },
    /// Remove one cached image
    Rm {
        /// The name of its source, or the beginning of its digest
        #[arg(value_name = "NAME")]
        name: String,
        /// Even if bottles run on it; they go on undisturbed
        #[arg(short, long)]
        force: bool,
    },
}

const IMAGES_EXAMPLES: &str = "\
Examples:
  bottle-vmm images
  bottle-vmm images prune --keep 5
  bottle-vmm images prune --dry-run --json
  bottle-vmm images rm agent.tar";

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
