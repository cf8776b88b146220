//! The command line: what can be typed, its help, and nothing else. Man page and completions are made from it.

mod bench;
pub mod bottles;
mod images;
mod kernel;
pub mod run;

pub use bench::{BenchCommand, BootBench};
pub use bottles::{BottleArgs, CleanupArgs, ListWhat, MachineArgs, PlanArgs, ResumeArgs, StartArgs, Unattended};
pub use images::{ImagesArgs, ImagesCommand, InspectArgs, PackArgs};
pub use kernel::KernelCommand;
pub use run::{EgressArgs, NetMode, RunArgs, SandboxPart};

use clap::{Parser, Subcommand};
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

impl Cli {
    /// What was typed, the program first. `run AGENT …` is `start AGENT …`: what `run` itself takes begins with `-`.
    ///
    /// # Errors
    /// It is no command line of ours, or a question for help or the version.
    pub fn of(words: impl IntoIterator<Item = OsString>) -> Result<Self, clap::Error> {
        let mut words: Vec<_> = words.into_iter().collect();
        let is_of_agent = Self::is_of_agent(&words) == Some(true);
        if let Some(command) = words.get_mut(1).filter(|_| is_of_agent) {
            *command = "start".into();
        }
        Self::try_parse_from(words)
    }

    /// Whether what is to run is an agent, or a command in an image; of other commands, neither.
    #[must_use]
    pub fn is_of_agent(words: &[OsString]) -> Option<bool> {
        match words.get(1)?.as_encoded_bytes() {
            b"start" => Some(true),
            b"run" => Some(words.get(2).is_some_and(|agent| !agent.as_encoded_bytes().starts_with(b"-"))),
            _ => None,
        }
    }
}

#[derive(Debug, Subcommand)]
pub enum Command {
    Run(Box<RunArgs>),
    Pack(PackArgs),
    Inspect(InspectArgs),
    Images(ImagesArgs),
    Start(StartArgs),
    Plan(PlanArgs),
    Resume(ResumeArgs),
    Cleanup(CleanupArgs),
    /// List agents and bottles, the bottles that run, or those that were kept
    ///
    /// A broken file is listed too, and what is wrong with it is said on standard error.
    List {
        /// `active`: the bottles that run, a line each: what started it (agent or run), backend, identity or name, agent and services;
        /// `kept`: those that do not run and are there still, and all of bot-bottle's: backend, identity, agent, and since when
        what: Option<ListWhat>,
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
        /// Kernel, as for `run`
        #[arg(long, value_name = "NAME|PATH", env = "BOTTLE_VMM_KERNEL")]
        kernel: Option<PathBuf>,
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

/// How progress is told, always on standard error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum ProgressStyle {
    /// Bars on a terminal, nothing elsewhere
    Auto,
    /// A JSON object a line: {"event":"step","what":…,"unit":"bytes" or null}, then {"event":"progress","done":…,"total":… or null}, and of a
    /// builder {"event":"output","line":…}; of `pack` and `inspect` also {"event":"note","text":…} and
    /// {"event":"error","message":…,"causes":[…],"hint":…,"exit_code":…}
    Json,
    /// Not at all
    None,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(line: &str) -> Result<Command, clap::Error> {
        Cli::of(line.split(' ').map(OsString::from)).map(|cli| cli.command)
    }

    #[test]
    fn run_with_an_agent_is_start_and_without_one_is_run() {
        let Ok(Command::Start(args)) = of("bottle-vmm run coder --cwd --label fix --yes") else { panic!("no start") };
        assert_eq!((args.agent.as_deref(), args.bottle.label.as_deref()), (Some("coder"), Some("fix")));
        assert!(args.bottle.cwd && args.unattended.yes);
        for line in ["run", "run -- coder", "run -i -- coder", "run --image agent.tar -- coder"] {
            assert!(matches!(of(&format!("bottle-vmm {line}")), Ok(Command::Run(_))), "{line}");
        }
        let error = of("bottle-vmm run coder --help").unwrap_err().to_string();
        assert!(error.contains("Usage: bottle-vmm start [OPTIONS] [AGENT]"), "{error}");
        let error = of("bottle-vmm run -h").unwrap_err().to_string();
        assert!(error.contains("bottle-vmm run <AGENT> [OPTIONS OF start]"), "{error}");
    }
}
