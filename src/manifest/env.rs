//! Environment entries: one text per variable, whose beginning chooses the kind.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use super::fault::Fault;
use super::fields::{Field, Read};
use super::invalid::Invalid;
use super::name::Variable;

/// Where a variable's value comes from.
#[derive(Clone, PartialEq, Eq)]
pub enum EnvEntry {
    /// `?prompt`: asked for at every start, without echo.
    Secret { prompt: String },
    /// `${NAME}`: taken from the host's environment.
    Interpolated { from: Variable },
    /// Anything else.
    Literal { value: String },
}

/// Variables by name.
pub type Env = BTreeMap<Variable, EnvEntry>;

impl EnvEntry {
    /// A text without `${` is a literal even if it begins with `$`: passwords of test databases do. One that has it, but not as a
    /// whole, is refused, because whoever wrote it expects what a shell would do.
    ///
    /// # Errors
    /// [`Invalid`], which never holds the text.
    pub fn new(text: &str) -> Result<Self, Invalid> {
        if text.contains('\0') {
            return Err(Invalid::ControlCharacter);
        }
        if let Some(prompt) = text.strip_prefix('?') {
            return match prompt.trim() {
                "" => Err(Invalid::NoPrompt),
                prompt if prompt.chars().any(char::is_control) => Err(Invalid::ControlCharacter),
                prompt => Ok(Self::Secret { prompt: prompt.to_owned() }),
            };
        }
        if let Some(name) = text.strip_prefix("${").and_then(|rest| rest.strip_suffix('}')) {
            let from = Variable::new(name).map_err(|_| Invalid::PartlyInterpolated)?;
            return Ok(Self::Interpolated { from });
        }
        if text.contains("${") {
            return Err(Invalid::PartlyInterpolated);
        }
        Ok(Self::Literal { value: text.to_owned() })
    }

    /// What people call the kind.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Secret { .. } => "secret",
            Self::Interpolated { .. } => "host",
            Self::Literal { .. } => "literal",
        }
    }
}

/// Without values: a literal is no secret, but somebody will write one.
impl fmt::Debug for EnvEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Secret { prompt } => write!(f, "?{prompt}"),
            Self::Interpolated { from } => write!(f, "${{{from}}}"),
            Self::Literal { value } => write!(f, "literal of {} bytes", value.len()),
        }
    }
}

impl JsonSchema for EnvEntry {
    fn schema_name() -> Cow<'static, str> {
        "EnvEntry".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "`?prompt` asks at every start, `${NAME}` takes the host's variable, anything else is the value",
            "anyOf": [
                {"pattern": "^\\?[\\s\\S]*\\S"},
                {"pattern": "^\\$\\{[A-Za-z_][A-Za-z0-9_]*\\}$"},
                {"allOf": [{"not": {"pattern": "^\\?"}}, {"not": {"pattern": "\\$\\{"}}]},
            ],
        })
    }
}

pub(super) fn read(field: &Field<'_>) -> Read<Env> {
    let entries = field.named(Variable::new)?.into_iter();
    entries.map(|(name, field)| Ok((name, field.checked(EnvEntry::new)?))).collect()
}

/// A field that holds the name of a variable of the host.
pub(super) fn read_name(field: &Field<'_>) -> Read<Variable> {
    let text = field.text()?;
    if let Some(name) = text.strip_prefix("${").and_then(|rest| rest.strip_suffix('}'))
        && let Ok(name) = Variable::new(name)
    {
        return Err(field.fault(Fault::NameOnly { key: field.name(), name: name.to_string() }));
    }
    field.checked(Variable::new)
}

#[cfg(test)]
#[path = "env_test.rs"]
mod tests;
