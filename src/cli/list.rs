//! `bottle-vmm list`: the agents and bottles that there are. A broken one is listed too, with what is wrong.

use super::manifests;
use super::out;
use super::report::{self, Failure};
use crate::manifest::{Catalogue, CatalogueError, Name, Source};
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

#[derive(Serialize)]
struct List {
    agents: Vec<Agent>,
    bottles: Vec<Bottle>,
    warnings: Vec<String>,
}

#[derive(Serialize)]
struct Agent {
    name: String,
    source: Source,
    path: PathBuf,
    /// None if the agent cannot be read.
    bottle: Option<String>,
    error: Option<String>,
    /// The way out of it.
    hint: Option<String>,
    #[serde(skip)]
    failure: Option<CatalogueError>,
}

#[derive(Serialize)]
struct Bottle {
    name: String,
    path: PathBuf,
    /// The root first, the bottle itself last; None if one of them cannot be read.
    lineage: Option<Vec<String>>,
    /// Of the bottle, or of one that it extends.
    error: Option<String>,
    /// The way out of it.
    hint: Option<String>,
    #[serde(skip)]
    failure: Option<CatalogueError>,
}

pub fn run(json: bool) -> Result<ExitCode, Failure> {
    let catalogue = manifests::open()?;
    let list = List {
        agents: catalogue.agent_names().filter_map(|name| agent(&catalogue, name)).collect(),
        bottles: catalogue.bottle_names().filter_map(|name| bottle(&catalogue, name)).collect(),
        warnings: catalogue.warnings.iter().map(ToString::to_string).collect(),
    };
    if json {
        out::json(&list)?;
    } else {
        print(&list)?;
        manifests::warn(&catalogue);
        tell_failures(&list);
    }
    Ok(ExitCode::SUCCESS)
}

fn agent(catalogue: &Catalogue, name: &Name) -> Option<Agent> {
    let (path, source) = catalogue.agent_path(name.as_str())?;
    let found = catalogue.agent(name.as_str());
    let bottle = found.as_ref().ok().map(|found| found.file.agent.bottle.to_string());
    // A broken bottle is listed by itself.
    let failure = found.and_then(|found| catalogue.bottle_for(&found)).err().filter(|failure| is_of(failure, &path));
    let (error, hint) = told(failure.as_ref());
    Some(Agent { name: name.to_string(), source, path, bottle, error, hint, failure })
}

fn bottle(catalogue: &Catalogue, name: &Name) -> Option<Bottle> {
    let path = catalogue.bottle_path(name.as_str())?;
    let merged = catalogue.bottle(name.as_str());
    let lineage = merged.as_ref().ok().map(|merged| merged.lineage.iter().map(Name::to_string).collect());
    let failure = merged.err();
    let (error, hint) = told(failure.as_ref());
    Some(Bottle { name: name.to_string(), path, lineage, error, hint, failure })
}

fn told(failure: Option<&CatalogueError>) -> (Option<String>, Option<String>) {
    (failure.map(ToString::to_string), failure.map(CatalogueError::hint))
}

/// Whether it is this file that is broken, and not one that it names.
fn is_of(failure: &CatalogueError, path: &Path) -> bool {
    matches!(failure, CatalogueError::File(error) if error.file == path)
}

fn print(list: &List) -> Result<(), Failure> {
    let names = list.agents.iter().map(|agent| &agent.name).chain(list.bottles.iter().map(|bottle| &bottle.name));
    let width = names.map(String::len).max().unwrap_or(0);
    for agent in &list.agents {
        let bottle = agent.bottle.as_ref().map(|bottle| format!("in bottle {bottle}"));
        let theirs = (agent.source == Source::Repository).then(|| "of this repository".to_owned());
        print_row("agent", &agent.name, width, [bottle, theirs, broken(agent.failure.is_some())])?;
    }
    for bottle in &list.bottles {
        let lineage = bottle.lineage.as_deref().filter(|lineage| lineage.len() > 1);
        let lineage = lineage.map(|lineage| lineage.join(" → "));
        print_row("bottle", &bottle.name, width, [lineage, broken(bottle.failure.is_some())])?;
    }
    Ok(())
}

fn print_row(
    kind: &str,
    name: &str,
    width: usize,
    what: impl IntoIterator<Item = Option<String>>,
) -> Result<(), Failure> {
    let what = what.into_iter().flatten().collect::<Vec<_>>().join(", ");
    out::line(format_args!("{}", format!("{kind:6}  {name:width$}  {what}").trim_end()))
}

fn broken(broken: bool) -> Option<String> {
    broken.then(|| "broken".to_owned())
}

/// What is wrong with a bottle is said once, however many extend it.
#[expect(clippy::print_stderr, reason = "for people, beside the data")]
fn tell_failures(list: &List) {
    let agents = list.agents.iter().filter_map(|agent| agent.failure.as_ref());
    let bottles = list.bottles.iter().filter_map(|bottle| bottle.failure.as_ref());
    let mut said: Vec<&CatalogueError> = vec![];
    for failure in agents.chain(bottles) {
        if !said.contains(&failure) {
            said.push(failure);
            report::error(&failure.clone().into());
        }
    }
    if list.agents.is_empty() && list.bottles.is_empty() {
        eprintln!("bottle-vmm: there are no agents and no bottles yet: `bottle-vmm init` makes the first");
    }
}
