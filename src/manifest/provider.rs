//! `agent_provider`: which coding agent runs in the bottle, and how it logs in.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Serialize, Serializer};

use super::env;
use super::error::Located;
use super::fault::Fault;
use super::fields::{Field, Read};
use super::invalid::Invalid;
use super::name::{Name, Variable};

/// A provider that the program knows, or one of the user's own: a directory `contrib/NAME`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Template {
    #[default]
    Claude,
    Codex,
    Own(Name),
}

/// Absent altogether, it is Claude with nothing set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields, extend("allOf" = only_for_their_template()))]
pub struct AgentProvider {
    /// `claude` (the default), `codex`, or a provider of your own in `contrib`
    #[schemars(default)]
    pub template: Template,
    /// A Dockerfile to build the image from; `~` is your home, a relative path begins where the command is run
    pub dockerfile: Option<String>,
    /// Claude only: name of the host's variable that holds the token; the agent never sees it
    pub auth_token: Option<Variable>,
    /// Codex only: use the login of the host's Codex
    #[schemars(with = "Option<bool>")]
    pub forward_host_credentials: bool,
}

const KEYS: &[&str] = &["template", "dockerfile", "auth_token", "forward_host_credentials"];

impl Template {
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Claude => "claude",
            Self::Codex => "codex",
            Self::Own(name) => name.as_str(),
        }
    }

    fn new(text: &str, own: &BTreeSet<Name>) -> Result<Self, Invalid> {
        match text {
            "claude" => Ok(Self::Claude),
            "codex" => Ok(Self::Codex),
            other => match own.get(other) {
                Some(name) => Ok(Self::Own(name.clone())),
                None => Err(Invalid::Provider {
                    found: other.to_owned(),
                    providers: ["claude", "codex"]
                        .into_iter()
                        .chain(own.iter().map(Name::as_str))
                        .map(str::to_owned)
                        .collect(),
                }),
            },
        }
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for Template {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl JsonSchema for Template {
    fn schema_name() -> Cow<'static, str> {
        "Template".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        Name::json_schema(generator)
    }
}

/// The rule of [`for_template`], for editors.
fn only_for_their_template() -> serde_json::Value {
    let is = |template: &str| serde_json::json!({"properties": {"template": {"const": template}}});
    serde_json::json!([
        {"if": {"required": ["auth_token"]}, "then": is("claude")},
        {"if": {"required": ["forward_host_credentials"]}, "then": {"required": ["template"], "allOf": [is("codex")]}},
    ])
}

/// `own` are the directories in `contrib`.
pub(super) fn read(field: &Field<'_>, own: &BTreeSet<Name>) -> Read<AgentProvider> {
    let map = field.map(KEYS)?;
    let template =
        map.optional("template", |field| field.checked(|text| Template::new(text, own)))?.unwrap_or_default();
    let for_template = |key: &'static str, only: &Template| {
        if map.get(key).is_none() || template == *only {
            return Ok(());
        }
        let fault = Fault::OtherTemplate { key, only: only_name(only), template: template.to_string() };
        Err(Located { at: map.key_at(key), fault })
    };
    for_template("auth_token", &Template::Claude)?;
    for_template("forward_host_credentials", &Template::Codex)?;
    Ok(AgentProvider {
        dockerfile: map.optional("dockerfile", Field::line)?,
        auth_token: map.optional("auth_token", env::read_name)?,
        forward_host_credentials: map.optional("forward_host_credentials", Field::boolean)?.unwrap_or_default(),
        template,
    })
}

fn only_name(template: &Template) -> &'static str {
    if *template == Template::Codex { "codex" } else { "claude" }
}
