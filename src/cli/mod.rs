//! What a person types and reads. The only place that prints, but for the streams of a running bottle.
//!
//! One file per command; [`args`] is what was typed, and nothing in it is looked up.

mod active;
pub mod args;
mod ask;
mod bench;
mod boot;
mod cleanup;
mod doctor;
mod edit;
mod editor;
mod egress;
mod env;
mod fit;
mod images;
mod info;
mod init;
mod inspect;
mod interrupt;
mod kept;
mod kernel;
mod list;
mod manifests;
mod manual;
mod out;
mod pack;
mod plan;
mod progress;
mod quantity;
mod report;
mod run;
mod sandbox;
mod schema;
mod start;
mod summary;
mod tty;

use args::{Cli, Command, ListWhat, ProgressStyle};
use clap::error::{ContextKind, ContextValue, ErrorKind};
use report::Voice;
use std::ffi::OsString;
use std::io::Write as _;
use std::process::ExitCode;

use crate::launch::EXIT_OURS;

/// Runs the program and returns its exit code.
#[must_use]
pub fn main() -> ExitCode {
    let begin_ns = crate::monitor::process::now_ns();
    let cli = match Cli::of(std::env::args_os()) {
        Ok(cli) => cli,
        Err(error) => return usage(error, &std::env::args_os().collect::<Vec<_>>()),
    };
    let voice = voice(&cli.command);
    let result = match cli.command {
        Command::Run(args) => run::run(&args, begin_ns),
        Command::Pack(args) => pack::run(&args),
        Command::Inspect(args) => inspect::run(&args, voice),
        Command::Images(args) => images::run(&args),
        Command::Kernel(args) => kernel::run(args),
        Command::Start(args) => start::start(args),
        Command::Plan(args) => plan::run(args),
        Command::Resume(args) => start::resume(args),
        Command::Cleanup(args) => cleanup::run(&args),
        Command::List { what: None, json } => list::run(json),
        Command::List { what: Some(ListWhat::Active), json } => active::run(json),
        Command::List { what: Some(ListWhat::Kept), json } => kept::run(json),
        Command::Info { agent, json } => info::run(agent.as_deref(), json),
        Command::Init => init::run(),
        Command::Edit { name, kind } => edit::run(name.as_deref(), kind),
        Command::Schema { kind } => schema::run(kind),
        Command::Doctor { kernel, json } => doctor::run(kernel.as_deref(), json),
        Command::Egress { bottle, json } => egress::run(&bottle, json),
        Command::Bench(args) => bench::run(&args),
        Command::Completions { shell } => manual::completions(shell),
        Command::Man => manual::man(),
    };
    match result {
        Ok(code) => code,
        Err(error) => voice.error(&error),
    }
}

/// Where the answer or its progress is for a program, all of standard error is; but for `run`, whose command has it.
fn voice(command: &Command) -> Voice {
    let (json, progress) = match command {
        Command::Pack(args) => (args.json, args.progress),
        Command::Inspect(args) => (args.json, args.progress),
        _ => return Voice::ForPeople,
    };
    if json || progress == Some(ProgressStyle::Json) { Voice::ForPrograms } else { Voice::ForPeople }
}

const IN_THE_BACKGROUND: &str = "a bottle lives as long as its command: let the shell put it into the background";

/// What is called otherwise here than docker has it.
fn command_of_docker(error: &clap::Error, words: &[OsString]) -> Option<&'static str> {
    let Some(ContextValue::String(word)) = error.get(ContextKind::InvalidSubcommand) else { return None };
    // `kernel ls` is another matter.
    let first = words.get(1)?;
    let is_of_images = first == "images" && ["ls", "image", "rmi"].contains(&word.as_str());
    if first != word.as_str() && !is_of_images {
        return None;
    }
    Some(match word.as_str() {
        "ps" => "`bottle-vmm list active` lists what runs",
        "ls" | "image" => "`bottle-vmm images` lists images",
        "rmi" => "`bottle-vmm images rm NAME` removes an image from the cache",
        "build" => {
            "`bottle-vmm pack --dockerfile PATH -o FILE` builds and packs, `run --dockerfile PATH` builds and runs"
        }
        "load" | "import" | "pull" => {
            "nothing is loaded: `run --image` takes files, directories and what docker and podman keep"
        }
        "exec" | "attach" | "logs" => "a bottle is one command, with its streams: nothing else gets in",
        "rm" | "stop" | "kill" => {
            "a bottle ends with its command, or with `bottle-vmm run` itself; `cleanup` removes what agents' bottles left"
        }
        _ => return None,
    })
}

