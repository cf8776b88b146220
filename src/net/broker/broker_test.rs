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

#[test]
fn an_allowed_connection_is_handed_over_connected() {
    let (listener, address) = listener();
    let (served, ledger) = Stage::allowing(&[&address.to_string()]).play(move |monitor| {
        let mut ours = monitor.tcp(1, address).unwrap();
        let flags = nix::fcntl::fcntl(&ours, nix::fcntl::FcntlArg::F_GETFL).unwrap();
        assert_ne!(flags & nix::fcntl::OFlag::O_NONBLOCK.bits(), 0);
        assert!(ours.nodelay().unwrap());
        let (mut theirs, _) = listener.accept().unwrap();
        ours.write_all(b"ping").unwrap();
        let mut word = [0; 4];
        theirs.read_exact(&mut word).unwrap();
        // The broker keeps no copy: when ours is closed, the other side is told.
        drop(ours);
        assert_eq!((word, theirs.read(&mut word).unwrap()), (*b"ping", 0));
        // In IPv6 clothes it is the same.
        let IpAddr::V4(v4) = address.ip() else { unreachable!() };
        monitor.tcp(2, SocketAddr::new(v4.to_ipv6_mapped().into(), address.port())).unwrap();
    });
    served.unwrap();
    assert_eq!((ledger.counts().connected, ledger.counts().denied, ledger.counts().flows), (2, 0, 2));
}

#[test]
fn an_urgent_byte_is_in_its_place() {
    let (listener, address) = listener();
    let (served, _) = Stage::allowing(&[&address.to_string()]).play(move |monitor| {
        let mut ours = monitor.tcp(1, address).unwrap();
        let (mut theirs, _) = listener.accept().unwrap();
        theirs.write_all(b"before").unwrap();
        raw_send(theirs.as_raw_fd(), b"!", MsgFlags::MSG_OOB).unwrap();
        theirs.write_all(b"behind").unwrap();
        drop(theirs);
        ours.set_nonblocking(false).unwrap();
        let mut all = String::new();
        ours.read_to_string(&mut all).unwrap();
        assert_eq!(all, "before!behind");
    });
    served.unwrap();
}

#[test]
fn what_is_denied_is_not_even_tried() {
    let (allowed, address) = listener();
    let (forbidden, elsewhere) = listener();
    let (served, ledger) = Stage::allowing(&[&address.to_string(), "0.0.0.0/0"]).play(move |monitor| {
        assert_eq!(monitor.tcp(1, elsewhere).unwrap_err(), Cause::Denied);
        assert_eq!(monitor.connect(2, Protocol::Udp, address).unwrap_err(), Cause::Denied);
        assert_eq!(monitor.tcp(3, SocketAddr::new(BUNDLE.into(), 22)).unwrap_err(), Cause::Denied);
        assert_eq!(monitor.tcp(4, "[::1]:22".parse().unwrap()).unwrap_err(), Cause::Denied);
        // The listener would notice: the probe itself works.
        monitor.tcp(5, address).unwrap();
    });
    served.unwrap();
    allowed.accept().unwrap();
    forbidden.set_nonblocking(true).unwrap();
    assert_eq!(forbidden.accept().unwrap_err().kind(), io::ErrorKind::WouldBlock);
    assert_eq!((ledger.counts().denied, ledger.counts().connected), (4, 1));
    let summary = ledger.summary().unwrap();
    assert!(summary.starts_with("egress: 4 refused: ") && summary.contains(&format!("{elsewhere}/tcp")), "{summary}");
}

#[test]
fn a_refusal_of_the_other_side_reaches_the_guest_as_one() {
    let (closed, address) = listener();
    drop(closed);
    let (served, ledger) = Stage::allowing(&[&address.to_string()]).play(move |monitor| {
        assert_eq!(monitor.tcp(1, address).unwrap_err(), Cause::ConnectionRefused);
        assert_eq!(monitor.tcp(1, address).unwrap_err(), Cause::ConnectionRefused, "the number is free again");
    });
    served.unwrap();
    assert_eq!((ledger.counts().failed, ledger.counts().flows, ledger.summary()), (2, 0, None));
}

