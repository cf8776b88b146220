//! Rules for requests on a route, after the Gateway API's `HTTPRouteMatch`: the parts of an entry hold together, paths and entries
//! are alternatives.

use regex::Regex;
use schemars::JsonSchema;
use serde::Serialize;

use super::fields::{Field, Read};
use super::invalid::Invalid;

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Match {
    /// One of these; none means any path
    #[schemars(with = "Option<Vec<PathRule>>")]
    pub paths: Vec<PathRule>,
    /// One of these, in any case; none means any method
    #[schemars(with = "Option<Vec<String>>")]
    pub methods: Vec<String>,
    /// All of these
    #[schemars(with = "Option<Vec<HeaderRule>>")]
    pub headers: Vec<HeaderRule>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(tag = "type", content = "value", rename_all = "snake_case")]
#[schemars(deny_unknown_fields)]
pub enum PathRule {
    Exact(String),
    Prefix(String),
    /// Holds if it matches anywhere, unless anchored.
    Regex(String),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct HeaderRule {
    /// Compared without regard to case; kept in lower case
    pub name: String,
    /// [default: exact]
    #[serde(rename = "type")]
    #[schemars(with = "Option<HeaderRuleKind>")]
    pub kind: HeaderRuleKind,
    pub value: String,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum HeaderRuleKind {
    #[default]
    Exact,
    Regex,
}

pub(super) fn read(field: &Field<'_>) -> Read<Vec<Match>> {
    field.list()?.iter().map(read_match).collect()
}

fn read_match(field: &Field<'_>) -> Read<Match> {
    let map = field.map(&["paths", "methods", "headers"])?;
    let paths = |field: &Field<'_>| field.list()?.iter().map(read_path).collect::<Read<Vec<_>>>();
    let methods = |field: &Field<'_>| field.list()?.iter().map(|item| item.checked(method)).collect::<Read<Vec<_>>>();
    let headers = |field: &Field<'_>| field.list()?.iter().map(read_header).collect::<Read<Vec<_>>>();
    Ok(Match {
        paths: map.optional("paths", paths)?.unwrap_or_default(),
        methods: map.optional("methods", methods)?.unwrap_or_default(),
        headers: map.optional("headers", headers)?.unwrap_or_default(),
    })
}

type MakeRule = fn(&Field<'_>) -> Read<PathRule>;

fn read_path(field: &Field<'_>) -> Read<PathRule> {
    let map = field.map(&["type", "value"])?;
    let make = map.required("type")?.option::<MakeRule>(&[
        ("exact", |field| Ok(PathRule::Exact(field.checked(prefix)?))),
        ("prefix", |field| Ok(PathRule::Prefix(field.checked(prefix)?))),
        ("regex", |field| Ok(PathRule::Regex(field.checked(regex)?))),
    ])?;
    make(&map.required("value")?)
}

fn read_header(field: &Field<'_>) -> Read<HeaderRule> {
    let map = field.map(&["type", "name", "value"])?;
    let kinds = [("exact", HeaderRuleKind::Exact), ("regex", HeaderRuleKind::Regex)];
    let kind = map.optional("type", |field| field.option(&kinds))?.unwrap_or_default();
    let value = map.required("value")?.checked(|text| match kind {
        HeaderRuleKind::Regex => regex(text),
        HeaderRuleKind::Exact if text.chars().any(char::is_control) => Err(Invalid::ControlCharacter),
        HeaderRuleKind::Exact => Ok(text.to_owned()),
    })?;
    Ok(HeaderRule { name: map.required("name")?.checked(header)?, kind, value })
}

/// The beginning of a path, or all of one. It is compared with normalised paths, so what a normalised path cannot hold never
/// matches, and is a slip.
pub(super) fn prefix(text: &str) -> Result<String, Invalid> {
    let inside = text.strip_prefix('/').filter(|_| !text.contains(['?', '#']) && !text.chars().any(char::is_control));
    match inside {
        Some(inside) if !inside.split('/').any(|part| part == "." || part == "..") => Ok(text.to_owned()),
        _ => Err(Invalid::Path { found: text.to_owned() }),
    }
}

/// Compiled to see that it can be; the default size limit of the crate bounds what one costs.
fn regex(text: &str) -> Result<String, Invalid> {
    match Regex::new(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(_) => Err(Invalid::Regex { found: text.to_owned() }),
    }
}

/// Letters only: RFC 9110 §9.1 allows any token, and registers none with other characters but `-`.
fn method(text: &str) -> Result<String, Invalid> {
    let good = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphabetic() || byte == b'-');
    if good { Ok(text.to_ascii_uppercase()) } else { Err(Invalid::Method { found: text.to_owned() }) }
}

/// A token (RFC 9110 §5.1, §5.6.2).
fn header(text: &str) -> Result<String, Invalid> {
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if !text.is_empty() && text.bytes().all(token) {
        Ok(text.to_ascii_lowercase())
    } else {
        Err(Invalid::Header { found: text.to_owned() })
    }
}
