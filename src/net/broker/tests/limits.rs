//! Limits: of flows, of new ones a second, of what does not answer, of buffers.

use super::*;

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
        for (flow, to) in [(3, address), (4, gateway)] {
            assert_eq!(sizes(flow, Protocol::Tcp, to), (64 << 10, 64 << 10), "{to}");
        }
        // Lookups and connections do not make each other slow.
        let datagrams = [7, 8, 9].map(|flow| sizes(flow, Protocol::Udp, address));
        assert!(datagrams[1].0 > 64 << 10 && datagrams[0] == datagrams[1], "{datagrams:?}");
        assert_eq!(datagrams[2], (64 << 10, 64 << 10));
        [1, 3, 4].into_iter().for_each(|flow| monitor.closed(flow));
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
