//! What bottles left that were not ended but killed. Law: a bottle that somebody runs, that is to be kept, or that is bot-bottle's is
//! none; and finding changes nothing.
//!
//! There is little to find. Names, networks and sockets are abstract, scratch disks have no name, and a monitor dies with its launcher:
//! what stays is the state, and a process only where the kernel was kept from ending it.

use super::identity::Slug;
use super::state::metadata::Metadata;
use super::state::processes::Process;
use super::state::{Found, StateError, StateRoot};

#[derive(Debug, PartialEq, Eq)]
pub struct Leftover {
    pub slug: Slug,
    /// The agent, if the record can be read.
    pub agent: Option<String>,
    pub processes: Vec<Process>,
    /// Of the record, to know it again by.
    started_at: Option<String>,
    preserved: bool,
}

#[derive(Debug, thiserror::Error)]
pub enum LeftoverError {
    #[error("cannot end process {pid} ({role}) of `{slug}`: {errno}")]
    Process { slug: Slug, role: String, pid: i32, errno: nix::Error },
    #[error(transparent)]
    State(#[from] StateError),
}

impl LeftoverError {
    /// The way out.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::Process { .. } => "it is another user's: ask whoever that is, or be root".to_owned(),
            Self::State(error) => error.hint(),
        }
    }
}

/// # Errors
/// The state cannot be read.
pub fn find(root: &StateRoot) -> Result<Vec<Leftover>, StateError> {
    Ok(root.all()?.into_iter().filter_map(leftover).collect())
}

/// A bottle that is to go although it was kept, as somebody has named it.
///
/// # Errors
/// There is none, it runs, it is bot-bottle's, or nobody knows whose it is.
pub fn named(root: &StateRoot, slug: &Slug) -> Result<Leftover, StateError> {
    let found = root.find(slug)?;
    if found.held || is_launched(&found) {
        return Err(StateError::Running { slug: slug.clone() });
    }
    if !found.unrecorded() {
        // A record that cannot be read tells not even whose it is.
        Metadata::read(&found.directory, slug)?.check_ours()?;
    }
    Ok(Leftover::of(found))
}

fn is_launched(found: &Found) -> bool {
    found.alive.iter().any(|process| process.role == "launcher")
}

fn leftover(found: Found) -> Option<Leftover> {
    // Without a record it never came to be; the record of another tool is that tool's.
    let ours = found.metadata.as_ref().map_or(found.unrecorded(), Metadata::is_ours);
    if found.held || is_launched(&found) || found.preserved || !ours {
        return None;
    }
    Some(Leftover::of(found))
}

impl Leftover {
    fn of(found: Found) -> Self {
        let Found { slug, metadata, preserved, alive, .. } = found;
        let (agent, started_at) = metadata.ok().map(|metadata| (metadata.agent_name, metadata.started_at)).unzip();
        Self { slug, agent, processes: alive, started_at, preserved }
    }

    /// Whether it is what was found: nobody has marked it, gone on with it, or made another bottle of its name.
    fn is(&self, found: &Found) -> bool {
        let record = match &found.metadata {
            Ok(metadata) => metadata.is_ours() && Some(&metadata.started_at) == self.started_at.as_ref(),
            Err(_) => self.started_at.is_none() && found.unrecorded(),
        };
        record && found.preserved == self.preserved
    }
}

/// Ends what runs and removes what lies there.
///
/// # Errors
/// [`LeftoverError`]; a bottle that somebody has started in the meantime is left alone.
pub fn remove(root: &StateRoot, leftover: &Leftover) -> Result<(), LeftoverError> {
    for process in &leftover.processes {
        process.end().map_err(|errno| LeftoverError::Process {
            slug: leftover.slug.clone(),
            role: process.role.clone(),
            pid: process.pid,
            errno,
        })?;
    }
    Ok(root.remove(&leftover.slug, |found| leftover.is(found))?)
}

#[cfg(test)]
#[path = "leftovers_test.rs"]
mod tests;
