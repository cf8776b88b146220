//! The policy read back: before the guest starts, every judge is asked what it would answer, and any surprise ends the bottle.
//!
//! These are questions to the judges; no packet is sent. What is expected is worked out here once more, from the rules alone and in
//! another way than the judge has it (ranges of numbers and the standard library's predicates instead of masks and a table), so that
//! one mistake does not confirm itself. Law: pure.

use super::policy::{BUNDLE_PORTS, Bundle, Cidr, How, Policy, Protocol, Rule, Surroundings, Verdict};
use std::collections::HashSet;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Whoever decides about a flow, or a part of the decision.
pub trait Judge {
    /// For errors: `the broker`.
    fn name(&self) -> &'static str;

    fn answer(&self, protocol: Protocol, destination: SocketAddr) -> Answer;
}

/// What a judge says, or should say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    Denied,
    Direct,
    Bundle(u16),
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Denied => f.write_str("no"),
            Self::Direct => f.write_str("yes"),
            Self::Bundle(port) => write!(f, "the bundle's port {port}"),
        }
    }
}

impl Judge for Policy {
    fn name(&self) -> &'static str {
        "the broker"
    }

    fn answer(&self, protocol: Protocol, destination: SocketAddr) -> Answer {
        match self.judge(protocol, destination.ip(), destination.port()) {
            Verdict::Allow(How::Direct) => Answer::Direct,
            Verdict::Allow(How::Bundle(port)) => Answer::Bundle(port),
            Verdict::Deny(_) => Answer::Denied,
        }
    }
}

/// A question with the answer that the plan means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probe {
    pub protocol: Protocol,
    pub destination: SocketAddr,
    pub expected: Answer,
}

/// A judge that does not mean what the plan means.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{judge} would answer `{got}` for {destination}/{protocol}, where the plan means `{expected}`")]
pub struct Surprise {
    pub judge: &'static str,
    pub protocol: Protocol,
    pub destination: SocketAddr,
    pub got: Answer,
    pub expected: Answer,
}

/// # Errors
/// The first [`Surprise`].
pub fn verify(judge: &impl Judge, probes: &[Probe]) -> Result<(), Surprise> {
    for &Probe { protocol, destination, expected } in probes {
        let got = judge.answer(protocol, destination);
        if got != expected {
            return Err(Surprise { judge: judge.name(), protocol, destination, got, expected });
        }
    }
    Ok(())
}

/// What the stack is asked: all that the plan allows, and some of what has to be shut.
#[must_use]
pub fn for_the_stack(probes: &[Probe]) -> Vec<Probe> {
    let shut = |probe: &Probe| probe.expected == Answer::Denied && matches!(probe.destination.port(), 53 | 80);
    // IPv4 in IPv6 clothes is the judge's affair: there is no IPv6 in a bottle.
    let meant = |probe: &Probe| probe.expected != Answer::Denied && probe.destination.is_ipv4();
    probes.iter().filter(|probe| shut(probe) || meant(probe)).copied().collect()
}

/// The stack's part. It has no rules, but it must put before the broker whatever the plan allows. What else it puts there the broker has
/// answered for; what can be no flow of a bottle's (IPv6, groups, nobody) it must not.
///
/// # Errors
/// The first [`Surprise`]; an answer that is missing is one.
pub fn verify_stack(network: Cidr, asks: &[bool], probes: &[Probe]) -> Result<(), Surprise> {
    let said = asks.iter().copied().map(Some).chain(std::iter::repeat(None));
    for (&Probe { protocol, destination, expected }, asks) in probes.iter().zip(said) {
        let got = match (asks, expected) {
            (None | Some(false), Answer::Direct | Answer::Bundle(_)) => Answer::Denied,
            (Some(true), Answer::Denied) if !is_host(network, destination.ip()) => Answer::Direct,
            (None, Answer::Denied) => Answer::Direct,
            (Some(_), _) => continue,
        };
        return Err(Surprise { judge: "the stack", protocol, destination, got, expected });
    }
    Ok(())
}

/// Whether a bottle can have a flow to it at all.
fn is_host(network: Cidr, address: IpAddr) -> bool {
    let IpAddr::V4(v4) = address else { return false };
    let to_all = network.contains(address) && v4.octets()[3] == 255;
    !(to_all || v4.is_multicast() || v4.is_broadcast() || v4.is_unspecified())
}

/// Every rule at its edges and one beyond them, the bundle's ports, and what has to be shut whatever the plan is; each question once.
#[must_use]
pub fn probes(rules: &[Rule], surroundings: &Surroundings) -> Vec<Probe> {
    let mut questions = shut(surroundings);
    for rule in rules {
        let (first, last) = ports(rule);
        let (low, high) = range(rule);
        let v4 = rule.network().network().is_ipv4();
        let around = [Some(low), Some(high), low.checked_sub(1), high.checked_add(1)];
        for address in around.into_iter().flatten().filter_map(|number| from_number(number, v4)) {
            for port in [first, last, first.saturating_sub(1), last.saturating_add(1)] {
                questions.extend([Protocol::Tcp, Protocol::Udp].map(|protocol| (protocol, address, port)));
            }
        }
    }
    let mut asked = HashSet::new();
    questions.retain(|question| asked.insert(*question));
    let probe = |(protocol, address, port): (Protocol, IpAddr, u16)| Probe {
        protocol,
        destination: SocketAddr::new(address, port),
        expected: expected(rules, surroundings, protocol, address, port),
    };
    questions.into_iter().map(probe).collect()
}

