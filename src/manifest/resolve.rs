//! Environment entries → values.
//!
//! Law: what is asked for or taken from the host lies in memory that is wiped, in types without `Debug`; errors name variables only.

use std::collections::BTreeMap;
use std::io;

use bottle_protocol::SecretBytes;

use super::env::{Env, EnvEntry};
use super::name::Variable;
use super::nearest::listed;

/// Where values come from.
pub trait Values {
    /// The host's variable, or None if it is not set.
    fn variable(&mut self, name: &Variable) -> Option<SecretBytes>;

    /// Asks a person for the value of `variable`, without echo.
    ///
    /// # Errors
    /// There is nobody to ask, or the answer does not come.
    fn ask(&mut self, variable: &Variable, prompt: &str) -> io::Result<SecretBytes>;
}

/// The environment of an agent. It has no `Debug`, as most of it must not be seen.
#[derive(Default)]
pub struct ResolvedEnv {
    pub literals: BTreeMap<Variable, String>,
    /// Asked for, or the host's: never in a file, a log or an argument.
    pub forwarded: BTreeMap<Variable, SecretBytes>,
}

#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    #[error("{} not set in this environment", subject(names))]
    Unset {
        names: Vec<String>,
        /// `FILE:LINE` that asks for the first of them, if it is known.
        place: Option<String>,
    },
    #[error("the value of `{name}` holds a NUL byte, which no environment can")]
    Nul { name: Variable },
    #[error("cannot ask for the value of `{name}`")]
    Ask {
        name: Variable,
        #[source]
        source: io::Error,
    },
}

fn subject(names: &[String]) -> String {
    let verb = if names.len() == 1 { "is" } else { "are" };
    format!("{} {verb}", listed(names))
}

impl ResolveError {
    /// The way out.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::Unset { names, place } => {
                let name = names.first().map_or("NAME", |name| name);
                let place = place.as_ref().map_or("the bottle's `env`".to_owned(), |place| format!("`{place}`"));
                format!("`export {name}=…` first; {place} asks for it")
            }
            Self::Nul { .. } => "give it a value that is text; what is not, an agent can read from a file".to_owned(),
            Self::Ask { .. } => {
                "start it from a terminal and without `--headless`, or let the entry be `${NAME}` and set that"
                    .to_owned()
            }
        }
    }
}

/// Looks everything up before anything is asked, so that nobody types three secrets to learn that a variable is not set.
///
/// # Errors
/// All variables that are not set, or the first question without an answer.
pub fn resolve(env: &Env, values: &mut dyn Values) -> Result<ResolvedEnv, ResolveError> {
    let mut resolved = ResolvedEnv::default();
    let mut unset = vec![];
    for (name, entry) in env {
        match entry {
            EnvEntry::Literal { value } => {
                resolved.literals.insert(name.clone(), value.clone());
            }
            EnvEntry::Interpolated { from } => match values.variable(from) {
                Some(value) => resolved.forward(name, value)?,
                None if unset.iter().any(|name| name == from.as_str()) => {}
                None => unset.push(from.to_string()),
            },
            EnvEntry::Secret { .. } => {}
        }
    }
    if !unset.is_empty() {
        return Err(ResolveError::Unset { names: unset, place: None });
    }
    for (name, entry) in env {
        if let EnvEntry::Secret { prompt } = entry {
            let value = values.ask(name, prompt).map_err(|source| ResolveError::Ask { name: name.clone(), source })?;
            resolved.forward(name, value)?;
        }
    }
    Ok(resolved)
}

impl ResolvedEnv {
    fn forward(&mut self, name: &Variable, value: SecretBytes) -> Result<(), ResolveError> {
        if value.expose().contains(&0) {
            return Err(ResolveError::Nul { name: name.clone() });
        }
        self.forwarded.insert(name.clone(), value);
        Ok(())
    }
}

#[cfg(test)]
#[path = "resolve_test.rs"]
mod tests;
