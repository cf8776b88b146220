//! A rule as people write it: `CIDR[:PORT[-PORT]][/tcp|/udp]`, IPv6 in brackets: `[2001:db8::/32]:443`.
//!
//! Without ports, all of them; without a protocol, TCP. Names are not looked up: what a name stands for changes, and a resolver would be
//! one more way out.

use super::Protocol;
use super::cidr::{Cidr, NoCidr};
use super::special::{Special, wholly_canonical_v4, wholly_special};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// One thing that is allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    network: Cidr,
    protocol: Protocol,
    first_port: u16,
    last_port: u16,
}

/// What is wrong with a rule, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("character {at}: {problem}")]
pub struct RuleError {
    /// Counted from 1; one past the end where something is missing.
    pub at: usize,
    pub problem: Problem,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    #[error("{0} belongs here")]
    Expected(&'static str),
    #[error("an IPv6 address stands in brackets, as in `[2001:db8::1]:443`")]
    Brackets,
    #[error("a prefix length is a number from 0 to {most}")]
    Prefix { most: u8 },
    #[error("the address has bits behind its prefix; the network is {network}")]
    HostBits { network: Cidr },
    #[error("a port is a number from 1 to 65535")]
    Port,
    #[error("ports {first}-{last} run backwards")]
    Backwards { first: u16, last: u16 },
    #[error("this is IPv4 in IPv6 clothes, and judged as IPv4")]
    Clothes,
    #[error("{network} is nothing but {special}, of which only single addresses can be allowed")]
    Special { network: Cidr, special: Special },
}

impl RuleError {
    /// The way out.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        Some(match self.problem {
            Problem::HostBits { network } => format!("write {}, or the address alone without `/`", bracketed(network)),
            Problem::Clothes => "write the IPv4 address".to_owned(),
            Problem::Special { .. } => "name each address that is meant".to_owned(),
            Problem::Brackets => "a bottle has no IPv6: name IPv4 addresses only".to_owned(),
            _ => "a rule is `ADDRESS[/PREFIX][:PORT[-PORT]][/tcp|/udp]`, as in `192.0.2.0/24:443` or `192.0.2.53:53/udp`; \
                  names are not looked up: `getent ahostsv4 NAME` tells the addresses of a host"
                .to_owned(),
        })
    }
}

impl Rule {
    /// # Errors
    /// [`RuleError`], with the place.
    pub fn parse(text: &str) -> Result<Self, RuleError> {
        let mut cursor = Cursor { text, at: 0 };
        let network = cursor.network()?;
        let (first_port, last_port) = cursor.ports()?;
        let protocol = cursor.protocol()?;
        match cursor.rest() {
            "" => Ok(Self { network, protocol, first_port, last_port }),
            _ => Err(cursor.wrong(Problem::Expected("the end"))),
        }
    }

    #[must_use]
    pub const fn network(&self) -> Cidr {
        self.network
    }

    #[must_use]
    pub const fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// First and last.
    #[must_use]
    pub const fn ports(&self) -> (u16, u16) {
        (self.first_port, self.last_port)
    }

    /// `address` is canonical.
    #[must_use]
    pub fn matches(&self, protocol: Protocol, address: IpAddr, port: u16) -> bool {
        self.protocol == protocol
            && (self.first_port..=self.last_port).contains(&port)
            && self.network.contains(address)
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&bracketed(self.network))?;
        match self.ports() {
            (1, u16::MAX) => {}
            (first, last) if first == last => write!(f, ":{first}")?,
            (first, last) => write!(f, ":{first}-{last}")?,
        }
        match self.protocol {
            Protocol::Tcp => Ok(()),
            Protocol::Udp => f.write_str("/udp"),
        }
    }
}

fn bracketed(network: Cidr) -> String {
    if network.network().is_ipv4() { network.to_string() } else { format!("[{network}]") }
}

