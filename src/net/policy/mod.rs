//! What a bottle may reach: `(protocol, address, port)` → [`Verdict`]. Law: pure, and names nothing of ours.
//!
//! Nothing is allowed but what a rule names. A rule for a range never means what is special in it ([`special`]), nor the host itself,
//! nor the bottle's own network; for these a rule has to name the single address. The address of the bundle has the bundle's ports and
//! nothing else, whatever the rules are.

mod cidr;
mod entry;
mod rule;
mod special;

pub use cidr::{Cidr, NoCidr};
pub use entry::{ENTRIES_MAX, EntryError, parse_entries};
pub use rule::{Problem, Rule, RuleError};
pub use special::{Special, canonical};

use special::special;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

/// The ports of a bundle's gateways: the egress proxy, git by its own protocol and by HTTP, supervision.
pub const BUNDLE_PORTS: [u16; 4] = [8888, 9418, 9420, 9100];

/// What a flow is carried by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Protocol {
    Tcp,
    Udp,
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        })
    }
}

/// What becomes of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Allow(How),
    Deny(Denial),
}

/// How an allowed flow is connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// To the address, [`canonical`].
    Direct,
    /// To whoever serves this port of the bundle.
    Bundle(u16),
}

/// Why a flow is denied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Denial {
    /// No rule names it.
    NotAllowed,
    Special(Special),
    /// One of the bottle's own network that is not the bundle.
    OwnNetwork,
    /// An address of the host.
    Host,
    /// The bundle's address, and not one of the bundle's ports.
    NotOfTheBundle,
    /// No connection can be made to port 0.
    PortZero,
}

impl fmt::Display for Denial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAllowed => f.write_str("not allowed"),
            Self::Special(special) => special.fmt(f),
            Self::OwnNetwork => f.write_str("the bottle's own network"),
            Self::Host => f.write_str("the host itself"),
            Self::NotOfTheBundle => f.write_str("not a port of the bundle"),
            Self::PortZero => f.write_str("port 0"),
        }
    }
}

/// Where the bundle is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bundle {
    None,
    /// A virtual host of the bottle's network.
    Virtual(Ipv4Addr),
    /// A host that is there already.
    External(IpAddr),
}

/// What the judgement has to know besides the rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Surroundings {
    /// The bottle's own network.
    pub network: Cidr,
    pub bundle: Bundle,
    /// Every address of the host.
    pub host: Vec<IpAddr>,
}

/// A rule that contradicts the surroundings, and so could never be what its author meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Conflict {
    #[error("`{rule}` is in the bottle's own network {network}, where nothing else is")]
    OwnNetwork { rule: Rule, network: Cidr },
    #[error("`{rule}` names the bundle's address, which has the bundle's ports and nothing else")]
    Bundle { rule: Rule },
}

impl Conflict {
    /// The way out.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::OwnNetwork { .. } => "leave that rule out".to_owned(),
            Self::Bundle { .. } => "leave that rule out, or the bundle".to_owned(),
        })
    }
}

/// The judge.
#[derive(Clone, Debug)]
pub struct Policy {
    rules: Vec<Rule>,
    surroundings: Surroundings,
}

impl Policy {
    /// # Errors
    /// [`Conflict`].
    pub fn new(rules: Vec<Rule>, surroundings: Surroundings) -> Result<Self, Conflict> {
        let policy = Self { rules, surroundings };
        for &rule in &policy.rules {
            if policy.surroundings.network.covers(rule.network()) {
                return Err(Conflict::OwnNetwork { rule, network: policy.surroundings.network });
            }
            if rule.network().is_single() && policy.is_bundle(rule.network().network()) {
                return Err(Conflict::Bundle { rule });
            }
        }
        Ok(policy)
    }

    #[must_use]
    pub fn judge(&self, protocol: Protocol, address: IpAddr, port: u16) -> Verdict {
        let address = canonical(address);
        if port == 0 {
            return Verdict::Deny(Denial::PortZero);
        }
        if self.is_bundle(address) {
            return self.judge_bundle(protocol, port);
        }
        if self.names(protocol, address, port) {
            return Verdict::Allow(How::Direct);
        }
        if let Some(special) = special(address) {
            return Verdict::Deny(Denial::Special(special));
        }
        if self.surroundings.network.contains(address) {
            return Verdict::Deny(Denial::OwnNetwork);
        }
        if self.surroundings.host.iter().any(|own| canonical(*own) == address) {
            return Verdict::Deny(Denial::Host);
        }
        if self.rules.iter().any(|rule| rule.matches(protocol, address, port)) {
            return Verdict::Allow(How::Direct);
        }
        Verdict::Deny(Denial::NotAllowed)
    }

    /// Whether the address is named by itself for this, not as one of a range: by a rule, or as an external bundle.
    #[must_use]
    pub fn names(&self, protocol: Protocol, address: IpAddr, port: u16) -> bool {
        let address = canonical(address);
        let bundle = self.is_bundle(address) && self.judge_bundle(protocol, port) == Verdict::Allow(How::Direct);
        let exact = |rule: &Rule| rule.network().is_single() && rule.matches(protocol, address, port);
        bundle || self.rules.iter().any(exact)
    }

    #[must_use]
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    #[must_use]
    pub fn surroundings(&self) -> &Surroundings {
        &self.surroundings
    }

    fn is_bundle(&self, address: IpAddr) -> bool {
        match self.surroundings.bundle {
            Bundle::None => false,
            Bundle::Virtual(bundle) => address == IpAddr::V4(bundle),
            Bundle::External(bundle) => address == canonical(bundle),
        }
    }

    fn judge_bundle(&self, protocol: Protocol, port: u16) -> Verdict {
        if protocol != Protocol::Tcp || !BUNDLE_PORTS.contains(&port) {
            return Verdict::Deny(Denial::NotOfTheBundle);
        }
        Verdict::Allow(match self.surroundings.bundle {
            Bundle::Virtual(_) => How::Bundle(port),
            Bundle::None | Bundle::External(_) => How::Direct,
        })
    }
}

#[cfg(test)]
#[path = "policy_test.rs"]
mod tests;