/// In a network namespace without any route, so that no packet can leave.
#[test]
fn a_network_that_is_not_there_reaches_the_guest_as_that() {
    if let Err(errno) = nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET) {
        assert!(!nix::unistd::geteuid().is_root(), "root makes network namespaces: {errno}");
        // Past libtest, which would keep it to itself.
        writeln!(io::stderr(), "SKIPPED: a network that is not there (making a network namespace needs root)").unwrap();
        return;
    }
    let (served, _) = Stage::allowing(&["192.0.2.1:443", "[2001:db8::1]:443", "192.0.2.1:53/udp"]).play(|monitor| {
        assert_eq!(monitor.tcp(1, "192.0.2.1:443".parse().unwrap()).unwrap_err(), Cause::NetworkUnreachable);
        assert_eq!(monitor.tcp(2, "[2001:db8::1]:443".parse().unwrap()).unwrap_err(), Cause::NetworkUnreachable);
        let udp = monitor.connect(3, Protocol::Udp, "192.0.2.1:53".parse().unwrap());
        assert_eq!(udp.unwrap_err(), Cause::NetworkUnreachable);
    });
    served.unwrap();
}

/// The host may be given an address at any time, and answers for all of them from any: Linux connects to a secondary address from the
/// primary one.
#[test]
fn the_host_is_in_no_range_under_whatever_address_it_is_given() {
    if let Err(errno) = nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET) {
        assert!(!nix::unistd::geteuid().is_root(), "root makes network namespaces: {errno}");
        writeln!(io::stderr(), "SKIPPED: an address that is given later (making a network namespace needs root)")
            .unwrap();
        return;
    }
    let ip = |words: &str| assert!(std::process::Command::new("ip").args(words.split(' ')).status().unwrap().success());
    ip("link set lo up");
    ip("link add here type veth peer name there");
    ip("link set here up");
    ip("link set there up");
    ip("addr add 198.51.100.2/24 dev here");
    let own = ["198.51.100.2", "198.51.100.3", "198.51.100.9", "203.0.113.7"].map(|address| address.parse().unwrap());
    let entries = ["198.51.100.0/24", "198.51.100.0/24/udp", "203.0.113.0/24", "203.0.113.0/24/udp", "198.51.100.9"];
    let (given, later) = std::sync::mpsc::channel();
    let (added, there) = std::sync::mpsc::channel();
    let play = move |monitor: Monitor| {
        // This thread is in the namespace, too.
        given.send(()).unwrap();
        there.recv().unwrap();
        let listeners: Vec<_> = own.map(|address: IpAddr| TcpListener::bind((address, 8080)).unwrap()).into();
        let servers: Vec<_> = own.map(|address: IpAddr| UdpSocket::bind((address, 8080)).unwrap()).into();
        let at = |address| SocketAddr::new(address, 8080);
        for (flow, address) in (0..).zip(own) {
            let named = address == own[2];
            let expected = if named { Ok(()) } else { Err(Cause::Denied) };
            assert_eq!(monitor.tcp(flow, at(address)).map(drop), expected, "{address}");
            let udp = monitor.connect(flow + 100, Protocol::Udp, at(address)).map(drop);
            assert_eq!(udp, Err(Cause::Denied), "{address}");
        }
        let broadcast = "198.51.100.255".parse().unwrap();
        assert_eq!(monitor.connect(200, Protocol::Udp, at(broadcast)).map(drop), Err(Cause::Denied));
        // Elsewhere is where it was: nobody is there, but it is not the host.
        let elsewhere = monitor.connect(201, Protocol::Udp, at("198.51.100.77".parse().unwrap()));
        elsewhere.unwrap();
        // But for a rule that takes this protocol and port to the host; without it nobody would have answered.
        let turned = "198.51.100.77:8081".parse().unwrap();
        assert_eq!(monitor.tcp(202, turned).map(drop), Err(Cause::Denied));
        monitor.connect(203, Protocol::Udp, turned).unwrap();
        for (address, listener) in own.iter().zip(&listeners) {
            listener.set_nonblocking(true).unwrap();
            assert_eq!(listener.accept().is_ok(), *address == own[2], "{address} was not even tried");
        }
        drop(servers);
    };
    let beside = async {
        tokio::task::yield_now().await;
        later.recv().unwrap();
        ip("addr add 198.51.100.3/24 dev here");
        ip("addr add 198.51.100.9/24 dev here");
        ip("route add local 203.0.113.0/24 dev lo");
        ip("rule add ipproto tcp dport 8081 lookup 77");
        ip("route add local 198.51.100.0/24 dev lo table 77");
        added.send(()).unwrap();
        std::future::pending::<()>().await;
    };
    let (served, ledger) = Stage::allowing(&entries).play_beside(play, beside);
    served.unwrap();
    let summary = ledger.summary().unwrap();
    assert!(summary.contains("198.51.100.3:8080/tcp"), "{summary}");
}

