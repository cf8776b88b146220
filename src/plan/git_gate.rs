//! The gate's part: which repositories it serves, where each comes from, and what it logs in with. Law: no key is read; those that are made
//! for the bottle are made when it starts, as that is seen at the forge.

use std::fs::File;
use std::path::PathBuf;

use serde::Serialize;

use super::PlanError;
use super::spec::Host;
use super::state::{State, StateError};
use crate::manifest::git_gate::{Forge, GitGate, GitUser, Repo, RepoKey};
use crate::manifest::{Remote, Variable};

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct GitGatePlan {
    /// Set in the guest, field by field.
    pub user: GitUser,
    pub repos: Vec<PlannedRepo>,
    /// The same for the gate to read.
    pub repos_file: Option<PathBuf>,
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
                    let opened = File::open(&path).and_then(|file| file.metadata());
                    let is_file = opened.and_then(|metadata| match metadata.is_file() {
                        true => Ok(()),
                        false => Err(std::io::Error::other("it is not a file")),
                    });
                    is_file.map_err(|source| PlanError::NoKey {
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

pub(super) fn prepare(gate: &GitGate, repos: Vec<PlannedRepo>, state: &State) -> Result<GitGatePlan, StateError> {
    let lines: Vec<_> = gate.repos.iter().flat_map(|repos| repos.values()).filter_map(known_host).collect();
    let known_hosts = match lines.as_slice() {
        [] => None,
        lines => Some(state.write("git-gate", "known_hosts", (lines.join("\n") + "\n").as_bytes())?),
    };
    let repos_file = match repos.as_slice() {
        [] => None,
        repos => Some(state.write("git-gate", "repos.json", format!("{:#}\n", serde_json::json!(repos)).as_bytes())?),
    };
    Ok(GitGatePlan { user: gate.user.clone(), repos, repos_file, known_hosts })
}

/// As sshd(8) has it: the port is told where it is not 22.
fn known_host(repo: &Repo) -> Option<String> {
    let key = repo.host_key.as_ref()?;
    let Remote { host, port, .. } = &repo.url;
    Some(match port {
        22 => format!("{host} {key}"),
        port => format!("[{host}]:{port} {key}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

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
