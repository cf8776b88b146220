//! `bottle-vmm list active`: the bottles that run. Only those of this program are known to: whether bot-bottle's do, its backends know.
//!
//! An agent's bottle has a state; of any other there is its name, which is held while it runs, and nothing else.

use super::out;
use super::report::Failure;
use crate::launch::claim;
use crate::launch::one_line;
use crate::paths;
use crate::plan::state::Found;
use crate::plan::state::metadata::BACKEND;
use crate::plan::{Slug, StateRoot};
use serde::Serialize;
use std::collections::BTreeSet;
use std::process::ExitCode;

#[derive(Debug, PartialEq, Eq, Serialize)]
struct Active {
    kind: Kind,
    backend: String,
    /// The name, of a bottle of `run`.
    identity: String,
    /// None of a bottle of `run`, or of an agent's whose state is under another BOT_BOTTLE_HOME.
    agent: Option<String>,
    label: String,
    services: Vec<&'static str>,
    /// Of the launcher.
    pid: Option<i32>,
    started_at: Option<String>,
}

/// What it was started by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Agent,
    Run,
}

impl Kind {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Run => "run",
        }
    }
}

pub fn run(json: bool) -> Result<ExitCode, Failure> {
    let root = StateRoot::new(&paths::bot_bottle()?);
    let names = claim::held().map_err(|error| Failure::new(format!("cannot read /proc/net/unix: {error}"), None))?;
    let mut running: Vec<_> = root.all()?.into_iter().filter_map(|found| active(&root, &found)).collect();
    let others = without_state(names, &running);
    running.extend(others);
    if json {
        out::json(&running)?;
        return Ok(ExitCode::SUCCESS);
    }
    let width = |cell: fn(&Active) -> &str| running.iter().map(|it| cell(it).chars().count()).max().unwrap_or(0);
    let (kinds, backends) = (width(|it| it.kind.as_str()), width(|it| &it.backend));
    let (slugs, agents) = (width(|it| &it.identity), width(Active::agent));
    for it in &running {
        let (kind, agent, services) = (it.kind.as_str(), it.agent(), it.services.join(","));
        let Active { backend, identity, .. } = it;
        let line = format!("{kind:kinds$}  {backend:backends$}  {identity:slugs$}  {agent:agents$}  {services}");
        out::line(format_args!("{}", line.trim_end()))?;
    }
    Ok(ExitCode::SUCCESS)
}

impl Active {
    fn agent(&self) -> &str {
        self.agent.as_deref().unwrap_or_default()
    }
}

fn active(root: &StateRoot, found: &Found) -> Option<Active> {
    let services = root.services(&found.slug);
    let launcher = found.alive.iter().find(|process| process.role == "launcher");
    let metadata = found.metadata.as_ref().ok().filter(|it| it.is_ours() && (found.held || launcher.is_some()))?;
    Some(Active {
        kind: Kind::Agent,
        backend: metadata.backend().to_owned(),
        identity: found.slug.to_string(),
        agent: Some(one_line(&metadata.agent_name)),
        label: metadata.label.clone(),
        services,
        pid: launcher.map(|process| process.pid),
        started_at: Some(metadata.started_at.clone()),
    })
}

/// The bottles of these names that are none of `agents`.
fn without_state(names: BTreeSet<String>, agents: &[Active]) -> Vec<Active> {
    let known: BTreeSet<&str> = agents.iter().map(|it| it.identity.as_str()).collect();
    let other = |name: String| {
        let (kind, identity) = match Slug::of_machine(&name) {
            Some(slug) if known.contains(slug.as_str()) => return None,
            Some(slug) => (Kind::Agent, slug.to_string()),
            None => (Kind::Run, name),
        };
        let (backend, label) = (BACKEND.to_owned(), String::new());
        Some(Active { kind, backend, identity, agent: None, label, services: vec![], pid: None, started_at: None })
    };
    names.into_iter().filter_map(other).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_of_run_unless_it_is_of_an_agents_machine_and_none_is_listed_twice() {
        let names = BTreeSet::from(["bot-bottle-coder-4f2k9", "bot-bottle-else-00000", "demo"].map(str::to_owned));
        let known = Active {
            kind: Kind::Agent,
            backend: BACKEND.to_owned(),
            identity: "coder-4f2k9".to_owned(),
            agent: Some("coder".to_owned()),
            label: String::new(),
            services: vec![],
            pid: Some(1),
            started_at: Some("2026-01-01T00:00:00Z".to_owned()),
        };
        let others = without_state(names, &[known]);
        let told: Vec<_> = others.iter().map(|it| (it.kind, it.identity.as_str())).collect();
        assert_eq!(told, [(Kind::Agent, "else-00000"), (Kind::Run, "demo")]);
    }
}
