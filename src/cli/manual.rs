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
    let text = page().map_err(|error| Failure::new(error, None))?;
    out::bytes(text.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

/// What holds for all commands, after them.
const COMMON: &str = r#".SH EXIT STATUS
.TP
.B 0
Success; of \fBrun\fR, \fBstart\fR and \fBresume\fR: the command's own success.
.TP
.B 1
\fBdoctor\fR found that \fBrun\fR cannot work; \fBinspect\fR found damage; \fBbench \-\-fail\-above\fR was exceeded.
.TP
.B 124
The command was ended by \fB\-\-timeout\fR.
.TP
.B 125
bottle\-vmm itself failed: the error says why, and a hint the way out.
.TP
.B 126
The command cannot be executed.
.TP
.B 127
The command is not in the image.
.TP
.B 128+\fIN\fR
The command, or the bottle, was ended by signal \fIN\fR.
.PP
Every other code of \fBrun\fR, \fBstart\fR and \fBresume\fR is the command's own.
.SH ENVIRONMENT
.TP
.B BOTTLE_VMM_KERNEL
The kernel that \fBrun\fR takes without \fB\-\-kernel\fR.
.TP
.B BOT_BOTTLE_HOME
Bottles, agents and their state, instead of ~/.bot\-bottle. An absolute path.
.TP
.B XDG_CACHE_HOME
Packed images, downloads and scratch disks are in bottle\-vmm below it (else below ~/.cache).
.TP
.B XDG_DATA_HOME
Kernels are in bottle\-vmm/kernels below it (else below ~/.local/share).
.TP
.B VISUAL\fR, \fBEDITOR
What \fBedit\fR edits with.
.PP
None of the caller's variables reach the guest but those passed on by \fB\-e\fR or \fB\-\-env\-file\fR.
.SH FILES
.TP
.I ~/.cache/bottle\-vmm
May be removed at any time: it costs work only.
.TP
.I ~/.local/share/bottle\-vmm/kernels
Installed kernels, a directory each.
.TP
.I ~/.bot\-bottle
Bottles, agents and state, shared with bot\-bottle.
"#;

fn page() -> io::Result<String> {
    let mut program = Cli::command();
    program.build();
    let mut text = Vec::new();
    clap_mangen::Man::new(program.clone()).render_title(&mut text)?;
    let mut text = in_utf8(&text);
    let man = clap_mangen::Man::new(program.clone());
    for section in [
        clap_mangen::Man::render_name_section,
        clap_mangen::Man::render_synopsis_section,
        clap_mangen::Man::render_description_section,
    ] {
        text += &section_of(&man, section)?;
    }
    for command in commands_of(&program) {
        text += &format!(".SH \"{}\"\n", command.get_name().to_uppercase().replace('-', "\\-"));
        // The page is as long as `--help`.
        let man = clap_mangen::Man::new(command.mut_args(|option| option.hide_short_help(false)));
        let description = section_of(&man, clap_mangen::Man::render_description_section)?;
        text += description.strip_prefix(".SH DESCRIPTION\n").unwrap_or(&description);
        for (section, title) in [
            (clap_mangen::Man::render_synopsis_section as Section, "SYNOPSIS"),
            (clap_mangen::Man::render_options_section, "OPTIONS"),
        ] {
            text += &section_of(&man, section)?.replace(&format!(".SH {title}\n"), &format!(".SS {title}\n"));
        }
        text += &examples(&section_of(&man, clap_mangen::Man::render_extra_section)?);
    }
    Ok(text + COMMON)
}

type Section = fn(&clap_mangen::Man, &mut dyn io::Write) -> io::Result<()>;

/// One section, without the definitions that clap_mangen puts before each, and which the title has already.
fn section_of(man: &clap_mangen::Man, section: Section) -> io::Result<String> {
    let mut text = Vec::new();
    section(man, &mut text)?;
    let definition = |line: &&str| !line.starts_with(".ie ") && !line.starts_with(".el ");
    Ok(in_utf8(&text).lines().filter(definition).map(|line| format!("{line}\n")).collect())
}

/// Line by line, as they stand below a command's help.
fn examples(extra: &str) -> String {
    let lines = extra.strip_prefix(".SH EXTRA\nExamples:\n");
    lines.map_or_else(String::new, |lines| format!(".SS EXAMPLES\n.nf\n{lines}.fi\n"))
}

fn in_utf8(text: &[u8]) -> String {
    String::from_utf8_lossy(text).into_owned()
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

    #[test]
    fn the_page_has_every_section_and_no_leftovers() {
        let text = page().unwrap();
        for heading in [
            ".SH NAME",
            ".SH \"BOTTLE\\-VMM RUN\"",
            ".SS OPTIONS",
            ".SS EXAMPLES",
            ".SH EXIT STATUS",
            ".SH ENVIRONMENT",
            ".SH FILES",
        ] {
            assert!(text.lines().any(|line| line == heading), "{heading}");
        }
        assert!(text.contains("`run AGENT …` is `start AGENT …`"));
        assert_eq!(text.matches("How long the guest may take to come up").count(), 3, "what short help hides is there");
        assert_eq!(text.matches(".SH NAME\n").count(), 1);
        assert!(!text.contains("EXTRA") && !text.contains("Examples:"));
    }
}
