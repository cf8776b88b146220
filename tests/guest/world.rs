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
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::process::Command;
use std::sync::mpsc::{self, Receiver, Sender};
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
        let (ear, said) = mpsc::channel();
        connect_to_a_world(others, ear.clone());
        own.iter().for_each(|(at, protocol)| listen(*at, protocol, &ear));
        body(&Recorder::start(said));
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
fn connect_to_a_world(places: Vec<(SocketAddrV4, String)>, ear: Sender<Said>) {
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
        places.iter().for_each(|(at, protocol)| listen(*at, protocol, &ear));
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

/// A place, and the bytes that a connection to it has brought there.
pub type Said = (String, Vec<u8>);

/// Greets everyone who connects, listens to the end, and answers every datagram.
fn listen(at: SocketAddrV4, protocol: &str, ear: &Sender<Said>) {
    if protocol == "tcp" {
        let (listener, ear) = (TcpListener::bind(at).unwrap(), ear.clone());
        let greeter = move |guest| {
            let ear = ear.clone();
            thread::spawn(move || greet(guest, at, &ear));
        };
        thread::spawn(move || listener.incoming().flatten().for_each(greeter));
    } else {
        let socket = UdpSocket::bind(at).unwrap();
        thread::spawn(move || {
            while let Ok((_, from)) = socket.recv_from(&mut [0; 2048]) {
                let _ = socket.send_to(b"hello\n", from);
            }
        });
    }
}

/// What was said is told before the guest hears that the connection is over.
fn greet(mut guest: TcpStream, at: SocketAddrV4, ear: &Sender<Said>) {
    let mut said = Vec::new();
    // Whoever goes away without a word is heard of all the same, by the recorder.
    let _ = guest.write_all(b"hello\n").and_then(|()| guest.read_to_end(&mut said));
    if !said.is_empty() {
        let _ = ear.send((format!("{at}/tcp"), said));
    }
}

/// Sees every packet of the host's, and what those who listen have been told.
pub struct Recorder {
    socket: OwnedFd,
    said: Receiver<Said>,
}

impl Recorder {
    fn start(said: Receiver<Said>) -> Self {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let socket = socket(AddressFamily::Packet, SockType::Raw, flags, SockProtocol::EthAll).unwrap();
        setsockopt(&socket, sockopt::RcvBufForce, &(64 << 20)).unwrap();
        Self { socket, said }
    }

    /// What has been spoken with since the last call, sorted: `ADDRESS:PORT/PROTOCOL` for each conversation, `other` for each packet that is none.
    pub fn heard(&self) -> Vec<String> {
        let (mut conversations, mut others) = (BTreeSet::new(), Vec::new());
        let mut frame = [0; 128];
        loop {
            match recv(self.socket.as_raw_fd(), &mut frame, MsgFlags::empty()) {
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

    /// What has been said to those who listen since the last call, sorted.
    pub fn said(&self) -> Vec<Said> {
        let mut said: Vec<_> = self.said.try_iter().collect();
        said.sort();
        said
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
