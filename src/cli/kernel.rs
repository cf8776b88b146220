//! `bottle-vmm kernel`: supplies of guest kernels.

use super::args::KernelCommand;
use super::fit;
use super::out;
use super::progress::Bar;
use super::report::{self, Failure};
use crate::debian::{Apt, Suite};
use crate::kernel::{Installed, Store, build, install};
use crate::paths;
use std::process::ExitCode;

pub fn run(command: KernelCommand) -> Result<ExitCode, Failure> {
    let store = Store::open_default()?;
    match command {
        KernelCommand::Install { backports, deb, json } => {
            let bar = Bar::new();
            let installed = match deb {
                Some(deb) => install::stock(&store, install::Source::File(&deb), &bar)?,
                None => {
                    let suite = if backports { Suite::Backports } else { Suite::Stable };
                    install::stock(&store, install::Source::Debian(&apt()?, suite), &bar)?
                }
            };
            drop(bar);
            tell(&store, &installed, json)
        }
        KernelCommand::Build { jobs, json } => {
            let bar = Bar::new();
            let installed = build::firmware(&store, &apt()?, jobs, &bar)?;
            drop(bar);
            tell(&store, &installed, json)
        }
        KernelCommand::Remove { name } => {
            store.remove(&name)?;
            Ok(ExitCode::SUCCESS)
        }
        KernelCommand::List { json } => list(&store.list()?, json),
    }
}

fn apt() -> Result<Apt, Failure> {
    Ok(Apt::open(&paths::cache()?.join("apt"))?)
}

/// What was installed, and which kernel `run` takes now: it may have changed.
fn tell(store: &Store, installed: &Installed, json: bool) -> Result<ExitCode, Failure> {
    if json {
        out::json(installed)?;
    } else {
        out::line(format_args!("{}", installed.name))?;
    }
    let taken = store.select(None)?.name;
    if taken == installed.name {
        report::note("`run` takes this kernel from now on; `--kernel NAME` takes another of `bottle-vmm kernel list`");
    } else {
        report::note(&format!("`run` takes {taken} before this one; `--kernel {}` takes it", installed.name));
    }
    if let Some(warning) = fit::warning(installed) {
        report::note(&warning);
    }
    Ok(ExitCode::SUCCESS)
}

fn list(kernels: &[Installed], json: bool) -> Result<ExitCode, Failure> {
    if json {
        out::json(&kernels)?;
        return Ok(ExitCode::SUCCESS);
    }
    if kernels.is_empty() {
        report::note(
            "no kernel is installed: `bottle-vmm kernel install` gets one in seconds, `bottle-vmm kernel build` a faster one in minutes",
        );
    }
    let width = kernels.iter().map(|kernel| kernel.name.len()).max().unwrap_or(0);
    for (index, kernel) in kernels.iter().enumerate() {
        let taken = if index == 0 { "  (what `run` takes)" } else { "" };
        out::line(format_args!("{:width$}  {}{taken}", kernel.name, kernel.version))?;
    }
    Ok(ExitCode::SUCCESS)
}
