//! What a coding agent needs to run: its command, image, files, variables and hosts.
//!
//! Law: a provider is data. It puts no secret into a file or a variable of the guest: what an agent wants to see of a login is a dummy,
//! and the real one is put into requests outside the bottle.

mod claude;
mod codex;
mod own;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::PathBuf;

use bottle_protocol::SecretBytes;
use serde::{Deserialize, Serialize};

use super::GUEST_HOME;
use super::spec::Host;
use super::state::{State, StateError};
use super::workspace::WorkspacePlan;
use crate::manifest::Variable;
use crate::manifest::egress::{Auth, Dlp, OnMatch, Pipelock, Route, Scheme};
use crate::manifest::provider::{AgentProvider, Template};

/// Where the prompt lies in every guest.
pub const GUEST_PROMPT: &str = "/home/node/.bot-bottle-prompt.txt";

#[derive(Debug, thiserror::Error)]
pub enum ProviderError {
    #[error("provider `{name}` has no readable description `{}`", path.display())]
    Unreadable {
        name: String,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("`{}`: {why}", path.display())]
    Description { path: PathBuf, why: String },
    #[error("the login of this host's codex, `{}`, cannot be read", path.display())]
    NoLogin {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("`{}` holds no login with ChatGPT", path.display())]
    OtherLogin { path: PathBuf },
}

impl ProviderError {
    /// The way out.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::Unreadable { .. } => {
                r#"it is a JSON object, with at least the agent's program and image: {"command": "agent", "image": "agent.tar"}"#
            }
            Self::Description { .. } => "README, \"Bottles and agents\", has an example",
            Self::NoLogin { .. } | Self::OtherLogin { .. } => {
                "log in on this host with `codex login`, or take `forward_host_credentials` out of the bottle"
            }
        }
        .to_owned()
    }
}

/// How an agent is given its prompt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PromptMode {
    /// By these words in front of the file's path.
    Arguments(Vec<String>),
    /// In a file of its own, of this path in the guest's home.
    File(String),
    /// Not at all.
    None,
}

/// How the agent's program is run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ProviderRuntime {
    pub template: String,
    pub command: String,
    pub image: String,
    pub dockerfile: Option<PathBuf>,
    /// A Dockerfile that comes with this program.
    #[serde(skip)]
    pub(super) built_in_dockerfile: Option<&'static str>,
    pub prompt_mode: PromptMode,
    /// What lets it act without asking: the bottle is what holds it.
    pub bypass_args: Vec<String>,
    /// What has it go on with its last conversation. A field of the seed's, for whoever reads plans; a bottle that is resumed is a fresh
    /// machine, without that conversation.
    pub resume_args: Vec<String>,
    /// What is in front of a task that it is to do by itself.
    pub headless_args: Vec<String>,
    /// Whether it takes what is behind `--` for no option and no command of its own, whatever a task begins with.
    #[serde(skip)]
    pub(super) ends_options: bool,
}

/// A file that the guest gets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ProvisionFile {
    pub host_path: PathBuf,
    pub guest_path: String,
    /// Octal.
    pub mode: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ProvisionPlan {
    #[serde(flatten)]
    pub runtime: ProviderRuntime,
    /// The whole command line in the guest.
    pub argv: Vec<String>,
    /// For names that the bottle does not set.
    pub env_vars: BTreeMap<Variable, String>,
    /// Names of secrets of the host that only the egress proxy gets.
    pub provisioned_env: BTreeSet<Variable>,
    /// Its own hosts, as it asks for them; with the manifest's they become the egress plan.
    pub egress_routes: Vec<Route>,
    pub guest_prompt_file: &'static str,
    pub dirs: Vec<String>,
    pub files: Vec<ProvisionFile>,
    /// Dummies, which are nobody's business.
    pub hidden_env_names: Vec<Variable>,
}

/// A provider that has been looked up.
pub(super) struct Provider {
    pub runtime: ProviderRuntime,
    kind: Kind,
}

enum Kind {
    Claude { auth_token: Option<Variable> },
    Codex { login: Option<codex::Login> },
    Own(own::Description),
}

/// What a provider comes to for one bottle; its secrets have no other place.
#[derive(Default)]
struct Parts {
    env_vars: BTreeMap<Variable, String>,
    hidden: Vec<Variable>,
    routes: Vec<Route>,
    /// Name in the state, path in the guest's home, contents.
    files: Vec<(&'static str, &'static str, String)>,
    secrets: BTreeMap<Variable, SecretBytes>,
}

/// The hosts of a provider's own and the tokens for them, by name. Whether a login of the host that it forwards is there is not looked at.
///
/// # Errors
/// A provider of the user's own has no description, or one that is wrong.
pub fn routes(provider: &AgentProvider, host: &Host) -> Result<Vec<Route>, ProviderError> {
    Ok(match &provider.template {
        Template::Claude => claude::routes(provider.auth_token.clone()),
        Template::Codex => codex::routes(provider.forward_host_credentials),
        Template::Own(name) => own::read(name.as_str(), host)?.1.routes(),
    })
}

