//! Typed access to the tree, with the path of every key for the error.
//!
//! Law: unknown keys are found before anything else, because a slip in a key otherwise shows as a missing one.

use super::error::{Located, Mark};
use super::fault::{Fault, Found};
use super::invalid::Invalid;
use super::yaml::{Key, Node, Value};

/// A value with its name: `` `egress.routes[1].host` ``.
#[derive(Clone)]
pub(super) struct Field<'a> {
    node: &'a Node,
    path: String,
}

/// The entries of a map.
pub(super) struct Fields<'a> {
    at: Mark,
    entries: &'a [(Key, Node)],
    path: String,
}

pub(super) type Read<T> = Result<T, Located>;

impl<'a> Field<'a> {
    /// The front matter as a whole: `name` is what sentences call it, such as `the bottle`.
    pub(super) fn root(node: &'a Node) -> Self {
        Self { node, path: String::new() }
    }

    pub(super) fn at(&self) -> Mark {
        self.node.at
    }

    /// How sentences call it.
    pub(super) fn name(&self) -> String {
        called(&self.path)
    }

    pub(super) fn fault(&self, fault: Fault) -> Located {
        Located { at: self.node.at, fault }
    }

    pub(super) fn invalid(&self, problem: Invalid) -> Located {
        self.fault(Fault::Invalid { key: self.name(), problem })
    }

    pub(super) fn is_nothing(&self) -> bool {
        self.node.found() == Found::Nothing
    }

    fn wrong(&self, expected: &'static str) -> Located {
        self.fault(Fault::WrongType { key: self.name(), expected, found: self.node.found() })
    }

    pub(super) fn text(&self) -> Read<&'a str> {
        match &self.node.value {
            Value::Scalar { text, .. } if matches!(self.node.found(), Found::Text | Found::OldBool) => Ok(text),
            _ => Err(self.wrong("text")),
        }
    }

    /// Text that a rule holds for.
    pub(super) fn checked<T>(&self, rule: impl FnOnce(&str) -> Result<T, Invalid>) -> Read<T> {
        rule(self.text()?).map_err(|problem| self.invalid(problem))
    }

    /// Text that says something and fits on one line.
    pub(super) fn line(&self) -> Read<String> {
        self.checked(|text| {
            if text.trim().is_empty() {
                Err(Invalid::Empty)
            } else if text.chars().any(char::is_control) {
                Err(Invalid::ControlCharacter)
            } else {
                Ok(text.to_owned())
            }
        })
    }

    pub(super) fn boolean(&self) -> Read<bool> {
        match (&self.node.value, self.node.found()) {
            (Value::Scalar { text, .. }, Found::Bool) => Ok(text.eq_ignore_ascii_case("true")),
            _ => Err(self.wrong("true or false")),
        }
    }

    pub(super) fn is_false(&self) -> bool {
        matches!(self.boolean(), Ok(false))
    }

    /// One of a few words, or numbers.
    pub(super) fn option<T: Copy>(&self, options: &[(&str, T)]) -> Read<T> {
        let is_word = matches!(self.node.found(), Found::Text | Found::OldBool | Found::Number);
        let Value::Scalar { text, .. } = &self.node.value else { return Err(self.wrong("text")) };
        if !is_word {
            return Err(self.wrong("text"));
        }
        match options.iter().find(|(word, _)| word == text) {
            Some((_, value)) => Ok(*value),
            None => Err(self.fault(Fault::NotAnOption {
                key: self.name(),
                found: text.clone(),
                allowed: options.iter().map(|(word, _)| (*word).to_owned()).collect(),
            })),
        }
    }

    /// The items of a list; nothing is an empty one.
    pub(super) fn list(&self) -> Read<Vec<Field<'a>>> {
        match &self.node.value {
            Value::List(items) => Ok(items
                .iter()
                .enumerate()
                .map(|(index, node)| Field { node, path: format!("{}[{index}]", self.path) })
                .collect()),
            _ if self.is_nothing() => Ok(vec![]),
            _ => Err(self.wrong("a list")),
        }
    }

    /// The entries of a map with the keys `known`; nothing is an empty one.
    pub(super) fn map(&self, known: &'static [&'static str]) -> Read<Fields<'a>> {
        self.map_with(known, &[])
    }

    /// The same, with keys that once were, and what to do instead.
    pub(super) fn map_with(
        &self,
        known: &'static [&'static str],
        removed: &[(&'static str, &'static str)],
    ) -> Read<Fields<'a>> {
        let fields = Fields { at: self.node.at, entries: self.entries()?, path: self.path.clone() };
        for (key, _) in fields.entries {
            if known.contains(&key.text.as_str()) {
                continue;
            }
            let within = self.name();
            let fault = match removed.iter().find(|(name, _)| *name == key.text) {
                Some((name, instead)) => Fault::RemovedKey { key: name, within, instead },
                None => Fault::UnknownKey { key: key.text.clone(), within, allowed: known },
            };
            return Err(Located { at: key.at, fault });
        }
        Ok(fields)
    }

    /// Refuses a key of a map, before its other keys are looked at.
    pub(super) fn refuse(&self, key: &str, fault: Fault) -> Read<()> {
        match self.entries()?.iter().find(|(found, _)| found.text == key) {
            Some((found, _)) => Err(Located { at: found.at, fault }),
            None => Ok(()),
        }
    }

    /// The entries of a map whose keys are names.
    pub(super) fn named<K>(&self, rule: impl Fn(&str) -> Result<K, Invalid>) -> Read<Vec<(K, Field<'a>)>> {
        let entries = self.entries()?.iter().map(|(key, node)| {
            let name = rule(&key.text).map_err(|problem| Located {
                at: key.at,
                fault: Fault::Invalid { key: format!("a key of {}", self.name()), problem },
            })?;
            Ok((name, Field { node, path: below(&self.path, &key.text) }))
        });
        entries.collect()
    }

    fn entries(&self) -> Read<&'a [(Key, Node)]> {
        match &self.node.value {
            Value::Map(entries) => Ok(entries),
            _ if self.is_nothing() => Ok(&[]),
            _ => Err(self.wrong("a map")),
        }
    }
}

