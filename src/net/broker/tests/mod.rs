//! A broker in front of a monitor that a test plays.

mod bundle;
mod connecting;
mod limits;
mod monitors;

use super::*;
use crate::monitor::wire::pair;
use crate::net::policy::{Bundle, Cidr, Surroundings, parse_entries};
use crate::net::readback::Answer;
use crate::sys::passing;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{Shutdown, send as raw_send};
use std::future::Future;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::thread;

const NETWORK: Ipv4Addr = Ipv4Addr::new(192, 168, 77, 0);
const BUNDLE: Ipv4Addr = Ipv4Addr::new(192, 168, 77, 2);

fn policy(entries: &[String]) -> Policy {
    let network = Cidr::around(NETWORK, 24);
    let surroundings = Surroundings { network, bundle: Bundle::Virtual(BUNDLE), host: vec![] };
    Policy::new(parse_entries("--allow", entries).unwrap(), surroundings).unwrap()
}

/// A broker in front of a monitor that a test plays, in a thread of its own.
struct Stage {
    entries: Vec<String>,
    limits: Limits,
    bundle: Option<BundleDirectory>,
}

impl Stage {
    fn allowing(entries: &[&str]) -> Self {
        let entries = entries.iter().map(|&entry| entry.to_owned()).collect();
        Self { entries, limits: Limits::default(), bundle: None }
    }

    /// What the broker said in the end, and its ledger.
    fn play(self, monitor: impl FnOnce(Monitor) + Send + 'static) -> (Result<(), BrokerError>, Ledger) {
        self.play_beside(monitor, std::future::pending())
    }

    fn play_beside(
        self,
        monitor: impl FnOnce(Monitor) + Send + 'static,
        beside: impl Future<Output = ()>,
    ) -> (Result<(), BrokerError>, Ledger) {
        let (ours, theirs) = pair().unwrap();
        let ledger = Arc::new(Mutex::new(Ledger::new(None)));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let served = runtime.block_on(async {
            let policy = policy(&self.entries);
            let broker = Broker::new(ours, policy, self.bundle, self.limits, Arc::clone(&ledger)).unwrap();
            let player = thread::spawn(move || monitor(Monitor { socket: theirs }));
            let serving = async {
                tokio::select! {
                    biased;
                    () = beside => unreachable!("it never ends"),
                    served = broker.serve() => served,
                }
            };
            let served = tokio::time::timeout(Duration::from_secs(60), serving).await.expect("it goes on");
            player.join().unwrap();
            served
        });
        (served, Arc::try_unwrap(ledger).unwrap().into_inner().unwrap())
    }
}

struct Monitor {
    socket: OwnedFd,
}

impl Monitor {
    fn say(&self, bytes: &[u8]) {
        raw_send(self.socket.as_raw_fd(), bytes, MsgFlags::MSG_NOSIGNAL).unwrap();
    }

    fn request(&self, flow: u32, protocol: Protocol, destination: SocketAddr) {
        self.say(&Request::Connect { flow, protocol, destination }.encode());
    }

    fn hear(&self) -> (Reply, Option<OwnedFd>) {
        let mut bytes = [0; 64];
        poll(&mut [PollFd::new(self.socket.as_fd(), PollFlags::POLLIN)], PollTimeout::NONE).unwrap();
        let (length, descriptor) = passing::receive(self.socket.as_fd(), &mut bytes).unwrap();
        (Reply::decode(&bytes[..length]).unwrap(), descriptor)
    }

    fn connect(&self, flow: u32, protocol: Protocol, destination: SocketAddr) -> Result<OwnedFd, Cause> {
        self.request(flow, protocol, destination);
        match self.hear() {
            (Reply::Connected { flow: answered }, Some(descriptor)) if answered == flow => Ok(descriptor),
            (Reply::Refused { flow: answered, cause }, None) if answered == flow => Err(cause),
            other => panic!("{other:?}"),
        }
    }

    fn tcp(&self, flow: u32, destination: SocketAddr) -> Result<TcpStream, Cause> {
        self.connect(flow, Protocol::Tcp, destination).map(TcpStream::from)
    }

    fn closed(&self, flow: u32) {
        self.say(&Request::Closed { flow }.encode());
    }
}

fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

fn directory(mode: u32) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(mode)).unwrap();
    directory
}
