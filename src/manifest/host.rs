//! Hosts and networks as routes and remotes name them.

use std::borrow::Cow;
use std::fmt;
use std::net::Ipv4Addr;

use ipnet::IpNet;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Serialize;

use super::invalid::Invalid;

/// A DNS name in lower case (RFC 1123 §2.1, RFC 1035 §2.3.4), or an IPv4 address.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct Host(String);

impl Host {
    /// # Errors
    /// [`Invalid::Host`].
    pub fn new(text: &str) -> Result<Self, Invalid> {
        let labels: Vec<_> = text.split('.').collect();
        let good = text.len() <= 253 && labels.iter().all(|label| is_label(label));
        // As URLs have it: a name whose last label is a number is an address, or nothing.
        let numeric = labels.last().is_some_and(|label| {
            label.bytes().all(|byte| byte.is_ascii_digit()) || label.to_ascii_lowercase().starts_with("0x")
        });
        if good && (!numeric || text.parse::<Ipv4Addr>().is_ok()) {
            Ok(Self(text.to_ascii_lowercase()))
        } else {
            Err(Invalid::Host { found: text.to_owned() })
        }
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn is_label(label: &str) -> bool {
    (1..=63).contains(&label.len())
        && !label.starts_with('-')
        && !label.ends_with('-')
        && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl JsonSchema for Host {
    fn schema_name() -> Cow<'static, str> {
        "Host".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let label = "[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?";
        json_schema!({"type": "string", "maxLength": 253, "pattern": format!("^{label}(\\.{label})*$")})
    }
}

/// A network in CIDR notation (RFC 4632 §3.1, RFC 4291 §2.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Cidr(IpNet);

impl Cidr {
    /// # Errors
    /// Not a network, or one with bits set behind the prefix: those are a slip in one of the two halves.
    pub fn new(text: &str) -> Result<Self, Invalid> {
        let net: IpNet = text.parse().map_err(|_| Invalid::Cidr { found: text.to_owned() })?;
        if net.addr() == net.network() {
            Ok(Self(net))
        } else {
            Err(Invalid::HostBits { found: net.to_string(), network: net.trunc().to_string() })
        }
    }

    #[must_use]
    pub fn net(self) -> IpNet {
        self.0
    }
}

impl JsonSchema for Cidr {
    fn schema_name() -> Cow<'static, str> {
        "Cidr".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "pattern": "^[0-9A-Fa-f.:]+/[0-9]{1,3}$"})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts() {
        for host in [
            "api.anthropic.com",
            "localhost",
            "API.Example.COM",
            "192.0.2.7",
            "xn--nxasmq6b.example",
            "1and1.de",
            "a-b.c",
        ] {
            assert_eq!(Host::new(host).unwrap().as_str(), host.to_ascii_lowercase());
        }
        let long = format!("{}.example", "a".repeat(64));
        for bad in [
            "",
            ".",
            "a.",
            ".a",
            "a..b",
            "-a",
            "a-",
            "a_b",
            "*.example.com",
            "https://a",
            "a:443",
            "a/b",
            "a b",
            "bücher.de",
            "::1",
            "1.2.3",
            "1.2.3.256",
            "0x7f.1",
            "127.1",
            "2130706433",
            "a.0x1",
            &long,
            &"a.".repeat(127).trim_end_matches('.').repeat(2),
        ] {
            assert!(Host::new(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn networks() {
        for net in ["10.0.0.0/8", "192.0.2.7/32", "0.0.0.0/0", "fd00::/8", "::1/128"] {
            assert_eq!(Cidr::new(net).unwrap().net().to_string(), net);
        }
        for bad in ["", "10.0.0.0", "10.0.0/8", "10.0.0.0/33", "::/129", "10.0.0.0/-1", "10.0.0.0/8/8", "host/8"] {
            assert_eq!(Cidr::new(bad), Err(Invalid::Cidr { found: bad.into() }));
        }
        let slip = Invalid::HostBits { found: "10.0.0.1/8".into(), network: "10.0.0.0/8".into() };
        assert_eq!(Cidr::new("10.0.0.1/8"), Err(slip));
    }
}
