//! Skills: directories of the host's `~/.claude/skills` that the agent gets a copy of.

use std::path::PathBuf;

use serde::Serialize;

use super::spec::Host;
use super::{GUEST_HOME, PlanError};
use crate::manifest::FoundAgent;

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Skill {
    pub name: String,
    pub host_path: PathBuf,
    pub guest_path: String,
}

/// # Errors
/// One of them is not there.
pub(super) fn find(agent: &FoundAgent<'_>, host: &Host) -> Result<Vec<Skill>, PlanError> {
    let skills = agent.file.agent.skills.iter();
    skills
        .map(|name| {
            let host_path = host.path(&format!("~/.claude/skills/{name}"))?;
            if !host_path.is_dir() {
                return Err(PlanError::NoSkill {
                    agent: agent.name.to_string(),
                    name: name.to_string(),
                    path: host_path,
                });
            }
            Ok(Skill { name: name.to_string(), host_path, guest_path: format!("{GUEST_HOME}/.claude/skills/{name}") })
        })
        .collect()
}