/// What to do instead of something that docker has and bottles have not, or agents and others have not in common.
fn habit(error: &clap::Error, words: &[OsString]) -> Option<&'static str> {
    let Some(ContextValue::String(word)) = error.get(ContextKind::InvalidArg) else { return None };
    let word = word.split('=').next()?;
    match Cli::is_of_agent(words)? {
        true => habit_with_agent(word),
        false => habit_with_image(word),
    }
}

fn habit_with_image(word: &str) -> Option<&'static str> {
    Some(match word {
        "-v" | "--volume" | "--mount" => {
            "there are no mounts: `tar c DIR | bottle-vmm run -i … -- sh -c 'tar x && …'` takes files in, `tar c` in the command takes them out"
        }
        "-p" | "--publish" => "nothing listens outside for a bottle; what it may reach is given with `--allow`",
        "--network" => "there is no network unless something is allowed: `--allow CIDR[:PORT]`",
        "-d" | "--detach" => IN_THE_BACKGROUND,
        "--privileged" | "--cap-add" | "--security-opt" => {
            "inside its own machine the command may do everything its user may: give `--user root`"
        }
        "--cwd" | "--bottle" | "--label" | "--yes" | "-y" | "--dry-run" | "--headless" | "--prompt" => {
            "that is for an agent, which stands directly behind `run`: `run AGENT …`"
        }
        word if !word.starts_with('-') => {
            "an image is given with `--image`, and the command after `--`: `run --image IMAGE -- COMMAND`; an agent stands directly behind `run`: `run AGENT …`"
        }
        _ => return None,
    })
}

fn habit_with_agent(word: &str) -> Option<&'static str> {
    Some(match word {
        "-v" | "--volume" | "--mount" => "there are no mounts: `--cwd` takes a copy of the current directory along",
        "-p" | "--publish" | "--print" => "a task is given with `--headless --prompt TEXT`",
        "--name" => "a name for it is given with `--label`",
        "--network" | "--allow" => "what an agent may reach is its bottle's `egress`: `bottle-vmm edit` the bottle",
        "-d" | "--detach" => IN_THE_BACKGROUND,
        "-i" | "-t" | "--tty" | "--interactive" => "an agent has the terminal that it is started on",
        "-u" | "--user" | "--privileged" | "--cap-add" | "--security-opt" => {
            "an agent is always the user `node` of its image, in a machine of its own"
        }
        "--image" | "--dockerfile" => {
            "an agent's image is its bottle's, or BOT_BOTTLE_IMAGE; a command of your own in an image has no agent in front: \
             `run --image IMAGE -- COMMAND`"
        }
        "-e" | "--env" | "--env-file" => "an agent's variables are its bottle's `env`: `bottle-vmm edit` the bottle",
        word if !word.starts_with('-') => {
            "what stands behind `run` is an agent, which has a command of its own; one of yours in an image is `run --image IMAGE -- COMMAND`"
        }
        _ => return None,
    })
}

/// Leaves out the advice to put an unknown option behind `--`: there it would be the command, or a name of something.
fn without_bad_advice(mut error: clap::Error) -> clap::Error {
    if let Some(ContextValue::StyledStrs(mut advice)) = error.remove(ContextKind::Suggested) {
        advice.retain(|tip| !tip.to_string().contains(" as a value, use "));
        if !advice.is_empty() {
            error.insert(ContextKind::Suggested, ContextValue::StyledStrs(advice));
        }
    }
    error
}