impl<'a> Fields<'a> {
    /// How sentences call the map.
    pub(super) fn name(&self) -> String {
        called(&self.path)
    }

    pub(super) fn fault(&self, fault: Fault) -> Located {
        Located { at: self.at, fault }
    }

    pub(super) fn get(&self, key: &str) -> Option<Field<'a>> {
        let (key, node) = self.entries.iter().find(|(found, _)| found.text == key)?;
        Some(Field { node, path: below(&self.path, &key.text) })
    }

    /// Where the key itself stands; where the map begins, if it is not there.
    pub(super) fn key_at(&self, key: &str) -> Mark {
        self.entries.iter().find(|(found, _)| found.text == key).map_or(self.at, |(found, _)| found.at)
    }

    pub(super) fn required(&self, key: &'static str) -> Read<Field<'a>> {
        self.get(key).ok_or_else(|| self.fault(Fault::MissingKey { key, within: self.name() }))
    }

    pub(super) fn optional<T>(&self, key: &str, read: impl FnOnce(&Field<'a>) -> Read<T>) -> Read<Option<T>> {
        self.get(key).map(|field| read(&field)).transpose()
    }

    /// Exactly one of the keys.
    pub(super) fn one_of(&self, keys: &'static [&'static str]) -> Read<(&'static str, Field<'a>)> {
        let mut found = keys.iter().filter_map(|key| Some((*key, self.get(key)?)));
        let within = self.name();
        match (found.next(), found.next()) {
            (Some(one), None) => Ok(one),
            (Some((one, _)), Some((other, _))) => {
                Err(Located { at: self.key_at(other), fault: Fault::Both { within, one, other } })
            }
            _ => Err(self.fault(Fault::NoneOf { within, keys })),
        }
    }
}

fn below(path: &str, key: &str) -> String {
    let key = super::error::shown(key);
    if path.is_empty() { key } else { format!("{path}.{key}") }
}

fn called(path: &str) -> String {
    if path.is_empty() { "the front matter".to_owned() } else { format!("`{path}`") }
}