#[test]
fn a_datagram_socket_hears_its_destination_only() {
    let server = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = server.local_addr().unwrap();
    let (served, _) = Stage::allowing(&[&format!("{address}/udp")]).play(move |monitor| {
        let ours = UdpSocket::from(monitor.connect(1, Protocol::Udp, address).unwrap());
        assert_eq!(ours.peer_addr().unwrap(), address);
        ours.send(b"question").unwrap();
        let mut word = [0; 16];
        let (length, from) = server.recv_from(&mut word).unwrap();
        assert_eq!(&word[..length], b"question");
        UdpSocket::bind("127.0.0.1:0").unwrap().send_to(b"stranger", from).unwrap();
        server.send_to(b"answer", from).unwrap();
        ours.set_nonblocking(false).unwrap();
        let length = ours.recv(&mut word).unwrap();
        assert_eq!(&word[..length], b"answer");
    });
    served.unwrap();
}

fn directory(mode: u32) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(mode)).unwrap();
    directory
}

#[test]
fn the_bundles_ports_are_sockets_of_a_directory() {
    // A path that is longer than the address of a Unix socket.
    let outer = directory(0o700);
    let long = outer.path().join("x".repeat(150));
    std::fs::create_dir(&long).unwrap();
    std::fs::set_permissions(&long, std::fs::Permissions::from_mode(0o700)).unwrap();
    let short = outer.path().join("s");
    let listener = std::os::unix::net::UnixListener::bind(&short).unwrap();
    std::fs::rename(&short, long.join("8888.sock")).unwrap();
    let gone = std::os::unix::net::UnixListener::bind(outer.path().join("g")).unwrap();
    std::fs::rename(outer.path().join("g"), long.join("9418.sock")).unwrap();
    drop(gone);
    let bundle = Some(BundleDirectory::open(&long).unwrap());
    let (served, ledger) = Stage { bundle, ..Stage::allowing(&[]) }.play(move |monitor| {
        let at = |port| SocketAddr::new(BUNDLE.into(), port);
        let descriptor = monitor.connect(1, Protocol::Tcp, at(8888)).unwrap();
        let mut ours = std::os::unix::net::UnixStream::from(descriptor);
        ours.write_all(b"GET").unwrap();
        let mut word = [0; 3];
        listener.accept().unwrap().0.read_exact(&mut word).unwrap();
        assert_eq!(&word, b"GET");
        assert_eq!(monitor.tcp(2, at(9418)).unwrap_err(), Cause::ConnectionRefused, "nobody listens any more");
        assert_eq!(monitor.tcp(3, at(9420)).unwrap_err(), Cause::ConnectionRefused, "nobody ever did");
        assert_eq!(monitor.tcp(4, at(22)).unwrap_err(), Cause::Denied);
    });
    served.unwrap();
    assert_eq!((ledger.counts().connected, ledger.counts().failed, ledger.counts().denied), (1, 2, 1));
}

#[test]
fn only_a_directory_of_ones_own_is_a_bundle() {
    let open = directory(0o750);
    let error = BundleDirectory::open(open.path()).unwrap_err();
    assert!(
        matches!(error, BundleError::Shared { mode: 0o750, .. }) && error.hint().unwrap().starts_with("`chmod 700")
    );
    let private = directory(0o700);
    let link = open.path().join("link");
    std::os::unix::fs::symlink(private.path(), &link).unwrap();
    assert!(matches!(BundleDirectory::open(&link), Err(BundleError::Open { .. })));
    assert!(matches!(BundleDirectory::open(Path::new("/dev/null")), Err(BundleError::Open { .. })));
    BundleDirectory::open(private.path()).unwrap();
}

#[test]
fn more_flows_than_the_limit_have_to_wait_for_others_to_end() {
    let (_listener, address) = listener();
    let limits = Limits { flows: 2, ..Limits::default() };
    let (served, ledger) = Stage { limits, ..Stage::allowing(&[&address.to_string()]) }.play(move |monitor| {
        monitor.tcp(1, address).unwrap();
        monitor.tcp(2, address).unwrap();
        assert_eq!(monitor.tcp(3, address).unwrap_err(), Cause::Busy);
        monitor.closed(1);
        monitor.tcp(3, address).unwrap();
        monitor.closed(3);
        monitor.tcp(1, address).unwrap();
    });
    served.unwrap();
    assert_eq!((ledger.counts().connected, ledger.counts().busy, ledger.counts().flows), (4, 1, 2));
    assert_eq!(ledger.summary().unwrap(), "egress: 1 put off by a limit");
}

