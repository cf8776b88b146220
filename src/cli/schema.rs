//! `bottle-vmm schema`: JSON Schema of manifests, for editors.

use super::args::ManifestKind;
use super::out;
use super::report::Failure;
use crate::manifest::schema;
use std::process::ExitCode;

pub fn run(kind: Option<ManifestKind>) -> Result<ExitCode, Failure> {
    out::json(&match kind {
        Some(ManifestKind::Bottle) => schema::bottle(),
        Some(ManifestKind::Agent) => schema::agent(),
        None => schema::any(),
    })?;
    Ok(ExitCode::SUCCESS)
}
