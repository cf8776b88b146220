//! The gate's part: which repositories it serves, where each comes from, and what it logs in with. Law: no key is read; those that are made
//! for the bottle are made when it starts, as that is seen at the forge.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use serde::Serialize;

use super::PlanError;
use super::environment::GIT_HTTP_PORT;
use super::regular;
use super::spec::Host;
use super::state::{State, StateError};
use crate::manifest::git_gate::{Forge, GitGate, GitUser, Repo, RepoKey};
use crate::manifest::{Remote, SSH_PORT, Variable};

/// Where git looks in every guest.
pub const GUEST_GITCONFIG: &str = "/home/node/.gitconfig";

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct GitGatePlan {
    /// Set in the guest, field by field.
    pub user: GitUser,
    pub repos: Vec<PlannedRepo>,
    /// The same for the gate to read.
    pub repos_file: Option<PathBuf>,
    /// What git in the guest is told: who commits, and that the gate is where each repository is.
    pub gitconfig: Option<PathBuf>,
    /// The pinned keys of upstream hosts, as ssh reads them.
    pub known_hosts: Option<PathBuf>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PlannedRepo {
    /// What the gate serves it as.
    pub name: String,
    pub upstream: Remote,
    #[serde(flatten)]
    pub key: PlannedKey,
    /// Without a pinned key the gate forwards nothing: trust on first use is none.
    pub forwards: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PlannedKey {
    /// A private key of the host.
    Identity(PathBuf),
    /// A deploy key, made with the token in that variable of the host.
    ProvisionedKey { provider: Forge, token_env: Variable },
}

/// Looks that the keys are there, before anything is asked or written.
///
/// # Errors
/// [`PlanError::NoKey`].
pub(super) fn check(gate: &GitGate, host: &Host) -> Result<Vec<PlannedRepo>, PlanError> {
    let repos = gate.repos.iter().flatten();
    repos
        .map(|(name, repo)| {
            let key = match &repo.key {
                RepoKey::ProvisionedKey { provider, token_env } => {
                    PlannedKey::ProvisionedKey { provider: *provider, token_env: token_env.clone() }
                }
                RepoKey::Identity(written) => {
                    let path = host.path(written)?;
                    regular::open(&path).map_err(|source| PlanError::NoKey {
                        repo: name.to_string(),
                        path: path.clone(),
                        source,
                    })?;
                    PlannedKey::Identity(path)
                }
            };
            let forwards = repo.host_key.is_some();
            Ok(PlannedRepo { name: name.to_string(), upstream: repo.url.clone(), key, forwards })
        })
        .collect()
}

pub(super) fn prepare(
    gate: &GitGate,
    repos: Vec<PlannedRepo>,
    bundle: IpAddr,
    state: &State,
) -> Result<GitGatePlan, StateError> {
    let lines: Vec<_> = gate.repos.iter().flat_map(|repos| repos.values()).filter_map(known_host).collect();
    let known_hosts = match lines.as_slice() {
        [] => None,
        lines => Some(state.write("git-gate", "known_hosts", (lines.join("\n") + "\n").as_bytes())?),
    };
    let repos_file = match repos.as_slice() {
        [] => None,
        repos => Some(state.write("git-gate", "repos.json", format!("{:#}\n", serde_json::json!(repos)).as_bytes())?),
    };
    let gitconfig = match gitconfig(&gate.user, &repos, bundle) {
        text if text.is_empty() => None,
        text => Some(state.write("agent", "gitconfig", text.as_bytes())?),
    };
    Ok(GitGatePlan { user: gate.user.clone(), repos, repos_file, gitconfig, known_hosts })
}

/// git-config(1): the user, and for each repository every way in which its upstream is written.
fn gitconfig(user: &GitUser, repos: &[PlannedRepo], bundle: IpAddr) -> String {
    let mut text = String::new();
    let identity: Vec<_> = [("name", &user.name), ("email", &user.email)]
        .into_iter()
        .filter_map(|(key, value)| Some(format!("\t{key} = {}\n", quoted(value.as_ref()?))))
        .collect();
    if !identity.is_empty() {
        text += "[user]\n";
        text += &identity.concat();
    }
    for repo in repos {
        let gate = format!("http://{}/{}.git", SocketAddr::new(bundle, GIT_HTTP_PORT), repo.name);
        text += &format!("[url {}]\n", quoted(&gate));
        text.extend(spellings(&repo.upstream).iter().map(|url| format!("\tinsteadOf = {}\n", quoted(url))));
    }
    text
}

/// In double quotes everything but these two stands for itself; a manifest has no control characters in it.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

fn spellings(remote: &Remote) -> Vec<String> {
    let Remote { user, host, port, path } = remote;
    let host = if host.contains(':') { format!("[{host}]") } else { host.clone() };
    let slash = if path.starts_with('/') { "" } else { "/" };
    let mut spellings = vec![format!("ssh://{user}@{host}:{port}{slash}{path}")];
    if *port == SSH_PORT {
        spellings.push(format!("ssh://{user}@{host}{slash}{path}"));
        spellings.push(format!("{user}@{host}:{}", path.trim_start_matches('/')));
    }
    spellings
}

/// As sshd(8) has it: the port is told where it is not 22.
fn known_host(repo: &Repo) -> Option<String> {
    let key = repo.host_key.as_ref()?;
    let Remote { host, port, .. } = &repo.url;
    Some(match *port {
        SSH_PORT => format!("{host} {key}"),
        port => format!("[{host}]:{port} {key}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn git_is_told_who_commits_and_where_the_gate_is_however_the_upstream_is_written() {
        let user = GitUser { name: Some("Ann \\ \"A\"".to_owned()), email: None };
        let repo = |name: &str, url: &str| PlannedRepo {
            name: name.to_owned(),
            upstream: Remote::new(url).unwrap(),
            key: PlannedKey::Identity("k".into()),
            forwards: true,
        };
        let repos = [repo("app", "git@forge.example:ann/app.git"), repo("b", "ssh://git@forge.example:2222/b.git")];
        assert_eq!(
            gitconfig(&user, &repos, [192, 168, 7, 2].into()),
            "[user]\n\tname = \"Ann \\\\ \\\"A\\\"\"\n\
             [url \"http://192.168.7.2:9420/app.git\"]\n\
             \tinsteadOf = \"ssh://git@forge.example:22/ann/app.git\"\n\
             \tinsteadOf = \"ssh://git@forge.example/ann/app.git\"\n\
             \tinsteadOf = \"git@forge.example:ann/app.git\"\n\
             [url \"http://192.168.7.2:9420/b.git\"]\n\
             \tinsteadOf = \"ssh://git@forge.example:2222/b.git\"\n"
        );
        assert_eq!(gitconfig(&GitUser::default(), &[], [192, 168, 7, 2].into()), "");
    }

    #[test]
    fn a_port_of_its_own_is_part_of_the_hosts_name() {
        let repo = |url: &str, key: Option<&str>| Repo {
            url: Remote::new(url).unwrap(),
            key: RepoKey::Identity("k".into()),
            host_key: key.map(str::to_owned),
        };
        let line = |url: &str| known_host(&repo(url, Some("ssh-ed25519 AAAA"))).unwrap();
        assert_eq!(line("ssh://git@forge.example/a.git"), "forge.example ssh-ed25519 AAAA");
        assert_eq!(line("ssh://git@forge.example:2222/a.git"), "[forge.example]:2222 ssh-ed25519 AAAA");
        assert_eq!(known_host(&repo("git@forge.example:a.git", None)), None);
    }
}
