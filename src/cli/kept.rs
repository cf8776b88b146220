//! `bottle-vmm list kept`: the bottles that have a state and do not run, for `resume` and `cleanup`. bot-bottle's are among them, whether
//! they run or not: that, only its backends know.

use super::out;
use super::report::{self, Failure};
use crate::launch::one_line;
use crate::paths;
use crate::plan::StateRoot;
use crate::plan::state::Found;
use serde::Serialize;
use std::process::ExitCode;

#[derive(Serialize)]
struct Kept {
    backend: String,
    identity: String,
    agent: String,
    label: String,
    started_at: String,
    /// Something has marked it: `cleanup` removes it only by its name.
    preserved: bool,
}

pub fn run(json: bool) -> Result<ExitCode, Failure> {
    let mut kept = vec![];
    for found in StateRoot::new(&paths::bot_bottle()?).all()? {
        if found.held || found.unrecorded() {
            continue;
        }
        let Found { slug, metadata, preserved, .. } = found;
        match metadata {
            Ok(metadata) => kept.push(Kept {
                backend: one_line(metadata.backend()),
                identity: slug.to_string(),
                agent: one_line(&metadata.agent_name),
                label: metadata.label,
                started_at: one_line(&metadata.started_at),
                preserved,
            }),
            Err(error) => {
                report::error(&error.into());
            }
        }
    }
    if json {
        out::json(&kept)?;
        return Ok(ExitCode::SUCCESS);
    }
    let width = |cell: fn(&Kept) -> &str| kept.iter().map(|it| cell(it).chars().count()).max().unwrap_or(0);
    let (backends, slugs, agents) = (width(|it| &it.backend), width(|it| &it.identity), width(|it| &it.agent));
    for Kept { backend, identity, agent, started_at, preserved, .. } in &kept {
        let mark = if *preserved { "  preserved" } else { "" };
        out::line(format_args!("{backend:backends$}  {identity:slugs$}  {agent:agents$}  {started_at}{mark}"))?;
    }
    Ok(ExitCode::SUCCESS)
}