#[test]
fn more_flows_a_second_than_the_rate_are_put_off() {
    let (_listener, address) = listener();
    let limits = Limits { pace: Some(Pace::even(3)), ..Limits::default() };
    let (served, ledger) = Stage { limits, ..Stage::allowing(&[&address.to_string()]) }.play(move |monitor| {
        let results: Vec<_> = (0..60).map(|flow| monitor.tcp(flow, address).map(drop)).collect();
        assert_eq!(results[..3], [Ok(()), Ok(()), Ok(())]);
        assert!(results.contains(&Err(Cause::Busy)));
    });
    served.unwrap();
    assert!(ledger.counts().busy > 0 && ledger.counts().connected >= 3);
}

#[test]
fn as_many_as_may_be_open_may_be_opened_at_once_and_then_it_takes_time() {
    let Limits { flows, pace: Some(pace), .. } = Limits::default() else { panic!("a limit is the default") };
    assert_eq!(usize::try_from(pace.at_once), Ok(flows));
    // As long as connection tracking remembers one that has ended.
    let begin = Instant::now();
    let mut rate = Rate::new(pace.a_second, pace.at_once, begin);
    let taken = |at: u64| (0..100_000).take_while(|_| rate.take(begin + Duration::from_millis(at))).count();
    let all: usize = (0..120_000).step_by(10).map(taken).sum();
    // Those that are held open count as well.
    assert!((50_000..65_536 - flows).contains(&all), "{all}");
}

#[test]
fn of_many_flows_the_later_ones_have_small_buffers() {
    let (_listener, address) = listener();
    let directory = directory(0o700);
    let _gateway = std::os::unix::net::UnixListener::bind(directory.path().join("8888.sock")).unwrap();
    let bundle = Some(BundleDirectory::open(directory.path()).unwrap());
    let limits = Limits { roomy: 2, ..Limits::default() };
    let udp = format!("{address}/udp");
    let stage = Stage { limits, bundle, ..Stage::allowing(&[&address.to_string(), &udp]) };
    let (served, _) = stage.play(move |monitor| {
        let sizes = |flow, protocol, to| {
            let socket = monitor.connect(flow, protocol, to).unwrap();
            let receiving = nix::sys::socket::getsockopt(&socket, nix::sys::socket::sockopt::RcvBuf).unwrap();
            (receiving, nix::sys::socket::getsockopt(&socket, nix::sys::socket::sockopt::SndBuf).unwrap())
        };
        let usual = sizes(1, Protocol::Tcp, address);
        assert!(usual.0 > 64 << 10, "{usual:?}");
        assert_eq!(sizes(2, Protocol::Tcp, address), usual);
        let gateway = SocketAddr::new(BUNDLE.into(), 8888);
        for (flow, protocol, to) in
            [(3, Protocol::Tcp, address), (4, Protocol::Udp, address), (5, Protocol::Tcp, gateway)]
        {
            assert_eq!(sizes(flow, protocol, to), (64 << 10, 64 << 10), "{protocol:?} {to}");
        }
        monitor.closed(1);
        monitor.closed(3);
        monitor.closed(4);
        monitor.closed(5);
        assert_eq!(sizes(6, Protocol::Tcp, address), usual, "there is room again");
    });
    served.unwrap();
}

