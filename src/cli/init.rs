//! `bottle-vmm init`: asks a few questions, and writes a first bottle and agent. All questions come first, so leaving in between
//! leaves nothing behind; what is there already is never overwritten.

use super::ask::{Asker, Terminal};
use super::out;
use super::report::Failure;
use crate::manifest::{AgentFile, BottleFile, Host, Invalid, Name, Variable};
use crate::paths;
use std::collections::BTreeSet;
use std::fs::{self, DirBuilder};
use std::io::{self, BufRead, Write};
use std::iter;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// A file to be written.
struct Draft {
    path: PathBuf,
    text: String,
}

pub fn run() -> Result<ExitCode, Failure> {
    let own = paths::bot_bottle()?;
    let Some(mut terminal) = Terminal::open() else {
        let hint =
            "without one, write `bottles/NAME.md` and `agents/NAME.md` by hand: the README has an example of each";
        return Err(Failure::new("`init` asks questions, and there is no terminal", Some(hint.to_owned())));
    };
    let drafts = interview(&mut terminal, &own)?;
    write_all(&own, &drafts)?;
    for draft in &drafts {
        out::line(format_args!("{}", draft.path.display()))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn interview<R: BufRead, W: Write>(asker: &mut Asker<R, W>, own: &Path) -> Result<[Draft; 2], Failure> {
    asker.say(&format!(
        "A bottle is what an agent is given: credentials, hosts, repositories. It goes to {}.",
        own.display()
    ))?;
    let free = |kind: &str, text: &str| {
        let name = Name::new(text).map_err(|invalid| words(&invalid))?;
        match own.join(kind).join(format!("{name}.md")) {
            path if path.symlink_metadata().is_ok() => {
                Err(format!("`{}` is there already: `bottle-vmm edit {name}` changes it", path.display()))
            }
            path => Ok((name, path)),
        }
    };
    let (bottle, bottle_path) =
        asker.until("Name of the bottle", &offered("dev", own, "bottles"), |text| free("bottles", text))?;
    let bottle_text = bottle_text(asker)?;
    let (_, agent_path) =
        asker.until("Name of the agent", &offered("coder", own, "agents"), |text| free("agents", text))?;
    let prompt = asker.line("What it is told at the start, in a sentence (its prompt)", "")?;
    let agent_text = format!("---\nbottle: {}\n---\n\n{prompt}\n", scalar(bottle.as_str()));
    // The parsers have the last word on what the questions came to.
    let ours = |error: crate::manifest::ManifestError| Failure::new(error, Some("please report this".to_owned()));
    BottleFile::parse(bottle_text.as_bytes(), &BTreeSet::new()).map_err(|error| ours(error.in_file(&bottle_path)))?;
    AgentFile::parse(agent_text.as_bytes()).map_err(|error| ours(error.in_file(&agent_path)))?;
    Ok([Draft { path: bottle_path, text: bottle_text }, Draft { path: agent_path, text: agent_text }])
}

/// The name, or the first numbered one that is free; nothing where so many are taken that somebody has names of his own.
fn offered(name: &str, own: &Path, kind: &str) -> String {
    let mut names = iter::once(name.to_owned()).chain((2..=99).map(|number| format!("{name}-{number}")));
    let free = |name: &String| own.join(kind).join(format!("{name}.md")).symlink_metadata().is_err();
    names.find(free).unwrap_or_default()
}

fn bottle_text<R: BufRead, W: Write>(asker: &mut Asker<R, W>) -> Result<String, Failure> {
    let template = asker.until("Coding agent, claude or codex", "claude", |text| match text {
        "claude" | "codex" => Ok(text.to_owned()),
        other => Err(format!("`{other}` is neither")),
    })?;
    let mut text = format!("---\nagent_provider:\n  template: {template}\n");
    if template == "claude" {
        let question = "Variable of this host that holds its token, by name (empty: log in by hand)";
        let optional = |text: &str| {
            if text.is_empty() { Ok(None) } else { Variable::new(text).map(Some).map_err(|invalid| words(&invalid)) }
        };
        if let Some(name) = asker.until(question, "", optional)? {
            text += &format!("  auth_token: {}\n", scalar(name.as_str()));
        }
    } else if asker.yes("Use the login of this host's codex?", false)? {
        text += "  forward_host_credentials: true\n";
    }
    let hosts = asker.until("Hosts it may reach beside its own, separated by blanks", "", |text| {
        text.split_whitespace().map(Host::new).collect::<Result<BTreeSet<_>, _>>().map_err(|invalid| words(&invalid))
    })?;
    if !hosts.is_empty() {
        text += "egress:\n  routes:\n";
        text.extend(hosts.iter().map(|host| format!("    - host: {}\n", scalar(host.as_str()))));
    }
    let (name, email) = (asker.line("Name for its commits", "")?, asker.line("E-mail address for its commits", "")?);
    if !(name.is_empty() && email.is_empty()) {
        text += "git-gate:\n  user:\n";
        text.extend(
            [("name", name), ("email", email)]
                .iter()
                .filter(|(_, value)| !value.is_empty())
                .map(|(key, value)| format!("    {key}: {}\n", scalar(value))),
        );
    }
    let supervise = asker.yes("May it ask you for changes while it runs?", false)?;
    Ok(format!(
        "{text}supervise: {supervise}\n---\n\nWhat this bottle is for: this text is for people, and not read.\n"
    ))
}

/// Plain where it cannot be taken for anything but text, else quoted: a JSON string is a YAML one.
fn scalar(text: &str) -> String {
    let words = ["true", "false", "null", "yes", "no", "on", "off", "y", "n"];
    let plain = text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte))
        && !words.contains(&text.to_lowercase().as_str());
    if plain { text.to_owned() } else { serde_json::Value::from(text).to_string() }
}

fn words(invalid: &Invalid) -> String {
    format!("{invalid}: {}", invalid.hint())
}

/// Both or none.
fn write_all(own: &Path, drafts: &[Draft]) -> Result<(), Failure> {
    for (index, draft) in drafts.iter().enumerate() {
        if let Err(error) = write(own, draft) {
            for written in drafts.iter().take(index) {
                let _ = fs::remove_file(&written.path); // ours, a moment old
            }
            let what = format!("cannot write `{}`: {error}", draft.path.display());
            let hint = "is the directory yours to write? BOT_BOTTLE_HOME can name another".to_owned();
            return Err(Failure::new(what, Some(hint)));
        }
    }
    Ok(())
}

/// Directories are 0700, files 0600, complete or not there, and never in place of another.
fn write(own: &Path, draft: &Draft) -> io::Result<()> {
    let directory = draft.path.parent().unwrap_or(own);
    DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    let mut file = tempfile::NamedTempFile::new_in(directory)?;
    file.write_all(draft.text.as_bytes())?;
    file.as_file().sync_all()?;
    file.persist_noclobber(&draft.path)?;
    Ok(())
}

#[cfg(test)]
#[path = "init_test.rs"]
mod tests;
