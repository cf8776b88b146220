//! Standard output: data, for programs and people.

use super::report::Failure;
use crate::launch::harmless;
use serde::Serialize;
use std::fmt;
use std::io::{self, ErrorKind, Write as _};

#[derive(Debug, thiserror::Error)]
#[error("cannot write to standard output")]
struct OutError(#[source] io::Error);

/// Prints a line for people: names in it may be somebody else's, and move nothing on a terminal.
///
/// # Errors
/// When it cannot be written; but a reader that has gone has read enough, as in `bottle-vmm kernel list | head -1`.
pub fn line(text: fmt::Arguments<'_>) -> Result<(), Failure> {
    written(writeln!(io::stdout(), "{}", harmless(&text.to_string())))
}

/// Prints a value as JSON, indented.
///
/// # Errors
/// As [`line`].
pub fn json(value: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(value).map_err(|error| Failure::new(error, None))?;
    written(writeln!(io::stdout(), "{text}"))
}

/// Prints bytes as they are.
///
/// # Errors
/// As [`line`].
pub fn bytes(bytes: &[u8]) -> Result<(), Failure> {
    written(io::stdout().write_all(bytes).and_then(|()| io::stdout().flush()))
}

/// What became of writing to standard output.
///
/// # Errors
/// As [`line`].
pub fn written(result: io::Result<()>) -> Result<(), Failure> {
    match result {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(Failure::new(OutError(error), None)),
        _ => Ok(()),
    }
}
