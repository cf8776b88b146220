//! Why there is no plan.

use std::io;
use std::path::PathBuf;

use super::identity::NoSlug;
use super::preflight::Preflight;
use super::provider::ProviderError;
use super::state::StateError;
use crate::manifest::resolve::ResolveError;
use crate::manifest::{CatalogueError, listed};
use crate::net::subnet::SubnetError;

#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    #[error(transparent)]
    Catalogue(#[from] CatalogueError),
    #[error(transparent)]
    Preflight(#[from] Preflight),
    #[error(transparent)]
    Provider(#[from] ProviderError),
    #[error(transparent)]
    State(#[from] StateError),
    #[error(transparent)]
    Subnet(#[from] SubnetError),
    #[error(transparent)]
    Resolve(#[from] ResolveError),
    #[error(transparent)]
    Identity(#[from] NoSlug),
    #[error("agent `{agent}` has the skill `{name}`, and `{}` is no directory", path.display())]
    NoSkill { agent: String, name: String, path: PathBuf },
    #[error("the key of repository `{repo}`, `{}`, cannot be read", path.display())]
    NoKey {
        repo: String,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("the bottle's Dockerfile, `{}`, is not there", path.display())]
    NoDockerfile { path: PathBuf },
    #[error("the image that {named_by} names, `{}`, is not there", path.display())]
    NoImage { path: PathBuf, named_by: &'static str },
    #[error("{}, which {} a token, {} not set in this environment", listed(names), if names.len() == 1 { "holds" } else { "hold each" }, if names.len() == 1 { "is" } else { "are" })]
    NoToken {
        names: Vec<String>,
        /// `FILE:LINE` that names the first of them, unless it is the provider's.
        place: Option<String>,
    },
    #[error("`{path}` begins in the home directory, and HOME is not an absolute path")]
    NoHome { path: String },
    #[error("`{}` is not Unicode", path.display())]
    NotUnicode { path: PathBuf },
    #[error("the directory that bottle `{slug}` has a copy of, `{}`, is not there any more", path.display())]
    NoDirectory { slug: String, path: PathBuf },
    #[error("the directory that bottle `{slug}` has its agent from, `{}`, is not there any more", path.display())]
    NoRepository { slug: String, path: PathBuf },
    #[error(
        "bottle `{slug}` has an agent `{agent}` of your own, which is not there any more; this repository's is another one"
    )]
    OtherAgent { slug: String, agent: String },
    #[error("agent `{agent}` needs {}, which this version does not bring", gateways(needed))]
    NoGateways { agent: String, needed: Vec<&'static str> },
    #[error("cannot read the host's routes")]
    Routes(#[source] io::Error),
}

fn gateways(needed: &[&'static str]) -> String {
    format!("the {} {}", if needed.len() == 1 { "gateway" } else { "gateways" }, listed(needed))
}

impl PlanError {
    /// The way out.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::Catalogue(error) => error.hint(),
            Self::Preflight(error) => error.hint(),
            Self::Provider(error) => error.hint(),
            Self::State(error) => error.hint(),
            Self::Subnet(error) => error.hint(),
            Self::Resolve(error) => error.hint(),
            Self::Identity(error) => error.hint(),
            Self::NoSkill { .. } => "put it there, or take it out of the agent's `skills`".to_owned(),
            Self::NoKey { .. } => "`identity` is a path of this host: `~` is your home, a relative one begins where the command is run"
                    .to_owned(),
            Self::NoDockerfile { .. } => "`agent_provider.dockerfile` is the path of the file itself: `~` is your home, a relative one begins where the command is run"
                    .to_owned(),
            Self::NoImage { .. } => "it is the path of an archive (`docker save`, OCI), of a directory or of what `pack` has made, or a name as in `docker-daemon:agent`"
                    .to_owned(),
            Self::NoToken { names, place } => {
                let name = names.first().map_or("NAME", |name| name);
                let place = place.as_ref().map(|place| format!(" `{place}` names it;")).unwrap_or_default();
                format!("`export {name}=…` first;{place} the gateways put it into requests, the agent never sees it")
            }
            Self::NoHome { .. } => "set HOME".to_owned(),
            Self::NotUnicode { .. } => {
                "bottles are described in JSON: rename it, or use another place".to_owned()
            }
            Self::NoDirectory { .. } | Self::NoRepository { .. } => {
                "put it back, or `start` a new bottle".to_owned()
            }
            Self::OtherAgent { agent, .. } => {
                format!("put `agents/{agent}.md` back into your own directory, or `start` a new bottle with this one")
            }
            Self::NoGateways { .. } => "start a bundle (bot-bottle's), and say where it is: `--bundle external=ADDRESS`, or `--bundle sockets=DIR`".to_owned(),
            Self::Routes(_) => {
"they are asked for over a netlink socket, as `ip route show table all` does: a container may forbid that".to_owned()
}
        }
    }
}
