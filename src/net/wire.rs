//! Messages between the monitor's stack and the launcher's broker: one fixed record a packet, on a sequenced-packet socket pair.
//!
//! Monitor → broker: [`Request`]. Broker → monitor: [`Reply`]; only [`Reply::Connected`] carries a descriptor, exactly one.
//! Law: pure. What does not use all of its record has zeros there, and every message has one form: what is decoded encodes to the
//! same bytes. A record, little-endian:
//!
//! | offset | bytes | what |
//! |---|---|---|
//! | 0 | 1 | kind: 1–4 requests, 129–131 replies |
//! | 1 | 1 | IP protocol number |
//! | 2 | 1 | address family: 4, 6, or 0 for no address |
//! | 3 | 1 | cause, or a truth value |
//! | 4 | 4 | flow, or number of a question |
//! | 8 | 2 | destination port |
//! | 10 | 2 | 0 |
//! | 12 | 4 | count |
//! | 16 | 16 | address; IPv4 in the first four |

use super::policy::Protocol;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Length of every message.
pub const RECORD: usize = 32;

/// What the monitor says. It may be in the hands of the guest: a request is a wish, a report is hearsay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// The guest opens a flow; answered by [`Reply::Connected`] or [`Reply::Refused`]. `flow` is of the monitor's choice and may be
    /// used again after [`Request::Closed`] or a refusal.
    Connect { flow: u32, protocol: Protocol, destination: SocketAddr },
    /// The monitor has closed the descriptor that it was given for the flow.
    Closed { flow: u32 },
    /// The stack refused `count` packets like this without asking. `protocol` is the IP protocol number (0 for ARP and frames that
    /// are no IP), the port 0 where there is none.
    Unasked { cause: Unasked, protocol: u8, destination: SocketAddr, count: u32 },
    /// The answer to [`Reply::Ask`]: whether the stack would put a flow to this destination before the broker.
    Says { question: u32, asks: bool },
}

/// Why the stack refused by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Unasked {
    /// An ICMP message to an address that is not the stack's own.
    Icmp,
    /// ARP or neighbour discovery for an address that nobody has.
    Resolution,
    /// Neither TCP, UDP nor ICMP.
    Protocol,
    /// From an address that is not the guest's.
    Source,
    /// Not a packet as the standards have it, or an option or a fragment that the stack does not take.
    Malformed,
    /// Broadcast or multicast.
    Group,
    /// IPv6, where the guest has none.
    Ipv6,
    /// The stack's tables are full.
    Full,
}

/// What the broker says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply {
    /// With the flow's descriptor: a connected stream, or a connected datagram socket for UDP; non-blocking.
    Connected {
        flow: u32,
    },
    Refused {
        flow: u32,
        cause: Cause,
    },
    /// Before the guest starts: would the stack ask for this? Answered by [`Request::Says`].
    Ask {
        question: u32,
        protocol: Protocol,
        destination: SocketAddr,
    },
}

/// Why a flow was not opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cause {
    /// By the policy, or by the host's own packet filter.
    Denied,
    ConnectionRefused,
    NetworkUnreachable,
    HostUnreachable,
    TimedOut,
    /// Too many flows, or too fast: it may work later.
    Busy,
}

impl Cause {
    /// In the order of their bytes in a message.
    pub const ALL: [Self; 6] = [
        Self::Denied,
        Self::ConnectionRefused,
        Self::NetworkUnreachable,
        Self::HostUnreachable,
        Self::TimedOut,
        Self::Busy,
    ];
}

/// What came is no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    #[error("a message has {got} bytes, where {RECORD} belong")]
    Length { got: usize },
    #[error("message kind {kind} does not exist")]
    Kind { kind: u8 },
    #[error("byte {offset} of a message of kind {kind} has a value that means nothing")]
    Value { kind: u8, offset: usize },
}

mod kind {
    pub(super) const CONNECT: u8 = 1;
    pub(super) const CLOSED: u8 = 2;
    pub(super) const UNASKED: u8 = 3;
    pub(super) const SAYS: u8 = 4;
    pub(super) const CONNECTED: u8 = 129;
    pub(super) const REFUSED: u8 = 130;
    pub(super) const ASK: u8 = 131;
}

const UNASKED: [Unasked; 8] = [
    Unasked::Icmp,
    Unasked::Resolution,
    Unasked::Protocol,
    Unasked::Source,
    Unasked::Malformed,
    Unasked::Group,
    Unasked::Ipv6,
    Unasked::Full,
];

/// The fields of a record, whatever its kind.
#[derive(Clone, Copy, Default)]
struct Record {
    kind: u8,
    protocol: u8,
    family: u8,
    cause: u8,
    flow: u32,
    port: u16,
    count: u32,
    address: [u8; 16],
}

impl Record {
    fn encode(self) -> [u8; RECORD] {
        let mut bytes = [0; RECORD];
        bytes[..4].copy_from_slice(&[self.kind, self.protocol, self.family, self.cause]);
        bytes[4..8].copy_from_slice(&self.flow.to_le_bytes());
        bytes[8..10].copy_from_slice(&self.port.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.count.to_le_bytes());
        bytes[16..].copy_from_slice(&self.address);
        bytes
    }

    fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let bytes: &[u8; RECORD] = bytes.try_into().map_err(|_| Malformed::Length { got: bytes.len() })?;
        let [kind, protocol, family, cause, f0, f1, f2, f3, p0, p1, _, _, c0, c1, c2, c3, address @ ..] = *bytes;
        Ok(Self {
            kind,
            protocol,
            family,
            cause,
            flow: u32::from_le_bytes([f0, f1, f2, f3]),
            port: u16::from_le_bytes([p0, p1]),
            count: u32::from_le_bytes([c0, c1, c2, c3]),
            address,
        })
    }

    fn to(mut self, destination: SocketAddr) -> Self {
        self.port = destination.port();
        match destination.ip() {
            IpAddr::V4(address) => {
                self.family = 4;
                self.address[..4].copy_from_slice(&address.octets());
            }
            IpAddr::V6(address) => {
                self.family = 6;
                self.address = address.octets();
            }
        }
        self
    }

    fn destination(&self) -> Result<SocketAddr, Malformed> {
        let [a, b, c, d, ..] = self.address;
        let address = match self.family {
            4 => IpAddr::V4(Ipv4Addr::new(a, b, c, d)),
            6 => IpAddr::V6(Ipv6Addr::from(self.address)),
            _ => return Err(self.wrong(2)),
        };
        Ok(SocketAddr::new(address, self.port))
    }

    fn transport(&self) -> Result<Protocol, Malformed> {
        match self.protocol {
            TCP => Ok(Protocol::Tcp),
            UDP => Ok(Protocol::Udp),
            _ => Err(self.wrong(1)),
        }
    }

    fn wrong(&self, offset: usize) -> Malformed {
        Malformed::Value { kind: self.kind, offset }
    }

    /// `message`, if its one form is what came: that is what keeps unused bytes zero.
    fn exactly<M>(&self, message: M, form: [u8; RECORD], came: &[u8]) -> Result<M, Malformed> {
        match came.iter().zip(form).position(|(got, meant)| *got != meant) {
            None => Ok(message),
            Some(offset) => Err(self.wrong(offset)),
        }
    }
}

/// IP protocol numbers (IANA).
const TCP: u8 = 6;
const UDP: u8 = 17;

fn number(protocol: Protocol) -> u8 {
    match protocol {
        Protocol::Tcp => TCP,
        Protocol::Udp => UDP,
    }
}

/// The place of a value in its list, as a byte. The lists are short.
fn place<T: PartialEq>(list: &[T], value: &T) -> u8 {
    list.iter().position(|one| one == value).and_then(|place| u8::try_from(place).ok()).unwrap_or(u8::MAX)
}

impl Request {
    #[must_use]
    pub fn encode(&self) -> [u8; RECORD] {
        let record = match *self {
            Self::Connect { flow, protocol, destination } => {
                let kind = kind::CONNECT;
                Record { kind, flow, protocol: number(protocol), ..Record::default() }.to(destination)
            }
            Self::Closed { flow } => Record { kind: kind::CLOSED, flow, ..Record::default() },
            Self::Unasked { cause, protocol, destination, count } => {
                let (kind, cause) = (kind::UNASKED, place(&UNASKED, &cause));
                Record { kind, cause, protocol, count, ..Record::default() }.to(destination)
            }
            Self::Says { question, asks } => {
                Record { kind: kind::SAYS, flow: question, cause: asks.into(), ..Record::default() }
            }
        };
        record.encode()
    }

    /// # Errors
    /// [`Malformed`], for whatever [`Self::encode`] does not make.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let record = Record::decode(bytes)?;
        let message = match record.kind {
            kind::CONNECT => {
                Self::Connect { flow: record.flow, protocol: record.transport()?, destination: record.destination()? }
            }
            kind::CLOSED => Self::Closed { flow: record.flow },
            kind::UNASKED => Self::Unasked {
                cause: *UNASKED.get(usize::from(record.cause)).ok_or(record.wrong(3))?,
                protocol: record.protocol,
                destination: record.destination()?,
                count: record.count,
            },
            kind::SAYS => Self::Says { question: record.flow, asks: record.cause == 1 },
            kind => return Err(Malformed::Kind { kind }),
        };
        record.exactly(message, message.encode(), bytes)
    }
}

impl Reply {
    #[must_use]
    pub fn encode(&self) -> [u8; RECORD] {
        let record = match *self {
            Self::Connected { flow } => Record { kind: kind::CONNECTED, flow, ..Record::default() },
            Self::Refused { flow, cause } => {
                Record { kind: kind::REFUSED, flow, cause: place(&Cause::ALL, &cause), ..Record::default() }
            }
            Self::Ask { question, protocol, destination } => {
                Record { kind: kind::ASK, flow: question, protocol: number(protocol), ..Record::default() }
                    .to(destination)
            }
        };
        record.encode()
    }

    /// # Errors
    /// [`Malformed`], for whatever [`Self::encode`] does not make.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let record = Record::decode(bytes)?;
        let message = match record.kind {
            kind::CONNECTED => Self::Connected { flow: record.flow },
            kind::REFUSED => Self::Refused {
                flow: record.flow,
                cause: *Cause::ALL.get(usize::from(record.cause)).ok_or(record.wrong(3))?,
            },
            kind::ASK => {
                Self::Ask { question: record.flow, protocol: record.transport()?, destination: record.destination()? }
            }
            kind => return Err(Malformed::Kind { kind }),
        };
        record.exactly(message, message.encode(), bytes)
    }
}

#[cfg(test)]
#[path = "wire_test.rs"]
mod tests;
