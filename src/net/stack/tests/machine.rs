//! Two machines of which one may lose, repeat and shrink: whatever happens, the bytes that arrive are the bytes that were sent.

use super::*;
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Step {
    HostSays(u16),
    GuestSays(u16),
    HostRoom(u16),
    GuestRoom(u16),
    /// The guest loses what it is sent next.
    Lose(u8),
    Deliver(u8),
    Wait,
    Again,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (1u16..9000).prop_map(Step::HostSays),
        (1u16..9000).prop_map(Step::GuestSays),
        (0u16..20_000).prop_map(Step::HostRoom),
        (0u16..400).prop_map(Step::GuestRoom),
        (1u8..5).prop_map(Step::Lose),
        (1u8..20).prop_map(Step::Deliver),
        Just(Step::Wait),
        Just(Step::Again),
    ]
}

/// A guest's TCP, as far as it takes data in order and sends what it is allowed to.
struct Peer {
    seq: u32,
    ack: u32,
    window: u16,
    got: Vec<u8>,
    sent: Vec<u8>,
    acknowledged: usize,
    edge: usize,
    first: u32,
}

impl Peer {
    fn hear(&mut self, segment: &Got) -> bool {
        assert!(!segment.rst);
        if let Some(ack) = segment.ack {
            self.acknowledged = self.acknowledged.max(ack.wrapping_sub(self.first) as usize);
            assert!(self.acknowledged <= self.sent.len(), "acknowledges what was sent");
            let edge = ack.wrapping_sub(self.first) as usize + (usize::from(segment.window) << 7);
            assert!(edge >= self.edge, "a window never shrinks from the right");
            self.edge = edge;
        }
        if !segment.data.is_empty() && segment.seq == self.ack {
            self.got.extend(&segment.data);
            self.ack = self.ack.wrapping_add(u32::try_from(segment.data.len()).unwrap());
        }
        !segment.data.is_empty() || segment.seq != self.ack
    }

    fn say(&self, from: usize, to: usize) -> Vec<u8> {
        let seq = self.first.wrapping_add(u32::try_from(from).unwrap());
        say(&Say { seq, ack: Some(self.ack), window: self.window, flags: "", data: &self.sent[from..to] })
    }
}

fn open() -> (Guest, Socket, Peer) {
    let mut guest = Guest::new();
    guest.send(say(&Say { seq: 0xffff_f000, ack: None, window: 100, flags: "s", data: b"" }));
    let flow = guest.asked();
    let host = Socket::new();
    guest.stack.connected(flow, host.end(), guest.now);
    let greeting = guest.segments().remove(0);
    let first = 0xffff_f001;
    let (ack, edge) = (greeting.seq.wrapping_add(1), 0);
    let peer = Peer { seq: 0, ack, window: 100, got: vec![], sent: vec![], acknowledged: 0, edge, first };
    guest.send(peer.say(0, 0));
    (guest, host, peer)
}

fn deliver(guest: &mut Guest, peer: &mut Peer, count: usize, lose: bool) {
    for _ in 0..count {
        let Some(frame) = guest.next() else { return };
        if !lose && peer.hear(&segment_of(&frame)) {
            let frame = peer.say(peer.acknowledged, peer.acknowledged);
            guest.send(frame);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn bytes_arrive_once_and_in_order(steps in proptest::collection::vec(step(), 1..120)) {
        let (mut guest, host, mut peer) = open();
        let mut said = Vec::new();
        let mut counter = 0u8;
        let mut fresh = |length: u16| -> Vec<u8> {
            (0..length).map(|_| { counter = counter.wrapping_mul(5).wrapping_add(113); counter }).collect()
        };
        for step in steps {
            match step {
                Step::HostSays(length) => {
                    let bytes = fresh(length);
                    said.extend(&bytes);
                    host.with(|host| host.incoming.push_back(bytes));
                    guest.stack.host_ready(0);
                }
                Step::GuestSays(length) => {
                    let from = peer.sent.len();
                    peer.sent.extend(fresh(length));
                    let frame = peer.say(from, peer.sent.len());
                    guest.send(frame);
                }
                Step::HostRoom(room) => {
                    host.with(|host| host.room = room.into());
                    guest.stack.host_ready(0);
                }
                Step::GuestRoom(window) => {
                    peer.window = window;
                    guest.send(peer.say(peer.acknowledged, peer.acknowledged));
                }
                Step::Lose(count) => deliver(&mut guest, &mut peer, count.into(), true),
                Step::Deliver(count) => deliver(&mut guest, &mut peer, count.into(), false),
                Step::Wait => guest.pass(Duration::from_secs(1)),
                Step::Again => {
                    // As much as a packet holds.
                    let frame = peer.say(peer.acknowledged, peer.sent.len().min(peer.acknowledged + 60_000));
                    guest.send(frame);
                }
            }
            prop_assert!(said.starts_with(&peer.got));
            prop_assert!(host.with(|host| peer.sent.starts_with(&host.sent)));
        }
        // With room everywhere and nothing lost, everything gets there.
        peer.window = 1000;
        host.with(|host| host.room = usize::MAX);
        for _ in 0..40 {
            guest.stack.host_ready(0);
            guest.send(peer.say(peer.acknowledged, peer.acknowledged));
            deliver(&mut guest, &mut peer, 1000, false);
            let frame = peer.say(peer.acknowledged, peer.sent.len().min(peer.acknowledged + 60_000));
            guest.send(frame);
            guest.pass(Duration::from_secs(1));
        }
        prop_assert_eq!(&peer.got, &said);
        prop_assert_eq!(host.with(|host| host.sent.clone()), peer.sent);
        prop_assert_eq!(peer.seq, 0);
    }
}
