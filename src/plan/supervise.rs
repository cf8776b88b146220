//! The operator's part: where proposals of the agent wait for an answer. Only for a bottle that may make any.

use std::path::PathBuf;

use serde::Serialize;

use super::identity::Slug;
use super::state::{State, StateError};

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SupervisePlan {
    pub slug: Slug,
    pub queue_dir: PathBuf,
}

pub(super) fn prepare(supervise: bool, state: &State) -> Result<Option<SupervisePlan>, StateError> {
    if !supervise {
        return Ok(None);
    }
    Ok(Some(SupervisePlan { slug: state.slug().clone(), queue_dir: state.make_queue()? }))
}
