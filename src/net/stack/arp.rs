//! ARP (RFC 826): who has the gateway's or the bundle's address? We. Nobody has any other.

use super::drops::DropReason;
use super::packet::{ETHERNET, Frame, GUEST_MAC, Head, OUR_MAC, ethernet_head};
use crate::net::spec::NetSpec;
use etherparse::{ArpEthIpv4Packet, ArpOperation, ArpPacketSlice, EtherType};
use std::net::{Ipv4Addr, SocketAddrV4};

/// The answer; nothing for a guest that only makes sure that its address is its own.
pub(super) fn receive(spec: &NetSpec, frame: &Frame<'_>) -> Result<Option<Head>, (DropReason, SocketAddrV4)> {
    let nowhere = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0);
    let form = (DropReason::ArpForm, nowhere);
    let packet = ArpPacketSlice::from_slice(frame.head(ETHERNET)).map_err(|_| (DropReason::Truncated, nowhere))?;
    let packet = packet.to_packet().try_eth_ipv4().map_err(|_| form)?;
    let (sender, target) = (packet.sender_ipv4_addr(), packet.target_ipv4_addr());
    if packet.sender_mac != GUEST_MAC || (sender != spec.guest && !sender.is_unspecified()) {
        return Err((DropReason::LinkSpoofing, SocketAddrV4::new(target, 0)));
    }
    if packet.operation != ArpOperation::REQUEST {
        return Err(form);
    }
    if target == spec.guest {
        return Ok(None);
    }
    if target != spec.gateway && Some(target) != spec.bundle {
        return Err((DropReason::ArpTarget, SocketAddrV4::new(target, 0)));
    }
    let answer = ArpEthIpv4Packet {
        operation: ArpOperation::REPLY,
        sender_mac: OUR_MAC,
        sender_ipv4: target.octets(),
        target_mac: GUEST_MAC,
        target_ipv4: sender.octets(),
    };
    let mut head = ethernet_head(EtherType::ARP);
    head.extend(answer.to_bytes());
    Ok(Some(head))
}
