//! Where the kernel would send a packet: rtnetlink(7), RTM_GETROUTE. One question and one answer, of fixed form.
#![expect(clippy::host_endian_bytes, reason = "netlink has the order of the host")]

use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, connect, recv, send, socket,
};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd as _, OwnedFd};

/// Of `struct nlmsghdr`, and of `struct rtmsg` behind it.
const HEADER: usize = 16;
const ROUTE: usize = 12;
/// Where in a reply the error and the type of the route stand.
const ERROR: usize = HEADER;
const ROUTE_TYPE: usize = HEADER + 7;
/// More than any reply of the kernel's to one question; of one that is longer the rest is not looked at.
const REPLY_MAX: usize = 4096;

/// What a destination is to this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Another machine, behind a route.
    Elsewhere,
    /// The machine itself: an address of an interface, whichever, or of a local route.
    Here,
    Broadcast,
    Multicast,
}

/// The kernel's routing, of the network namespace in which it was opened.
#[derive(Debug)]
pub struct Routing {
    socket: OwnedFd,
    asked: u32,
}

impl Routing {
    /// # Errors
    /// When the process is out of descriptors, or netlink is forbidden.
    pub fn open() -> io::Result<Self> {
        let flags = SockFlag::SOCK_CLOEXEC;
        let socket = socket(AddressFamily::Netlink, SockType::Raw, flags, SockProtocol::NetlinkRoute)?;
        // From then on nobody but the kernel can answer.
        connect(socket.as_raw_fd(), &NetlinkAddr::new(0, 0))?;
        Ok(Self { socket, asked: 0 })
    }

    /// As the kernel has it at this moment for this protocol (IPPROTO_TCP or IPPROTO_UDP) and port, policy routing included. Of a rule that
    /// goes by the source's port nobody can know: Linux has not chosen it yet. Does not wait: the kernel answers within the call.
    ///
    /// # Errors
    /// What a connection would fail with: `NetworkUnreachable` without a route. `InvalidData` for an answer that is none.
    pub fn reach(&mut self, protocol: u8, destination: SocketAddr) -> io::Result<Reach> {
        self.asked = self.asked.wrapping_add(1);
        let question = question(protocol, destination, self.asked);
        send(self.socket.as_raw_fd(), &question, MsgFlags::MSG_DONTWAIT)?;
        let mut reply = [0; REPLY_MAX];
        loop {
            let length = recv(self.socket.as_raw_fd(), &mut reply, MsgFlags::MSG_DONTWAIT)?;
            // Another number is the answer to a question whose asker has not waited for it.
            if let Some(answer) = answer(reply.get(..length).unwrap_or_default(), self.asked) {
                return answer;
            }
        }
    }
}

/// Attributes that a kernel before 4.18 passes over (linux/rtnetlink.h).
const RTA_IP_PROTO: u16 = 27;
const RTA_DPORT: u16 = 29;

fn question(protocol: u8, destination: SocketAddr, number: u32) -> Vec<u8> {
    let (family, address) = match destination.ip() {
        IpAddr::V4(v4) => (libc::AF_INET, v4.octets().to_vec()),
        IpAddr::V6(v6) => (libc::AF_INET6, v6.octets().to_vec()),
    };
    let byte = |value: i32| u8::try_from(value).unwrap_or(0);
    let mut message = vec![0; HEADER];
    message.extend([byte(family), u8::try_from(address.len() * 8).unwrap_or(0)]);
    message.extend([0; ROUTE - 2]);
    attribute(&mut message, libc::RTA_DST, &address);
    attribute(&mut message, RTA_IP_PROTO, &[protocol]);
    attribute(&mut message, RTA_DPORT, &destination.port().to_be_bytes());
    let length = u32::try_from(message.len()).unwrap_or(0);
    let flags = u16::try_from(libc::NLM_F_REQUEST).unwrap_or(0);
    let words = [length.to_ne_bytes(), join(libc::RTM_GETROUTE, flags), number.to_ne_bytes()].concat();
    message.iter_mut().zip(words).for_each(|(place, byte)| *place = byte);
    message
}

/// `struct rtattr`, whose length leaves out the zeros that it is filled up with.
fn attribute(message: &mut Vec<u8>, kind: u16, value: &[u8]) {
    message.extend(join(u16::try_from(4 + value.len()).unwrap_or(0), kind));
    message.extend(value);
    message.resize(message.len().next_multiple_of(4), 0);
}

fn join(first: u16, second: u16) -> [u8; 4] {
    let ([a, b], [c, d]) = (first.to_ne_bytes(), second.to_ne_bytes());
    [a, b, c, d]
}

