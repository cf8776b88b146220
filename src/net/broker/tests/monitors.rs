//! Monitors that break the rules, flood, fetch nothing, are asked, or go.

use super::*;

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
