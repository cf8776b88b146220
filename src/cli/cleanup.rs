//! `bottle-vmm cleanup`: what killed bottles left is listed, and removed after one question; each on its own, so that one that resists
//! does not keep the others.

use super::args::CleanupArgs;
use super::ask::Asker;
use super::out;
use super::report::{self, Failure, note};
use super::tty::Tty;
use crate::paths;
use crate::plan::StateRoot;
use crate::plan::leftovers::{self, Leftover};
use std::process::ExitCode;

pub fn run(args: &CleanupArgs) -> Result<ExitCode, Failure> {
    let root = StateRoot::new(&paths::bot_bottle()?);
    let leftovers = leftovers::find(&root)?;
    if leftovers.is_empty() {
        note("there is nothing to clean up");
        return Ok(ExitCode::SUCCESS);
    }
    if !args.yes {
        for leftover in &leftovers {
            out::line(format_args!("would remove {}", described(leftover)))?;
        }
    }
    if args.dry_run {
        return Ok(ExitCode::SUCCESS);
    }
    if !args.yes && !confirmed(leftovers.len())? {
        note("nothing was removed");
        return Ok(ExitCode::FAILURE);
    }
    let mut all = true;
    for leftover in &leftovers {
        match leftovers::remove(&root, leftover) {
            Ok(()) => out::line(format_args!("removed {}", described(leftover)))?,
            Err(error) => {
                all = false;
                let hint = error.hint();
                report::error(&Failure::new(error, hint));
            }
        }
    }
    Ok(if all { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn described(leftover: &Leftover) -> String {
    let agent = leftover.agent.as_ref().map_or("no record".to_owned(), |agent| format!("agent {agent}"));
    let processes = leftover.processes.iter().map(|process| format!(", {} {}", process.role, process.pid));
    format!("{} ({agent}{})", leftover.slug, processes.collect::<String>())
}

fn confirmed(count: usize) -> Result<bool, Failure> {
    let no_terminal = |_| {
        let hint = "`--yes` removes without asking, `--dry-run` only tells".to_owned();
        Failure::new("`cleanup` asks before it removes, and there is no terminal", Some(hint))
    };
    let mut asker = Tty::open().and_then(Asker::on).map_err(no_terminal)?;
    asker.yes(&format!("Remove {}?", if count == 1 { "it".to_owned() } else { format!("these {count}") }), false)
}