/// Connections that hang: the listener's queue is full, so that Linux drops their first packet.
#[test]
fn what_does_not_answer_runs_into_the_limits() {
    let socket = nix::sys::socket::socket(
        nix::sys::socket::AddressFamily::Inet,
        nix::sys::socket::SockType::Stream,
        nix::sys::socket::SockFlag::SOCK_CLOEXEC,
        None,
    )
    .unwrap();
    nix::sys::socket::bind(socket.as_raw_fd(), &nix::sys::socket::SockaddrIn::new(127, 0, 0, 1, 0)).unwrap();
    nix::sys::socket::listen(&socket, nix::sys::socket::Backlog::new(0).unwrap()).unwrap();
    let full = TcpListener::from(socket);
    let address = full.local_addr().unwrap();
    let _first = TcpStream::connect(address).unwrap();
    let open = TcpListener::bind("127.0.0.2:0").unwrap();
    let elsewhere = open.local_addr().unwrap();
    let limits = Limits { pending: 3, pending_of_one: 2, connect: Duration::from_millis(300), ..Limits::default() };
    let server = UdpSocket::bind(address).unwrap();
    let entries = [address.to_string(), elsewhere.to_string(), format!("{address}/udp")];
    let entries: Vec<_> = entries.iter().map(String::as_str).collect();
    let (served, ledger) = Stage { limits, ..Stage::allowing(&entries) }.play(move |monitor| {
        (1..=3).for_each(|flow| monitor.request(flow, Protocol::Tcp, address));
        // The third is told at once, before the others run out of time.
        assert_eq!(monitor.hear().0, Reply::Refused { flow: 3, cause: Cause::Busy });
        // Whoever else is asked for still has room; and datagrams wait for nobody.
        monitor.tcp(4, elsewhere).unwrap();
        monitor.tcp(5, elsewhere).unwrap();
        monitor.connect(6, Protocol::Udp, address).unwrap();
        let mut answers = [monitor.hear().0, monitor.hear().0];
        answers.sort_by_key(|answer| format!("{answer:?}"));
        let timed_out = |flow| Reply::Refused { flow, cause: Cause::TimedOut };
        assert_eq!(answers, [timed_out(1), timed_out(2)]);
        // There is room for it again.
        monitor.request(7, Protocol::Tcp, address);
        assert_eq!(monitor.hear().0, timed_out(7));
    });
    served.unwrap();
    assert_eq!((ledger.counts().busy, ledger.counts().failed, ledger.counts().flows), (1, 3, 3));
    drop(server);
    drop(full);
}

#[test]
fn a_monitor_that_breaks_the_rules_is_cut_off() {
    let (_listener, address) = listener();
    let play = |act: Box<dyn FnOnce(&Monitor) + Send>| {
        Stage::allowing(&[&address.to_string()]).play(move |monitor| act(&monitor)).0.unwrap_err()
    };
    let no_message: [&[u8]; 4] = [b"x", &[0; RECORD], &[0xff; RECORD], &[1; RECORD + 1]];
    for bytes in no_message {
        let bytes = bytes.to_vec();
        assert!(matches!(play(Box::new(move |monitor| monitor.say(&bytes))), BrokerError::Malformed(_)));
    }
    assert!(matches!(play(Box::new(|monitor| monitor.closed(1))), BrokerError::Order { flow: 1, .. }));
    let says = Request::Says { question: 3, asks: true }.encode();
    assert!(matches!(play(Box::new(move |monitor| monitor.say(&says))), BrokerError::Order { flow: 3, .. }));
    let twice = move |monitor: &Monitor| {
        monitor.tcp(7, address).unwrap();
        monitor.request(7, Protocol::Tcp, address);
    };
    assert!(matches!(play(Box::new(twice)), BrokerError::Order { flow: 7, .. }));
    let closed_twice = move |monitor: &Monitor| {
        monitor.tcp(7, address).unwrap();
        monitor.closed(7);
        monitor.closed(7);
    };
    assert!(matches!(play(Box::new(closed_twice)), BrokerError::Order { flow: 7, .. }));
}

#[test]
fn descriptors_of_the_monitors_are_dropped_unseen() {
    let (reader, writer) = io::pipe().unwrap();
    let (served, _) = Stage::allowing(&[]).play(move |monitor| {
        let destination = "192.0.2.1:443".parse().unwrap();
        let request = Request::Connect { flow: 1, protocol: Protocol::Tcp, destination };
        let fds = [writer.as_raw_fd(); 100];
        let rights = [ControlMessage::ScmRights(&fds)];
        let bytes = request.encode();
        sendmsg::<UnixAddr>(monitor.socket.as_raw_fd(), &[IoSlice::new(&bytes)], &rights, MsgFlags::empty(), None)
            .unwrap();
        drop(writer);
        assert_eq!(monitor.hear().0, Reply::Refused { flow: 1, cause: Cause::Denied });
        let mut rest = Vec::new();
        { reader }.read_to_end(&mut rest).unwrap();
        assert!(rest.is_empty(), "the pipe only ends if every passed writer is closed");
    });
    served.unwrap();
}

