//! What the commands around manifests share: opening them, and saying what was not used.

use super::report::{Failure, note};
use crate::manifest::{Catalogue, Places};
use crate::paths;

/// # Errors
/// There is no home, no current directory, or what is in the home cannot be read.
pub fn open() -> Result<Catalogue, Failure> {
    Ok(Catalogue::open(&places()?)?)
}

pub fn places() -> Result<Places, Failure> {
    // A made-up one would be written into a bottle's record, and be another one when that is resumed.
    let current = std::env::current_dir().map_err(|error| {
        let hint = "`cd` to a directory that is there; agents of a repository are looked for in it".to_owned();
        Failure::new(format!("there is no current directory: {error}"), Some(hint))
    })?;
    Ok(Places { own: paths::bot_bottle()?, home: paths::home(), current })
}

/// Says what was seen and not used.
pub fn warn(catalogue: &Catalogue) {
    for warning in &catalogue.warnings {
        note(&format!("warning: {warning}"));
    }
}
