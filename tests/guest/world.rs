//! A world around the emulated host that is the test's own: a link, everybody's addresses behind it, and a recorder that sees every
//! packet of the host's, on whichever interface.
//!
//! Behind the link is a network namespace, so that its addresses are other hosts' and not the host's own. Nothing leads out of the two.

use crate::bottle::guest_test;
use etherparse::{LaxNetSlice, LaxSlicedPacket, TransportSlice};
use nix::errno::Errno;
use nix::sched::{CloneFlags, unshare};
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, setsockopt, socket, sockopt};
use std::collections::BTreeSet;
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, UdpSocket};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::process::Command;
use std::sync::mpsc;
use std::thread;

/// The host's own address on the link.
pub const HOST: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 2);
const ROUTER: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);
const LINKS: [&str; 2] = ["02:00:00:00:00:01", "02:00:00:00:00:02"];
/// Sources of the host's are above, what is listened on below.
const EPHEMERAL: u16 = 32_768;

/// Runs the body where `places`, such as `192.0.2.1:443/tcp`, are all listened on: the host's own by the host, the others by the world.
pub fn in_a_world(places: &[&str], body: impl FnOnce(&Recorder)) {
    guest_test(|| {
        unshare(CloneFlags::CLONE_NEWNET).expect("these tests make network namespaces: run them as root");
        ip("link set lo up");
        let places: BTreeSet<(SocketAddrV4, &str)> = places.iter().map(|place| parse(place)).collect();
        let (own, others): (Vec<_>, Vec<_>) = places.into_iter().partition(|(at, _)| is_own(*at.ip()));
        let others: Vec<_> = others.into_iter().map(|(at, protocol)| (at, protocol.to_owned())).collect();
        connect_to_a_world(others);
        own.iter().for_each(|(at, protocol)| listen(*at, protocol));
        body(&Recorder::start());
    });
}

fn parse(place: &str) -> (SocketAddrV4, &str) {
    let (at, protocol) = place.rsplit_once('/').unwrap();
    (at.parse().unwrap(), protocol)
}

fn is_own(address: Ipv4Addr) -> bool {
    address == HOST || address.is_loopback()
}

fn ip(words: &str) {
    assert!(Command::new("ip").args(words.split(' ')).status().unwrap().success(), "ip {words}");
}

/// A thread's namespace lasts as long as its listeners.
fn connect_to_a_world(places: Vec<(SocketAddrV4, String)>) {
    let (made, world) = mpsc::channel();
    let (linked, link) = mpsc::channel::<()>();
    let (ready, everyone) = mpsc::channel();
    thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNET).unwrap();
        made.send(nix::unistd::gettid()).unwrap();
        link.recv().unwrap();
        for words in ["link set lo up".to_owned(), format!("addr add {ROUTER}/24 dev world")] {
            ip(&words);
        }
        bring_up("world", (HOST, LINKS[0]));
        for address in places.iter().map(|(at, _)| *at.ip()).collect::<BTreeSet<_>>() {
            ip(&format!("addr add {address}/32 dev lo"));
        }
        places.iter().for_each(|(at, protocol)| listen(*at, protocol));
        ready.send(()).unwrap();
        thread::park();
    });
    let [here, there] = LINKS;
    let world = world.recv().unwrap();
    ip(&format!("link add uplink address {here} type veth peer name world address {there} netns {world}"));
    ip(&format!("addr add {HOST}/24 dev uplink"));
    linked.send(()).unwrap();
    everyone.recv().unwrap();
    bring_up("uplink", (ROUTER, there));
    ip(&format!("route add default via {ROUTER}"));
}

/// Without a packet of the kernel's own: neither IPv6 nor ARP.
fn bring_up(interface: &str, (neighbour, link): (Ipv4Addr, &str)) {
    std::fs::write(format!("/proc/sys/net/ipv6/conf/{interface}/disable_ipv6"), "1").unwrap();
    ip(&format!("link set {interface} up"));
    ip(&format!("neigh add {neighbour} lladdr {link} dev {interface} nud permanent"));
}

/// Greets everyone who connects, and answers every datagram.
fn listen(at: SocketAddrV4, protocol: &str) {
    if protocol == "tcp" {
        let listener = TcpListener::bind(at).unwrap();
        thread::spawn(move || listener.incoming().flatten().for_each(|mut guest| drop(guest.write_all(b"hello\n"))));
    } else {
        let socket = UdpSocket::bind(at).unwrap();
        thread::spawn(move || {
            while let Ok((_, from)) = socket.recv_from(&mut [0; 2048]) {
                let _ = socket.send_to(b"hello\n", from);
            }
        });
    }
}

/// Sees every packet of the host's.
pub struct Recorder(OwnedFd);

impl Recorder {
    fn start() -> Self {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let socket = socket(AddressFamily::Packet, SockType::Raw, flags, SockProtocol::EthAll).unwrap();
        setsockopt(&socket, sockopt::RcvBufForce, &(64 << 20)).unwrap();
        Self(socket)
    }

    /// What has been spoken with since the last call, sorted: `ADDRESS:PORT/PROTOCOL` for each conversation, `other` for each packet that is none.
    pub fn heard(&self) -> Vec<String> {
        let (mut conversations, mut others) = (BTreeSet::new(), Vec::new());
        let mut frame = [0; 128];
        loop {
            match recv(self.0.as_raw_fd(), &mut frame, MsgFlags::empty()) {
                Ok(length) => match conversation(&frame[..length]) {
                    Ok(conversation) => drop(conversations.insert(conversation)),
                    Err(other) => others.push(other),
                },
                Err(Errno::EAGAIN) => break,
                Err(errno) => panic!("{errno}"),
            }
        }
        let mut heard: Vec<_> = conversations.into_iter().map(|(_, place)| place).chain(others).collect();
        heard.sort();
        heard
    }
}

/// The host's port, and whom it spoke with from there; or what else a frame is.
fn conversation(frame: &[u8]) -> Result<(u16, String), String> {
    let other = || format!("other {frame:02x?}");
    let packet = LaxSlicedPacket::from_ethernet(frame).map_err(|_| other())?;
    let Some(LaxNetSlice::Ipv4(ip)) = &packet.net else { return Err(other()) };
    let (from, to) = (ip.header().source_addr(), ip.header().destination_addr());
    let (protocol, from_port, to_port) = match packet.transport.as_ref().ok_or_else(other)? {
        TransportSlice::Tcp(tcp) => ("tcp", tcp.source_port(), tcp.destination_port()),
        TransportSlice::Udp(udp) => ("udp", udp.source_port(), udp.destination_port()),
        _ => return Err(other()),
    };
    match (from_port < EPHEMERAL, to_port < EPHEMERAL) {
        (false, true) => Ok((from_port, format!("{to}:{to_port}/{protocol}"))),
        (true, false) => Ok((to_port, format!("{from}:{from_port}/{protocol}"))),
        _ => Err(other()),
    }
}