/// Help is data and a success; a wrong command line is ours to report, with docker's code for it.
fn usage(error: clap::Error, words: &[OsString]) -> ExitCode {
    let error = &without_bad_advice(error);
    let printed = error.print();
    if let Some(hint) = habit(error, words).or_else(|| command_of_docker(error, words)) {
        // As clap prints its own; a closed standard error is the caller's choice.
        let _ = writeln!(std::io::stderr(), "\n  hint: {hint}");
    }
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => match out::written(printed) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => report::error(&error),
        },
        _ => ExitCode::from(EXIT_OURS),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hint_for(words: &[&str]) -> Option<&'static str> {
        let words: Vec<OsString> = [&["bottle-vmm", "run"], words].concat().into_iter().map(Into::into).collect();
        habit(&Cli::of(words.clone()).unwrap_err(), &words)
    }

    #[test]
    fn who_is_used_to_docker_is_told_what_to_do_instead() {
        for (words, told) in [
            (vec!["-v", "/src:/src"], "there are no mounts"),
            (vec!["--volume=/src:/src"], "there are no mounts"),
            (vec!["-p", "80:80"], "--allow"),
            (vec!["--network", "host"], "--allow"),
            (vec!["-d"], "as long as its command"),
            (vec!["--privileged"], "--user root"),
            (vec!["debian:12", "ls"], "`run --image IMAGE -- COMMAND`"),
            (vec!["-i", "debian:12", "ls"], "`--image`"),
            (vec!["--yes", "coder"], "`run AGENT …`"),
            (vec!["--mem", "4G", "coder"], "`run AGENT …`"),
            (vec!["coder", "-v", "/src:/src"], "`--cwd`"),
            (vec!["coder", "-p", "fix it"], "`--headless --prompt TEXT`"),
            (vec!["coder", "--network", "x"], "`egress`"),
            (vec!["coder", "-it"], "the terminal"),
            (vec!["coder", "--user", "root"], "`node`"),
            (vec!["coder", "--image", "agent.tar"], "BOT_BOTTLE_IMAGE"),
            (vec!["coder", "--", "ls"], "`run --image IMAGE -- COMMAND`"),
            (vec!["coder", "-e", "NAME"], "`env`"),
        ] {
            assert!(hint_for(&words).is_some_and(|hint| hint.contains(told)), "{words:?}: {:?}", hint_for(&words));
        }
        assert_eq!(hint_for(&["--no-such-thing"]), None);
    }

    #[test]
    fn commands_of_docker_have_another_name_here() {
        let hint = |words: &[&str]| {
            let words: Vec<OsString> = words.iter().map(Into::into).collect();
            command_of_docker(&Cli::of(words.clone()).unwrap_err(), &words)
        };
        for (words, told) in [
            (&["bottle-vmm", "ps"][..], "list active"),
            (&["bottle-vmm", "images", "ls"], "`bottle-vmm images`"),
            (&["bottle-vmm", "rmi", "x"], "images rm"),
            (&["bottle-vmm", "build", "."], "--dockerfile"),
        ] {
            assert!(hint(words).is_some_and(|hint| hint.contains(told)), "{words:?}");
        }
        for words in [&["bottle-vmm", "nonsense"][..], &["bottle-vmm", "kernel", "ls"], &["bottle-vmm", "images", "ps"]]
        {
            assert_eq!(hint(words), None);
        }
    }

    #[test]
    fn an_unknown_option_is_not_advised_to_become_the_command() {
        let said = |words: &[&str]| without_bad_advice(Cli::of(words.iter().map(Into::into)).unwrap_err()).to_string();
        for words in [
            &["bottle-vmm", "run", "--foo"][..],
            &["bottle-vmm", "run", "-v", "/a:/b"],
            &["bottle-vmm", "inspect", "--foo"],
        ] {
            let text = said(words);
            assert!(text.contains("unexpected argument") && !text.contains("tip:"), "{text}");
        }
        assert!(said(&["bottle-vmm", "run", "--imag", "x"]).contains("--image"), "a good one stays");
    }
}
