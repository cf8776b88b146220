//! A fault and where it stands. Law: rendered in one line, `path:line:column: sentence`; the line itself is never shown, because it may
//! hold what somebody wrote instead of a variable's name.

use std::fmt;
use std::path::{Path, PathBuf};

use super::fault::Fault;

/// A position in a file: line and column from 1, columns counted in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mark {
    pub line: usize,
    pub column: usize,
}

impl Mark {
    pub const START: Self = Self { line: 1, column: 1 };
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

/// A fault at a position of the text that is being read; the file is added by whoever knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Located {
    pub at: Mark,
    pub fault: Fault,
}

impl Located {
    #[must_use]
    pub fn in_file(self, file: &Path) -> ManifestError {
        ManifestError { file: file.to_owned(), at: Some(self.at), fault: Box::new(self.fault) }
    }
}

/// What is wrong with a manifest file, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct ManifestError {
    pub file: PathBuf,
    /// None for a file that could not be read at all.
    pub at: Option<Mark>,
    pub fault: Box<Fault>,
}

impl fmt::Display for ManifestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if let Some(at) = self.at {
            write!(f, ":{at}")?;
        }
        write!(f, ": {}", self.fault)
    }
}

impl ManifestError {
    /// The way out.
    #[must_use]
    pub fn hint(&self) -> String {
        self.fault.hint()
    }
}

/// Text of a file as it may be shown: escapes made visible, and no longer than a line of a terminal.
pub(super) fn shown(text: &str) -> String {
    const MAX: usize = 60;
    let mut escaped: String = text.chars().take(MAX).flat_map(char::escape_debug).collect();
    if text.chars().nth(MAX).is_some() {
        escaped.push('…');
    }
    escaped
}
