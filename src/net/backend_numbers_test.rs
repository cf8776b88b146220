//! The numbers that were promised, with the real broker and real sockets on loopback: 10,000 flows at once, 100,000 one after another,
//! and memory and descriptors that stay as they are. Those are a process's, so the launcher and the monitor of such a test are a
//! process of their own; the host that they connect to is the test.

use super::*;
use crate::net::broker::{Broker, Limits};
use crate::net::ledger::Ledger;
use crate::net::policy::{Bundle, Cidr, Policy, Surroundings, parse_entries};
use crate::net::stack::{GUEST_MAC, OUR_MAC};
use crate::vmm::event_loop::EventLoop;
use etherparse::{PacketBuilder, PacketBuilderStep, SlicedPacket, TcpHeader, TransportSlice};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use std::collections::HashMap;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddrV4, TcpListener};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::{env, fs, thread};

const GUEST: [u8; 4] = [192, 168, 7, 3];
/// The host's address, in the process that is launcher and monitor.
const SERVER: &str = "NUMBERS_SERVER";
/// Begun at once: a guest does not wait for one connection before it begins the next.
const BATCH: u16 = 50;

/// Runs `bottle` in a process of its own, with the address where `host` listens.
fn apart(test: &str, host: impl FnOnce(TcpListener) + Send + 'static, bottle: impl FnOnce(SocketAddrV4)) {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).unwrap();
    if let Ok(server) = env::var(SERVER) {
        return bottle(server.parse().unwrap());
    }
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let host = thread::spawn(move || host(listener));
    let mut process = Command::new(env::current_exe().unwrap());
    process.args([&format!("net::backend::numbers::{test}"), "--exact", "--nocapture"]);
    let output = process.env(SERVER, address.to_string()).output().unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{told}{}", String::from_utf8_lossy(&output.stderr));
    assert!(told.contains("1 passed"), "{told}");
    host.join().unwrap();
}

/// A segment for the guest.
struct Got {
    port: u16,
    seq: u32,
    syn: bool,
    fin: bool,
    data: Vec<u8>,
}

/// A guest in front of a monitor's network and a launcher's broker.
struct Guest {
    backend: Backend,
    broker: OwnedFd,
    server: SocketAddrV4,
    ledger: Arc<Mutex<Ledger>>,
    /// Taken while something else was waited for.
    early: Vec<Got>,
    _event_loop: EventLoop,
}

impl Guest {
    fn allowed(server: SocketAddrV4, limits: Limits) -> Self {
        let (ours, theirs) = crate::monitor::wire::pair().unwrap();
        let ledger = Arc::new(Mutex::new(Ledger::new(None)));
        let network = Cidr::around([192, 168, 7, 0].into(), 24);
        let surroundings = Surroundings { network, bundle: Bundle::None, host: vec![] };
        let policy = Policy::new(parse_entries("--allow", &[server.to_string()]).unwrap(), surroundings).unwrap();
        let kept = Arc::clone(&ledger);
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let serve = async { Broker::new(ours, policy, None, limits, kept).unwrap().serve().await.unwrap() };
            runtime.block_on(serve);
        });
        let event_loop = EventLoop::new().unwrap();
        let broker = theirs.try_clone().unwrap();
        let spec = NetSpec::in_network([192, 168, 7, 0].into());
        let backend = Backend::new(spec, theirs, event_loop.next_registrar()).unwrap();
        Self { backend, broker, server, ledger, early: vec![], _event_loop: event_loop }
    }

    fn tcp(&self, port: u16, seq: u32) -> PacketBuilderStep<TcpHeader> {
        let ethernet = PacketBuilder::ethernet2(GUEST_MAC, OUR_MAC);
        ethernet.ipv4(GUEST, self.server.ip().octets(), 64).tcp(port, self.server.port(), seq, 60_000)
    }

    fn send(&mut self, step: PacketBuilderStep<TcpHeader>, data: &[u8]) {
        let mut frame = Vec::new();
        step.write(&mut frame, data).unwrap();
        self.backend.quota();
        self.backend.receive(&GuestFrame { parts: vec![VolatileSlice::from(frame.as_mut_slice())] });
    }

    /// Waits for the broker to say something, and hears it.
    fn hear(&mut self) {
        let said = poll(&mut [PollFd::new(self.broker.as_fd(), PollFlags::POLLIN)], PollTimeout::from(60_000u16));
        assert_eq!(said, Ok(1), "the broker says nothing");
        self.backend.host_event(BROKER, EventSet::IN);
    }

    fn take(&mut self) -> Vec<Got> {
        let mut all = std::mem::take(&mut self.early);
        while let Some(frame) = self.backend.next().map(|frame| [frame.head, frame.body].concat()) {
            self.backend.sent();
            let packet = SlicedPacket::from_ethernet(&frame).unwrap();
            let Some(TransportSlice::Tcp(tcp)) = packet.transport else { panic!("{frame:x?}") };
            assert!(!tcp.rst(), "reset");
            let (port, seq) = (tcp.destination_port(), tcp.sequence_number());
            all.push(Got { port, seq, syn: tcp.syn(), fin: tcp.fin(), data: tcp.payload().to_vec() });
        }
        all
    }

    /// Opens a connection from each of some ports; where the other side's sequence goes on.
    fn open(&mut self, ports: std::ops::Range<u16>) -> HashMap<u16, u32> {
        let count = ports.len();
        ports.for_each(|port| self.send(self.tcp(port, 1).syn(), &[]));
        let mut open = HashMap::new();
        while open.len() < count {
            self.hear();
            let (greetings, others): (Vec<_>, _) = self.take().into_iter().partition(|got| got.syn);
            self.early = others;
            for got in greetings {
                self.send(self.tcp(got.port, 2).ack(got.seq.wrapping_add(1)), &[]);
                open.insert(got.port, got.seq.wrapping_add(1));
            }
        }
        open
    }

    /// What the broker has under way.
    fn settled(&self, flows: u64) {
        for _ in 0..5000 {
            if self.ledger.lock().unwrap().counts().flows == flows {
                return;
            }
            thread::sleep(Duration::from_millis(1));
        }
        panic!("the broker does not come to have {flows} flows");
    }
}

