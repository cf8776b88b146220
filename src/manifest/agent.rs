//! An agent: a prompt, and the bottle it runs in. Law: the file may be a repository's, so nothing in it can widen what the bottle
//! allows.

use schemars::{JsonSchema, Schema};

use super::error::{Located, Mark};
use super::fault::Fault;
use super::fields::{Field, Read};
use super::front_matter;
use super::git_gate::{self, GitUser};
use super::name::{Component, Name};
use super::yaml;

/// An agent's front matter.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema)]
#[schemars(deny_unknown_fields, transform = allow_claude_keys)]
pub struct Agent {
    /// The bottle it runs in
    pub bottle: Name,
    /// Directories of `~/.claude/skills` that it gets
    #[schemars(with = "Option<Vec<Component>>")]
    pub skills: Vec<Component>,
    /// Only `user`: who commits
    #[schemars(rename = "git-gate", with = "Option<AgentGitGate>")]
    pub user: GitUser,
}

/// For editors: an agent's `git-gate`.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct AgentGitGate {
    #[expect(dead_code, reason = "a schema only")]
    user: Option<GitUser>,
}

/// An agent as its file has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentFile {
    pub agent: Agent,
    /// Where the value of `bottle` stands.
    pub bottle_at: Mark,
    /// The text below: the system prompt, written by the operator and by nobody else.
    pub prompt: String,
}

const KEYS: &[&str] = &["bottle", "skills", "git-gate", "name", "description", "model", "color", "memory"];

/// Claude Code's, so that one file can serve both; their values are not looked at.
const CLAUDE_KEYS: [&str; 5] = ["name", "description", "model", "color", "memory"];

const REMOVED: [(&str, &str); 1] = [("git", "write `git-gate`, with `user: {name: …, email: …}` in it")];

impl AgentFile {
    /// # Errors
    /// The first fault, with its place.
    pub fn parse(bytes: &[u8]) -> Result<Self, Located> {
        let parts = front_matter::split(bytes)?;
        let root = yaml::read(parts.yaml)?;
        let root = Field::root(&root);
        refuse_bottle_keys(&root)?;
        let map = root.map_with(KEYS, &REMOVED)?;
        let bottle = map.required("bottle")?;
        Ok(Self {
            bottle_at: bottle.at(),
            agent: Agent {
                bottle: bottle.checked(Name::new)?,
                skills: map.optional("skills", skills)?.unwrap_or_default(),
                user: map.optional("git-gate", user)?.unwrap_or_default(),
            },
            prompt: parts.body,
        })
    }
}

/// For editors: what is not looked at.
fn allow_claude_keys(schema: &mut Schema) {
    if let Some(properties) = schema.get_mut("properties").and_then(serde_json::Value::as_object_mut) {
        properties.extend(CLAUDE_KEYS.map(|key| (key.to_owned(), true.into())));
    }
}

fn refuse_bottle_keys(root: &Field<'_>) -> Read<()> {
    for key in ["extends", "env", "agent_provider", "egress", "supervise"] {
        root.refuse(key, Fault::BottleOnly { key })?;
    }
    Ok(())
}

fn skills(field: &Field<'_>) -> Read<Vec<Component>> {
    field.list()?.iter().map(|item| item.checked(Component::new)).collect()
}

fn user(field: &Field<'_>) -> Read<GitUser> {
    field.refuse("repos", Fault::BottleOnly { key: "git-gate.repos" })?;
    Ok(field.map(&["user"])?.optional("user", git_gate::read_user)?.unwrap_or_default())
}
