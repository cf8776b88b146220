//! Ethernet and IPv4: what is taken from the guest, and the headers of what it gets (RFC 894, RFC 791).
//!
//! Headers are read from a copy, since the guest can change its memory at any moment; what was judged is what is used.

use super::drops::DropReason;
use super::payload::{self, Payload};
use arrayvec::ArrayVec;
use etherparse::checksum::Sum16BitWords;
use etherparse::{EtherType, Ethernet2Header, Ethernet2HeaderSlice, IpNumber, Ipv4Header, Ipv4HeaderSlice};
use std::net::Ipv4Addr;
use vm_memory::VolatileSlice;

/// The guest's Ethernet address: a locally administered one. The wire has two ends, so every bottle has the same.
pub const GUEST_MAC: [u8; 6] = [0x02, 0x62, 0x6f, 0x74, 0, 3];
/// Everybody else's.
pub const OUR_MAC: [u8; 6] = [0x02, 0x62, 0x6f, 0x74, 0, 1];
/// Largest IP packet in either direction, in bytes: the largest multiple of 16.
pub const MTU: u16 = 65_520;

pub(super) const ETHERNET: usize = 14;
/// An IPv4 header without options; what is made and taken here has none.
pub(super) const IPV4: usize = 20;
/// The longest IPv4 header.
const IPV4_MAX: usize = 60;
/// All headers of a TCP segment with all its options; and of a packet with all of IPv4's, what an ICMP error quotes.
const HEAD: usize = ETHERNET + IPV4 + 60;
/// What an ICMP error quotes behind the IP header (RFC 792).
const QUOTED: usize = 8;

/// Headers of a frame for the guest.
pub(super) type Head = ArrayVec<u8, 128>;

/// A frame from the guest: a copy of its beginning, and the whole where it is.
pub(super) struct Frame<'a> {
    head: ArrayVec<u8, HEAD>,
    parts: &'a [VolatileSlice<'a>],
    length: usize,
}

/// What an Ethernet frame carries.
pub(super) enum Carried {
    Arp,
    Ipv4,
    Ipv6,
}

impl<'a> Frame<'a> {
    pub(super) fn new(parts: &'a [VolatileSlice<'a>]) -> Self {
        let mut bytes = [0; HEAD];
        let copied = payload::copy(parts, &mut bytes);
        let mut head = ArrayVec::from(bytes);
        head.truncate(copied);
        Self { head, parts, length: parts.iter().map(VolatileSlice::len).sum() }
    }

    /// The copy from `start` on.
    pub(super) fn head(&self, start: usize) -> &[u8] {
        self.head.get(start..).unwrap_or_default()
    }

    /// Judges the Ethernet header.
    pub(super) fn carried(&self) -> Result<Carried, DropReason> {
        let header = Ethernet2HeaderSlice::from_slice(&self.head).map_err(|_| DropReason::Truncated)?;
        if header.source() != GUEST_MAC {
            return Err(DropReason::LinkSpoofing);
        }
        let carried = match header.ether_type() {
            EtherType::ARP => Carried::Arp,
            EtherType::IPV4 => Carried::Ipv4,
            EtherType::IPV6 => Carried::Ipv6,
            _ => return Err(DropReason::EtherType),
        };
        let group = header.destination()[0] & 1 != 0;
        match carried {
            Carried::Ipv6 => Ok(carried),
            Carried::Arp if group => Ok(carried),
            _ if group => Err(DropReason::Group),
            _ if header.destination() != OUR_MAC => Err(DropReason::ForeignLink),
            _ => Ok(carried),
        }
    }

    /// Judges the IPv4 header by its form; where it comes from and goes to is the caller's.
    pub(super) fn ipv4(&self) -> Result<Ipv4<'_>, DropReason> {
        let header = Ipv4HeaderSlice::from_slice(self.head(ETHERNET)).map_err(|_| DropReason::IpHeader)?;
        let length = usize::from(header.total_len());
        if length < header.slice().len() || length > self.length - ETHERNET {
            return Err(DropReason::Truncated);
        }
        if header.to_header().calc_header_checksum() != header.header_checksum() {
            return Err(DropReason::IpHeader);
        }
        let packet = Ipv4 {
            frame: self,
            source: header.source_addr(),
            destination: header.destination_addr(),
            protocol: header.protocol().0,
            header: header.slice().len(),
            length,
            refused: if !header.options().is_empty() {
                Some(DropReason::IpOptions)
            } else if header.is_fragmenting_payload() {
                Some(DropReason::IpFragment)
            } else {
                None
            },
            first: header.fragments_offset().value() == 0,
        };
        Ok(packet)
    }
}

