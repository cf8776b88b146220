//! The agent's environment by name, and where each value comes from.
//!
//! Law: a value that is asked for or the host's is never here but in [`ResolvedEnv::forwarded`]; a literal is here, and is not shown:
//! it is no secret, but somebody will write one. So only values of our own making are seen in a plan.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use serde::{Serialize, Serializer};

use super::{GUEST_HOME, GUEST_USER};
use crate::manifest::Variable;
use crate::manifest::env::{Env, EnvEntry};
use crate::manifest::resolve::ResolvedEnv;

/// Where an image has the certificates that programs trust, the gateways' among them once the bottle runs.
pub(super) const CERTIFICATES: &str = "/etc/ssl/certs/ca-certificates.crt";

/// Set in every bottle, whatever the manifest says: each agent's runtime looks for certificates in a place of its own.
const FIXED: [(&str, &str); 4] = [
    ("NO_PROXY", "localhost,127.0.0.1"),
    ("NODE_EXTRA_CA_CERTS", CERTIFICATES),
    ("SSL_CERT_FILE", CERTIFICATES),
    ("REQUESTS_CA_BUNDLE", CERTIFICATES),
];

/// Whose the agent is: set in every bottle when its command is executed, and so in no plan. What a manifest says of them is not used, as
/// prompt, settings and skills lie in this home.
pub const USER: [(&str, &str); 2] = [("USER", GUEST_USER), ("HOME", GUEST_HOME)];

fn is_of_user(name: &Variable) -> bool {
    USER.iter().any(|(of_user, _)| *of_user == name.as_str())
}

/// Where a variable's value comes from. No `Debug`: literals.
#[derive(Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "source", rename_all = "snake_case")]
pub enum Origin {
    Literal {
        #[serde(skip)]
        value: String,
    },
    /// The host's variable.
    Host { from: Variable },
    /// Asked for at every start.
    Secret { prompt: String },
    /// Ours, over the manifest's.
    Fixed { value: String },
    /// The provider's, under the manifest's.
    Provider { value: String },
}

/// Ports of the gateways that an agent dials.
const PROXY_PORT: u16 = 8888;
const SUPERVISE_PORT: u16 = 9100;
pub(super) const GIT_HTTP_PORT: u16 = 9420;

/// What a bottle is told of its gateways once it is known where they are: addresses, as a guest has no names to look up. Some tools read
/// the proxy in lower case only, and without the exception the gateways themselves would be asked for through it.
#[must_use]
pub fn endpoints(bundle: IpAddr, git: bool, supervise: bool) -> Vec<(&'static str, String)> {
    let url = |port| format!("http://{}", SocketAddr::new(bundle, port));
    let mut variables = vec![("NO_PROXY", format!("localhost,127.0.0.1,{bundle}"))];
    variables.push(("no_proxy", format!("localhost,127.0.0.1,{bundle}")));
    variables.extend(["HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"].map(|name| (name, url(PROXY_PORT))));
    variables.extend(git.then(|| ("GIT_GATE_URL", url(GIT_HTTP_PORT))));
    variables.extend(supervise.then(|| ("MCP_SUPERVISE_URL", url(SUPERVISE_PORT))));
    variables
}

/// What a bottle sets that it is told by us all the same, here, by [`USER`] or by [`endpoints`].
pub(super) fn replaced(env: &Env, gateways: bool, git: bool, supervise: bool) -> Vec<String> {
    let told = if gateways { endpoints(IpAddr::V4(Ipv4Addr::UNSPECIFIED), git, supervise) } else { vec![] };
    let ours = FIXED.iter().chain(&USER).map(|(name, _)| *name);
    let ours: BTreeSet<&str> = ours.chain(told.iter().map(|(name, _)| *name)).collect();
    env.keys().map(Variable::as_str).filter(|name| ours.contains(name)).map(str::to_owned).collect()
}

/// Variables by name.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct GuestEnv(BTreeMap<Variable, Origin>);

impl GuestEnv {
    /// What the bottle says, what is fixed over it, and what the provider has for the names that are left.
    pub(super) fn new(env: &Env, provider: &BTreeMap<Variable, String>) -> Self {
        let env = env.iter().filter(|(name, _)| !is_of_user(name));
        let mut variables: BTreeMap<_, _> = env.map(|(name, entry)| (name.clone(), origin(entry))).collect();
        for (name, value) in FIXED {
            if let Ok(name) = Variable::new(name) {
                variables.insert(name, Origin::Fixed { value: value.to_owned() });
            }
        }
        for (name, value) in provider.iter().filter(|(name, _)| !is_of_user(name)) {
            variables.entry(name.clone()).or_insert_with(|| Origin::Provider { value: value.clone() });
        }
        Self(variables)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&Variable, &Origin)> {
        self.0.iter()
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(Variable::as_str)
    }

