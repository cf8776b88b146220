//! What can be typed to plan, start, bring back and clear away the bottles of agents.

use super::super::egress::BundleWord;
use super::super::quantity::{Bytes, Seconds};
use super::{EgressArgs, SandboxPart};
use crate::manifest::Name;
use clap::Args;
use clap::builder::FalseyValueParser;
use std::path::PathBuf;

/// What `list` lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum ListWhat {
    Active,
    Kept,
}

/// Start an agent in a bottle of its own
///
/// Shows what the bottle is given, asks, and starts it. `run AGENT` is the same. Secrets that its manifest asks for are asked for at every start, and kept nowhere.
#[derive(Debug, Args)]
#[command(after_help = START_EXAMPLES)]
pub struct StartArgs {
    /// The agent, by its name in `list`
    pub agent: Option<String>,

    #[command(flatten)]
    pub bottle: BottleArgs,

    #[command(flatten)]
    pub unattended: Unattended,

    #[command(flatten)]
    pub machine: MachineArgs,
}

/// What of a bottle is chosen when it is planned.
#[derive(Debug, Args)]
pub struct BottleArgs {
    /// Copy the current directory into the bottle, as ~/workspace
    #[arg(long)]
    pub cwd: bool,

    /// Take this bottle in place of the agent's own (repeatable: the later over the earlier)
    #[arg(long, value_name = "NAME", value_parser = name)]
    pub bottle: Vec<Name>,

    /// Call it by this identity, in lower case [default: the agent's name and five digits]
    #[arg(long, value_name = "NAME")]
    pub label: Option<String>,
}

/// How much is asked.
#[derive(Debug, Args)]
pub struct Unattended {
    /// Show what would be started, write its state, and stop
    #[arg(long, env = "BOT_BOTTLE_DRY_RUN", value_parser = FalseyValueParser::new(), hide_env_values = true)]
    pub dry_run: bool,

    /// Do not ask whether to start
    #[arg(short, long)]
    pub yes: bool,

    /// Nobody is there: ask nothing, secrets neither, and give the agent its task
    #[arg(long, requires = "prompt")]
    pub headless: bool,

    /// The task, for --headless
    #[arg(long, value_name = "TEXT", requires = "headless")]
    pub prompt: Option<String>,
}

/// What an agent gets that asks for nothing.
pub const USUAL_MEMORY: &str = "2G";

/// The machine around a bottle.
#[derive(Debug, Args)]
pub struct MachineArgs {
    /// Where the gateways are: external=ADDRESS, a bundle that runs already; or sockets=DIR, where each listens on PORT.sock
    #[arg(long, value_name = "KIND=WHERE")]
    pub bundle: Option<BundleWord>,

    #[command(flatten)]
    pub limits: EgressArgs,

    /// vCPUs
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = super::run::cpus)]
    pub cpus: u8,

    /// Memory of the guest, taken from the host as it is used (e.g. 4G)
    #[arg(short, long, value_name = "SIZE", default_value = USUAL_MEMORY)]
    pub mem: Bytes,

    /// What the agent writes goes to a sparse disk of this size, thrown away afterwards, instead of into memory (e.g. 20G)
    #[arg(long, value_name = "SIZE")]
    pub disk: Option<Bytes>,

    /// Kernel: a name of `kernel list`, or the path of a vmlinux or bzImage [default: the first of the list]
    #[arg(long, value_name = "NAME|PATH", env = "BOTTLE_VMM_KERNEL")]
    pub kernel: Option<PathBuf>,

    /// How long the guest may take to come up
    #[arg(long, value_name = "TIME", default_value = "60", hide_short_help = true, value_parser = super::run::some_time)]
    pub boot_timeout: Seconds,

    /// Show the guest kernel's log on standard error
    #[arg(long, hide_short_help = true)]
    pub console: bool,

    /// Run the monitor without its sandbox, or without one layer of it: landlock, seccomp, user or network
    ///
    /// Not needed on a kernel that has the layers (`bottle-vmm doctor`), and dangerous: an agent that breaks out of its virtual machine
    /// finds that much less in its way.
    #[arg(long, value_name = "LAYER", num_args = 0..=1, require_equals = true, default_missing_value = "all", value_enum, hide_short_help = true)]
    pub no_sandbox: Vec<SandboxPart>,
}

const START_EXAMPLES: &str = "\
Examples:
  bottle-vmm start coder --dry-run
  bottle-vmm start coder --cwd --bundle external=192.0.2.2
  bottle-vmm start coder --bottle dev --bottle docs --label fix-login
  bottle-vmm start coder --headless --prompt 'fix the tests'";

/// Show everything that an agent's bottle would be, and leave nothing behind
///
/// Secrets are named, never asked for or shown. What is in the bottle's state is named where it would be: only `start --dry-run` leaves it.
#[derive(Debug, Args)]
#[command(after_help = PLAN_EXAMPLES)]
pub struct PlanArgs {
    /// The agent, by its name in `list`
    pub agent: Option<String>,

    #[command(flatten)]
    pub bottle: BottleArgs,

    /// Where the gateways would be, as for `start`
    #[arg(long, value_name = "KIND=WHERE")]
    pub bundle: Option<BundleWord>,

    /// As JSON, with everything that is left out for people
    #[arg(long)]
    pub json: bool,
}

const PLAN_EXAMPLES: &str = "\
Examples:
  bottle-vmm plan coder
  bottle-vmm plan coder --bundle external=192.0.2.2
  bottle-vmm plan coder --cwd --json | jq .egress_plan.routes";

/// Start a bottle again that was kept, under its identity and in its network
///
/// It is a fresh machine: what comes back is what it is given, not what it wrote. Secrets are asked for again.
#[derive(Debug, Args)]
#[command(after_help = RESUME_EXAMPLES)]
pub struct ResumeArgs {
    /// The bottle
    pub identity: Option<String>,

    #[command(flatten)]
    pub unattended: Unattended,

    #[command(flatten)]
    pub machine: MachineArgs,
}

const RESUME_EXAMPLES: &str = "\
Examples:
  bottle-vmm resume coder-4f2k9
  bottle-vmm resume coder-4f2k9 --dry-run";

/// Remove what bottles left that were killed, or bottles that were kept
///
/// Without names, bottles that run, that are to be kept, or that are bot-bottle's are not touched. A bottle that was kept goes by its name.
#[derive(Debug, Args)]
#[command(after_help = CLEANUP_EXAMPLES)]
pub struct CleanupArgs {
    /// Bottles to remove that were kept, by their identity in `list kept` [default: what killed bottles and dry runs left]
    #[arg(value_name = "IDENTITY")]
    pub bottles: Vec<String>,

    /// Only tell what would be removed
    #[arg(long)]
    pub dry_run: bool,

    /// Do not ask
    #[arg(short, long)]
    pub yes: bool,
}

const CLEANUP_EXAMPLES: &str = "\
Examples:
  bottle-vmm cleanup --dry-run
  bottle-vmm cleanup --yes
  bottle-vmm cleanup coder-4f2k9";

fn name(text: &str) -> Result<Name, String> {
    Name::new(text).map_err(|invalid| format!("{invalid}: {}", invalid.hint()))
}