/// An IPv4 packet from the guest.
pub(super) struct Ipv4<'a> {
    frame: &'a Frame<'a>,
    pub(super) source: Ipv4Addr,
    pub(super) destination: Ipv4Addr,
    pub(super) protocol: u8,
    /// Bytes of the header, options included.
    header: usize,
    /// Header included.
    length: usize,
    /// Well-formed, but not taken here.
    pub(super) refused: Option<DropReason>,
    /// Not a later fragment.
    pub(super) first: bool,
}

impl<'a> Ipv4<'a> {
    /// The copied bytes behind the IP header, up to the packet's end.
    pub(super) fn head(&self) -> &'a [u8] {
        let head = self.frame.head(ETHERNET + self.header);
        head.get(..self.length().min(head.len())).unwrap_or_default()
    }

    /// Bytes behind the IP header.
    pub(super) fn length(&self) -> usize {
        self.length.saturating_sub(self.header)
    }

    /// What lies `headers` bytes behind the IP header.
    pub(super) fn payload(&self, headers: usize) -> Result<Payload<'a>, DropReason> {
        let length = self.length().checked_sub(headers).ok_or(DropReason::Truncated)?;
        Payload::of(self.frame.parts, ETHERNET + self.header + headers, length).ok_or(DropReason::Oversized)
    }

    /// What an ICMP error quotes: the header with its options, and eight bytes.
    pub(super) fn quote(&self) -> ArrayVec<u8, { IPV4_MAX + QUOTED }> {
        self.frame.head(ETHERNET).iter().copied().take(self.length.min(self.header + QUOTED)).collect()
    }
}

/// Ethernet and IPv4 headers of a packet for the guest with `length` bytes behind them, at most [`MTU`] - 20.
pub(super) fn ipv4_head(source: Ipv4Addr, guest: Ipv4Addr, protocol: IpNumber, length: usize) -> Head {
    let mut head = ethernet_head(EtherType::IPV4);
    let length = u16::try_from(length).unwrap_or(MTU);
    if let Ok(mut header) = Ipv4Header::new(length, TTL, protocol, source.octets(), guest.octets()) {
        header.header_checksum = header.calc_header_checksum();
        head.extend(header.to_bytes());
    }
    head
}

pub(super) fn ethernet_head(ether_type: EtherType) -> Head {
    Ethernet2Header { source: OUR_MAC, destination: GUEST_MAC, ether_type }.to_bytes().into_iter().collect()
}

/// What Linux starts with.
const TTL: u8 = 64;

/// The sum over the pseudo header (RFC 9293 §3.1), as it stands in a checksum field that is to be completed.
pub(super) fn pseudo_sum(source: Ipv4Addr, guest: Ipv4Addr, protocol: IpNumber, length: usize) -> u16 {
    let length = u16::try_from(length).unwrap_or(0);
    let mut sum = Sum16BitWords::new();
    sum = sum.add_4bytes(source.octets());
    sum = sum.add_4bytes(guest.octets());
    sum = sum.add_2bytes([0, protocol.0]).add_2bytes(length.to_be_bytes());
    (!sum.ones_complement()).to_be()
}