    /// What was resolved for names that are ours is given up.
    pub(super) fn forget_ours(&self, resolved: &mut ResolvedEnv) {
        let ours = |name: &Variable| matches!(self.0.get(name), None | Some(Origin::Fixed { .. }));
        resolved.forwarded.retain(|name, _| !ours(name));
        resolved.literals.retain(|name, _| !ours(name));
    }
}

fn origin(entry: &EnvEntry) -> Origin {
    match entry {
        EnvEntry::Literal { value } => Origin::Literal { value: value.clone() },
        EnvEntry::Interpolated { from } => Origin::Host { from: from.clone() },
        EnvEntry::Secret { prompt } => Origin::Secret { prompt: prompt.clone() },
    }
}

impl Serialize for GuestEnv {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, origin)| (name.as_str(), origin)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_is_told_addresses_and_what_it_has_no_gateway_for_is_not_told() {
        let told = |git, supervise| {
            let told = endpoints([192, 0, 2, 2].into(), git, supervise).into_iter();
            told.map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>()
        };
        let proxy = "http://192.0.2.2:8888";
        let mut expected = vec![
            "NO_PROXY=localhost,127.0.0.1,192.0.2.2".to_owned(),
            "no_proxy=localhost,127.0.0.1,192.0.2.2".to_owned(),
        ];
        expected
            .extend(["HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"].map(|name| format!("{name}={proxy}")));
        assert_eq!(told(false, false), expected);
        expected.extend(
            ["GIT_GATE_URL=http://192.0.2.2:9420", "MCP_SUPERVISE_URL=http://192.0.2.2:9100"].map(str::to_owned),
        );
        assert_eq!(told(true, true), expected);
    }

    fn env(entries: &[(&str, &str)]) -> Env {
        entries.iter().map(|(name, text)| (Variable::new(name).unwrap(), EnvEntry::new(text).unwrap())).collect()
    }

    #[test]
    fn what_a_bottle_sets_in_vain_depends_on_what_it_is_told() {
        assert_eq!(replaced(&env(&[("HOME", "x"), ("USER", "${U}")]), false, false, false), ["HOME", "USER"]);
        let bottle = env(&[("A", "x"), ("HTTP_PROXY", "x"), ("MCP_SUPERVISE_URL", "x"), ("NO_PROXY", "x")]);
        assert_eq!(replaced(&bottle, false, true, true), ["NO_PROXY"]);
        assert_eq!(replaced(&bottle, true, false, false), ["HTTP_PROXY", "NO_PROXY"]);
        assert_eq!(replaced(&bottle, true, false, true), ["HTTP_PROXY", "MCP_SUPERVISE_URL", "NO_PROXY"]);
        assert_eq!(replaced(&env(&[("A", "x")]), true, true, true), [""; 0]);
    }

    #[test]
    fn fixed_over_the_bottles_over_the_providers_and_no_value_of_the_bottles_is_shown() {
        let bottle =
            [("A", "canary"), ("B", "${HOST_B}"), ("C", "?Word"), ("HOME", "${HOME}"), ("NO_PROXY", "${MINE}")];
        let bottle = env(&bottle);
        let provider = ["A", "D", "USER"].map(|name| (Variable::new(name).unwrap(), "of the provider".to_owned()));
        let guest = GuestEnv::new(&bottle, &provider.into());
        let certificates = serde_json::json!({"source": "fixed", "value": "/etc/ssl/certs/ca-certificates.crt"});
        assert_eq!(
            serde_json::to_value(&guest).unwrap(),
            serde_json::json!({
                "A": {"source": "literal"},
                "B": {"source": "host", "from": "HOST_B"},
                "C": {"source": "secret", "prompt": "Word"},
                "D": {"source": "provider", "value": "of the provider"},
                "NODE_EXTRA_CA_CERTS": certificates,
                "NO_PROXY": {"source": "fixed", "value": "localhost,127.0.0.1"},
                "REQUESTS_CA_BUNDLE": certificates,
                "SSL_CERT_FILE": certificates,
            })
        );
    }
}