/// A text and how far it is understood, in bytes.
struct Cursor<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Cursor<'a> {
    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn eat(&mut self, prefix: &str) -> bool {
        let found = self.rest().starts_with(prefix);
        self.at += if found { prefix.len() } else { 0 };
        found
    }

    /// As long as characters are `wanted`.
    fn take(&mut self, wanted: impl Fn(char) -> bool) -> &'a str {
        let rest = self.rest();
        let end = rest.find(|c| !wanted(c)).unwrap_or(rest.len());
        self.at += end;
        rest.get(..end).unwrap_or_default()
    }

    fn wrong(&self, problem: Problem) -> RuleError {
        self.wrong_at(self.at, problem)
    }

    fn wrong_at(&self, byte: usize, problem: Problem) -> RuleError {
        RuleError { at: self.text.get(..byte).unwrap_or_default().chars().count() + 1, problem }
    }

    fn network(&mut self) -> Result<Cidr, RuleError> {
        if self.eat("[") {
            let network = self.v6()?;
            return if self.eat("]") { Ok(network) } else { Err(self.wrong(Problem::Expected("`]`"))) };
        }
        let (address, prefix) = self.text.split_once('/').unwrap_or((self.text, ""));
        if address.matches(':').count() < 2 {
            return self.v4();
        }
        // A bare IPv6 network, as plans list them. Without a prefix, `2001:db8::1:443` could mean two things.
        if prefix.starts_with(|c: char| c.is_ascii_digit()) { self.v6() } else { Err(self.wrong(Problem::Brackets)) }
    }

    fn v4(&mut self) -> Result<Cidr, RuleError> {
        let start = self.at;
        let address = self.take(|c| c.is_ascii_digit() || c == '.');
        let wrong = self.wrong_at(start, Problem::Expected("an IPv4 address"));
        let address: Ipv4Addr = address.parse().map_err(|_| wrong)?;
        // `/udp` is no prefix length.
        let prefixed = self.rest().strip_prefix('/').is_some_and(|rest| !rest.starts_with(['t', 'u']));
        self.prefix(start, address.into(), prefixed)
    }

    fn v6(&mut self) -> Result<Cidr, RuleError> {
        let start = self.at;
        let address = self.take(|c| c.is_ascii_hexdigit() || c == ':' || c == '.');
        let address: Ipv6Addr =
            address.parse().map_err(|_| self.wrong_at(start, Problem::Expected("an IPv6 address")))?;
        let network = self.prefix(start, address.into(), self.rest().starts_with('/'))?;
        if wholly_canonical_v4(network) { Err(self.wrong_at(start, Problem::Clothes)) } else { Ok(network) }
    }

    fn prefix(&mut self, start: usize, address: IpAddr, given: bool) -> Result<Cidr, RuleError> {
        if !given {
            return Ok(Cidr::single(address));
        }
        self.at += 1;
        let at = self.at;
        let digits = self.take(|c| c.is_ascii_digit());
        // Longer than any address; `Cidr` tells the most.
        let prefix = if digits.len() > 3 { u8::MAX } else { digits.parse().unwrap_or(u8::MAX) };
        let network = Cidr::new(address, prefix).map_err(|error| match error {
            NoCidr::Prefix { most } => self.wrong_at(at, Problem::Prefix { most }),
            NoCidr::HostBits { network } => self.wrong_at(start, Problem::HostBits { network }),
        })?;
        match wholly_special(network) {
            Some(special) if !network.is_single() => Err(self.wrong_at(start, Problem::Special { network, special })),
            _ => Ok(network),
        }
    }

    fn ports(&mut self) -> Result<(u16, u16), RuleError> {
        if !self.eat(":") {
            return Ok((1, u16::MAX));
        }
        let start = self.at;
        let first = self.port()?;
        let last = if self.eat("-") { self.port()? } else { first };
        if last < first {
            return Err(self.wrong_at(start, Problem::Backwards { first, last }));
        }
        Ok((first, last))
    }

    fn port(&mut self) -> Result<u16, RuleError> {
        let start = self.at;
        let digits = self.take(|c| c.is_ascii_digit());
        match digits.parse() {
            Ok(port) if port > 0 => Ok(port),
            _ => Err(self.wrong_at(start, Problem::Port)),
        }
    }

    fn protocol(&mut self) -> Result<Protocol, RuleError> {
        if !self.eat("/") {
            return Ok(Protocol::Tcp);
        }
        if self.eat("tcp") {
            Ok(Protocol::Tcp)
        } else if self.eat("udp") {
            Ok(Protocol::Udp)
        } else {
            Err(self.wrong(Problem::Expected("`tcp` or `udp`")))
        }
    }
}

#[cfg(test)]
#[path = "rule_test.rs"]
mod tests;
