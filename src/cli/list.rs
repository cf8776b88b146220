//! `bottle-vmm list`: the agents and bottles that there are. A broken one is listed too, with what is wrong.

use super::manifests;
use super::out;
use super::report::{self, Failure};
use crate::manifest::{Catalogue, CatalogueError, Name, Source};
use serde::Serialize;
use std::path::PathBuf;
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
    #[serde(skip)]
    failure: Option<CatalogueError>,
}

#[derive(Serialize)]
struct Bottle {
    name: String,
    path: PathBuf,
    /// The root first, the bottle itself last; None if one of them cannot be read.
    lineage: Option<Vec<String>>,
    error: Option<String>,
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
    let failure = found.and_then(|found| catalogue.bottle_for(&found)).err();
    // A broken bottle is said once, by itself.
    let failure = failure.filter(|failure| matches!(failure, CatalogueError::File(error) if error.file == path));
    Some(Agent {
        name: name.to_string(),
        source,
        path,
        bottle,
        error: failure.as_ref().map(ToString::to_string),
        failure,
    })
}

fn bottle(catalogue: &Catalogue, name: &Name) -> Option<Bottle> {
    let path = catalogue.bottle_path(name.as_str())?;
    let merged = catalogue.bottle(name.as_str());
    let lineage = merged.as_ref().ok().map(|merged| merged.lineage.iter().map(Name::to_string).collect());
    let failure = merged.err();
    Some(Bottle { name: name.to_string(), path, lineage, error: failure.as_ref().map(ToString::to_string), failure })
}

fn print(list: &List) -> Result<(), Failure> {
    let names = list.agents.iter().map(|agent| &agent.name).chain(list.bottles.iter().map(|bottle| &bottle.name));
    let width = names.map(String::len).max().unwrap_or(0);
    for agent in &list.agents {
        let bottle = agent.bottle.as_ref().map(|bottle| format!("in bottle {bottle}")).unwrap_or_default();
        let theirs = if agent.source == Source::Repository { ", of this repository" } else { "" };
        print_row(
            "agent",
            &agent.name,
            width,
            &format!("{bottle}{theirs}{}", broken(agent.failure.is_some(), &bottle)),
        )?;
    }
    for bottle in &list.bottles {
        let lineage = bottle.lineage.as_deref().filter(|lineage| lineage.len() > 1);
        let lineage = lineage.map(|lineage| lineage.join(" → ")).unwrap_or_default();
        print_row("bottle", &bottle.name, width, &format!("{lineage}{}", broken(bottle.failure.is_some(), &lineage)))?;
    }
    Ok(())
}

fn print_row(kind: &str, name: &str, width: usize, what: &str) -> Result<(), Failure> {
    out::line(format_args!("{}", format!("{kind:6}  {name:width$}  {what}").trim_end()))
}

fn broken(broken: bool, before: &str) -> &'static str {
    match (broken, before.is_empty()) {
        (false, _) => "",
        (true, true) => "broken",
        (true, false) => ", broken",
    }
}

#[expect(clippy::print_stderr, reason = "for people, beside the data")]
fn tell_failures(list: &List) {
    let agents = list.agents.iter().filter_map(|agent| agent.failure.as_ref());
    for failure in agents.chain(list.bottles.iter().filter_map(|bottle| bottle.failure.as_ref())) {
        report::error(&failure.clone().into());
    }
    if list.agents.is_empty() && list.bottles.is_empty() {
        eprintln!("bottle-vmm: there are no agents and no bottles yet: `bottle-vmm init` makes the first");
    }
}
