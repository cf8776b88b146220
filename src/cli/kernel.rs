//! `bottle-vmm kernel`: supplies of guest kernels.

use super::args::KernelCommand;
use super::progress::Bar;
use super::report::Failure;
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
            tell(&installed, json)
        }
        KernelCommand::Build { jobs, json } => {
            let bar = Bar::new();
            let installed = build::firmware(&store, &apt()?, jobs, &bar)?;
            drop(bar);
            tell(&installed, json)
        }
        KernelCommand::List { json } => list(&store.list()?, json),
    }
}

fn apt() -> Result<Apt, Failure> {
    Ok(Apt::open(&paths::cache()?.join("apt"))?)
}

#[expect(clippy::print_stdout, reason = "data that was asked for")]
fn tell(installed: &Installed, json: bool) -> Result<ExitCode, Failure> {
    if json {
        println!("{}", serde_json::to_string_pretty(installed).map_err(|error| Failure::new(error, None))?);
    } else {
        println!("{}", installed.name);
    }
    Ok(ExitCode::SUCCESS)
}

#[expect(clippy::print_stdout, reason = "data that was asked for")]
fn list(kernels: &[Installed], json: bool) -> Result<ExitCode, Failure> {
    if json {
        println!("{}", serde_json::to_string_pretty(kernels).map_err(|error| Failure::new(error, None))?);
        return Ok(ExitCode::SUCCESS);
    }
    let width = kernels.iter().map(|kernel| kernel.name.len()).max().unwrap_or(0);
    for (index, kernel) in kernels.iter().enumerate() {
        let taken = if index == 0 { "  (what `run` takes)" } else { "" };
        println!("{:width$}  {}{taken}", kernel.name, kernel.version);
    }
    Ok(ExitCode::SUCCESS)
}
