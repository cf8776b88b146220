//! Addresses that a range never means: they are reached only by a rule that names the single address.

use super::cidr::Cidr;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What is special about an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Special {
    /// "This host": connecting to it reaches the host's own loopback.
    Unspecified,
    Loopback,
    /// Where clouds tell a machine its secrets.
    Metadata,
    LinkLocal,
    Multicast,
    Broadcast,
    /// Class E.
    Reserved,
    /// IPv6 that a translator or a tunnel turns into an IPv4 address which was not judged.
    Disguise,
}

impl fmt::Display for Special {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unspecified => "the unspecified address",
            Self::Loopback => "the host's loopback",
            Self::Metadata => "a cloud's metadata service",
            Self::LinkLocal => "link-local",
            Self::Multicast => "multicast",
            Self::Broadcast => "broadcast",
            Self::Reserved => "reserved (class E)",
            Self::Disguise => "IPv4 in disguise",
        })
    }
}

const fn v4(a: u8, b: u8, c: u8, d: u8, prefix: u8, special: Special) -> (IpAddr, u8, Special) {
    (IpAddr::V4(Ipv4Addr::new(a, b, c, d)), prefix, special)
}

const fn v6(segments: [u16; 8], prefix: u8, special: Special) -> (IpAddr, u8, Special) {
    let [a, b, c, d, e, f, g, h] = segments;
    (IpAddr::V6(Ipv6Addr::new(a, b, c, d, e, f, g, h)), prefix, special)
}

/// The first that contains an address counts. Sources: RFC 6890 and the IANA special-purpose registries; the clouds' manuals for the
/// metadata services.
const TABLE: [(IpAddr, u8, Special); 21] = [
    // Amazon, Google, Azure, Oracle and most others; then Alibaba; Azure's WireServer; Amazon and Google over IPv6.
    v4(169, 254, 169, 254, 32, Special::Metadata),
    v4(100, 100, 100, 200, 32, Special::Metadata),
    v4(168, 63, 129, 16, 32, Special::Metadata),
    v6([0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254], 128, Special::Metadata),
    v6([0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254], 128, Special::Metadata),
    v4(0, 0, 0, 0, 8, Special::Unspecified),
    v4(127, 0, 0, 0, 8, Special::Loopback),
    v4(169, 254, 0, 0, 16, Special::LinkLocal),
    v4(224, 0, 0, 0, 4, Special::Multicast),
    v4(255, 255, 255, 255, 32, Special::Broadcast),
    v4(240, 0, 0, 0, 4, Special::Reserved),
    v6([0, 0, 0, 0, 0, 0, 0, 0], 128, Special::Unspecified),
    v6([0, 0, 0, 0, 0, 0, 0, 1], 128, Special::Loopback),
    v6([0xfe80, 0, 0, 0, 0, 0, 0, 0], 10, Special::LinkLocal),
    v6([0xff00, 0, 0, 0, 0, 0, 0, 0], 8, Special::Multicast),
    // NAT64 (RFC 6052, RFC 8215), stateless translation (RFC 2765), 6to4 (RFC 3056), Teredo (RFC 4380).
    v6([0x64, 0xff9b, 0, 0, 0, 0, 0, 0], 96, Special::Disguise),
    v6([0x64, 0xff9b, 1, 0, 0, 0, 0, 0], 48, Special::Disguise),
    v6([0, 0, 0, 0, 0xffff, 0, 0, 0], 96, Special::Disguise),
    v6([0x2002, 0, 0, 0, 0, 0, 0, 0], 16, Special::Disguise),
    v6([0x2001, 0, 0, 0, 0, 0, 0, 0], 32, Special::Disguise),
    // Site-local (RFC 3879): deprecated, and in a bottle's world as link-local as the above.
    v6([0xfec0, 0, 0, 0, 0, 0, 0, 0], 10, Special::LinkLocal),
];

/// The address itself: IPv4-mapped and IPv4-compatible IPv6 (RFC 4291 §2.5.5) are the IPv4 addresses that they stand for.
#[must_use]
pub fn canonical(address: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = address else { return address };
    match v6.segments() {
        // `::` and `::1` are IPv6.
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => address,
        [0, 0, 0, 0, 0, 0 | 0xffff, high, low] => Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low)).into(),
        _ => address,
    }
}

/// What is special about an address that is [`canonical`].
#[must_use]
pub fn special(address: IpAddr) -> Option<Special> {
    let isatap = match address {
        // RFC 5214 §6.1: the interface identifier, with the universal bit either way.
        IpAddr::V6(v6) => v6.segments()[4] & !0x200 == 0 && v6.segments()[5] == 0x5efe,
        IpAddr::V4(_) => false,
    };
    networks()
        .find_map(|(network, special)| network.contains(address).then_some(special))
        .or_else(|| isatap.then_some(Special::Disguise))
}

/// What is special about all addresses of a network; of several things, one.
#[must_use]
pub fn wholly_special(network: Cidr) -> Option<Special> {
    if let Some((_, special)) = networks().find(|(special, _)| special.covers(network)) {
        return Some(special);
    }
    // Several together may fill it, as multicast and class E do 224.0.0.0/3.
    if !networks().any(|(special, _)| network.covers(special)) {
        return None;
    }
    let [low, high] = network.halves()?;
    wholly_special(low).and(wholly_special(high))
}

/// Whether all of a network is IPv4 by [`canonical`], or would be without the two addresses that are not.
#[must_use]
pub fn wholly_canonical_v4(network: Cidr) -> bool {
    let disguised =
        |segments: [u16; 8]| Cidr::new(Ipv6Addr::from(segments).into(), 96).is_ok_and(|all| all.covers(network));
    let plain = network.is_single() && canonical(network.network()).is_ipv6();
    !plain && (disguised([0; 8]) || disguised([0, 0, 0, 0, 0, 0xffff, 0, 0]))
}

fn networks() -> impl Iterator<Item = (Cidr, Special)> {
    TABLE.iter().filter_map(|&(address, prefix, special)| Some((Cidr::new(address, prefix).ok()?, special)))
}