#[test]
fn a_flood_leaves_the_others_their_turns() {
    const REQUESTS: u32 = 20_000;
    let turns = std::cell::Cell::new(0u32);
    let others = async {
        loop {
            turns.set(turns.get() + 1);
            tokio::task::yield_now().await;
        }
    };
    let flood = |monitor: Monitor| {
        let answers = monitor.socket.try_clone().unwrap();
        let reader = thread::spawn(move || {
            let monitor = Monitor { socket: answers };
            (0..REQUESTS)
                .for_each(|_| assert!(matches!(monitor.hear().0, Reply::Refused { cause: Cause::Denied, .. })));
        });
        (0..REQUESTS).for_each(|flow| monitor.request(flow, Protocol::Tcp, "192.0.2.1:443".parse().unwrap()));
        reader.join().unwrap();
    };
    let (served, ledger) = Stage::allowing(&[]).play_beside(flood, others);
    served.unwrap();
    assert_eq!(ledger.counts().denied, u64::from(REQUESTS));
    assert!(turns.get() >= REQUESTS / TURN, "{} turns", turns.get());
}

#[test]
fn a_monitor_that_fetches_no_answer_is_not_read_on() {
    let (served, ledger) = Stage::allowing(&[]).play(|monitor| {
        let request = |flow| {
            let destination = "192.0.2.1:443".parse().unwrap();
            Request::Connect { flow, protocol: Protocol::Tcp, destination }.encode()
        };
        let mut stuck = 0;
        // Until nothing has moved for a while.
        for flow in 0..1_000_000 {
            match raw_send(monitor.socket.as_raw_fd(), &request(flow), MsgFlags::MSG_DONTWAIT) {
                Ok(_) => stuck = 0,
                Err(_) if stuck == 20 => return,
                Err(_) => {
                    stuck += 1;
                    thread::sleep(Duration::from_millis(10));
                }
            }
        }
        panic!("it reads on without end");
    });
    served.unwrap();
    assert!(ledger.counts().denied < 10_000, "{:?}", ledger.counts());
}

#[test]
fn the_stack_is_asked_and_has_to_answer() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let probe = |port, expected| Probe {
        protocol: Protocol::Tcp,
        destination: SocketAddr::new([192, 0, 2, 1].into(), port),
        expected,
    };
    let probes: Vec<_> = (1..=100).map(|port| probe(port, Answer::Denied)).collect();
    let ask = |limit: u64, answer: fn(&Monitor, u32, SocketAddr)| {
        let (ours, theirs) = pair().unwrap();
        let monitor = Monitor { socket: theirs };
        runtime.block_on(async {
            let ledger = Arc::new(Mutex::new(Ledger::new(None)));
            let mut broker = Broker::new(ours, policy(&[]), None, Limits::default(), ledger).unwrap();
            let stack = thread::spawn(move || {
                for _ in 0..100 {
                    let mut bytes = [0; 64];
                    poll(&mut [PollFd::new(monitor.socket.as_fd(), PollFlags::POLLIN)], PollTimeout::NONE).unwrap();
                    let Ok((length @ 1.., None)) = passing::receive(monitor.socket.as_fd(), &mut bytes) else { return };
                    let Reply::Ask { question, destination, .. } = Reply::decode(&bytes[..length]).unwrap() else {
                        panic!("no question")
                    };
                    answer(&monitor, question, destination);
                }
            });
            let answers = broker.ask(&probes, Duration::from_millis(limit)).await;
            drop(broker);
            let _ = stack.join();
            answers
        })
    };
    // Together they take longer than one may take.
    let honest = ask(2000, |monitor, question, destination| {
        thread::sleep(Duration::from_millis(25));
        monitor.say(&Request::Says { question, asks: destination.port() % 3 == 0 }.encode());
    });
    assert_eq!(honest.unwrap().unwrap(), Vec::from_iter((1..=100).map(|port| port % 3 == 0)));
    let slow = ask(2000, |monitor, question, _| {
        if question < 7 {
            monitor.say(&Request::Says { question, asks: true }.encode());
        }
    });
    assert!(matches!(slow, Err(BrokerError::Silent { answered: 7, asked: 100 })), "{slow:?}");
    let confused =
        ask(2000, |monitor, question, _| monitor.say(&Request::Says { question: question ^ 1, asks: true }.encode()));
    assert!(matches!(confused, Err(BrokerError::Confused)));
    assert!(matches!(ask(2000, |monitor, _, _| monitor.closed(1)), Err(BrokerError::Confused)));
    let gone =
        ask(2000, |monitor, _, _| nix::sys::socket::shutdown(monitor.socket.as_raw_fd(), Shutdown::Both).unwrap());
    assert!(matches!(gone, Ok(None)), "{gone:?}");
}

#[test]
fn the_broker_ends_when_its_monitor_does() {
    let (served, _) = Stage::allowing(&[]).play(|monitor| {
        monitor.request(1, Protocol::Tcp, "192.0.2.1:443".parse().unwrap());
    });
    served.unwrap();
}
