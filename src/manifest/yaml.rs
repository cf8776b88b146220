//! YAML text → a small tree with positions.
//!
//! Law: a strict and bounded subset of YAML 1.2. Anchors, aliases, tags, merge keys, directives and second documents are refused as
//! their events come, before anything is built from them, so no text grows beyond its own size.
//!
//! `granit-parser` reads the events: it forbids `unsafe`, is fuzzed against panics, follows the YAML test suite, and gives a place for every
//! event. A deserializer on top of it would know neither where a key stands nor that two are equal.

use std::borrow::Cow;
use std::collections::BTreeMap;

use granit_parser::{Event, Marker, Options, Parser, ScalarStyle};

use super::error::{Located, Mark};
use super::fault::{Fault, Found};
use super::front_matter::LINES_BEFORE;
use super::limits::{MAX_DEPTH, MAX_NODES};

/// A value and where it begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    pub at: Mark,
    pub value: Value,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// `plain` is unquoted: it may be a boolean, a number or nothing.
    Scalar {
        text: String,
        plain: bool,
    },
    List(Vec<Node>),
    /// Keys differ from one another.
    Map(Vec<(Key, Node)>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    pub at: Mark,
    pub text: String,
}

impl Node {
    /// What this is by the core schema (YAML 1.2.2 §10.3).
    #[must_use]
    pub fn found(&self) -> Found {
        match &self.value {
            Value::List(_) => Found::List,
            Value::Map(_) => Found::Map,
            Value::Scalar { text, plain } if *plain => of_plain(text),
            Value::Scalar { .. } => Found::Text,
        }
    }
}

fn of_plain(text: &str) -> Found {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => Found::Nothing,
        "true" | "True" | "TRUE" | "false" | "False" | "FALSE" => Found::Bool,
        _ if is_number(text) => Found::Number,
        _ if ["yes", "no", "on", "off", "y", "n"].contains(&text.to_lowercase().as_str()) => Found::OldBool,
        _ => Found::Text,
    }
}

fn is_number(text: &str) -> bool {
    let radix = |prefix, radix| {
        text.strip_prefix(prefix).is_some_and(|rest| !rest.is_empty() && rest.chars().all(|c| c.is_digit(radix)))
    };
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let special = matches!(unsigned, ".inf" | ".Inf" | ".INF") || matches!(text, ".nan" | ".NaN" | ".NAN");
    let decimal = unsigned.chars().any(|c| c.is_ascii_digit())
        && unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.')
        && unsigned.parse::<f64>().is_ok();
    radix("0x", 16) || radix("0o", 8) || special || decimal
}

/// Reads a front matter; nothing at all is an empty map.
///
/// # Errors
/// What is not YAML, and what of YAML is refused, with its place in the *file*.
pub fn read(yaml: &str) -> Result<Node, Located> {
    let mut options = Options::default();
    options.disallow_directives = true;
    options.emit_unresolved_aliases = true; // so that each has its own error
    let mut builder = Builder::default();
    for event in Parser::new_from_str_with_options(yaml, options) {
        let (event, span) = event.map_err(|error| Located {
            at: mark(error.marker()),
            fault: Fault::Syntax { message: error.kind().to_string() },
        })?;
        let at = mark(&span.start);
        builder.take(event, at).map_err(|fault| match fault {
            Refused::Here(fault) => Located { at, fault },
            Refused::At(at, fault) => Located { at, fault },
        })?;
    }
    let top = Mark { line: 1 + LINES_BEFORE, column: 1 };
    Ok(builder
        .root
        .filter(|node| node.found() != Found::Nothing)
        .unwrap_or(Node { at: top, value: Value::Map(vec![]) }))
}

/// The parser counts lines from 1 and columns from 0.
fn mark(marker: &Marker) -> Mark {
    Mark { line: marker.line() + LINES_BEFORE, column: marker.col() + 1 }
}

enum Refused {
    Here(Fault),
    At(Mark, Fault),
}

impl From<Fault> for Refused {
    fn from(fault: Fault) -> Self {
        Self::Here(fault)
    }
}

/// A list or map whose end has not come yet.
enum Open {
    List { at: Mark, items: Vec<Node> },
    Map { at: Mark, entries: Vec<(Key, Node)>, keys: BTreeMap<String, Mark>, pending: Option<Key> },
}

#[derive(Default)]
struct Builder {
    open: Vec<Open>,
    root: Option<Node>,
    nodes: usize,
}

impl Builder {
    fn take(&mut self, event: Event<'_>, at: Mark) -> Result<(), Refused> {
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                self.count(anchor, tag.is_some())?;
                self.scalar(text, style == ScalarStyle::Plain, at)
            }
            Event::SequenceStart(_, anchor, tag) => {
                self.count(anchor, tag.is_some())?;
                self.begin(Open::List { at, items: vec![] })
            }
            Event::MappingStart(_, anchor, tag) => {
                self.count(anchor, tag.is_some())?;
                self.begin(Open::Map { at, entries: vec![], keys: BTreeMap::new(), pending: None })
            }
            Event::SequenceEnd | Event::MappingEnd => match self.open.pop() {
                Some(Open::List { at, items }) => self.put(Node { at, value: Value::List(items) }),
                Some(Open::Map { at, entries, .. }) => self.put(Node { at, value: Value::Map(entries) }),
                None => Ok(()),
            },
            Event::DocumentStart(..) if self.root.is_some() => Err(Fault::SecondDocument.into()),
            Event::Alias(_) | Event::UnresolvedAlias(_) | Event::Anchor(..) => Err(Fault::Alias.into()),
            _ => Ok(()),
        }
    }

    fn count(&mut self, anchor: usize, tagged: bool) -> Result<(), Fault> {
        self.nodes += 1;
        if anchor != 0 {
            return Err(Fault::Alias);
        }
        if tagged {
            return Err(Fault::Tag);
        }
        if self.nodes > MAX_NODES { Err(Fault::TooManyNodes) } else { Ok(()) }
    }

    fn begin(&mut self, open: Open) -> Result<(), Refused> {
        if let Some(Open::Map { pending: None, .. }) = self.open.last() {
            return Err(Fault::KeyNotText.into());
        }
        if self.open.len() >= MAX_DEPTH {
            return Err(Fault::TooDeep.into());
        }
        self.open.push(open);
        Ok(())
    }

    /// A scalar is a key or a value, as its turn is.
    fn scalar(&mut self, text: Cow<'_, str>, plain: bool, at: Mark) -> Result<(), Refused> {
        if let Some(Open::Map { keys, pending: pending @ None, .. }) = self.open.last_mut() {
            if plain && of_plain(&text) == Found::Nothing {
                return Err(Fault::KeyNotText.into());
            }
            if plain && text == "<<" {
                return Err(Fault::MergeKey.into());
            }
            let text = text.into_owned();
            if let Some(first) = keys.insert(text.clone(), at) {
                return Err(Refused::At(at, Fault::DuplicateKey { key: text, first }));
            }
            *pending = Some(Key { at, text });
            return Ok(());
        }
        self.put(Node { at, value: Value::Scalar { text: text.into_owned(), plain } })
    }

    fn put(&mut self, node: Node) -> Result<(), Refused> {
        match self.open.last_mut() {
            Some(Open::List { items, .. }) => items.push(node),
            Some(Open::Map { entries, pending, .. }) => {
                let Some(key) = pending.take() else { return Err(Fault::KeyNotText.into()) };
                entries.push((key, node));
            }
            None => self.root = Some(node),
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "yaml_test.rs"]
mod tests;
