//! `egress`: what may leave the bottle. No route, no way out.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;

use super::env;
use super::fault::Fault;
use super::fields::{Field, Read};
use super::host::{Cidr, Host};
use super::invalid::Invalid;
use super::matches::{self, Match, PathRule};
use super::name::Variable;

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Egress {
    /// One entry per host; hosts without one cannot be reached
    #[schemars(with = "Option<Vec<Route>>")]
    pub routes: Vec<Route>,
    /// 0 nothing, 1 what is refused, 2 everything, bodies included
    #[schemars(default, range(max = 2))]
    pub log: u8,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields, extend("not" = serde_json::json!({"required": ["path_allowlist", "matches"]})))]
pub struct Route {
    /// A host name, or an IPv4 address
    pub host: Host,
    /// Beginnings of paths that may be asked for; none means any. The short form of `matches`
    #[schemars(with = "Option<Vec<PathPrefix>>")]
    pub path_allowlist: Vec<String>,
    /// A request must satisfy one of these in all its parts; none means any request
    #[schemars(with = "Option<Vec<Match>>")]
    pub matches: Vec<Match>,
    /// A token that is put into requests outside the bottle
    pub auth: Option<Auth>,
    #[schemars(with = "Option<Pipelock>")]
    pub pipelock: Pipelock,
    /// Detectors; all are on by default
    #[schemars(with = "Option<Dlp>")]
    pub dlp: Dlp,
}

/// For editors: [`matches::prefix`].
#[derive(JsonSchema)]
#[schemars(transparent)]
struct PathPrefix(
    #[schemars(regex(pattern = r"^/[^?#]*$"))]
    #[expect(dead_code, reason = "a schema only")]
    String,
);

#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Auth {
    pub scheme: Scheme,
    /// Name of the host's variable that holds the token; the agent never sees it
    pub token_ref: Variable,
}

/// The word in front of the token in `Authorization`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub enum Scheme {
    Bearer,
    #[serde(rename = "token")]
    Token,
}

impl Scheme {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Bearer => "Bearer",
            Self::Token => "token",
        }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Pipelock {
    /// Pass TLS through unread: no paths, no token, no detectors
    #[schemars(with = "Option<bool>")]
    pub tls_passthrough: bool,
    /// Internal networks that the host's name may resolve to
    #[schemars(with = "Option<Vec<Cidr>>")]
    pub ssrf_ip_allowlist: Vec<Cidr>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Dlp {
    #[schemars(default)]
    pub outbound_detectors: Detectors<OutboundDetector>,
    #[schemars(default)]
    pub inbound_detectors: Detectors<InboundDetector>,
    /// What happens to a request that a detector finds something in
    #[schemars(with = "Option<OnMatch>")]
    pub outbound_on_match: OnMatch,
}

/// All of them unless said otherwise; `false` is none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Detectors<T> {
    #[default]
    All,
    Only(Vec<T>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OutboundDetector {
    TokenPatterns,
    KnownSecrets,
    Entropy,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum InboundDetector {
    NaiveInjectionDetection,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnMatch {
    /// Hold the request, and ask the operator
    #[default]
    Supervise,
    /// Take the finding out, and send the rest
    Redact,
    Block,
}

impl<T: Serialize> Serialize for Detectors<T> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::All => serializer.serialize_str("all"),
            Self::Only(detectors) => detectors.serialize(serializer),
        }
    }
}

impl<T: JsonSchema> JsonSchema for Detectors<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        format!("Detectors_{}", T::schema_name()).into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let detector = generator.subschema_for::<T>();
        schemars::json_schema!({"anyOf": [{"const": false}, {"type": ["array", "null"], "items": detector}]})
    }
}

pub(super) fn read(field: &Field<'_>) -> Read<Egress> {
    let map = field.map(&["routes", "log"])?;
    let mut routes: Vec<Route> = vec![];
    let mut names: BTreeMap<Host, String> = BTreeMap::new();
    for field in map.get("routes").map(|routes| routes.list()).transpose()?.unwrap_or_default() {
        let route = read_route(&field)?;
        if let Some(first) = names.insert(route.host.clone(), field.name()) {
            return Err(field.fault(Fault::SecondRoute { host: route.host.to_string(), first }));
        }
        routes.push(route);
    }
    let log = map.optional("log", |field| field.option(&[("0", 0), ("1", 1), ("2", 2)]))?.unwrap_or_default();
    Ok(Egress { routes, log })
}

