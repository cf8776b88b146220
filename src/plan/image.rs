//! Which image the agent runs in. Law: a reference and a path; whether they are any good is seen when the bottle starts, but for a file
//! that is not there: nobody is to be asked for secrets in vain.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use super::PlanError;
use super::identity::Slug;
use super::provider::ProviderRuntime;
use super::spec::Host;
use super::state::State;
use crate::builder::Origin;
use crate::image;
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

/// Looks that the file is there which the image is or is built from, before anything is asked or written. What another program keeps
/// it is not asked for yet, and standard input comes once.
///
/// # Errors
/// [`PlanError::NoDockerfile`], [`PlanError::NoImage`].
pub(super) fn check(provider: &AgentProvider, runtime: &ProviderRuntime, host: &Host) -> Result<(), PlanError> {
    let there = |reference: &str, named_by| match reference {
        "-" => Ok(()),
        kept if Origin::parse(OsStr::new(kept)).is_some() => Ok(()),
        path if image::exists(Path::new(path)) => Ok(()),
        path => Err(PlanError::NoImage { path: path.into(), named_by }),
    };
    if let Some(reference) = &host.image {
        return there(reference, "BOT_BOTTLE_IMAGE");
    }
    if let Some(written) = &provider.dockerfile {
        let path = host.path(written)?;
        return if path.is_file() { Ok(()) } else { Err(PlanError::NoDockerfile { path }) };
    }
    if runtime.dockerfile.is_some() || runtime.built_in_dockerfile.is_some() {
        return Ok(());
    }
    there(&runtime.image, "the provider's `image`")
}

fn own_reference(template: &str, slug: &Slug) -> String {
    format!("bot-bottle-{template}:{slug}")
}
