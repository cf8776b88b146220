//! JSON Schema of the front matter, for editors: from the types that it is read into.

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema};
use serde_json::Value;

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
    let mut schema = SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<T>();
    let definitions = schema.get("$defs").cloned().unwrap_or_default();
    if let Some(top) = schema.as_object_mut() {
        top.values_mut().for_each(|value| refuse_null(value, &definitions));
    }
    schema
}

/// An optional key may be left out, and a list or map of nothing is an empty one; but a text or a boolean of nothing is a slip, which
/// the derived schema would let pass.
fn refuse_null(value: &mut Value, definitions: &Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| refuse_null(item, definitions)),
        Value::Object(map) => {
            map.values_mut().for_each(|value| refuse_null(value, definitions));
            let scalar = map.get("type").and_then(scalar_or_null);
            if let Some(scalar) = scalar {
                map.insert("type".to_owned(), scalar);
            }
            if let Some(reference) = map.get("anyOf").and_then(|any| reference_or_null(any, definitions)) {
                map.remove("anyOf");
                map.insert("$ref".to_owned(), reference);
            }
        }
        _ => {}
    }
}

/// `"string"` of `["string", "null"]`.
fn scalar_or_null(types: &Value) -> Option<Value> {
    match types.as_array()?.as_slice() {
        [scalar, Value::String(null)] if null == "null" && scalar != "array" && scalar != "object" => {
            Some(scalar.clone())
        }
        _ => None,
    }
}

/// The reference of `[{"$ref": …}, {"type": "null"}]`, if what it refers to is no map, or one that needs a key.
fn reference_or_null(any: &Value, definitions: &Value) -> Option<Value> {
    let [first, second] = any.as_array()?.as_slice() else { return None };
    let reference = first.get("$ref").filter(|_| second.get("type").is_some_and(|null| null == "null"))?;
    let definition = definitions.get(reference.as_str()?.strip_prefix("#/$defs/")?)?;
    let may_be_empty =
        definition.get("type").is_some_and(|kind| kind == "object") && definition.get("required").is_none();
    (!may_be_empty).then(|| reference.clone())
}

#[cfg(test)]
#[path = "schema_test.rs"]
mod tests;
