//! Names with rules of their own: once one of these exists, it can stand in a path, a ref or an environment.

use std::borrow::{Borrow, Cow};
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Serialize;

use super::invalid::Invalid;

/// Declares a checked string: its rule as a pattern for editors, and as code.
macro_rules! checked {
    ($(#[$doc:meta])* $name:ident, $pattern:literal, $invalid:expr, $check:expr) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// # Errors
            /// The rule is not kept.
            pub fn new(text: &str) -> Result<Self, Invalid> {
                let check: fn(&str) -> bool = $check;
                if check(text) { Ok(Self(text.to_owned())) } else { Err($invalid(text)) }
            }

            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({"type": "string", "pattern": $pattern})
            }
        }
    };
}

checked!(
    /// A bottle or an agent; the stem of its file.
    Name,
    "^[a-z][a-z0-9-]*$",
    |text: &str| Invalid::Name { found: text.to_owned() },
    |text| {
        text.starts_with(|c: char| c.is_ascii_lowercase())
            && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
    }
);

checked!(
    /// An environment variable. What is no name is not repeated: it may be the value.
    Variable,
    "^[A-Za-z_][A-Za-z0-9_]*$",
    |_: &str| Invalid::Variable,
    |text| {
        text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    }
);

checked!(
    /// A repository on the gate, and a skill: one component of a path that cannot leave its directory.
    Component,
    "^[A-Za-z0-9_][A-Za-z0-9._-]*$",
    |text: &str| Invalid::Component { found: text.to_owned() },
    |text| {
        text.len() <= 128
            && text.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_')
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
    }
);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// The pattern that editors check by is the rule that we check by.
        #[test]
        fn pattern_and_code_agree(text in "[a-zA-Z0-9_. /-]{0,4}|\\PC{0,3}") {
            let schemas = [
                (Name::new(&text).is_ok(), schemars::schema_for!(Name)),
                (Variable::new(&text).is_ok(), schemars::schema_for!(Variable)),
                (Component::new(&text).is_ok(), schemars::schema_for!(Component)),
            ];
            for (taken, schema) in schemas {
                let pattern = schema.get("pattern").and_then(|value| value.as_str()).unwrap();
                prop_assert_eq!(taken, regex::Regex::new(pattern).unwrap().is_match(&text), "{:?} by {}", text, pattern);
            }
        }
    }

    #[test]
    fn no_component_leaves_its_directory() {
        for text in ["", ".", "..", "a/b", "../x", "-o", ".ssh", "a\0", "a\n", "ä"] {
            assert!(Component::new(text).is_err(), "{text:?}");
        }
        assert!(Component::new("my-repo_2.x").is_ok());
    }
}
