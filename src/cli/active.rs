//! `bottle-vmm list active`: the bottles that run. Only those of this program are known to: whether bot-bottle's do, its backends know.

use super::out;
use super::report::Failure;
use crate::paths;
use crate::plan::StateRoot;
use crate::plan::state::Found;
use serde::Serialize;
use std::process::ExitCode;

#[derive(Serialize)]
struct Active {
    backend: String,
    identity: String,
    agent: String,
    label: String,
    services: Vec<&'static str>,
    /// Of the launcher.
    pid: Option<i32>,
    started_at: String,
}

pub fn run(json: bool) -> Result<ExitCode, Failure> {
    let root = StateRoot::new(&paths::bot_bottle()?);
    let running: Vec<_> = root.all()?.into_iter().filter_map(|found| active(&root, &found)).collect();
    if json {
        out::json(&running)?;
        return Ok(ExitCode::SUCCESS);
    }
    let width = |cell: fn(&Active) -> &str| running.iter().map(|it| cell(it).len()).max().unwrap_or(0);
    let (backends, slugs, agents) = (width(|it| &it.backend), width(|it| &it.identity), width(|it| &it.agent));
    for Active { backend, identity, agent, services, .. } in &running {
        let services = services.join(",");
        let line = format!("{backend:backends$}  {identity:slugs$}  {agent:agents$}  {services}");
        out::line(format_args!("{}", line.trim_end()))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn active(root: &StateRoot, found: &Found) -> Option<Active> {
    let services = root.services(&found.slug);
    let launcher = found.alive.iter().find(|process| process.role == "launcher");
    let metadata = found.metadata.as_ref().ok().filter(|it| it.is_ours() && (found.held || launcher.is_some()))?;
    Some(Active {
        backend: metadata.backend().to_owned(),
        identity: found.slug.to_string(),
        agent: metadata.agent_name.clone(),
        label: metadata.label.clone(),
        services,
        pid: launcher.map(|process| process.pid),
        started_at: metadata.started_at.clone(),
    })
}
