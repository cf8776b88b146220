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
    if shell == Shell::Bash {
        text = with_matching_labels(&String::from_utf8_lossy(&text)).into_bytes();
    }
    out::bytes(&text)?;
    Ok(ExitCode::SUCCESS)
}

/// clap_complete 4.6 writes a program name with a hyphen in two ways, so that no label of its script is ever reached.
fn with_matching_labels(script: &str) -> String {
    script.replace("bottle__subcmd__vmm", "bottle__vmm")
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
    fn every_state_of_the_bash_completion_has_an_arm() {
        let mut text = Vec::new();
        clap_complete::generate(Shell::Bash, &mut Cli::command(), "bottle-vmm", &mut text);
        let script = with_matching_labels(&String::from_utf8(text).unwrap());
        let states = script.lines().filter_map(|line| line.trim().strip_prefix("cmd=\"")?.strip_suffix('"'));
        let states: Vec<_> = states.filter(|state| !state.is_empty()).collect();
        assert!(states.iter().any(|state| state.ends_with("run")), "{states:?}");
        for state in states {
            assert!(script.contains(&format!("        {state})\n")), "nothing is completed after {state}");
        }
    }

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