/// Descriptors, and KiB of memory.
fn held() -> (usize, usize) {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    let kib = resident.split_whitespace().next().unwrap().parse().unwrap();
    (fs::read_dir("/proc/self/fd").unwrap().count(), kib)
}

/// The host ends each at once.
#[test]
fn a_hundred_thousand_connections_one_after_another_hold_nothing() {
    const ALL: u32 = 100_000;
    let host = |listener: TcpListener| (0..ALL).for_each(|_| drop(listener.accept().unwrap()));
    apart("a_hundred_thousand_connections_one_after_another_hold_nothing", host, |server| {
        let mut guest = Guest::allowed(server, Limits { pace: None, ..Limits::default() });
        let mut after_some = None;
        for batch in 0..ALL / u32::from(BATCH) {
            let first = 1024 + u16::try_from(batch % 1000).unwrap() * BATCH;
            guest.open(first..first + BATCH);
            let mut ended = 0;
            while ended < BATCH {
                (0..2 * u32::from(BATCH)).for_each(|flow| guest.backend.host_event(flow, EventSet::IN));
                for got in guest.take().into_iter().filter(|got| got.fin) {
                    guest.send(guest.tcp(got.port, 2).ack(got.seq.wrapping_add(1)).fin(), &[]);
                    ended += 1;
                }
                thread::yield_now();
            }
            guest.take();
            if batch == 200 {
                guest.settled(0);
                after_some = Some(held());
            }
        }
        guest.settled(0);
        let (some, all) = (after_some.unwrap(), held());
        assert_eq!(guest.ledger.lock().unwrap().counts().connected, u64::from(ALL));
        assert_eq!(all.0, some.0, "descriptors");
        assert!(all.1 <= some.1 + 2048, "memory: {} KiB after some, {} KiB after all", some.1, all.1);
    });
}

/// Each of them carries bytes in both directions.
#[test]
fn ten_thousand_connections_at_once_all_work() {
    const ALL: u16 = 10_000;
    let host = |listener: TcpListener| {
        let mut streams: Vec<_> = (0..ALL).map(|_| listener.accept().unwrap().0).collect();
        streams.iter_mut().for_each(|stream| stream.write_all(b"hello").unwrap());
        for stream in &mut streams {
            let mut word = [0; 5];
            stream.read_exact(&mut word).unwrap();
            assert_eq!(&word, b"guest");
        }
    };
    apart("ten_thousand_connections_at_once_all_work", host, |server| {
        let mut guest = Guest::allowed(server, Limits::default());
        let mut open = HashMap::new();
        for first in (1024..1024 + ALL).step_by(BATCH.into()) {
            open.extend(guest.open(first..first + BATCH));
        }
        guest.settled(ALL.into());
        let mut greeted = 0;
        while greeted < ALL {
            (0..u32::from(ALL)).for_each(|flow| guest.backend.host_event(flow, EventSet::IN));
            for got in guest.take().into_iter().filter(|got| !got.data.is_empty()) {
                assert_eq!((got.seq, got.data.as_slice()), (open[&got.port], b"hello".as_slice()));
                guest.send(guest.tcp(got.port, 2).ack(got.seq.wrapping_add(5)), b"guest");
                greeted += 1;
            }
        }
        assert!(held().0 > usize::from(ALL));
    });
}
