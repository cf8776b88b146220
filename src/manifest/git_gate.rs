//! `git-gate`: who commits, and which repositories the gate forwards to.

use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Serialize;

use super::env;
use super::fault::Fault;
use super::fields::{Field, Fields, Read};
use super::invalid::Invalid;
use super::name::{Component, Variable};
use super::remote::Remote;

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct GitGate {
    /// Author of commits made in the bottle
    #[schemars(with = "Option<GitUser>")]
    pub user: GitUser,
    /// Repositories that the gate serves, by the name it serves them under
    // None: not declared, and inherited.
    #[schemars(with = "Option<BTreeMap<Component, Repo>>")]
    pub repos: Option<BTreeMap<Component, Repo>>,
}

/// Either may be absent, and is then left to git.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct GitUser {
    pub name: Option<String>,
    pub email: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(extend("unevaluatedProperties" = false))]
pub struct Repo {
    /// `ssh://git@host:22/owner/repo.git`, or `git@host:owner/repo.git`
    pub url: Remote,
    #[serde(flatten)]
    pub key: RepoKey,
    /// The host's public key, as `ssh-keyscan` prints it; without it, the gate forwards nothing
    pub host_key: Option<String>,
}

/// What the gate logs in with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RepoKey {
    /// Path of a private key on the host, as written.
    Identity(String),
    /// A deploy key that is made for this bottle and deleted after it.
    ProvisionedKey { provider: Forge, token_env: Variable },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Forge {
    Gitea,
}

impl JsonSchema for RepoKey {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "RepoKey".into()
    }

    /// Three ways to write two things: `key` is what later versions of bot-bottle write.
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let (variable, forge) = (generator.subschema_for::<Variable>(), generator.subschema_for::<Forge>());
        let path = json_schema!({"type": "string", "minLength": 1});
        json_schema!({
            "oneOf": [
                {"required": ["identity"], "properties": {"identity": path}},
                {"required": ["provisioned_key"], "properties": {"provisioned_key": {
                    "type": "object",
                    "required": ["provider", "token_env"],
                    "properties": {"provider": forge, "token_env": variable},
                    "additionalProperties": false,
                }}},
                {"required": ["key"], "properties": {"key": {"type": "object", "oneOf": [
                    {"required": ["provider", "path"], "additionalProperties": false,
                     "properties": {"provider": {"const": "static"}, "path": path}},
                    {"required": ["provider", "provisioner_token"], "additionalProperties": false,
                     "properties": {"provider": forge, "provisioner_token": variable}},
                ]}}},
            ],
        })
    }
}

const REMOVED_OF_REPO: [(&str, &str); 4] = [
    ("ExtraHosts", "write the address into `url`: one name means the same everywhere"),
    ("Upstream", "write `url: ssh://git@host/owner/repo.git`"),
    ("IdentityFile", "write `identity: PATH`"),
    ("KnownHostKey", "write `host_key: …`"),
];

pub(super) fn read(field: &Field<'_>) -> Read<GitGate> {
    const REMOVED: [(&str, &str); 1] = [("remotes", "write `repos`, and each repository's name as its key")];
    let map = field.map_with(&["user", "repos"], &REMOVED)?;
    Ok(GitGate {
        user: map.optional("user", read_user)?.unwrap_or_default(),
        repos: map.optional("repos", |repos| {
            let repos = repos.named(Component::new)?.into_iter();
            repos.map(|(name, field)| Ok((name, read_repo(&field)?))).collect()
        })?,
    })
}

/// An empty text counts as absent, so that it cannot clear what is inherited by accident.
pub(super) fn read_user(field: &Field<'_>) -> Read<GitUser> {
    let map = field.map(&["name", "email"])?;
    let value = |key| {
        let text = map.optional(key, |field| {
            field.checked(|text| {
                if text.chars().any(char::is_control) {
                    Err(Invalid::ControlCharacter)
                } else {
                    Ok(text.trim().to_owned())
                }
            })
        })?;
        Ok(text.filter(|text| !text.is_empty()))
    };
    Ok(GitUser { name: value("name")?, email: value("email")? })
}

fn read_repo(field: &Field<'_>) -> Read<Repo> {
    let map = field.map_with(&["url", "identity", "provisioned_key", "key", "host_key"], &REMOVED_OF_REPO)?;
    Ok(Repo {
        url: map.required("url")?.checked(Remote::new)?,
        key: read_key(&map)?,
        host_key: map.optional("host_key", |field| field.checked(host_key))?,
    })
}

fn read_key(map: &Fields<'_>) -> Read<RepoKey> {
    let (key, field) = map.one_of(&["identity", "provisioned_key", "key"])?;
    if key == "identity" {
        return Ok(RepoKey::Identity(field.line()?));
    }
    if key == "provisioned_key" {
        let map = field.map(&["provider", "token_env"])?;
        let provider = map.required("provider")?.option(&[("gitea", Forge::Gitea)])?;
        return Ok(RepoKey::ProvisionedKey { provider, token_env: env::read_name(&map.required("token_env")?)? });
    }
    let map = field.map(&["provider", "path", "provisioner_token"])?;
    let provider = map.required("provider")?.option(&[("static", None), ("gitea", Some(Forge::Gitea))])?;
    let (key, value) = map.one_of(&["path", "provisioner_token"])?;
    match (provider, key) {
        (None, "path") => Ok(RepoKey::Identity(value.line()?)),
        (Some(provider), "provisioner_token") => {
            Ok(RepoKey::ProvisionedKey { provider, token_env: env::read_name(&value)? })
        }
        (None, _) => Err(map.fault(Fault::MissingKey { key: "path", within: map.name() })),
        (Some(_), _) => Err(map.fault(Fault::MissingKey { key: "provisioner_token", within: map.name() })),
    }
}

/// `TYPE BASE64 [COMMENT]`, as in known_hosts behind the host (sshd(8), "SSH_KNOWN_HOSTS FILE FORMAT").
fn host_key(text: &str) -> Result<String, Invalid> {
    let mut words = text.split_whitespace();
    let (kind, key) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let known =
        ["ssh-ed25519", "ssh-rsa", "ecdsa-sha2-", "sk-ssh-", "sk-ecdsa-"].iter().any(|start| kind.starts_with(start));
    let base64 = key.len() >= 16 && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+/=".contains(&byte));
    if known && base64 && !text.chars().any(char::is_control) {
        Ok(format!("{kind} {key}"))
    } else {
        Err(Invalid::HostKey)
    }
}