/// `None` if it answers another question.
fn answer(reply: &[u8], number: u32) -> Option<io::Result<Reach>> {
    let word = |at: usize| Some(u32::from_ne_bytes(reply.get(at..at + 4)?.try_into().ok()?));
    let kind = reply.get(4..6).and_then(|kind| Some(u16::from_ne_bytes(kind.try_into().ok()?)));
    if word(8).is_some_and(|answered| answered != number) {
        return None;
    }
    let nonsense = || io::Error::from(io::ErrorKind::InvalidData);
    Some(match kind {
        Some(libc::RTM_NEWROUTE) => reply.get(ROUTE_TYPE).ok_or_else(nonsense).and_then(|kind| match *kind {
            libc::RTN_UNICAST => Ok(Reach::Elsewhere),
            libc::RTN_LOCAL | libc::RTN_ANYCAST => Ok(Reach::Here),
            libc::RTN_BROADCAST => Ok(Reach::Broadcast),
            libc::RTN_MULTICAST => Ok(Reach::Multicast),
            // A blackhole and its like, where the kernel tells of the route instead of its error.
            _ => Err(io::ErrorKind::HostUnreachable.into()),
        }),
        Some(kind) if i32::from(kind) == libc::NLMSG_ERROR => Err(match word(ERROR).map(u32::cast_signed) {
            Some(error @ ..0) => io::Error::from_raw_os_error(error.saturating_neg()),
            _ => nonsense(),
        }),
        _ => Err(nonsense()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_here_and_groups_are_groups() {
        let mut routing = Routing::open().unwrap();
        let mut reach = |text: &str| {
            let of = |protocol| routing.reach(protocol, SocketAddr::new(text.parse().unwrap(), 443)).unwrap();
            let [tcp, udp] = [6, 17].map(of);
            assert_eq!(tcp, udp);
            tcp
        };
        assert_eq!(reach("127.0.0.1"), Reach::Here);
        assert_eq!(reach("127.99.0.1"), Reach::Here, "no interface has it, and it is here all the same");
        assert_eq!(reach("::1"), Reach::Here);
        assert_eq!(reach("255.255.255.255"), Reach::Broadcast);
    }

    /// The kernel would not complain of a question that it understands otherwise.
    #[test]
    fn a_question_is_as_linux_reads_it() {
        let question = question(17, "192.0.2.1:443".parse().unwrap(), 9);
        let (head, attributes) = question.split_at(HEADER + ROUTE);
        assert_eq!(head[..4], u32::try_from(question.len()).unwrap().to_ne_bytes());
        assert_eq!(
            (head[4..8].to_vec(), &head[8..12]),
            ([26u16, 1].map(u16::to_ne_bytes).concat(), &9u32.to_ne_bytes()[..])
        );
        assert_eq!(head[16..18], [2, 32]);
        let pair = |length: u16, kind: u16| [length, kind].map(u16::to_ne_bytes).concat();
        let expected = [&pair(8, 1)[..], &[192, 0, 2, 1], &pair(5, 27), &[17, 0, 0, 0], &pair(6, 29), &[1, 187, 0, 0]];
        assert_eq!(attributes, expected.concat());
    }

    #[test]
    fn what_answers_nothing_is_an_error_and_what_answers_another_is_passed_over() {
        let reply = |kind: u16, number: u32, rest: &[u8]| {
            [&[0; 4], &kind.to_ne_bytes()[..], &[0; 2], &number.to_ne_bytes(), &[0; 4], rest].concat()
        };
        let route = |kind: u8| reply(libc::RTM_NEWROUTE, 7, &[2, 32, 0, 0, 0, 0, 0, kind]);
        assert_eq!(answer(&route(libc::RTN_UNICAST), 7).unwrap().unwrap(), Reach::Elsewhere);
        assert!(answer(&route(libc::RTN_UNICAST), 8).is_none());
        let refused = |bytes: &[u8]| answer(bytes, 7).unwrap().unwrap_err().kind();
        assert_eq!(refused(&route(libc::RTN_BLACKHOLE)), io::ErrorKind::HostUnreachable);
        assert_eq!(refused(&reply(2, 7, &(-libc::ENETUNREACH).to_ne_bytes())), io::ErrorKind::NetworkUnreachable);
        for short in [0, 3, 6, 12, 16, HEADER + 7] {
            assert_eq!(refused(&route(libc::RTN_UNICAST)[..short]), io::ErrorKind::InvalidData, "{short}");
        }
        assert_eq!(refused(&reply(2, 7, &0i32.to_ne_bytes())), io::ErrorKind::InvalidData);
        assert!(answer(&reply(2, 7, &i32::MIN.to_ne_bytes()), 7).unwrap().is_err());
    }
}
