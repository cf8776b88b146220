//! ICMP (RFC 792): echo for the addresses that are ours, and the bad news of everything else.

use super::drops::DropReason;
use super::packet::{Ipv4, ipv4_head};
use crate::net::spec::NetSpec;
use etherparse::icmpv4::DestUnreachableHeader;
use etherparse::{Icmpv4Header, Icmpv4Type, IpNumber};
use std::io::ErrorKind;
use std::net::Ipv4Addr;

/// What to say of a packet that went nowhere.
pub(super) type News = DestUnreachableHeader;

/// What to say of a datagram that a socket of the host's did not get rid of. What has no name of its own says that nobody is there, so
/// that the sender need not wait.
pub(super) fn news_of(failure: ErrorKind) -> News {
    match failure {
        ErrorKind::HostUnreachable => News::Host,
        ErrorKind::NetworkUnreachable | ErrorKind::NetworkDown => News::Network,
        ErrorKind::PermissionDenied => News::FilterProhibited,
        _ => News::Port,
    }
}

/// An ICMP message from the guest: its answer, whole.
pub(super) fn receive(spec: &NetSpec, packet: &Ipv4<'_>) -> Result<Vec<u8>, Refusal> {
    let (header, _) = Icmpv4Header::from_slice(packet.head()).map_err(|_| Refusal::Silent(DropReason::Truncated))?;
    let Icmpv4Type::EchoRequest(echo) = header.icmp_type else { return Err(Refusal::Silent(DropReason::Icmp)) };
    if packet.destination != spec.gateway && Some(packet.destination) != spec.bundle {
        return Err(Refusal::Answered(DropReason::Icmp));
    }
    let payload = packet.payload(header.header_len()).map_err(Refusal::Silent)?;
    Ok(message(packet.destination, spec.guest, Icmpv4Type::EchoReply(echo), &payload.to_vec()))
}

/// An error or a reply is never answered with an error (RFC 1122 §3.2.2).
pub(super) enum Refusal {
    Silent(DropReason),
    Answered(DropReason),
}

/// Destination unreachable, in the name of `source`, about the packet that `quote` begins.
pub(super) fn unreachable(source: Ipv4Addr, guest: Ipv4Addr, news: News, quote: &[u8]) -> Vec<u8> {
    message(source, guest, Icmpv4Type::DestinationUnreachable(news), quote)
}

fn message(source: Ipv4Addr, guest: Ipv4Addr, kind: Icmpv4Type, payload: &[u8]) -> Vec<u8> {
    let header = Icmpv4Header::with_checksum(kind, payload);
    let head = ipv4_head(source, guest, IpNumber::ICMP, header.header_len() + payload.len());
    [head.as_slice(), &header.to_bytes(), payload].concat()
}
