//! JSON as Go's decoder takes it: Go wrote most images, and reads them everywhere else. Law: pure.
//!
//! Fields go by their names in any case of their ASCII letters, and `null` is the empty value. Of two fields of one name Go takes the later;
//! here that is refused: of a document that says two things, two readers would see two images.
//!
//! Source: Go's encoding/json, `Unmarshal`.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::value::StringDeserializer;
use serde::de::{Deserialize, DeserializeSeed, Deserializer, IntoDeserializer as _, MapAccess, Visitor};

/// `null` is as good as nothing.
pub(super) fn nullable<'de, T: Deserialize<'de> + Default, D: Deserializer<'de>>(from: D) -> Result<T, D::Error> {
    Ok(Option::<T>::deserialize(from)?.unwrap_or_default())
}

/// A list of texts, any of which may be `null`.
pub(super) fn texts<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
    nullable::<Vec<Option<String>>, D>(from).map(filled)
}

/// Names with texts, any of which may be `null`.
pub(super) fn named_texts<'de, D: Deserializer<'de>>(from: D) -> Result<BTreeMap<String, String>, D::Error> {
    let texts = nullable::<BTreeMap<String, Option<String>>, D>(from)?;
    Ok(texts.into_iter().map(|(name, text)| (name, text.unwrap_or_default())).collect())
}

/// A list of words, or one word for a list of one (docker's `strslice`).
pub(super) fn words<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
    #[derive(serde::Deserialize)]
    #[serde(untagged, expecting = "expected a list of words")]
    enum Words {
        One(String),
        Many(Vec<Option<String>>),
    }
    Ok(match Option::deserialize(from)? {
        None => Vec::new(),
        Some(Words::One(word)) => vec![word],
        Some(Words::Many(words)) => filled(words),
    })
}

fn filled(texts: Vec<Option<String>>) -> Vec<String> {
    texts.into_iter().map(Option::unwrap_or_default).collect()
}

/// Reads these types by [`Caseless`] names. They derive `Deserialize` with `remote = "Self"`, and have lower-case names for their fields.
macro_rules! caseless {
    ($($type:ty),+) => {
        $(impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                // The one that is derived: an inherent function goes before that of a trait.
                Self::deserialize($crate::image::go_json::Caseless(from))
            }
        })+
    };
}
pub(super) use caseless;

/// Gives a struct the names of its fields in lower case.
pub(super) struct Caseless<D>(pub(super) D);

impl<'de, D: Deserializer<'de>> Deserializer<'de> for Caseless<D> {
    type Error = D::Error;

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.0.deserialize_struct(name, fields, Fields(visitor))
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.0.deserialize_any(visitor)
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

struct Fields<V>(V);

impl<'de, V: Visitor<'de>> Visitor<'de> for Fields<V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.expecting(f)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<V::Value, A::Error> {
        self.0.visit_map(Lowered(map))
    }
}

struct Lowered<A>(A);

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Lowered<A> {
    type Error = A::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, A::Error> {
        let Some(name) = self.0.next_key::<String>()? else { return Ok(None) };
        let name: StringDeserializer<A::Error> = name.to_ascii_lowercase().into_deserializer();
        seed.deserialize(name).map(Some)
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, A::Error> {
        self.0.next_value_seed(seed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Default, PartialEq, serde::Deserialize)]
    #[serde(remote = "Self", rename_all = "lowercase", default)]
    struct Document {
        #[serde(rename = "workingdir", deserialize_with = "nullable")]
        working_dir: String,
        #[serde(deserialize_with = "named_texts")]
        labels: BTreeMap<String, String>,
        #[serde(deserialize_with = "texts")]
        env: Vec<String>,
        #[serde(deserialize_with = "words")]
        cmd: Vec<String>,
        inner: Option<Box<Document>>,
    }

    caseless!(Document);

    fn of(text: &str) -> Result<Document, String> {
        serde_json::from_str(text).map_err(|error| error.to_string())
    }

    #[test]
    fn names_of_fields_are_known_in_any_case_and_those_of_others_stay() {
        let document = of(r#"{"WorkingDir":"/w","LABELS":{"A":"x","a":null},"env":["A=b",null],"Other":{"env":3},
            "inner":{"WORKINGDIR":"/v","cmd":["x",null]}}"#)
        .unwrap();
        assert_eq!(document.working_dir, "/w");
        assert_eq!(
            document.labels,
            BTreeMap::from([("A".to_owned(), "x".to_owned()), ("a".to_owned(), String::new())])
        );
        assert_eq!(document.env, ["A=b", ""]);
        let inner = document.inner.unwrap();
        assert_eq!((inner.working_dir.as_str(), inner.cmd), ("/v", vec!["x".to_owned(), String::new()]));
        assert_eq!(of(r#"{"workingDir":null,"labels":null,"env":null,"cmd":null,"inner":null}"#), of("{}"));
    }

    #[test]
    fn one_word_is_a_list_of_one() {
        assert_eq!(of(r#"{"Cmd":"/bin/sh -c"}"#).unwrap().cmd, ["/bin/sh -c"]);
        assert!(of(r#"{"Cmd":3}"#).unwrap_err().starts_with("expected a list of words"));
        assert!(of(r#"{"Cmd":["a",3]}"#).is_err());
    }

    #[test]
    fn what_says_two_things_is_refused() {
        assert!(of(r#"{"Env":["A=1"],"env":["A=2"]}"#).unwrap_err().starts_with("duplicate field `env`"));
        assert!(of(r#"["/w"]"#).is_err());
    }
}
