//! What may leave: the provider's routes and the manifest's as one table, and the slots that tokens travel in. Law: a token is a name here,
//! of the host's variable and of the slot; the file for the proxy has the slot only.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use serde::Serialize;

use super::state::{State, StateError};
use crate::manifest::egress::{Dlp, Egress, Route, Scheme};
use crate::manifest::matches::Match;
use crate::manifest::{Cidr, Host, Variable};

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct EgressPlan {
    /// All that can be reached: the provider's first, then the manifest's, a host once.
    pub routes: Vec<PlannedRoute>,
    /// Slot → the variable of the host, or of the provider, that its token comes from.
    pub token_slots: BTreeMap<String, Variable>,
    /// Hosts whose TLS is passed on unread.
    pub passthrough_domains: Vec<Host>,
    /// 0 nothing, 1 what is refused, 2 everything.
    pub log: u8,
    /// What the proxy reads: JSON, which is YAML too.
    pub routes_file: PathBuf,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PlannedRoute {
    pub host: Host,
    pub owner: Owner,
    /// A request must satisfy one of these; none means any request.
    pub matches: Vec<Match>,
    pub auth: Option<PlannedAuth>,
    pub dlp: Dlp,
    pub tls_passthrough: bool,
    pub ssrf_ip_allowlist: Vec<Cidr>,
}

/// Whose route it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Owner {
    Provider,
    Manifest,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PlannedAuth {
    pub scheme: Scheme,
    pub slot: String,
}

/// A provider owns its hosts outright: what the manifest says of one of them is dropped.
fn merged(provider: Vec<Route>, manifest: Vec<Route>) -> Vec<(Owner, Route)> {
    let owned: BTreeSet<Host> = provider.iter().map(|route| route.host.clone()).collect();
    let others = manifest.into_iter().filter(|route| !owned.contains(&route.host));
    let provider = provider.into_iter().map(|route| (Owner::Provider, route));
    provider.chain(others.map(|route| (Owner::Manifest, route))).collect()
}

/// The variables that tokens are taken from, one slot each, in the order in which routes name them.
fn slots(routes: &[(Owner, Route)]) -> Vec<Variable> {
    let mut slots: Vec<Variable> = vec![];
    for auth in routes.iter().filter_map(|(_, route)| route.auth.as_ref()) {
        if !slots.contains(&auth.token_ref) {
            slots.push(auth.token_ref.clone());
        }
    }
    slots
}

fn slot_name(index: usize) -> String {
    format!("EGRESS_TOKEN_{index}")
}

pub(super) fn prepare(egress: Egress, provider: Vec<Route>, state: &State) -> Result<EgressPlan, StateError> {
    let routes = merged(provider, egress.routes);
    let slots = slots(&routes);
    let plan = |(owner, route): (Owner, Route)| PlannedRoute {
        matches: route.allowed(),
        auth: route.auth.and_then(|auth| {
            let slot = slots.iter().position(|slot| *slot == auth.token_ref)?;
            Some(PlannedAuth { scheme: auth.scheme, slot: slot_name(slot) })
        }),
        host: route.host,
        owner,
        dlp: route.dlp,
        tls_passthrough: route.pipelock.tls_passthrough,
        ssrf_ip_allowlist: route.pipelock.ssrf_ip_allowlist,
    };
    let routes: Vec<_> = routes.into_iter().map(plan).collect();
    let file = serde_json::json!({"routes": routes, "log": egress.log});
    let routes_file = state.write("egress", "routes.yaml", format!("{file:#}\n").as_bytes())?;
    Ok(EgressPlan {
        passthrough_domains: routes.iter().filter(|it| it.tls_passthrough).map(|it| it.host.clone()).collect(),
        token_slots: slots.into_iter().enumerate().map(|(index, name)| (slot_name(index), name)).collect(),
        routes,
        log: egress.log,
        routes_file,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::egress::{Auth, Pipelock};

    fn route(host: &str, token: Option<&str>) -> Route {
        let auth = token.map(|name| Auth { scheme: Scheme::Bearer, token_ref: Variable::new(name).unwrap() });
        let (dlp, pipelock) = (Dlp::default(), Pipelock::default());
        Route { host: Host::new(host).unwrap(), path_allowlist: vec![], matches: vec![], auth, pipelock, dlp }
    }

    #[test]
    fn a_provider_owns_its_host_whatever_the_manifest_says() {
        let manifest = vec![route("A.example", Some("MINE")), route("b.example", Some("T"))];
        let merged = merged(vec![route("a.example", Some("T"))], manifest);
        let hosts: Vec<_> = merged.iter().map(|(owner, route)| (*owner, route.host.as_str())).collect();
        assert_eq!(hosts, [(Owner::Provider, "a.example"), (Owner::Manifest, "b.example")]);
        assert_eq!(slots(&merged).iter().map(Variable::as_str).collect::<Vec<_>>(), ["T"], "one slot for one token");
    }
}
