//! The machine's Debian sources, and the backports suite of the same mirror.
//!
//! Both styles of sources.list(5) are read; only entries of a Debian archive are kept. A third party's repository has
//! nothing that is wanted here, has no backports suite, and may be down.

use std::fmt::Write as _;
use std::path::Path;
use std::{fs, io};

/// One entry. Fields that decide nothing here are carried through untouched, in deb822 spelling.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Source {
    uris: String,
    suites: Vec<String>,
    components: Vec<String>,
    other: Vec<(String, String)>,
}

/// Suites that Debian makes no backports for.
const ROLLING: [&str; 4] = ["sid", "unstable", "testing", "experimental"];

impl Source {
    /// A mirror may be called anything, but Debian's archive is signed by Debian's keys and, in all conventions there are, lies
    /// under a path or host that says `debian`.
    fn is_debian_archive(&self) -> bool {
        let foreign_key = self.other.iter().any(|(name, value)| {
            name.eq_ignore_ascii_case("signed-by") && value.starts_with('/') && !value.contains("debian-archive")
        });
        !foreign_key && self.uris.contains("debian") && self.components.iter().any(|c| c == "main")
    }

    /// Only main is asked of backports: the packages wanted here are all there.
    fn backports(&self) -> Option<Self> {
        let suites: Vec<_> = self
            .suites
            .iter()
            .filter(|suite| !suite.contains(['-', '/']) && !ROLLING.contains(&suite.as_str()))
            .map(|suite| format!("{suite}-backports"))
            .collect();
        (!suites.is_empty()).then(|| Self { suites, components: vec!["main".to_owned()], ..self.clone() })
    }

    fn render(&self, out: &mut String) {
        // Writing to a String cannot fail.
        let _ = writeln!(out, "Types: deb\nURIs: {}", self.uris);
        let _ = writeln!(out, "Suites: {}\nComponents: {}", self.suites.join(" "), self.components.join(" "));
        for (name, value) in &self.other {
            let _ = writeln!(out, "{name}: {value}");
        }
        out.push('\n');
    }
}

/// Reads `sources.list` and `sources.list.d` under `etc_apt`; what is missing is empty.
pub(super) fn read(etc_apt: &Path) -> io::Result<Vec<Source>> {
    let mut sources = Vec::new();
    if let Some(text) = read_optional(&etc_apt.join("sources.list"))? {
        sources.extend(one_line_style(&text));
    }
    let parts = match fs::read_dir(etc_apt.join("sources.list.d")) {
        Ok(parts) => parts,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(sources),
        Err(e) => return Err(e),
    };
    let mut files = parts.map(|entry| entry.map(|e| e.path())).collect::<io::Result<Vec<_>>>()?;
    files.sort();
    for file in files {
        match file.extension().and_then(|e| e.to_str()) {
            Some("list") => sources.extend(one_line_style(&fs::read_to_string(&file)?)),
            Some("sources") => sources.extend(deb822_style(&fs::read_to_string(&file)?)),
            _ => {}
        }
    }
    Ok(sources)
}

/// The text of a `.sources` file: the Debian archives of `sources`, and their backports where `with_backports`. None if
/// there is no Debian archive.
pub(super) fn render(sources: &[Source], with_backports: bool) -> Option<String> {
    let debian: Vec<_> = sources.iter().filter(|source| source.is_debian_archive()).collect();
    let known: Vec<_> = debian.iter().flat_map(|source| source.suites.iter().cloned()).collect();
    let mut out = String::new();
    for source in &debian {
        source.render(&mut out);
        let Some(mut backports) = source.backports().filter(|_| with_backports) else { continue };
        // apt warns about an index that is configured twice.
        backports.suites.retain(|suite| !known.contains(suite));
        if !backports.suites.is_empty() {
            backports.render(&mut out);
        }
    }
    (!debian.is_empty()).then_some(out)
}

fn read_optional(path: &Path) -> io::Result<Option<String>> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

/// `deb [ option=value … ] uri suite component…`, a line each. A line that is not of this form is not ours to judge: apt
/// will have told its owner.
fn one_line_style(text: &str) -> Vec<Source> {
    text.lines().filter_map(one_line).collect()
}

fn one_line(line: &str) -> Option<Source> {
    let line = line.split('#').next()?.trim();
    let mut rest = line.strip_prefix("deb")?.strip_prefix([' ', '\t'])?.trim_start();
    let mut other = Vec::new();
    if let Some(bracket) = rest.strip_prefix('[') {
        let (options, after) = bracket.split_once(']')?;
        other.extend(options.split_whitespace().filter_map(option));
        rest = after;
    }
    let mut words = rest.split_whitespace().map(str::to_owned);
    let (uris, suite) = (words.next()?, words.next()?);
    Some(Source { uris, suites: vec![suite], components: words.collect(), other })
}

fn option(word: &str) -> Option<(String, String)> {
    let (name, value) = word.split_once('=')?;
    let name = match name {
        "arch" => "Architectures",
        "lang" => "Languages",
        "target" => "Targets",
        same => same,
    };
    Some((name.to_owned(), value.replace(',', " ")))
}

/// Stanzas of `Field: value`, continued by lines that start with white space, as in deb822(5).
fn deb822_style(text: &str) -> Vec<Source> {
    let mut sources = Vec::new();
    let mut fields: Vec<(String, String)> = Vec::new();
    for line in text.lines().filter(|line| !line.starts_with('#')).chain([""]) {
        if line.trim().is_empty() {
            sources.extend(stanza(std::mem::take(&mut fields)));
        } else if line.starts_with([' ', '\t']) {
            if let Some((_, value)) = fields.last_mut() {
                value.push('\n');
                value.push_str(line);
            }
        } else if let Some((name, value)) = line.split_once(':') {
            fields.push((name.trim().to_owned(), value.trim().to_owned()));
        }
    }
    sources
}

fn stanza(fields: Vec<(String, String)>) -> Option<Source> {
    let mut source = Source { uris: String::new(), suites: Vec::new(), components: Vec::new(), other: Vec::new() };
    let words = |value: &str| value.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let (mut binary, mut enabled) = (false, true);
    for (name, value) in fields {
        match name.to_ascii_lowercase().as_str() {
            "types" => binary = words(&value).iter().any(|word| word == "deb"),
            "uris" => source.uris = words(&value).join(" "),
            "suites" => source.suites = words(&value),
            "components" => source.components = words(&value),
            "enabled" => enabled = !matches!(value.to_ascii_lowercase().as_str(), "no" | "false" | "0" | "off"),
            _ => source.other.push((name, value)),
        }
    }
    (binary && enabled && !source.uris.is_empty()).then_some(source)
}

#[cfg(test)]
#[path = "sources_test.rs"]
mod tests;
