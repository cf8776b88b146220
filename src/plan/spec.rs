//! What was asked for, and the host that it is asked on. Law: values only.

use std::ffi::OsStr;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::identity::Slug;
use super::{PlanError, Preflight};
use crate::builder::Origin;
use crate::manifest::Name;

/// The intent: what `start` was given, or what a bottle's record has kept of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BottleSpec {
    pub agent_name: String,
    /// In place of the agent's own bottle: folded from left to right, the later ones over the earlier.
    pub bottle_names: Vec<Name>,
    /// Copy the caller's directory into the bottle.
    pub copy_cwd: bool,
    pub user_cwd: PathBuf,
    /// Empty unless a bottle is resumed.
    pub identity: String,
    /// A name for people, which becomes the identity.
    pub label: String,
}

/// Where the gateways are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gateways {
    /// Nowhere yet.
    None,
    /// A bundle that runs already, at this address.
    External(IpAddr),
    /// Behind sockets of this host; the guest sees them in its own network.
    Sockets,
}

/// How far `prepare` goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// For a look: nobody is asked for secrets, and a machine that cannot run bottles can plan them.
    Look,
    /// For a start.
    Start,
}

#[derive(Debug)]
pub struct Request {
    pub spec: BottleSpec,
    /// What the agent is to do, if nobody is there to tell it.
    pub task: Option<String>,
    pub depth: Depth,
    pub gateways: Gateways,
    /// Whether this machine can run bottles: [`super::preflight::check`].
    pub machine: Result<(), Preflight>,
    /// Only an agent of the user's own will do: [`super::Kept::agent_of_home`].
    pub agent_of_home: bool,
}

/// What of the host the plan depends on, read once.
#[derive(Clone, Debug)]
pub struct Host {
    /// `~/.bot-bottle`.
    pub own: PathBuf,
    /// The user's home: where skills, keys and logins are.
    pub home: Option<PathBuf>,
    /// The directory that the command is run in.
    pub current: PathBuf,
    /// `BOT_BOTTLE_IMAGE`: the image, whatever the manifest says; see [`Host::image`].
    pub image: Option<String>,
    /// `CODEX_HOME`, or `~/.codex`.
    pub codex_home: Option<PathBuf>,
}

impl Host {
    /// A path as somebody wrote it: `~` is the home, a relative one begins where the command is run.
    ///
    /// # Errors
    /// [`PlanError::NoHome`].
    pub fn path(&self, written: &str) -> Result<PathBuf, PlanError> {
        match written.strip_prefix('~') {
            Some(rest) if rest.is_empty() || rest.starts_with('/') => {
                let home = self.home.as_ref().ok_or_else(|| PlanError::NoHome { path: written.to_owned() })?;
                Ok(home.join(rest.trim_start_matches('/')))
            }
            _ => Ok(self.current.join(written)),
        }
    }

    /// An image as somebody wrote it: the name of one that a program keeps, `-` for standard input, or a path, a relative one beginning at `base`.
    ///
    /// # Errors
    /// [`PlanError::NoHome`].
    pub fn image(&self, written: &str, base: &Path) -> Result<String, PlanError> {
        if written == "-" || Origin::parse(OsStr::new(written)).is_some() {
            return Ok(written.to_owned());
        }
        let path = Host { current: base.to_owned(), ..self.clone() }.path(written)?;
        path.into_os_string().into_string().map_err(|path| PlanError::NotUnicode { path: path.into() })
    }

    /// Plans are read by programs as JSON, whose texts are Unicode.
    pub(super) fn check(&self) -> Result<(), PlanError> {
        let paths = [Some(&self.own), self.home.as_ref(), Some(&self.current), self.codex_home.as_ref()];
        match paths.into_iter().flatten().find(|path| path.to_str().is_none()) {
            Some(path) => Err(PlanError::NotUnicode { path: path.clone() }),
            None => Ok(()),
        }
    }
}

impl BottleSpec {
    /// The one to go on with.
    pub(super) fn resumed(&self) -> Option<Slug> {
        Slug::new(&self.identity).ok()
    }

    /// The directory that is copied.
    #[must_use]
    pub fn copied(&self) -> Option<&Path> {
        self.copy_cwd.then_some(self.user_cwd.as_path())
    }
}
