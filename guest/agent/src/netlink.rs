//! The three requests of rtnetlink(7) that an interface takes: up, an address, a route. Each is acknowledged before the next.
//!
//! All numbers are in the machine's own order, addresses in the network's.

#![expect(clippy::host_endian_bytes, reason = "the kernel's own structures")]

use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recv, sendto, socket};

/// linux/netlink.h, linux/rtnetlink.h, linux/if_addr.h, linux/if_link.h.
mod number {
    pub(super) const ERROR: u16 = 2;
    pub(super) const REQUEST_ACKNOWLEDGED: u16 = 1 | 4;
    pub(super) const CREATE: u16 = 0x400 | 0x200;
    pub(super) const NEW_LINK: u16 = 16;
    pub(super) const NEW_ADDRESS: u16 = 20;
    pub(super) const NEW_ROUTE: u16 = 24;
    pub(super) const LINK_MTU: u16 = 4;
    pub(super) const ADDRESS: u16 = 1;
    pub(super) const LOCAL: u16 = 2;
    pub(super) const DESTINATION: u16 = 1;
    pub(super) const OUTPUT: u16 = 4;
    pub(super) const GATEWAY: u16 = 5;
    pub(super) const INET: u8 = 2;
    pub(super) const UP: u32 = 1;
    pub(super) const TABLE_MAIN: u8 = 254;
    pub(super) const PROTOCOL_BOOT: u8 = 3;
    pub(super) const SCOPE_UNIVERSE: u8 = 0;
    pub(super) const SCOPE_LINK: u8 = 253;
    pub(super) const UNICAST: u8 = 1;
}

/// `struct nlmsghdr`.
const HEADER: usize = 16;

pub(crate) struct Netlink {
    socket: OwnedFd,
    /// Of the interface that requests are about.
    index: u32,
}

impl Netlink {
    pub(crate) fn open(index: u32) -> Result<Self, Errno> {
        let kind = (SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::NetlinkRoute);
        Ok(Self { socket: socket(AddressFamily::Netlink, kind.0, kind.1, kind.2)?, index })
    }

    /// Sets the MTU and brings the interface up.
    pub(crate) fn up(&self, mtu: u16) -> Result<(), Errno> {
        // struct ifinfomsg: family, pad, type, index, flags, change.
        let fixed = [&[0; 4][..], &self.index.to_ne_bytes(), &number::UP.to_ne_bytes(), &number::UP.to_ne_bytes()];
        self.request(number::NEW_LINK, 0, &fixed.concat(), &[(number::LINK_MTU, u32::from(mtu).to_ne_bytes())])
    }

    /// Gives the interface an address that has no network around it.
    pub(crate) fn address(&self, address: Ipv4Addr) -> Result<(), Errno> {
        // struct ifaddrmsg: family, prefix length, flags, scope, index.
        let fixed = [&[number::INET, 32, 0, number::SCOPE_UNIVERSE][..], &self.index.to_ne_bytes()];
        let address = address.octets();
        let attributes = [(number::LOCAL, address), (number::ADDRESS, address)];
        self.request(number::NEW_ADDRESS, number::CREATE, &fixed.concat(), &attributes)
    }

    /// `host` is on the wire.
    pub(crate) fn route_to(&self, host: Ipv4Addr) -> Result<(), Errno> {
        self.route(32, number::SCOPE_LINK, (number::DESTINATION, host.octets()))
    }

    /// Everything else is behind `gateway`.
    pub(crate) fn default_route(&self, gateway: Ipv4Addr) -> Result<(), Errno> {
        self.route(0, number::SCOPE_UNIVERSE, (number::GATEWAY, gateway.octets()))
    }

    fn route(&self, prefix: u8, scope: u8, what: (u16, [u8; 4])) -> Result<(), Errno> {
        // struct rtmsg: family, prefix lengths of destination and source, tos, table, protocol, scope, type, flags.
        let kind = [number::TABLE_MAIN, number::PROTOCOL_BOOT, scope, number::UNICAST];
        let fixed = [[number::INET, prefix, 0, 0], kind, [0; 4]].concat();
        self.request(number::NEW_ROUTE, number::CREATE, &fixed, &[what, (number::OUTPUT, self.index.to_ne_bytes())])
    }

    fn request(&self, kind: u16, flags: u16, fixed: &[u8], attributes: &[(u16, [u8; 4])]) -> Result<(), Errno> {
        let message = message(kind, flags | number::REQUEST_ACKNOWLEDGED, fixed, attributes);
        sendto(self.socket.as_raw_fd(), &message, &NetlinkAddr::new(0, 0), MsgFlags::empty())?;
        let mut answer = [0; 1024];
        let length = recv(self.socket.as_raw_fd(), &mut answer, MsgFlags::empty())?;
        acknowledged(answer.get(..length).unwrap_or_default())
    }
}

fn message(kind: u16, flags: u16, fixed: &[u8], attributes: &[(u16, [u8; 4])]) -> Vec<u8> {
    let mut message = vec![0; HEADER];
    message.extend(fixed);
    for (kind, value) in attributes {
        message.extend(8u16.to_ne_bytes());
        message.extend(kind.to_ne_bytes());
        message.extend(value);
    }
    let length = u32::try_from(message.len()).unwrap_or(0);
    let header = [&length.to_ne_bytes()[..], &kind.to_ne_bytes(), &flags.to_ne_bytes()].concat();
    for (place, byte) in message.iter_mut().zip(header) {
        *place = byte;
    }
    message
}

/// An acknowledgement is an error of number zero.
fn acknowledged(answer: &[u8]) -> Result<(), Errno> {
    let kind = answer.get(4..6).and_then(|kind| kind.try_into().ok()).map(u16::from_ne_bytes);
    let error = answer.get(HEADER..HEADER + 4).and_then(|error| error.try_into().ok()).map(i32::from_ne_bytes);
    match (kind, error) {
        (Some(number::ERROR), Some(0)) => Ok(()),
        (Some(number::ERROR), Some(error)) => Err(Errno::from_raw(error.saturating_neg())),
        _ => Err(Errno::EPROTO),
    }
}

#[cfg(test)]
#[path = "netlink_test.rs"]
mod tests;
