//! `metadata.json`: what brings a bottle back under its old identity. The fields are bot-bottle's, so that each tool can read the
//! other's.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::StateError;
use super::files::failed;
use crate::manifest::Name;
use crate::plan::identity::Slug;

pub const METADATA: &str = "metadata.json";
/// What we write into `backend`, and what makes a record ours.
pub const BACKEND: &str = "bottle-vmm";
/// What bot-bottle means by an empty `backend`.
const BACKEND_OF_OLD: &str = "docker";
/// Longer than this, it is no record of a bottle.
const MAX: u64 = 64 << 10;

/// The seven fields, and two of later versions that are written only where there is something in them. What other versions have
/// besides is not looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Metadata {
    pub identity: Slug,
    pub agent_name: String,
    /// Empty unless the directory is copied.
    pub cwd: String,
    pub copy_cwd: bool,
    /// UTC, as RFC 3339 has it, which is a form of ISO 8601.
    pub started_at: String,
    /// Docker's; empty.
    #[serde(default)]
    pub compose_project: String,
    #[serde(default)]
    pub backend: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub label: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub bottle_names: Vec<String>,
}

impl Metadata {
    /// Of a bottle of ours that is made now.
    #[must_use]
    pub fn new(identity: Slug, agent: &Name, copied: Option<&str>) -> Self {
        Self {
            identity,
            agent_name: agent.to_string(),
            cwd: copied.unwrap_or_default().to_owned(),
            copy_cwd: copied.is_some(),
            started_at: humantime::format_rfc3339_micros(SystemTime::now()).to_string(),
            compose_project: String::new(),
            backend: BACKEND.to_owned(),
            label: String::new(),
            bottle_names: vec![],
        }
    }

    /// Of the bottle whose state this is.
    ///
    /// # Errors
    /// [`StateError::Unreadable`] or [`StateError::Metadata`].
    pub fn read(directory: &Path, slug: &Slug) -> Result<Self, StateError> {
        let path = directory.join(METADATA);
        let mut text = String::new();
        File::open(&path).and_then(|file| file.take(MAX).read_to_string(&mut text)).map_err(failed("read", &path))?;
        let broken = |why: String| StateError::Metadata { path: path.clone(), why };
        let metadata: Self = serde_json::from_str(&text).map_err(|error| broken(error.to_string()))?;
        if metadata.identity != *slug {
            return Err(broken(format!("it is the record of `{}`", metadata.identity)));
        }
        Ok(metadata)
    }

    #[must_use]
    pub fn backend(&self) -> &str {
        if self.backend.is_empty() { BACKEND_OF_OLD } else { &self.backend }
    }

    #[must_use]
    pub fn is_ours(&self) -> bool {
        self.backend == BACKEND
    }

    /// # Errors
    /// [`StateError::OtherBackend`].
    pub fn check_ours(&self) -> Result<(), StateError> {
        let (slug, backend) = (self.identity.clone(), self.backend().to_owned());
        if self.is_ours() { Ok(()) } else { Err(StateError::OtherBackend { slug, backend }) }
    }

    /// The directory that is copied.
    #[must_use]
    pub fn copied(&self) -> Option<PathBuf> {
        self.copy_cwd.then(|| PathBuf::from(&self.cwd))
    }
}