fn shut(surroundings: &Surroundings) -> Vec<(Protocol, IpAddr, u16)> {
    let own = match surroundings.network.network() {
        IpAddr::V4(network) => network.to_bits(),
        IpAddr::V6(_) => 0,
    };
    let neighbours = [0, 1, 2, 3, 77, 254, 255].map(|host| IpAddr::from(Ipv4Addr::from_bits(own | host)));
    let mapped = Ipv4Addr::LOCALHOST.to_ipv6_mapped();
    let fixed = [
        IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        IpAddr::V4(Ipv4Addr::BROADCAST),
        IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254)),
        IpAddr::V4(Ipv4Addr::new(8, 8, 8, 8)),
        IpAddr::V6(Ipv6Addr::LOCALHOST),
        IpAddr::V6(mapped),
        IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
        IpAddr::V4(Ipv4Addr::new(224, 0, 0, 251)),
        IpAddr::V6(Ipv6Addr::new(0x2001, 0x4860, 0x4860, 0, 0, 0, 0, 0x8888)),
    ];
    let bundle = match surroundings.bundle {
        Bundle::External(address) => Some(address),
        Bundle::None | Bundle::Virtual(_) => None,
    };
    let addresses = neighbours.into_iter().chain(fixed).chain(surroundings.host.iter().copied()).chain(bundle);
    let ports = [22, 53, 80, 443].into_iter().chain(BUNDLE_PORTS);
    let all = addresses.flat_map(|address| ports.clone().map(move |port| (address, port)));
    all.flat_map(|(address, port)| [Protocol::Tcp, Protocol::Udp].map(|protocol| (protocol, address, port))).collect()
}

/// What the plan means for a destination.
#[must_use]
pub fn expected(rules: &[Rule], surroundings: &Surroundings, protocol: Protocol, address: IpAddr, port: u16) -> Answer {
    let address = undisguised(address);
    let bundle = match surroundings.bundle {
        Bundle::None => None,
        Bundle::Virtual(bundle) => Some((IpAddr::V4(bundle), Answer::Bundle(port))),
        Bundle::External(bundle) => Some((undisguised(bundle), Answer::Direct)),
    };
    if let Some((_, answer)) = bundle.filter(|(bundle, _)| *bundle == address) {
        let served = matches!((protocol, port), (Protocol::Tcp, 8888 | 9418 | 9420 | 9100));
        return if served { answer } else { Answer::Denied };
    }
    let named = |rule: &&Rule| {
        let (low, high) = range(rule);
        let (first, last) = ports(rule);
        rule.network().network().is_ipv4() == address.is_ipv4()
            && rule.protocol() == protocol
            && (low..=high).contains(&number(address))
            && (first..=last).contains(&port)
    };
    let host = surroundings.host.iter().any(|own| undisguised(*own) == address);
    let own_network = match (surroundings.network.network(), address) {
        (IpAddr::V4(own), IpAddr::V4(address)) => own.octets()[..3] == address.octets()[..3],
        _ => false,
    };
    let careful = host || own_network || delicate(address);
    let allowed = rules.iter().filter(named).any(|rule| !careful || range(rule).0 == range(rule).1);
    if allowed && port != 0 { Answer::Direct } else { Answer::Denied }
}

fn ports(rule: &Rule) -> (u16, u16) {
    rule.ports()
}

/// First and last address.
fn range(rule: &Rule) -> (u128, u128) {
    let network = rule.network();
    let bits = if network.network().is_ipv4() { 32 } else { 128 };
    let free = u32::saturating_sub(bits, network.prefix().into());
    let more = if free == 128 { u128::MAX } else { (1 << free) - 1 };
    let low = number(network.network());
    (low, low.saturating_add(more))
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u32::from(address).into(),
        IpAddr::V6(address) => u128::from(address),
    }
}

fn from_number(number: u128, v4: bool) -> Option<IpAddr> {
    if v4 {
        u32::try_from(number).ok().map(|number| Ipv4Addr::from(number).into())
    } else {
        Some(Ipv6Addr::from(number).into())
    }
}

fn undisguised(address: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = address else { return address };
    let low = u32::try_from(u128::from(v6)).ok().filter(|number| *number > 1).map(Ipv4Addr::from);
    v6.to_ipv4_mapped().or(low).map_or(address, IpAddr::V4)
}

/// What only a rule for the single address can mean.
fn delicate(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            let [a, ..] = v4.octets();
            let metadata = ["100.100.100.200", "168.63.129.16"].iter().any(|text| text.parse() == Ok(v4));
            a == 0 || a >= 240 || v4.is_loopback() || v4.is_link_local() || v4.is_multicast() || metadata
        }
        IpAddr::V6(v6) => {
            let [a, b, c, d, e, f, ..] = v6.segments();
            let metadata = ["fd00:ec2::254", "fd20:ce::254"].iter().any(|text| text.parse() == Ok(v6));
            let translated = (a, b) == (0x64, 0xff9b) && (c == 1 || (c, d, e, f) == (0, 0, 0, 0))
                || (a, b, c, d, e, f) == (0, 0, 0, 0, 0xffff, 0);
            let tunnelled = a == 0x2002 || (a, b) == (0x2001, 0) || matches!((e, f), (0 | 0x200, 0x5efe));
            let site_local = (0xfec0..0xff00).contains(&a);
            let local = v6.is_loopback() || v6.is_unspecified() || v6.is_unicast_link_local() || site_local;
            local || v6.is_multicast() || metadata || translated || tunnelled
        }
    }
}

#[cfg(test)]
#[path = "readback_test.rs"]
mod tests;
