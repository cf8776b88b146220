//! The interface: frames out as they are, and what comes back told in a word.

use crate::forms::Segments;
use etherparse::{
    ArpOperation, ArpPacketSlice, Ethernet2HeaderSlice, Icmpv4Type, NetSlice, SlicedPacket, TransportSlice,
};
use nix::errno::Errno;
use nix::ifaddrs::getifaddrs;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType, bind, recv, send, setsockopt, socket, sockopt,
};
use nix::{setsockopt_impl, sockopt_impl};
use std::io::{self, Error, ErrorKind};
use std::net::Ipv4Addr;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::time::Duration;

const INTERFACE: &str = "eth0";
/// Ethernet addresses as they are meant to be: the guest's, and that of everybody else.
pub const GUEST: [u8; 6] = [0x02, 0x62, 0x6f, 0x74, 0, 3];
pub const HOST: [u8; 6] = [0x02, 0x62, 0x6f, 0x74, 0, 1];

// Frames begin with a `struct virtio_net_hdr`, ten bytes (packet(7)).
const PACKET_VNET_HDR: i32 = 15;
sockopt_impl!(VnetHeader, SetOnly, libc::SOL_PACKET, PACKET_VNET_HDR, bool);

pub struct Wire {
    socket: OwnedFd,
    /// The same with [`VnetHeader`].
    segments: OwnedFd,
    address: Ipv4Addr,
}

impl Wire {
    pub fn open() -> io::Result<Self> {
        let addresses: Vec<_> = getifaddrs()?.filter(|entry| entry.interface_name == INTERFACE).collect();
        let addresses = || addresses.iter().filter_map(|entry| entry.address.as_ref());
        let none = || Error::new(ErrorKind::NotFound, INTERFACE);
        let link: &LinkAddr = addresses().find_map(|address| address.as_link_addr()).ok_or_else(none)?;
        let address = addresses().find_map(|address| Some(address.as_sockaddr_in()?.ip())).ok_or_else(none)?;
        let open = || {
            let socket = socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::EthAll)?;
            bind(socket.as_raw_fd(), link)?;
            io::Result::Ok(socket)
        };
        let (socket, segments) = (open()?, open()?);
        setsockopt(&segments, VnetHeader, &true)?;
        // The largest frames have to fit.
        setsockopt(&segments, sockopt::SndBufForce, &(1 << 20))?;
        Ok(Self { socket, segments, address })
    }

    /// The guest's own address.
    pub fn address(&self) -> Ipv4Addr {
        self.address
    }

    pub fn send(&self, frame: &[u8]) -> io::Result<()> {
        send(self.socket.as_raw_fd(), frame, MsgFlags::empty())?;
        Ok(())
    }

    /// As segments of TCP over IPv4, whose checksums are left to others.
    pub fn send_segments(&self, Segments { frame, size }: &Segments) -> io::Result<()> {
        const NEEDS_CSUM: u8 = 1;
        const GSO_TCPV4: u8 = 1;
        let [low, high] = size.to_le_bytes();
        // Where TCP begins, and where its checksum stands from there.
        let header = [NEEDS_CSUM, GSO_TCPV4, 0, 0, low, high, 34, 0, 16, 0];
        send(self.segments.as_raw_fd(), &[&header, frame.as_slice()].concat(), MsgFlags::empty())?;
        Ok(())
    }

    /// The next answer, if one comes in time.
    pub fn answer(&self, patience: Duration) -> io::Result<Option<String>> {
        let timeout = PollTimeout::try_from(patience).map_err(Error::other)?;
        let mut frame = [0; 2048];
        while poll(&mut [PollFd::new(self.socket.as_fd(), PollFlags::POLLIN)], timeout)? > 0 {
            match recv(self.socket.as_raw_fd(), &mut frame, MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_TRUNC) {
                Ok(length) => {
                    let told = tell(frame.get(..length).unwrap_or(&frame));
                    if told.is_some() {
                        return Ok(told);
                    }
                }
                Err(Errno::EAGAIN) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(None)
    }
}

/// What is worth telling of a frame for the guest.
fn tell(frame: &[u8]) -> Option<String> {
    if Ethernet2HeaderSlice::from_slice(frame).ok()?.destination() != GUEST {
        return None;
    }
    if let Ok(arp) = ArpPacketSlice::from_slice(frame.get(14..)?).ok()?.to_packet().try_eth_ipv4()
        && frame.get(12..14)? == [8, 6]
    {
        return (arp.operation == ArpOperation::REPLY).then(|| format!("arp {}", arp.sender_ipv4_addr()));
    }
    let packet = SlicedPacket::from_ethernet(frame).ok()?;
    let Some(NetSlice::Ipv4(ip)) = packet.net else { return Some("neither ARP nor IPv4".to_owned()) };
    let from = ip.header().source_addr();
    match packet.transport? {
        TransportSlice::Tcp(tcp) if tcp.rst() => Some(format!("reset {from}:{}", tcp.source_port())),
        TransportSlice::Tcp(tcp) if tcp.syn() => Some(format!("syn {from}:{}", tcp.source_port())),
        TransportSlice::Udp(udp) => Some(format!("datagram {from}:{}", udp.source_port())),
        TransportSlice::Icmpv4(icmp) if matches!(icmp.icmp_type(), Icmpv4Type::EchoReply(_)) => {
            Some(format!("echo {from}"))
        }
        TransportSlice::Icmpv4(icmp) if matches!(icmp.icmp_type(), Icmpv4Type::DestinationUnreachable(_)) => {
            Some(format!("unreachable {from}"))
        }
        _ => None,
    }
}
