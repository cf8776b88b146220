//! The manual page and completions, made from the definition of the command line.

use super::args::Cli;
use super::out;
use super::report::Failure;
use clap::CommandFactory as _;
use clap_complete::Shell;
use std::io;
use std::process::ExitCode;

pub fn completions(shell: Shell) -> Result<ExitCode, Failure> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "bottle-vmm", &mut text);
    out::bytes(&text)?;
    Ok(ExitCode::SUCCESS)
}

/// One page for the program and all its commands, so that `man bottle-vmm` has everything.
pub fn man() -> Result<ExitCode, Failure> {
    let mut text = Vec::new();
    let failed = |error: io::Error| Failure::new(error, None);
    let mut program = Cli::command();
    program.build();
    clap_mangen::Man::new(program.clone()).render(&mut text).map_err(failed)?;
    for command in commands_of(&program) {
        let page = clap_mangen::Man::new(command);
        page.render_name_section(&mut text).map_err(failed)?;
        page.render_synopsis_section(&mut text).map_err(failed)?;
        page.render_description_section(&mut text).map_err(failed)?;
        page.render_options_section(&mut text).map_err(failed)?;
        page.render_extra_section(&mut text).map_err(failed)?;
    }
    out::bytes(&text)?;
    Ok(ExitCode::SUCCESS)
}

/// All commands below `parent` that do something themselves, with their full names.
fn commands_of(parent: &clap::Command) -> Vec<clap::Command> {
    let mut found = Vec::new();
    for command in parent.get_subcommands().filter(|command| command.get_name() != "help") {
        let name = format!("{} {}", parent.get_display_name().unwrap_or(parent.get_name()), command.get_name());
        let command = command.clone().display_name(name.clone()).name(name);
        let below = commands_of(&command);
        if !command.is_subcommand_required_set() {
            found.push(command);
        }
        found.extend(below);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent_and_every_command_has_a_page() {
        Cli::command().debug_assert();
        let mut program = Cli::command();
        program.build();
        let names: Vec<_> = commands_of(&program).iter().map(|command| command.get_name().to_owned()).collect();
        assert!(!names.iter().any(|name| name == "bottle-vmm kernel"), "does nothing itself");
        for name in [
            "bottle-vmm run",
            "bottle-vmm kernel install",
            "bottle-vmm bench boot",
            "bottle-vmm doctor",
            "bottle-vmm images",
            "bottle-vmm images prune",
        ] {
            assert!(names.iter().any(|n| n == name), "{name} is not in {names:?}");
        }
    }
}
