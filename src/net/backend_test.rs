use super::*;
use crate::net::stack::{GUEST_MAC, OUR_MAC};
use crate::vmm::event_loop::EventLoop;
use etherparse::{PacketBuilder, SlicedPacket, TransportSlice};
use nix::sys::socket::{AddressFamily, ControlMessage, SockFlag, SockType, sendmsg, socketpair};
use std::io::{IoSlice, Read as _, Write as _};
use std::os::fd::RawFd;
use std::os::unix::net::UnixStream;

const GUEST: [u8; 4] = [192, 168, 7, 3];
const SERVER: [u8; 4] = [192, 0, 2, 10];

/// A monitor's network, a guest that speaks through it, and the broker's end.
struct Bench {
    backend: Backend,
    broker: OwnedFd,
    _event_loop: EventLoop,
}

impl Bench {
    fn new(bandwidth: Option<u64>) -> Self {
        let flags = SockFlag::SOCK_CLOEXEC;
        let (broker, theirs) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags).unwrap();
        let event_loop = EventLoop::new().unwrap();
        let spec = NetSpec { bandwidth, ..NetSpec::in_network([192, 168, 7, 0].into()) };
        let backend = Backend::new(spec, theirs, event_loop.next_registrar()).unwrap();
        Self { backend, broker, _event_loop: event_loop }
    }

    fn send(&mut self, mut frame: Vec<u8>) {
        self.backend.quota();
        self.backend.receive(&GuestFrame { parts: vec![VolatileSlice::from(frame.as_mut_slice())] });
    }

    fn syn(&mut self, port: u16) {
        let mut frame = Vec::new();
        tcp(port, 1).syn().write(&mut frame, &[]).unwrap();
        self.send(frame);
    }

    /// What the broker reads; `None` if there is nothing.
    fn heard(&self) -> Option<Request> {
        let mut record = [0; RECORD];
        match passing::receive(self.broker.as_fd(), &mut record) {
            Ok((length, None)) => Some(Request::decode(&record[..length]).unwrap()),
            Ok((_, Some(_))) => panic!("a descriptor"),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
            Err(error) => panic!("{error}"),
        }
    }

    fn says(&mut self, reply: Reply, descriptor: Option<RawFd>) {
        let (bytes, descriptors) = (reply.encode(), Vec::from_iter(descriptor));
        let rights = [ControlMessage::ScmRights(&descriptors)];
        let rights = if descriptors.is_empty() { &[] } else { rights.as_slice() };
        sendmsg::<()>(self.broker.as_raw_fd(), &[IoSlice::new(&bytes)], rights, MsgFlags::empty(), None).unwrap();
        self.backend.host_event(BROKER, EventSet::IN);
    }

    /// The TCP segment that is due: sequence number, whether it is a SYN, whether it is a reset, its data.
    fn next(&mut self) -> Option<(u32, bool, bool, Vec<u8>)> {
        let frame = self.backend.next().map(|frame| [frame.head, frame.body].concat())?;
        self.backend.sent();
        let packet = SlicedPacket::from_ethernet(&frame).unwrap();
        let Some(TransportSlice::Tcp(tcp)) = packet.transport else { panic!("{frame:x?}") };
        Some((tcp.sequence_number(), tcp.syn(), tcp.rst(), tcp.payload().to_vec()))
    }

    /// An open connection: the host's end of it, and the sequence number of what comes next.
    fn open(&mut self) -> (UnixStream, u32) {
        self.syn(40_000);
        let Some(Request::Connect { flow, .. }) = self.heard() else { panic!("no question") };
        let (host, end) = UnixStream::pair().unwrap();
        end.set_nonblocking(true).unwrap();
        self.says(Reply::Connected { flow }, Some(end.as_raw_fd()));
        let (seq, true, false, _) = self.next().unwrap() else { panic!("no greeting") };
        let mut frame = Vec::new();
        tcp(40_000, 2).ack(seq + 1).write(&mut frame, b"hello host").unwrap();
        self.send(frame);
        (host, seq + 1)
    }
}

fn tcp(port: u16, seq: u32) -> etherparse::PacketBuilderStep<etherparse::TcpHeader> {
    PacketBuilder::ethernet2(GUEST_MAC, OUR_MAC).ipv4(GUEST, SERVER, 64).tcp(port, 443, seq, 60_000)
}

#[test]
fn a_flow_is_asked_for_carried_and_given_back() {
    let mut bench = Bench::new(None);
    let (mut host, next) = bench.open();
    let mut bytes = [0; 16];
    assert_eq!(host.read(&mut bytes).unwrap(), 10);
    host.write_all(b"hello guest").unwrap();
    drop(host);
    bench.backend.host_event(0, EventSet::IN | EventSet::READ_HANG_UP);
    assert_eq!(bench.next().unwrap().3, b"hello guest");
    assert_eq!(bench.next().unwrap().3, b"", "the end");
    let mut frame = Vec::new();
    tcp(40_000, 12).ack(next + 12).fin().write(&mut frame, &[]).unwrap();
    bench.send(frame);
    assert!(bench.next().is_some());
    assert_eq!(bench.heard(), Some(Request::Closed { flow: 0 }));
}

#[test]
fn without_a_broker_nothing_is_allowed() {
    let mut bench = Bench::new(None);
    bench.syn(1);
    let (broker, _) = UnixStream::pair().unwrap();
    bench.broker = broker.into();
    bench.backend.host_event(BROKER, EventSet::READ_HANG_UP);
    bench.syn(2);
    assert!(bench.next().is_some_and(|(_, syn, reset, _)| reset && !syn));
}

