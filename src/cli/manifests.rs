//! What the commands around manifests share: opening them, and saying what was not used.

use super::report::Failure;
use crate::manifest::{Catalogue, Places};
use crate::paths;
use std::path::PathBuf;

/// # Errors
/// There is no home, or what is in it cannot be read.
pub fn open() -> Result<Catalogue, Failure> {
    Ok(Catalogue::open(&places()?)?)
}

pub fn places() -> Result<Places, Failure> {
    let current = std::env::current_dir().unwrap_or_else(|_| PathBuf::from("."));
    Ok(Places { own: paths::bot_bottle()?, home: paths::home(), current })
}

/// Says what was seen and not used.
#[expect(clippy::print_stderr, reason = "this is where warnings reach people")]
pub fn warn(catalogue: &Catalogue) {
    for warning in &catalogue.warnings {
        eprintln!("bottle-vmm: warning: {warning}");
    }
}
