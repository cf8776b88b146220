//! Which image the agent runs in. Law: a reference and a path; whether they are any good is seen when the bottle starts, but for a Dockerfile
//! that is not there: nobody is to be asked for secrets in vain.

use std::path::PathBuf;

use super::PlanError;
use super::identity::Slug;
use super::provider::ProviderRuntime;
use super::spec::Host;
use super::state::State;
use crate::manifest::provider::AgentProvider;

/// An image's name, and the Dockerfile that it is built from, if it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ImagePlan {
    pub reference: String,
    pub dockerfile: Option<PathBuf>,
}

/// The Dockerfile that comes with us lies alone in its directory, which is what it is built in.
///
/// `BOT_BOTTLE_IMAGE` wins; then the bottle's Dockerfile; then the provider's.
pub(super) fn choose(
    provider: &AgentProvider,
    runtime: &ProviderRuntime,
    host: &Host,
    state: &State,
) -> Result<ImagePlan, PlanError> {
    if let Some(reference) = &host.image {
        return Ok(ImagePlan { reference: reference.clone(), dockerfile: None });
    }
    if let Some(written) = &provider.dockerfile {
        let reference = own_reference(&runtime.template, state.slug());
        return Ok(ImagePlan { reference, dockerfile: Some(host.path(written)?) });
    }
    let dockerfile = match (&runtime.dockerfile, runtime.built_in_dockerfile) {
        (Some(path), _) => Some(path.clone()),
        (None, Some(text)) => Some(state.write("image", "Dockerfile", text.as_bytes())?),
        (None, None) => None,
    };
    Ok(ImagePlan { reference: runtime.image.clone(), dockerfile })
}

/// Looks that the bottle's own Dockerfile is there, before anything is asked or written.
///
/// # Errors
/// [`PlanError::NoDockerfile`].
pub(super) fn check(provider: &AgentProvider, host: &Host) -> Result<(), PlanError> {
    let Some(written) = provider.dockerfile.as_ref().filter(|_| host.image.is_none()) else { return Ok(()) };
    let path = host.path(written)?;
    if path.is_file() { Ok(()) } else { Err(PlanError::NoDockerfile { path }) }
}

fn own_reference(template: &str, slug: &Slug) -> String {
    format!("bot-bottle-{template}:{slug}")
}
