//! A bottle: what an agent is given. Law: only ever read from the user's own directory.

use std::collections::BTreeSet;

use schemars::JsonSchema;

use super::egress::{self, Egress};
use super::env::{self, Env};
use super::error::{Located, Mark};
use super::fields::{Field, Read};
use super::front_matter;
use super::git_gate::{self, GitGate};
use super::name::Name;
use super::provider::{self, AgentProvider};
use super::yaml;

/// A bottle's front matter.
// What is None is not declared, and inherited from the bottle that this one extends. Documentation of what is read from files is the
// schema's too, so it is written for those who write them.
#[derive(Clone, Debug, Default, PartialEq, Eq, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Bottle {
    /// Another bottle, whose settings hold where this one has none
    pub extends: Option<Name>,
    /// The agent's environment
    #[schemars(with = "Option<Env>")]
    pub env: Env,
    /// Which coding agent, and how it logs in
    pub agent_provider: Option<AgentProvider>,
    /// Git identity and repositories
    #[schemars(rename = "git-gate", with = "Option<GitGate>")]
    pub git_gate: GitGate,
    /// What may leave the bottle
    pub egress: Option<Egress>,
    /// Whether the agent may ask the operator for changes
    pub supervise: Option<bool>,
}

/// A bottle as its file has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BottleFile {
    pub bottle: Bottle,
    /// Where the value of `extends` stands.
    pub extends_at: Mark,
    /// The text below: for people.
    pub documentation: String,
}

const KEYS: &[&str] = &["extends", "env", "agent_provider", "git-gate", "egress", "supervise"];

const REMOVED: [(&str, &str); 5] = [
    ("git", "write `git-gate`, with `user` and `repos` in it"),
    ("git_user", "write `git-gate`, with `user: {name: …, email: …}` in it"),
    ("tokens", "write `egress.routes`, with `auth: {scheme: …, token_ref: …}` in a route"),
    ("cred_proxy", "write `egress.routes`, with `auth: {scheme: …, token_ref: …}` in a route"),
    ("runtime", "remove it: a bottle is always a virtual machine"),
];

impl BottleFile {
    /// Reads a file's bytes; `own_providers` are the directories in `contrib`.
    ///
    /// # Errors
    /// The first fault, with its place.
    pub fn parse(bytes: &[u8], own_providers: &BTreeSet<Name>) -> Result<Self, Located> {
        let parts = front_matter::split(bytes)?;
        let root = yaml::read(parts.yaml)?;
        let map = Field::root(&root).map_with(KEYS, &REMOVED)?;
        let extends = map.get("extends");
        Ok(Self {
            extends_at: extends.as_ref().map_or(Mark::START, Field::at),
            bottle: Bottle {
                extends: extends.map(|field| field.checked(Name::new)).transpose()?,
                env: map.optional("env", env::read)?.unwrap_or_default(),
                agent_provider: map.optional("agent_provider", |field| provider::read(field, own_providers))?,
                git_gate: map.optional("git-gate", git_gate::read)?.unwrap_or_default(),
                egress: map.optional("egress", egress::read)?,
                supervise: map.optional("supervise", |field: &Field<'_>| -> Read<bool> { field.boolean() })?,
            },
            documentation: parts.body,
        })
    }
}
