//! What is allowed is connected and handed over; what is not is not even tried.

use super::*;

#[test]
fn an_allowed_connection_is_handed_over_connected() {
    let (listener, address) = listener();
    let (served, ledger) = Stage::allowing(&[&address.to_string()]).play(move |monitor| {
        let mut ours = monitor.tcp(1, address).unwrap();
        assert!(nix::sys::socket::getsockopt(&ours, nix::sys::socket::sockopt::KeepAlive).unwrap());
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
