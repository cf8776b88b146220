//! What is right as it is written and yet will not come to what its writer expects. Law: values; whoever looked decides where they are said.

use std::fmt;
use std::path::PathBuf;

use ipnet::Ipv4Net;

use super::PlanError;
use crate::manifest::listed;

#[derive(Debug)]
pub enum Notice {
    /// Variables of the bottle that are ours: the bottle's values are not used.
    Replaced { names: Vec<String> },
    /// The image, or its Dockerfile, is not on this machine; a plan may be for another.
    NoImage(PlanError),
    /// The workspace's `.git` only says where the repository is, as in a worktree or a submodule.
    GitElsewhere { path: PathBuf },
    /// What goes through gateways, of a bottle that has none so far.
    Gateways { needed: Vec<&'static str> },
    /// Variables whose text a shell would look up, and nothing here does.
    Dollar { names: Vec<String> },
    /// A bottle that is resumed could not have its network again.
    Moved { was: Ipv4Net, is: Ipv4Net },
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Replaced { names } => {
                let (are, values) = if names.len() == 1 { ("is", "value is") } else { ("are", "values are") };
                write!(f, "{} {are} set by us: the {values} not used that the bottle's `env` has", listed(names))
            }
            Self::GitElsewhere { path } => write!(
                f,
                "`{}` is a file, as in a worktree or a submodule: the repository itself is not copied, and git will not find it in the bottle",
                path.display()
            ),
            Self::Gateways { needed } => {
                write!(f, "it needs {} from a bundle: a start takes `--bundle external=ADDRESS`", listed(needed))
            }
            Self::Dollar { names } => write!(
                f,
                "{} {} the text that the bottle's `env` has, `$` and all: a variable of this machine is written `${{NAME}}`",
                listed(names),
                if names.len() == 1 { "gets" } else { "get" }
            ),
            Self::Moved { was, is } => {
                write!(f, "its network was {was}, which another bottle or a route of this host has by now: it is {is}")
            }
            Self::NoImage(error) => write!(f, "it could not start on this machine: {error}"),
        }
    }
}