#[test]
fn a_broker_that_makes_no_sense_is_not_listened_to() {
    let mut bench = Bench::new(None);
    send(bench.broker.as_raw_fd(), b"what?", MsgFlags::empty()).unwrap();
    bench.backend.host_event(BROKER, EventSet::IN);
    bench.syn(2);
    assert!(bench.next().is_some_and(|(_, _, reset, _)| reset));
}

#[test]
fn a_connection_whose_descriptor_is_missing_is_given_back_and_asked_for_again() {
    let mut bench = Bench::new(None);
    bench.syn(1);
    assert!(bench.heard().is_some());
    bench.says(Reply::Connected { flow: 0 }, None);
    assert_eq!((bench.next(), bench.heard()), (None, Some(Request::Closed { flow: 0 })));
    bench.syn(1);
    assert!(matches!(bench.heard(), Some(Request::Connect { flow: 0, .. })));
}

#[test]
fn the_stack_is_read_back() {
    let mut bench = Bench::new(None);
    for (question, (destination, asks)) in (7..).zip([("192.0.2.1:1", true), ("[2001:db8::1]:1", false)]) {
        let destination = destination.parse().unwrap();
        bench.says(Reply::Ask { question, protocol: crate::net::policy::Protocol::Tcp, destination }, None);
        assert_eq!(bench.heard(), Some(Request::Says { question, asks }));
    }
}

#[test]
fn questions_wait_for_a_slow_broker_and_keep_their_order() {
    let mut bench = Bench::new(None);
    (1..=1000).for_each(|port| bench.syn(port));
    let mut heard = Vec::new();
    while let Some(request) = bench.heard() {
        let Request::Connect { flow, .. } = request else { panic!("{request:?}") };
        heard.push(flow);
        bench.backend.host_event(BROKER, EventSet::OUT);
    }
    assert_eq!(heard, Vec::from_iter(0..1000));
}

#[test]
fn a_rate_holds_both_directions() {
    let mut bench = Bench::new(Some(1000));
    let (mut host, mut next) = bench.open();
    let mut frame = Vec::new();
    tcp(40_000, 12).ack(next).write(&mut frame, &[0; 60_000]).unwrap();
    let mut taken = 0;
    while bench.backend.quota() > 0 {
        bench.send(frame.clone());
        taken += 1;
    }
    assert!((2..4).contains(&taken), "a burst, and then no more: {taken}");
    let mut given = 0;
    for _ in 0..4 {
        host.write_all(&[1; 50_000]).unwrap();
        bench.backend.host_event(0, EventSet::IN);
        while let Some((seq, _, _, data)) = bench.next() {
            given += data.len();
            next = seq.wrapping_add(u32::try_from(data.len()).unwrap());
        }
        let mut frame = Vec::new();
        tcp(40_000, 60_012).ack(next).write(&mut frame, &[]).unwrap();
        bench.send(frame);
    }
    assert!((100_000..200_000).contains(&given), "{given}");
}

/// What has no data has headers, and what is no connection has bytes.
#[test]
fn a_rate_holds_for_every_packet() {
    let mut empty = Vec::new();
    tcp(40_000, 1).write(&mut empty, &[]).unwrap();
    let mut ping = Vec::new();
    PacketBuilder::ethernet2(GUEST_MAC, OUR_MAC)
        .ipv4(GUEST, [192, 168, 7, 1], 64)
        .icmpv4_echo_request(1, 2)
        .write(&mut ping, &[0; 100])
        .unwrap();
    let mut query = Vec::new();
    PacketBuilder::ethernet2(GUEST_MAC, OUR_MAC)
        .ipv4(GUEST, SERVER, 64)
        .udp(1, 53)
        .write(&mut query, &[0; 20])
        .unwrap();
    for frame in [empty, ping, query] {
        let mut bench = Bench::new(Some(1000));
        let burst = (128 << 10) / (frame.len() - 14);
        let mut taken = 0;
        while bench.backend.quota() > 0 && taken < 2 * burst {
            bench.send(frame.clone());
            while bench.backend.next().is_some() {
                bench.backend.sent();
            }
            taken += 1;
        }
        // And what was earned meanwhile.
        assert!((burst..burst + burst / 4).contains(&taken), "{taken} of {burst}");
    }
}

#[test]
fn a_rate_holds_for_answers_too() {
    let mut bench = Bench::new(Some(1000));
    bench.backend.from_guest = None;
    let mut ping = Vec::new();
    PacketBuilder::ethernet2(GUEST_MAC, OUR_MAC)
        .ipv4(GUEST, [192, 168, 7, 1], 64)
        .icmpv4_echo_request(1, 2)
        .write(&mut ping, &[0; 10_000])
        .unwrap();
    let mut answered = 0;
    for _ in 0..100 {
        bench.send(ping.clone());
        while bench.backend.next().is_some() {
            bench.backend.sent();
            answered += 1;
        }
    }
    assert!((13..20).contains(&answered), "{answered}");
}

#[test]
fn neither_direction_waits_for_the_other() {
    let backend = &mut Bench::new(Some(1000)).backend;
    let spend = |bucket: &mut Option<Bucket>, seconds: usize| {
        bucket.as_mut().unwrap().spend((128 << 10) + seconds * 1000);
    };
    let remaining = |backend: &Backend| match backend.pace.get().unwrap() {
        Some(Expiration::OneShot(time)) => Duration::from(time),
        other => panic!("{other:?}"),
    };
    spend(&mut backend.from_guest, 10);
    spend(&mut backend.for_guest, 1000);
    assert_eq!((backend.quota(), backend.next().is_none()), (0, true));
    assert!(remaining(backend) <= Duration::from_secs(11));
    // When it goes off, both are looked at.
    backend.host_event(PACE, EventSet::IN);
    assert!(backend.next().is_none() && remaining(backend) > Duration::from_secs(900));
    assert!(backend.quota() == 0 && remaining(backend) <= Duration::from_secs(11));
}