/// All that a provider gives.
pub(super) struct Provisioned {
    pub plan: ProvisionPlan,
    pub routes: Vec<Route>,
    pub secrets: BTreeMap<Variable, SecretBytes>,
}

impl Provider {
    pub(super) fn find(provider: &AgentProvider, host: &Host) -> Result<Self, ProviderError> {
        Ok(match &provider.template {
            Template::Claude => {
                Self { runtime: claude::runtime(), kind: Kind::Claude { auth_token: provider.auth_token.clone() } }
            }
            Template::Codex => {
                let login = provider.forward_host_credentials.then(|| codex::read_login(host)).transpose()?;
                Self { runtime: codex::runtime(), kind: Kind::Codex { login } }
            }
            Template::Own(name) => {
                let (runtime, description) = own::read(name.as_str(), host)?;
                Self { runtime, kind: Kind::Own(description) }
            }
        })
    }

    /// Whether it has hosts of its own.
    pub(super) fn needs_egress(&self) -> bool {
        match &self.kind {
            Kind::Claude { .. } | Kind::Codex { .. } => true,
            Kind::Own(description) => description.has_routes(),
        }
    }

    pub(super) fn provision(
        self,
        prompt: &str,
        task: Option<&str>,
        workspace: &WorkspacePlan,
        state: &State,
    ) -> Result<Provisioned, StateError> {
        let Self { runtime, kind } = self;
        let mut parts = match kind {
            Kind::Claude { auth_token } => claude::parts(auth_token, workspace),
            Kind::Codex { login } => codex::parts(login, workspace),
            Kind::Own(description) => description.parts(),
        };
        let mut files = vec![];
        for (name, guest_path, contents) in &parts.files {
            files.push(file(state, name, guest_path, contents)?);
        }
        if let PromptMode::File(path) = &runtime.prompt_mode
            && !prompt.is_empty()
        {
            files.push(file(state, "instructions.md", path, prompt)?);
        }
        let directory = |file: &ProvisionFile| Some(file.guest_path.rsplit_once('/')?.0.to_owned());
        let dirs: BTreeSet<_> =
            files.iter().filter_map(directory).filter(|directory| directory != GUEST_HOME).collect();
        let plan = ProvisionPlan {
            argv: argv(&runtime, prompt, task),
            runtime,
            env_vars: std::mem::take(&mut parts.env_vars),
            provisioned_env: parts.secrets.keys().cloned().collect(),
            egress_routes: parts.routes.clone(),
            guest_prompt_file: GUEST_PROMPT,
            dirs: dirs.into_iter().collect(),
            files,
            hidden_env_names: parts.hidden,
        };
        Ok(Provisioned { plan, routes: parts.routes, secrets: parts.secrets })
    }
}

fn file(state: &State, name: &str, path: &str, contents: &str) -> Result<ProvisionFile, StateError> {
    let host_path = state.write("agent", name, contents.as_bytes())?;
    Ok(ProvisionFile { host_path, guest_path: format!("{GUEST_HOME}/{path}"), mode: "0600" })
}

/// The prompt's file is always there; an agent is told of it only if there is something in it.
fn argv(runtime: &ProviderRuntime, prompt: &str, task: Option<&str>) -> Vec<String> {
    let mut argv = vec![runtime.command.clone()];
    if task.is_some() {
        argv.extend(runtime.headless_args.iter().cloned());
    }
    argv.extend(runtime.bypass_args.iter().cloned());
    if let PromptMode::Arguments(words) = &runtime.prompt_mode
        && !prompt.is_empty()
    {
        argv.extend(words.iter().cloned());
        argv.push(GUEST_PROMPT.to_owned());
    }
    argv.extend(task.filter(|_| runtime.ends_options).map(|_| "--".to_owned()));
    argv.extend(task.map(str::to_owned));
    argv
}

/// A route of a provider. What a detector finds is taken out, and the request goes on: an agent that talks to its own model must not
/// wait for the operator.
fn route(host: &str, token: Option<Variable>) -> Option<Route> {
    Some(Route {
        host: crate::manifest::Host::new(host).ok()?,
        path_allowlist: vec![],
        matches: vec![],
        auth: token.map(|token_ref| Auth { scheme: Scheme::Bearer, token_ref }),
        pipelock: Pipelock::default(),
        dlp: Dlp { outbound_on_match: OnMatch::Redact, ..Dlp::default() },
    })
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

fn variables(variables: &[(&str, &str)]) -> BTreeMap<Variable, String> {
    let named = |(name, value): &(&str, &str)| Some((Variable::new(name).ok()?, (*value).to_owned()));
    variables.iter().filter_map(named).collect()
}

#[cfg(test)]
#[path = "provider_test.rs"]
mod tests;
