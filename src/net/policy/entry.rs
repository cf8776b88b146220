//! A list of rules, each known by its place when it is wrong. Nothing of a list is ever left out.

use super::rule::{Rule, RuleError};

/// More than any plan has; keeps a judgement within microseconds.
pub const ENTRIES_MAX: usize = 1024;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EntryError {
    #[error("{origin} {number} of {of}, `{text}`")]
    Rule {
        /// Where the list is from, such as `--allow`.
        origin: &'static str,
        /// From 1.
        number: usize,
        of: usize,
        text: String,
        #[source]
        source: RuleError,
    },
    #[error("{origin} is given {of} times, where {ENTRIES_MAX} are the most")]
    TooMany { origin: &'static str, of: usize },
}

impl EntryError {
    /// The way out.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Rule { source, .. } => source.hint(),
            Self::TooMany { .. } => Some("join neighbouring networks and ports".to_owned()),
        }
    }
}

/// All of a list, or the first that is wrong.
///
/// # Errors
/// [`EntryError`].
pub fn parse_entries(origin: &'static str, entries: &[impl AsRef<str>]) -> Result<Vec<Rule>, EntryError> {
    let of = entries.len();
    if of > ENTRIES_MAX {
        return Err(EntryError::TooMany { origin, of });
    }
    let rule = |(index, text): (usize, &str)| {
        Rule::parse(text).map_err(|source| {
            let text = text.escape_debug().take(100).collect();
            EntryError::Rule { origin, number: index + 1, of, text, source }
        })
    };
    entries.iter().map(AsRef::as_ref).enumerate().map(rule).collect()
}
