//! What the stack refuses by itself, counted: every way a frame can be refused has a name here.

use crate::net::wire::{Request, Unasked};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};

/// Why a frame of the guest's went no further.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DropReason {
    /// Too short for its headers, or shorter than they say.
    Truncated,
    /// More pieces, or more bytes, than a packet can have.
    Oversized,
    /// Not for our Ethernet address.
    ForeignLink,
    /// From an Ethernet address that is not the guest's, or ARP in somebody else's name.
    LinkSpoofing,
    /// Neither IPv4, ARP nor IPv6.
    EtherType,
    /// ARP that asks for nothing, or for no IPv4 address.
    ArpForm,
    /// ARP for an address that nobody has.
    ArpTarget,
    /// A header that contradicts itself, its checksum included.
    IpHeader,
    IpOptions,
    IpFragment,
    /// From an IP address that is not the guest's.
    IpSpoofing,
    /// To a multicast or broadcast address.
    Group,
    Ipv6,
    /// Neither TCP, UDP nor ICMP.
    Protocol,
    /// An ICMP message that asks for nothing that is answered here.
    Icmp,
    TcpHeader,
    UdpHeader,
    /// A table, or the room for answers, is full.
    Full,
}

impl DropReason {
    /// What the launcher is told.
    #[must_use]
    pub fn cause(self) -> Unasked {
        match self {
            Self::Truncated
            | Self::Oversized
            | Self::ForeignLink
            | Self::ArpForm
            | Self::IpHeader
            | Self::IpOptions
            | Self::IpFragment
            | Self::TcpHeader
            | Self::UdpHeader => Unasked::Malformed,
            Self::LinkSpoofing | Self::IpSpoofing => Unasked::Source,
            Self::EtherType | Self::Protocol => Unasked::Protocol,
            Self::ArpTarget => Unasked::Resolution,
            Self::Group => Unasked::Group,
            Self::Ipv6 => Unasked::Ipv6,
            Self::Icmp => Unasked::Icmp,
            Self::Full => Unasked::Full,
        }
    }
}

/// What the launcher is told apart per period: a guest that tries every address must not make us remember them.
const DESTINATIONS: usize = 64;

/// Counters since the start, and what the launcher has not been told yet.
///
/// The first of each kind in a period is told at once, since a guest may end right after it; how many more there were, at the period's end.
#[derive(Debug, Default)]
pub struct Drops {
    total: BTreeMap<DropReason, u64>,
    /// What came in this period, and how often since it was told.
    period: BTreeMap<Line, u32>,
    fresh: Vec<Request>,
}

type Line = (Unasked, u8, SocketAddr);

const NOWHERE: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0);

impl Drops {
    pub(super) fn count(&mut self, reason: DropReason) {
        self.count_packet(reason, 0, NOWHERE);
    }

    /// An answer for which there was no room, to what was counted by itself.
    pub(super) fn count_answer(&mut self) {
        self.add(DropReason::Full);
    }

    /// `protocol` is the IP protocol number, 0 where there is none; a port that is not known is 0.
    pub(super) fn count_packet(&mut self, reason: DropReason, protocol: u8, destination: SocketAddrV4) {
        self.add(reason);
        let mut line: Line = (reason.cause(), protocol, destination.into());
        if self.period.len() >= DESTINATIONS && !self.period.contains_key(&line) {
            line = (reason.cause(), 0, NOWHERE.into());
        }
        match self.period.entry(line) {
            Entry::Occupied(mut more) => *more.get_mut() = more.get().saturating_add(1),
            Entry::Vacant(first) => {
                first.insert(0);
                self.fresh.push(request((line, 1)));
            }
        }
    }

    fn add(&mut self, reason: DropReason) {
        let total = self.total.entry(reason).or_default();
        *total = total.saturating_add(1);
    }

    /// How often it happened since the start.
    #[must_use]
    pub fn total(&self, reason: DropReason) -> u64 {
        self.total.get(&reason).copied().unwrap_or(0)
    }

    /// Nothing has come in this period, so it need not end.
    pub(super) fn is_quiet(&self) -> bool {
        self.period.is_empty()
    }

    /// What to tell the launcher at once: at most [`DESTINATIONS`] messages a period and one for each cause.
    pub(super) fn fresh(&mut self) -> impl Iterator<Item = Request> + use<> {
        std::mem::take(&mut self.fresh).into_iter()
    }

    /// Ends the period; what to tell the launcher, as many messages at most.
    pub(super) fn report(&mut self) -> impl Iterator<Item = Request> + use<> {
        let period = std::mem::take(&mut self.period);
        self.fresh().chain(period.into_iter().filter(|(_, count)| *count > 0).map(request))
    }
}

fn request(((cause, protocol, destination), count): (Line, u32)) -> Request {
    Request::Unasked { cause, protocol, destination, count }
}
