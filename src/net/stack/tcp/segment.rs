//! TCP headers from the guest and for it.

use super::super::drops::DropReason;
use super::super::packet::{ETHERNET, Head, IPV4, Ipv4, ipv4_head, pseudo_sum};
use super::super::payload::Payload;
use etherparse::{IpNumber, TcpHeader, TcpHeaderSlice, TcpOptionElement};
use std::net::{Ipv4Addr, SocketAddrV4};

/// Position in a stream of bytes, modulo 2^32. Differences under 2^31 have a sign.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in super::super) struct Seq(pub(in super::super) u32);

impl Seq {
    #[must_use]
    pub(in super::super) fn plus(self, count: usize) -> Self {
        Self(self.0.wrapping_add(u32::try_from(count).unwrap_or(0)))
    }

    /// How far this is behind `other`; `None` if it is before it.
    pub(in super::super) fn since(self, other: Self) -> Option<usize> {
        usize::try_from(self.0.wrapping_sub(other.0).cast_signed()).ok()
    }

    pub(in super::super) fn is_after(self, other: Self) -> bool {
        self != other && self.since(other).is_some()
    }
}

/// A segment from the guest. Urgent data is data like any other (RFC 6093 §6 advises against anything else).
#[derive(Debug)]
pub(in super::super) struct Segment<'a> {
    pub(in super::super) ports: Ports,
    pub(in super::super) seq: Seq,
    pub(in super::super) ack: Option<Seq>,
    /// As it stands in the header.
    pub(in super::super) window: u16,
    pub(in super::super) syn: bool,
    pub(in super::super) fin: bool,
    pub(in super::super) rst: bool,
    /// Bytes of data that a segment for the guest may have.
    pub(in super::super) mss: Option<u16>,
    pub(in super::super) scale: Option<u8>,
    pub(in super::super) payload: Payload<'a>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) struct Ports {
    pub(in super::super) guest: u16,
    pub(in super::super) host: u16,
}

impl<'a> Segment<'a> {
    pub(in super::super) fn parse(packet: &Ipv4<'a>) -> Result<Self, DropReason> {
        let header = TcpHeaderSlice::from_slice(packet.head()).map_err(|_| DropReason::TcpHeader)?;
        let (mut mss, mut scale) = (None, None);
        if header.syn() {
            // What cannot be read ends the options, as if they had ended before it.
            for option in header.options_iterator().map_while(Result::ok) {
                match option {
                    TcpOptionElement::MaximumSegmentSize(bytes) => mss = Some(bytes),
                    // More is to be taken as 14 (RFC 7323 §2.3).
                    TcpOptionElement::WindowScale(shift) => scale = Some(shift.min(14)),
                    _ => {}
                }
            }
        }
        Ok(Self {
            ports: Ports { guest: header.source_port(), host: header.destination_port() },
            seq: Seq(header.sequence_number()),
            ack: header.ack().then_some(Seq(header.acknowledgment_number())),
            window: header.window_size(),
            syn: header.syn(),
            fin: header.fin(),
            rst: header.rst(),
            mss,
            scale,
            payload: packet.payload(header.slice().len())?,
        })
    }

    /// Room that it takes in the sequence: SYN and FIN count as a byte.
    pub(in super::super) fn length(&self) -> usize {
        self.payload.len() + usize::from(self.syn) + usize::from(self.fin)
    }
}

/// A segment for the guest, without its data.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in super::super) struct Reply {
    pub(in super::super) seq: Seq,
    pub(in super::super) ack: Option<Seq>,
    pub(in super::super) window: u16,
    pub(in super::super) syn: Option<Greeting>,
    pub(in super::super) fin: bool,
    pub(in super::super) rst: bool,
    pub(in super::super) push: bool,
}

/// What goes with a SYN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) struct Greeting {
    pub(in super::super) mss: u16,
    /// Only if the guest's SYN had one, too.
    pub(in super::super) scale: Option<u8>,
}

/// Where the checksum of a TCP segment covers and stands: offsets for [`super::super::Outgoing::checksum`].
pub(in super::super) const CHECKSUM: (usize, usize) = (ETHERNET + IPV4, 16);

impl Reply {
    /// The answer to a segment that belongs to no connection (RFC 9293 §3.10.7.1).
    pub(in super::super) fn reset(segment: &Segment<'_>) -> Self {
        let ack = segment.seq.plus(segment.length());
        match segment.ack {
            Some(seq) => Self { seq, rst: true, ..Self::default() },
            None => Self { ack: Some(ack), rst: true, ..Self::default() },
        }
    }

    /// The headers. With `offload` the guest does without the checksum and gets its first part.
    pub(in super::super) fn head(
        &self,
        from: SocketAddrV4,
        guest: (Ipv4Addr, u16),
        body: &[u8],
        offload: bool,
    ) -> Head {
        let mut header = TcpHeader::new(from.port(), guest.1, self.seq.0, self.window);
        header.acknowledgment_number = self.ack.map_or(0, |ack| ack.0);
        header.ack = self.ack.is_some();
        (header.syn, header.fin, header.rst, header.psh) = (self.syn.is_some(), self.fin, self.rst, self.push);
        if let Some(Greeting { mss, scale }) = self.syn {
            let mss = TcpOptionElement::MaximumSegmentSize(mss);
            // Seven bytes of options always fit.
            let _ = match scale {
                Some(shift) => header.set_options(&[mss, TcpOptionElement::Noop, TcpOptionElement::WindowScale(shift)]),
                None => header.set_options(&[mss]),
            };
        }
        let length = header.header_len() + body.len();
        header.checksum = if offload {
            pseudo_sum(*from.ip(), guest.0, IpNumber::TCP, length)
        } else {
            header.calc_checksum_ipv4_raw(from.ip().octets(), guest.0.octets(), body).unwrap_or(0)
        };
        let mut head = ipv4_head(*from.ip(), guest.0, IpNumber::TCP, length);
        head.extend(header.to_bytes());
        head
    }
}
