//! `bottle-vmm cleanup`: what killed bottles left, or what is named, is listed, and removed after one question; each on its own, so that
//! one that resists does not keep the others.

use super::args::CleanupArgs;
use super::ask::Asker;
use super::edit;
use super::out;
use super::report::{self, Failure, note};
use super::tty::Tty;
use crate::launch::one_line;
use crate::paths;
use crate::plan::leftovers::{self, Leftover};
use crate::plan::{Slug, StateRoot};
use std::collections::BTreeSet;
use std::process::ExitCode;

pub fn run(args: &CleanupArgs) -> Result<ExitCode, Failure> {
    let own = paths::bot_bottle()?;
    let root = StateRoot::new(&own);
    let leftovers = match args.bottles.as_slice() {
        [] => leftovers::find(&root)?,
        names => named(&root, names)?,
    };
    // Somebody's work, which nobody but they can tell the worth of.
    for draft in edit::drafts(&own) {
        note(&format!(
            "`{}` is a draft of `edit`, and left alone: remove it if you have no use for it",
            draft.display()
        ));
    }
    if leftovers.is_empty() {
        note("there is nothing to clean up");
        return Ok(ExitCode::SUCCESS);
    }
    if args.dry_run || !args.yes {
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
                report::error(&error.into());
            }
        }
    }
    Ok(if all { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// All or none: who is mistaken in one name may be in the others.
fn named(root: &StateRoot, names: &[String]) -> Result<Vec<Leftover>, Failure> {
    let names: BTreeSet<&String> = names.iter().collect();
    names.into_iter().map(|name| Ok(leftovers::named(root, &Slug::of_label(name)?)?)).collect()
}

fn described(leftover: &Leftover) -> String {
    let agent = leftover.agent.as_ref().map_or("no record".to_owned(), |agent| format!("agent {}", one_line(agent)));
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