const ROUTE: &[&str] = &["host", "path_allowlist", "matches", "auth", "role", "pipelock", "dlp"];

fn read_route(field: &Field<'_>) -> Read<Route> {
    let map = field.map(ROUTE)?;
    if let Some(role) = map.get("role") {
        let found = role.text().unwrap_or("…").to_owned();
        return Err(role.invalid(Invalid::Role { found }));
    }
    if map.get("path_allowlist").is_some() && map.get("matches").is_some() {
        map.one_of(&["path_allowlist", "matches"])?;
    }
    let texts =
        |field: &Field<'_>| field.list()?.iter().map(|item| item.checked(matches::prefix)).collect::<Read<Vec<_>>>();
    Ok(Route {
        host: map.required("host")?.checked(Host::new)?,
        path_allowlist: map.optional("path_allowlist", texts)?.unwrap_or_default(),
        matches: map.optional("matches", matches::read)?.unwrap_or_default(),
        auth: map.optional("auth", read_auth)?,
        pipelock: map.optional("pipelock", read_pipelock)?.unwrap_or_default(),
        dlp: map.optional("dlp", read_dlp)?.unwrap_or_default(),
    })
}

fn read_auth(field: &Field<'_>) -> Read<Auth> {
    let map = field.map(&["scheme", "token_ref"])?;
    Ok(Auth {
        scheme: map.required("scheme")?.option(&[("Bearer", Scheme::Bearer), ("token", Scheme::Token)])?,
        token_ref: env::read_name(&map.required("token_ref")?)?,
    })
}

fn read_pipelock(field: &Field<'_>) -> Read<Pipelock> {
    let map = field.map(&["tls_passthrough", "ssrf_ip_allowlist"])?;
    let networks =
        |field: &Field<'_>| field.list()?.iter().map(|item| item.checked(Cidr::new)).collect::<Read<Vec<_>>>();
    Ok(Pipelock {
        tls_passthrough: map.optional("tls_passthrough", Field::boolean)?.unwrap_or_default(),
        ssrf_ip_allowlist: map.optional("ssrf_ip_allowlist", networks)?.unwrap_or_default(),
    })
}

fn read_dlp(field: &Field<'_>) -> Read<Dlp> {
    use OutboundDetector::{Entropy, KnownSecrets, TokenPatterns};
    let map = field.map(&["outbound_detectors", "inbound_detectors", "outbound_on_match"])?;
    let outbound = [("token_patterns", TokenPatterns), ("known_secrets", KnownSecrets), ("entropy", Entropy)];
    let inbound = [("naive_injection_detection", InboundDetector::NaiveInjectionDetection)];
    let on_match = [("supervise", OnMatch::Supervise), ("redact", OnMatch::Redact), ("block", OnMatch::Block)];
    Ok(Dlp {
        outbound_detectors: map
            .optional("outbound_detectors", |field| detectors(field, &outbound))?
            .unwrap_or_default(),
        inbound_detectors: map.optional("inbound_detectors", |field| detectors(field, &inbound))?.unwrap_or_default(),
        outbound_on_match: map.optional("outbound_on_match", |field| field.option(&on_match))?.unwrap_or_default(),
    })
}

fn detectors<T: Copy>(field: &Field<'_>, known: &[(&str, T)]) -> Read<Detectors<T>> {
    if field.is_false() {
        return Ok(Detectors::Only(vec![]));
    }
    let items = field.list()?;
    Ok(Detectors::Only(items.iter().map(|item| item.option(known)).collect::<Read<_>>()?))
}

impl Route {
    /// What requests are allowed, however it was written; empty allows all.
    #[must_use]
    pub fn allowed(&self) -> Vec<Match> {
        if self.path_allowlist.is_empty() {
            return self.matches.clone();
        }
        let paths = self.path_allowlist.iter().cloned().map(PathRule::Prefix).collect();
        vec![Match { paths, ..Match::default() }]
    }
}
