//! Bottles and agents as people write them: files in, validated types out.
//!
//! Law: no other I/O, and nothing is printed. A *bottle* (credentials, egress, git remotes) is only ever read from the user's own
//! directory; an *agent* (a prompt, skills, and the bottle it runs in) may come from a repository, and nothing in it can widen what
//! the bottle allows. Whatever is wrong has a file, a line, a column, and a way out.
//!
//! [`Catalogue`] is the way in: `Catalogue::open(places)?.agent("dev")`, then `bottle_for` it.

pub mod agent;
pub mod bottle;
mod catalogue;
mod directory;
pub mod egress;
pub mod env;
mod error;
mod extends;
mod fault;
mod fields;
mod front_matter;
pub mod git_gate;
mod host;
mod invalid;
mod limits;
pub mod matches;
mod name;
mod nearest;
pub mod provider;
mod remote;
pub mod resolve;
pub mod schema;
mod warning;
mod yaml;

pub use agent::AgentFile;
pub use bottle::{Bottle, BottleFile};
pub use catalogue::{Catalogue, CatalogueError, FoundAgent, MergedBottle, Places, Source};
pub use error::{Located, ManifestError, Mark};
pub use extends::merge;
pub use fault::{Fault, Found};
pub use host::{Cidr, Host};
pub use invalid::{Invalid, RemoteFault};
pub use name::{Component, Name, Variable};
pub use nearest::{listed, nearest, there_are};
pub use remote::{Remote, SSH_PORT};
pub use warning::Warning;

#[cfg(test)]
#[path = "messages_test.rs"]
mod messages;
