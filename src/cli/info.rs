//! `bottle-vmm info`: what an agent gets, with everything that its bottle extends. Values of variables are never shown.

use super::manifests;
use super::out;
use super::report::{Failure, note};
use super::start;
use crate::manifest::egress::{Auth, Egress, Route};
use crate::manifest::env::EnvEntry;
use crate::manifest::git_gate::{GitUser, Repo, RepoKey};
use crate::manifest::provider::AgentProvider;
use crate::manifest::{Catalogue, MergedBottle, Name, Source};
use crate::plan::provider;
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Serialize)]
struct Info {
    agent: String,
    source: Source,
    path: PathBuf,
    /// The root first, the agent's own bottle last.
    bottle: Vec<String>,
    agent_provider: AgentProvider,
    env: Vec<Variable>,
    skills: Vec<String>,
    git_user: GitUser,
    git_repos: BTreeMap<String, Repo>,
    egress: Egress,
    /// Which the agent can reach whatever `egress` says; none if the provider's description cannot be read.
    provider_routes: Option<Vec<Route>>,
    supervise: bool,
    prompt_chars: usize,
}

#[derive(Serialize)]
struct Variable {
    name: String,
    kind: &'static str,
    /// The host's variable that it is taken from.
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<String>,
    /// What is asked for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    prompt: Option<String>,
}

pub fn run(agent: Option<&str>, json: bool) -> Result<ExitCode, Failure> {
    let catalogue = manifests::open()?;
    let Some(agent) = agent else { return Err(which(&catalogue)) };
    let info = info(&catalogue, agent)?;
    // Of the agent everything else is right.
    let routes = provider::routes(&info.agent_provider, &start::host()?);
    if let Err(error) = &routes {
        note(&format!("the provider's own routes are not known: {error}"));
    }
    let info = Info { provider_routes: routes.ok(), ..info };
    if json {
        out::json(&info)?;
    } else {
        manifests::warn(&catalogue);
        print(&info)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Somebody who does not know the name is told the names.
pub(super) fn which(catalogue: &Catalogue) -> Failure {
    let names: Vec<_> = catalogue.agent_names().map(Name::as_str).collect();
    let hint = match names.as_slice() {
        [] => "there are no agents yet: `bottle-vmm init` makes a first one".to_owned(),
        names => crate::manifest::there_are(names),
    };
    Failure::new("which agent?", Some(hint))
}

fn info(catalogue: &Catalogue, agent: &str) -> Result<Info, Failure> {
    let found = catalogue.agent(agent)?;
    let MergedBottle { lineage, settings } = catalogue.bottle_for(&found)?;
    let path = catalogue.agent_path(agent).map(|(path, _)| path).unwrap_or_default();
    let repos = settings.git_gate.repos.unwrap_or_default();
    Ok(Info {
        agent: found.name.to_string(),
        source: found.source,
        path,
        bottle: lineage.iter().map(Name::to_string).collect(),
        agent_provider: settings.agent_provider.unwrap_or_default(),
        env: settings.env.iter().map(|(name, entry)| variable(name.as_str(), entry)).collect(),
        skills: found.file.agent.skills.iter().map(ToString::to_string).collect(),
        git_user: settings.git_gate.user,
        git_repos: repos.into_iter().map(|(name, repo)| (name.to_string(), repo)).collect(),
        egress: settings.egress.unwrap_or_default(),
        provider_routes: None,
        supervise: settings.supervise.unwrap_or_default(),
        prompt_chars: found.file.prompt.chars().count(),
    })
}

fn variable(name: &str, entry: &EnvEntry) -> Variable {
    let (from, prompt) = match entry {
        EnvEntry::Interpolated { from } => (Some(from.to_string()), None),
        EnvEntry::Secret { prompt } => (None, Some(prompt.clone())),
        EnvEntry::Literal { .. } => (None, None),
    };
    Variable { name: name.to_owned(), kind: entry.kind(), from, prompt }
}

/// Labels and their lines; what is empty is left out.
fn lines(info: &Info) -> Vec<(&'static str, Vec<String>)> {
    let theirs = if info.source == Source::Repository { ", of this repository" } else { "" };
    let provider = &info.agent_provider;
    let mut provided = vec![provider.template.to_string()];
    provided.extend(provider.dockerfile.as_ref().map(|path| format!("built from {path}")));
    provided.extend(provider.auth_token.as_ref().map(|name| format!("token from ${name}")));
    provided.extend(provider.forward_host_credentials.then(|| "with the host's login".to_owned()));
    let user = [info.git_user.name.clone(), info.git_user.email.as_ref().map(|email| format!("<{email}>"))];
    let user: Vec<_> = user.into_iter().flatten().collect();
    vec![
        ("agent", vec![format!("{} ({}{theirs})", info.agent, info.path.display())]),
        ("bottle", vec![info.bottle.join(" → ")]),
        ("provider", provided),
        ("env", info.env.iter().map(env_line).collect()),
        ("skills", info.skills.clone()),
        ("git user", if user.is_empty() { vec![] } else { vec![user.join(" ")] }),
        ("git repos", info.git_repos.iter().map(repo_line).collect()),
        ("egress", route_lines(info)),
        ("supervise", vec![if info.supervise { "yes" } else { "no" }.to_owned()]),
        ("prompt", vec![format!("{} characters", info.prompt_chars)]),
    ]
}

fn env_line(variable: &Variable) -> String {
    let Variable { name, kind, from, prompt } = variable;
    match (from, prompt) {
        (Some(from), _) => format!("{name} (from ${from})"),
        (_, Some(prompt)) => format!("{name} (asked for: {prompt})"),
        _ => format!("{name} ({kind})"),
    }
}

fn repo_line((name, repo): (&String, &Repo)) -> String {
    let key = match &repo.key {
        RepoKey::Identity(path) => format!("key {path}"),
        RepoKey::ProvisionedKey { token_env, .. } => format!("deploy key by ${token_env}"),
    };
    let pinned = if repo.host_key.is_some() { "" } else { ", no host_key: nothing will be forwarded" };
    format!("{name} → {}:{} ({key}{pinned})", repo.url.host, repo.url.port)
}

/// The provider's first. It owns its hosts: what the bottle says of them is not used.
fn route_lines(info: &Info) -> Vec<String> {
    let owned = info.provider_routes.as_deref().unwrap_or_default();
    let others = info.egress.routes.iter().filter(|route| owned.iter().all(|own| own.host != route.host));
    let login = info.agent_provider.forward_host_credentials.then_some("the host's login");
    owned.iter().map(|route| route_line(route, login)).chain(others.map(|route| route_line(route, None))).collect()
}

/// `token` is where its token comes from, if that is no variable.
fn route_line(route: &Route, token: Option<&str>) -> String {
    let from = |auth: &Auth| token.map_or_else(|| format!("${}", auth.token_ref), str::to_owned);
    let auth = |auth: &Auth| format!(" [auth:{} from {}]", auth.scheme.as_str(), from(auth));
    let auth = route.auth.as_ref().map(auth).unwrap_or_default();
    let paths = match route.allowed().len() {
        0 => String::new(),
        _ if !route.path_allowlist.is_empty() => format!(" {}", route.path_allowlist.join(" ")),
        rules => format!(" {rules} match rule{}", if rules == 1 { "" } else { "s" }),
    };
    format!("{}{auth}{paths}", route.host)
}

fn print(info: &Info) -> Result<(), Failure> {
    for (label, lines) in lines(info) {
        for (index, line) in lines.iter().enumerate() {
            out::line(format_args!("{:10} {line}", if index == 0 { label } else { "" }))?;
        }
    }
    Ok(())
}
