//! What of the caller's directory the bottle gets: a copy, never a mount, so work comes back by a push through the gate only.

use std::path::PathBuf;

use serde::Serialize;

use super::spec::BottleSpec;
use super::{GUEST_HOME, GUEST_USER};

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct WorkspacePlan {
    pub guest_home: &'static str,
    /// Where the agent starts.
    pub workdir: String,
    /// What is copied; without it, nothing is.
    pub host_path: Option<PathBuf>,
    pub guest_path: Option<String>,
    pub copy_contents: bool,
    /// Whether `.git` is part of it.
    pub copy_git: bool,
    pub owner: &'static str,
    /// The directory that the agent is told to trust.
    pub trusted_path: String,
}

impl WorkspacePlan {
    /// `.git`, where it is no directory and so leads out of the copy (gitrepository-layout(5)).
    pub(super) fn git_elsewhere(&self) -> Option<PathBuf> {
        let path = self.host_path.as_ref()?.join(".git");
        path.symlink_metadata().is_ok_and(|found| !found.is_dir()).then_some(path)
    }

    pub(super) fn new(spec: &BottleSpec) -> Self {
        let host_path = spec.copied().map(PathBuf::from);
        let guest_path = host_path.is_some().then(|| format!("{GUEST_HOME}/workspace"));
        let workdir = guest_path.clone().unwrap_or_else(|| GUEST_HOME.to_owned());
        Self {
            guest_home: GUEST_HOME,
            trusted_path: workdir.clone(),
            workdir,
            copy_contents: host_path.is_some(),
            copy_git: host_path.as_ref().is_some_and(|path| path.join(".git").exists()),
            host_path,
            guest_path,
            owner: GUEST_USER,
        }
    }
}
