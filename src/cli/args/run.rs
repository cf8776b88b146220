//! `bottle-vmm run`, as it is typed.

use super::ProgressStyle;
use crate::cli::egress::BundleWord;
use crate::cli::quantity::{Bytes, Seconds};
use crate::image::RootCompression;
use crate::monitor::sandbox::Probe;
use clap::Args;
use std::ffi::OsString;
use std::path::PathBuf;

/// What a command gets that asks for nothing.
pub const USUAL_MEMORY: &str = "1G";

/// Run a command, or an agent, in a new bottle
///
/// `run AGENT …` is `start AGENT …`: see there for its options. Everything here is for a command of your own.
///
/// The command's streams, signals, terminal and exit code are the caller's. Exit codes of our own are docker's: 125 when bottle-vmm
/// failed, 126 when the command cannot be executed, 127 when it is not there, 128+N after signal N, 124 after --timeout.
#[derive(Debug, Args)]
// As with docker, what is given twice counts the second time, so that an alias can be overridden.
#[command(after_help = RUN_EXAMPLES, args_override_self = true, override_usage = USAGE)]
pub struct RunArgs {
    /// What to boot: a `docker save` archive, an OCI layout or archive, a root directory, an artifact made by `pack`, or - for any of the
    /// files on standard input
    ///
    /// Of an archive or a layout that holds several images, PATH:NAME is one, unless a file is called so. A directory that skopeo wrote as dir: is
    /// an image too. An artifact boots in place; everything else is packed into the cache the first time, and found there as long as it does not change.
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

    /// How the root file system is compressed if the image has to be packed, as with `pack` [default: lz4; an artifact's own]
    #[arg(long, value_name = "HOW")]
    pub compression: Option<RootCompression>,

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

    /// End the command after this long, with exit code 124 (e.g. 90, 90s, 10m, 2h; 0 for no limit)
    ///
    /// It is sent SIGTERM, and has five seconds to go by itself.
    #[arg(long, value_name = "TIME")]
    pub timeout: Option<Seconds>,

    /// vCPUs, at most 64; over 8, no more than this machine has
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = cpus)]
    pub cpus: u8,

    /// Memory of the guest, taken from the host as it is used (e.g. 512M, 4G)
    #[arg(short, long, value_name = "SIZE", default_value = USUAL_MEMORY)]
    pub mem: Bytes,

    /// What the command may write goes to a sparse disk of this size, thrown away afterwards, instead of into memory (e.g. 20G)
    #[arg(long, value_name = "SIZE")]
    pub disk: Option<Bytes>,

    /// Let the command reach these addresses and ports, and nothing else (repeatable)
    ///
    /// Without ports all of them, without a protocol TCP: 192.0.2.10:443, 10.1.0.0/16:8000-8999, 192.0.2.53:53/udp. There is no IPv6 in a
    /// bottle. A range never means loopback, link-local, metadata or this machine itself: name such an address alone to allow it. Without
    /// --allow and --bundle, the guest has no network at all.
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

    #[command(flatten)]
    pub limits: EgressArgs,

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
    #[arg(long, value_name = "TIME", default_value = "60", hide_short_help = true, value_parser = some_time)]
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

    /// Write when each phase was reached, as JSON; also of a bottle that did not come up
    #[arg(long, value_name = "FILE", hide_short_help = true)]
    pub timings: Option<PathBuf>,

    /// The command and its arguments [default: the image's]
    #[arg(last = true, value_name = "COMMAND")]
    pub command: Vec<OsString>,
}

/// How much a bottle may do on its network, and where that is written down.
#[derive(Debug, Args)]
pub struct EgressArgs {
    /// Write what was connected and what was refused to a file, as JSON lines
    #[arg(long, value_name = "FILE")]
    pub egress_log: Option<PathBuf>,

    /// Most new connections a second [default: 350, and up to 10000 after a silence]
    ///
    /// More are put off, not refused. The default keeps a guest from filling the host's connection tracking; a larger number lifts it. At
    /// most 10000 are under way at a time, and those beyond the first 64 have socket buffers of 32 KiB.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub egress_rate: Option<u32>,

    /// Most bytes a second, in each direction (e.g. 2M)
    #[arg(long, value_name = "SIZE", value_parser = some_bytes)]
    pub egress_bandwidth: Option<Bytes>,
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

/// KVM's irqchip and our tables would take more; no agent has needed them.
pub(super) fn cpus(text: &str) -> Result<u8, &'static str> {
    let cpus = text.parse().ok().filter(|cpus| (1..=64).contains(cpus));
    cpus.ok_or("a bottle has a whole number of vCPUs, from 1 to 64")
}

pub(super) fn some_time(text: &str) -> Result<Seconds, String> {
    match text.parse::<Seconds>() {
        Ok(Seconds(time)) if time.is_zero() => Err("no guest comes up in no time at all".to_owned()),
        Ok(time) => Ok(time),
        Err(error) => Err(error.to_string()),
    }
}

fn some_bytes(text: &str) -> Result<Bytes, String> {
    match text.parse::<Bytes>() {
        Ok(Bytes(0)) => Err("nothing would ever arrive; leave `--allow` out instead".to_owned()),
        Ok(bytes) => Ok(bytes),
        Err(error) => Err(error.to_string()),
    }
}

const USAGE: &str = "bottle-vmm run [OPTIONS] [-- <COMMAND>...]\n       bottle-vmm run <AGENT> [OPTIONS OF start]";

const RUN_EXAMPLES: &str = "\
Examples:
  bottle-vmm run -- uname -a
  bottle-vmm run coder --cwd --bundle external=192.0.2.2
  bottle-vmm run --image agent.tar -- sh -c 'id; exit 7'
  docker save debian:12 | bottle-vmm run --image - -- cat /etc/os-release
  bottle-vmm run --dockerfile agent/Dockerfile -- make test
  bottle-vmm run -it --image agent.tar --mem 4G --cpus 2 --disk 20G
  bottle-vmm run --allow 192.0.2.10:443 --image agent.tar -- agent
  API_KEY=... bottle-vmm run -e API_KEY --image agent.tar -- agent --task 'fix the tests'";
