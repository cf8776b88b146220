//! JSON Schema of the front matter, for editors: from the types that it is read into.

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema};

use super::agent::Agent;
use super::bottle::Bottle;

/// A bottle's front matter, or an agent's.
#[derive(JsonSchema)]
#[schemars(untagged)]
#[expect(dead_code, reason = "a schema only")]
enum FrontMatter {
    Bottle(Box<Bottle>),
    Agent(Agent),
}

/// Of a bottle (JSON Schema draft 2020-12).
#[must_use]
pub fn bottle() -> Schema {
    of::<Bottle>()
}

/// Of an agent.
#[must_use]
pub fn agent() -> Schema {
    of::<Agent>()
}

/// Of either, for an editor that cannot tell by the directory.
#[must_use]
pub fn any() -> Schema {
    of::<FrontMatter>()
}

fn of<T: JsonSchema>() -> Schema {
    SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<T>()
}

#[cfg(test)]
#[path = "schema_test.rs"]
mod tests;
