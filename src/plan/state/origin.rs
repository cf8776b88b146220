//! `origin.json`: where a bottle was started, whose its agent is, and in which network it was. It is ours alone: the record beside it has bot-bottle's fields.
//!
//! Without it, a bottle that is brought back elsewhere would be given the agent that the repository there has under that name, with the
//! credentials of the first one.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

use super::StateError;
use super::files::failed;
use crate::manifest::Source;

pub const ORIGIN: &str = "origin.json";
/// Longer than this, it is none of ours.
const MAX: u64 = 64 << 10;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// The caller's directory: relative paths begin there, and so does the search for a repository's agents.
    pub directory: PathBuf,
    pub agent_source: Source,
    /// None in a bottle of an earlier version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bundle_subnet: Option<Ipv4Net>,
}

impl Origin {
    /// None if there is none: a bottle of an earlier version, or one whose launcher was killed while it wrote.
    ///
    /// # Errors
    /// [`StateError::Io`] or [`StateError::Metadata`].
    pub fn read(directory: &Path) -> Result<Option<Self>, StateError> {
        let path = directory.join(ORIGIN);
        let mut text = String::new();
        match File::open(&path).and_then(|file| file.take(MAX).read_to_string(&mut text)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            read => read.map_err(failed("read", &path))?,
        };
        let broken = |error: serde_json::Error| StateError::Metadata { path: path.clone(), why: error.to_string() };
        serde_json::from_str(&text).map(Some).map_err(broken)
    }
}
