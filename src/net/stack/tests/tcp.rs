//! Connections: how they begin, carry and end, each rule with what happens when it is broken.

use super::*;

/// Where the guest's sequence begins.
const ISN: u32 = u32::MAX - 100;

/// An open connection.
struct Open {
    guest: Guest,
    host: Socket,
    flow: u32,
    /// Next sequence numbers of the guest and of the stack.
    seq: u32,
    ack: u32,
}

fn syn() -> Vec<u8> {
    say(&Say { seq: ISN, ack: None, window: 64_000, flags: "s", data: b"" })
}

impl Open {
    fn new() -> Self {
        let mut guest = Guest::new();
        guest.send(syn());
        let flow = guest.asked();
        assert_eq!(guest.frames().len(), 0, "the SYN is not answered before the broker has connected");
        let host = Socket::new();
        assert!(guest.stack.connected(flow, host.end(), guest.now).is_none());
        let greeting = guest.segments();
        let [greeting] = greeting.as_slice() else { panic!("{greeting:?}") };
        assert!(greeting.syn && greeting.ack == Some(ISN.wrapping_add(1)) && greeting.from == Some(SERVER));
        let mut open = Self { guest, host, flow, seq: ISN.wrapping_add(1), ack: greeting.seq.wrapping_add(1) };
        open.say("", b"");
        assert_eq!(open.guest.frames().len(), 0);
        open
    }

    /// The next segment in order; the window is 1000 << 7.
    fn say(&mut self, flags: &str, data: &[u8]) {
        self.say_with(1000, flags, data);
    }

    fn say_with(&mut self, window: u16, flags: &str, data: &[u8]) {
        self.guest.send(say(&Say { seq: self.seq, ack: Some(self.ack), window, flags, data }));
        let length = u32::try_from(data.len()).unwrap() + u32::from(flags.contains('f'));
        self.seq = self.seq.wrapping_add(length);
    }

    fn host_says(&mut self, bytes: &[u8]) {
        self.host.with(|host| host.incoming.push_back(bytes.to_vec()));
        self.ready();
    }

    fn ready(&mut self) {
        self.guest.stack.host_ready(self.flow);
    }

    /// Takes what there is, acknowledging all of it; the data.
    fn take(&mut self) -> Vec<u8> {
        let mut data = Vec::new();
        loop {
            let segments = self.guest.segments();
            if segments.is_empty() {
                return data;
            }
            for segment in &segments {
                assert!(segment.seq == self.ack || segment.data.is_empty() && !segment.fin, "{segment:?}");
                data.extend(&segment.data);
                self.ack = self.ack.wrapping_add(u32::try_from(segment.data.len()).unwrap() + u32::from(segment.fin));
            }
            if segments.iter().any(|segment| !segment.data.is_empty() || segment.fin) {
                self.say("", b"");
            }
        }
    }

    fn is_gone(&mut self) -> bool {
        self.guest.stack.flows() == 0
            && self.host.with(|host| host.closed)
            && self.guest.requests() == [Request::Closed { flow: self.flow }]
    }
}

#[test]
fn a_connection_is_asked_for_with_its_ends() {
    let mut guest = Guest::new();
    guest.send(syn());
    guest.send(syn());
    let asked = Request::Connect { flow: 0, protocol: Protocol::Tcp, destination: SERVER.into() };
    assert_eq!(guest.requests(), [asked], "a SYN that is said again asks nothing new");
}

#[test]
fn data_goes_both_ways_and_is_acknowledged() {
    let mut open = Open::new();
    open.say("", b"hello ");
    open.say("", b"host");
    let segments = open.guest.segments();
    assert_eq!(segments.len(), 1, "one acknowledgement tells of both");
    assert_eq!(segments[0].ack, Some(open.seq));
    assert_eq!(open.host.with(|host| host.sent.clone()), b"hello host");
    open.host_says(b"hello guest");
    assert_eq!(open.take(), b"hello guest");
}

#[test]
fn an_answer_carries_the_acknowledgement() {
    let mut open = Open::new();
    open.say("", b"?");
    open.host_says(b"!");
    let segments = open.guest.segments();
    assert_eq!(segments.len(), 1);
    assert_eq!((segments[0].ack, segments[0].data.as_slice()), (Some(open.seq), b"!".as_slice()));
}

#[test]
fn segments_are_no_longer_than_the_guest_said_unless_it_cuts_them_itself() {
    let mut open = Open::new();
    open.host_says(&[7; 4000]);
    let lengths: Vec<_> = open.guest.segments().iter().map(|segment| segment.data.len()).collect();
    assert_eq!(lengths, [1460, 1460, 1080]);
    let mut open = Open::new();
    open.guest.stack.start(Abilities { checksum: true, segmentation: true });
    open.host_says(&[7; 4000]);
    let frame = open.guest.stack.outgoing().unwrap();
    assert_eq!((frame.body.len(), frame.segment, frame.checksum), (4000, Some(1460), Some((34, 16))));
}

/// The first part of a checksum, completed as a driver does, is the checksum.
#[test]
fn the_guest_can_complete_a_checksum() {
    let mut open = Open::new();
    open.guest.stack.start(Abilities { checksum: true, segmentation: false });
    open.host_says(b"odd");
    let mut frame = open.guest.next().unwrap();
    let sum = etherparse::checksum::Sum16BitWords::new().add_slice(&frame[34..]).ones_complement();
    frame[50..52].copy_from_slice(&sum.to_le_bytes());
    assert_eq!(segment_of(&frame).data, b"odd");
}

#[test]
fn the_guest_ends_first() {
    let mut open = Open::new();
    open.say("f", b"last");
    assert_eq!(open.guest.segments()[0].ack, Some(open.seq));
    assert!(open.host.with(|host| host.finished && !host.closed && host.sent == b"last"));
    open.host_says(b"still here");
    assert_eq!(open.take(), b"still here");
    open.host.with(|host| host.at_end = true);
    open.ready();
    assert_eq!(open.take(), b"");
    assert!(open.is_gone() && !open.host.with(|host| host.aborted));
}

#[test]
fn the_host_ends_first() {
    let mut open = Open::new();
    open.host.with(|host| (host.at_end, host.incoming) = (true, [b"bye".to_vec()].into()));
    open.ready();
    let segments = open.guest.segments();
    assert_eq!(segments.len(), 2, "{segments:?}");
    assert!(segments[0].data == b"bye" && segments[1].fin && segments[1].data.is_empty());
    open.ack = open.ack.wrapping_add(4);
    open.say("", b"more from me");
    assert_eq!(open.host.with(|host| host.sent.clone()), b"more from me");
    open.say("f", b"");
    assert_eq!(open.guest.segments().last().unwrap().ack, Some(open.seq), "its FIN is acknowledged");
    assert!(open.is_gone() && !open.host.with(|host| host.aborted));
}

#[test]
fn a_reset_passes_through_from_the_guest() {
    let mut open = Open::new();
    open.say("r", b"");
    assert_eq!(open.guest.frames().len(), 0);
    assert!(open.host.with(|host| host.aborted) && open.is_gone());
}

#[test]
fn a_reset_passes_through_from_the_host() {
    let mut open = Open::new();
    open.host.with(|host| host.error = Some(ErrorKind::ConnectionReset));
    open.ready();
    let segments = open.guest.segments();
    assert!(segments.len() == 1 && segments[0].rst && segments[0].seq == open.ack, "{segments:?}");
    assert!(open.is_gone());
}

#[test]
fn a_host_that_does_not_read_any_more_is_a_reset() {
    let mut open = Open::new();
    open.host.with(|host| host.error = Some(ErrorKind::BrokenPipe));
    open.say("", b"anyone?");
    assert!(open.guest.segments()[0].rst);
    assert!(open.is_gone());
}

/// A server refuses a request before it has read all of it, and closes: natively its answer can be read.
#[test]
fn what_a_host_said_before_it_stopped_reading_arrives_before_the_reset() {
    for told_to_the_reader in [None, Some(ErrorKind::ConnectionReset)] {
        let mut open = Open::new();
        open.host.with(|host| {
            host.incoming.push_back(b"413 Too Large".to_vec());
            host.at_end = told_to_the_reader.is_none();
            host.error = told_to_the_reader;
            host.error_once = Some(ErrorKind::ConnectionReset);
        });
        open.say("", b"more and more");
        let segments = open.guest.segments();
        assert_eq!(segments.iter().flat_map(|segment| segment.data.clone()).collect::<Vec<_>>(), b"413 Too Large");
        assert_eq!(segments.iter().map(|segment| (segment.rst, segment.fin)).next_back(), Some((true, false)));
        assert!(open.is_gone());
    }
}

#[test]
fn a_host_that_ended_and_then_stops_reading_is_a_reset() {
    let mut open = Open::new();
    open.host.with(|host| host.at_end = true);
    open.ready();
    assert!(open.guest.segments()[0].fin);
    open.ack += 1;
    open.host.with(|host| host.error = Some(ErrorKind::BrokenPipe));
    open.say("", b"anyone?");
    assert!(open.guest.segments()[0].rst);
    assert!(open.is_gone());
}

/// RFC 5961 §3.2: what is not in the window is not meant.
#[test]
fn a_reset_from_elsewhere_is_none() {
    let mut open = Open::new();
    for seq in [open.seq.wrapping_sub(1), open.seq.wrapping_add(2 << 20)] {
        open.guest.send(say(&Say { seq, ack: None, window: 0, flags: "r", data: b"" }));
    }
    open.say("", b"x");
    assert_eq!(open.host.with(|host| host.sent.clone()), b"x");
}

/// RFC 5961 §4.2.
#[test]
fn a_syn_in_the_middle_is_answered_with_what_is_expected() {
    let mut open = Open::new();
    open.guest.send(say(&Say { seq: 77, ack: None, window: 1, flags: "s", data: b"" }));
    let segments = open.guest.segments();
    assert_eq!((segments.len(), segments[0].syn, segments[0].ack), (1, false, Some(open.seq)));
}

#[test]
fn refusals_reach_the_guest_in_its_own_words() {
    let cases = [
        (Cause::Denied, None),
        (Cause::ConnectionRefused, None),
        (Cause::NetworkUnreachable, Some(0)),
        (Cause::HostUnreachable, Some(1)),
        (Cause::TimedOut, Some(1)),
    ];
    for (cause, code) in cases {
        let mut guest = Guest::new();
        guest.send(syn());
        let flow = guest.asked();
        guest.stack.refused(flow, cause);
        let frames = guest.frames();
        assert_eq!(frames.len(), 1, "{cause:?}");
        match code {
            None => {
                let segment = segment_of(&frames[0]);
                assert!(segment.rst && segment.ack == Some(ISN.wrapping_add(1)) && segment.from == Some(SERVER));
            }
            Some(code) => {
                let (kind, got, from, quote) = icmp_of(&frames[0]);
                assert_eq!((kind, got, from), (3, code, GATEWAY), "{cause:?}");
                // Its own kernel looks for the addresses, the ports and the sequence number.
                assert_eq!(quote[12..20], [GUEST.octets(), SERVER.ip().octets()].concat());
                let ports = [PORT.to_be_bytes(), SERVER.port().to_be_bytes()].concat();
                assert_eq!(quote[20..28], [ports, ISN.to_be_bytes().to_vec()].concat());
            }
        }
        assert_eq!((guest.stack.flows(), guest.requests().len()), (0, 0));
    }
}

#[test]
fn a_connection_that_is_put_off_is_asked_for_again() {
    let mut guest = Guest::new();
    guest.send(syn());
    let flow = guest.asked();
    guest.stack.refused(flow, Cause::Busy);
    assert_eq!((guest.frames(), guest.stack.flows()), (vec![], 0), "its own kernel says it again");
    guest.send(syn());
    let flow = guest.asked();
    guest.stack.connected(flow, Socket::new().end(), guest.now);
    assert!(guest.segments()[0].syn);
}

#[test]
fn segments_of_no_connection_are_reset() {
    let mut guest = Guest::new();
    guest.send(say(&Say { seq: 5, ack: Some(9), window: 1, flags: "", data: b"abc" }));
    let reset = guest.segments();
    assert!(reset[0].rst && reset[0].seq == 9 && reset[0].ack.is_none());
    guest.send(say(&Say { seq: 5, ack: None, window: 1, flags: "f", data: b"abc" }));
    let reset = guest.segments();
    assert!(reset[0].rst && reset[0].ack == Some(9));
    guest.send(say(&Say { seq: 5, ack: Some(9), window: 1, flags: "r", data: b"" }));
    assert_eq!(guest.frames().len(), 0, "a reset is never answered");
    assert_eq!(guest.requests(), []);
}

#[test]
fn the_window_closes_while_the_host_is_full_and_opens_again() {
    let mut open = Open::new();
    open.host.with(|host| host.room = 10);
    let chunk = [1; 16_000];
    let (mut sent, mut window) = (0, usize::MAX);
    while window >= chunk.len() {
        open.say("", &chunk);
        sent += chunk.len();
        window = usize::from(open.guest.segments().last().unwrap().window) << 7;
    }
    assert!((1 << 20) - sent < 2 * chunk.len(), "{sent}");
    // More than it was told is not taken, and it is told what is expected.
    let expected = open.seq;
    let beyond = [2; 40_000];
    open.say("", &beyond);
    let acknowledged = open.guest.segments().last().unwrap().ack.unwrap().wrapping_sub(expected) as usize;
    assert_eq!(acknowledged, window);
    // Nothing is said while the host is full; all is there, in order, when it is not.
    open.host.with(|host| host.room = usize::MAX);
    open.ready();
    let update = open.guest.segments();
    assert!(update.len() == 1 && usize::from(update[0].window) << 7 == 1 << 20, "{update:?}");
    let sent_on = open.host.with(|host| host.sent.clone());
    assert_eq!(sent_on.len(), sent + acknowledged);
    assert!(sent_on[..sent].iter().all(|byte| *byte == 1) && sent_on[sent..].iter().all(|byte| *byte == 2));
}

#[test]
fn the_host_is_not_read_while_the_guest_has_no_room() {
    let mut open = Open::new();
    open.say_with(0, "", b"");
    open.host.with(|host| host.reads = 0);
    open.host_says(b"waits");
    assert_eq!((open.guest.segments(), open.host.with(|host| host.reads)), (vec![], 0));
    open.say_with(1, "", b"");
    assert_eq!(open.guest.segments()[0].data, b"waits", "a window of 1 is 128 bytes");
}

#[test]
fn a_closed_window_is_asked_for() {
    let mut open = Open::new();
    open.say_with(0, "", b"");
    open.host_says(b"waits");
    assert_eq!(open.guest.segments(), []);
    open.guest.pass(Duration::from_secs(2));
    let probe = open.guest.segments();
    assert!(probe.len() == 1 && probe[0].data.is_empty() && probe[0].seq == open.ack.wrapping_sub(1), "{probe:?}");
    // The answer, which no update came before.
    open.say("", b"");
    assert_eq!(open.take(), b"waits");
}

/// The guest has dropped what was under way, the end included, and then has no room for it.
#[test]
fn a_closed_window_is_asked_for_before_the_end_too() {
    let mut open = Open::new();
    open.host.with(|host| (host.at_end, host.incoming) = (true, [b"bye".to_vec()].into()));
    open.ready();
    assert!(open.guest.segments()[1].fin);
    open.say_with(0, "", b"");
    for _ in 0..100 {
        open.guest.pass(Duration::from_secs(2));
        let probe = open.guest.segments();
        assert!(probe.len() == 1 && probe[0].data.is_empty() && !probe[0].fin, "{probe:?}");
        open.say_with(0, "", b"");
    }
    open.say("", b"");
    open.guest.pass(Duration::from_secs(2));
    assert_eq!(open.take(), b"bye");
    open.say("f", b"");
    open.guest.segments();
    assert!(open.is_gone() && !open.host.with(|host| host.aborted));
}

/// The socket ends a read where it likes, before an urgent byte above all, and says nothing of what lies behind.
#[test]
fn a_short_read_is_not_taken_for_all_there_is() {
    let mut open = Open::new();
    open.host.with(|host| host.incoming.extend([b"before".to_vec(), b"!".to_vec(), b"behind".to_vec()]));
    open.ready();
    assert_eq!(open.take(), b"before!behind");
}

#[test]
fn a_guest_that_probes_our_window_is_answered() {
    let mut open = Open::new();
    let seq = open.seq.wrapping_sub(1);
    open.guest.send(say(&Say { seq, ack: Some(open.ack), window: 9, flags: "", data: b"" }));
    assert_eq!(open.guest.segments()[0].ack, Some(open.seq));
}

#[test]
fn what_was_lost_is_sent_again() {
    let mut open = Open::new();
    open.host_says(&[3; 4000]);
    let first = open.guest.segments();
    // Three times the same acknowledgement of nothing.
    for _ in 0..3 {
        open.say("", b"");
    }
    assert_eq!(open.guest.segments(), first);
    // Or silence.
    open.guest.pass(Duration::from_secs(1));
    assert_eq!(open.guest.segments(), first);
    // The middle arrives, and with it the guest has everything.
    open.ack = open.ack.wrapping_add(4000);
    open.say("", b"");
    assert_eq!(open.guest.segments(), []);
    open.host_says(b"next");
    assert_eq!(open.take(), b"next");
}

#[test]
fn a_resend_fits_a_window_that_has_shrunk_and_a_partial_acknowledgement() {
    let mut open = Open::new();
    let data: Vec<u8> = (0..3000u32).map(|n| n.to_le_bytes()[0]).collect();
    open.host_says(&data);
    assert_eq!(open.guest.segments().len(), 3);
    open.ack = open.ack.wrapping_add(1000);
    open.say_with(4, "", b"");
    open.guest.pass(Duration::from_secs(1));
    let again = open.guest.segments();
    assert_eq!((again.len(), again[0].seq, &again[0].data[..]), (2, open.ack, &data[1000..1460]));
    assert_eq!(again[1].data, data[1460..1512]);
    open.ack = open.ack.wrapping_add(512);
    open.say("", b"");
    let rest: Vec<u8> = open.guest.segments().into_iter().flat_map(|segment| segment.data).collect();
    assert_eq!(rest, data[1512..]);
}

#[test]
fn a_lost_end_is_told_again() {
    let mut open = Open::new();
    open.host.with(|host| host.at_end = true);
    open.ready();
    let fin = open.guest.segments();
    assert!(fin[0].fin);
    open.guest.pass(Duration::from_secs(1));
    assert_eq!(open.guest.segments(), fin);
    open.guest.pass(Duration::from_secs(2));
    // Acknowledged while it is due to be said a third time: then it is not.
    open.ack = open.ack.wrapping_add(1);
    open.say("", b"");
    assert_eq!(open.guest.segments(), []);
    open.say("f", b"");
    open.guest.segments();
    assert!(open.is_gone());
}

#[test]
fn a_guest_that_is_dead_is_given_up() {
    let mut open = Open::new();
    open.host_says(b"anyone?");
    let mut tries = 0;
    for _ in 0..600 {
        open.guest.pass(Duration::from_millis(250));
        tries += open.guest.segments().iter().filter(|segment| !segment.data.is_empty()).count();
    }
    assert!((5..10).contains(&tries), "{tries}");
    assert!(open.host.with(|host| host.aborted) && open.is_gone());
}

#[test]
fn a_lost_greeting_is_said_again_on_time_and_on_request() {
    let mut guest = Guest::new();
    guest.send(syn());
    let flow = guest.asked();
    let host = Socket::new();
    guest.stack.connected(flow, host.end(), guest.now);
    let greeting = guest.segments();
    assert!(greeting[0].syn);
    guest.send(syn());
    assert_eq!(guest.segments(), greeting);
    guest.pass(Duration::from_secs(1));
    assert_eq!(guest.segments(), greeting);
    // And nothing of the host's is read before the guest has answered.
    host.with(|host| host.incoming.push_back(b"early".to_vec()));
    guest.stack.host_ready(flow);
    assert_eq!((guest.segments(), host.with(|host| host.reads)), (vec![], 0));
}

#[test]
fn data_that_comes_twice_counts_once_and_a_gap_is_not_filled_with_what_is_behind_it() {
    let mut open = Open::new();
    let begin = open.seq;
    open.say("", b"abc");
    open.seq = begin;
    open.say("", b"abcdef");
    open.seq = begin.wrapping_add(9);
    open.say("", b"jkl");
    let last = open.guest.segments();
    assert_eq!(last.last().unwrap().ack, Some(begin.wrapping_add(6)));
    open.seq = begin.wrapping_add(6);
    open.say("", b"ghi");
    assert_eq!(open.host.with(|host| host.sent.clone()), b"abcdefghi");
}

#[test]
fn an_acknowledgement_of_what_was_never_sent_changes_nothing() {
    let mut open = Open::new();
    open.ack = open.ack.wrapping_add(1);
    open.say("", b"lies");
    assert_eq!(open.host.with(|host| host.sent.len()), 0);
    assert_eq!(open.guest.segments().len(), 1);
}

/// RFC 6093: a byte like any other, and in its place.
#[test]
fn urgent_data_is_data() {
    let mut open = Open::new();
    open.say("u", b"a!b");
    assert_eq!(open.host.with(|host| host.sent.clone()), b"a!b");
}

#[test]
fn a_guest_that_gives_up_while_the_broker_thinks_leaves_nothing() {
    let mut guest = Guest::new();
    guest.send(syn());
    let flow = guest.asked();
    guest.send(say(&Say { seq: ISN.wrapping_add(1), ack: None, window: 0, flags: "r", data: b"" }));
    assert_eq!(guest.stack.flows(), 1, "the number stays taken until the broker has answered");
    // The same ports again are another flow.
    guest.send(syn());
    let other = guest.asked();
    assert_ne!(other, flow);
    let host = Socket::new();
    drop(guest.stack.connected(flow, host.end(), guest.now));
    assert!(host.with(|host| host.closed));
    assert_eq!(guest.requests(), [Request::Closed { flow }]);
    guest.stack.refused(other, Cause::Denied);
    assert_eq!(guest.stack.flows(), 0);
    // An answer to no question is dropped, socket and all.
    let host = Socket::new();
    drop(guest.stack.connected(other, host.end(), guest.now));
    guest.stack.refused(99, Cause::Denied);
    assert!(host.with(|host| host.closed));
}

#[test]
fn a_connection_that_is_silent_for_hours_ends() {
    let mut open = Open::new();
    open.guest.pass(Duration::from_secs(120 * 60));
    assert_eq!(open.guest.stack.flows(), 1);
    open.guest.pass(Duration::from_secs(5 * 60));
    assert!(open.guest.segments()[0].rst);
    assert!(open.is_gone());
}

#[test]
fn the_stack_says_how_long_it_can_wait() {
    let mut open = Open::new();
    assert_eq!(open.guest.stack.due(), Some(LATER));
    open.host_says(b"x");
    open.guest.segments();
    assert_eq!(open.guest.stack.due(), Some(SOON));
    open.ack = open.ack.wrapping_add(1);
    open.say("", b"");
    assert_eq!(open.guest.stack.due(), Some(LATER));
    open.say("r", b"");
    assert_eq!(open.guest.stack.due(), None);
}

#[test]
fn what_may_wait_is_bounded_for_small_segments_too() {
    let mut open = Open::new();
    open.host.with(|host| host.room = 0);
    let begin = open.seq;
    // Each acknowledgement rounds the window up to the next unit.
    let taken = loop {
        open.say("", &[7; 100]);
        let taken = open.guest.segments().last().unwrap().ack.unwrap();
        if taken != open.seq {
            break taken.wrapping_sub(begin);
        }
        assert!(taken.wrapping_sub(begin) <= (1 << 20) + 128);
    };
    assert!(taken >= 1 << 20, "{taken}");
    // It is not lost, only late.
    open.host.with(|host| host.room = usize::MAX);
    open.ready();
    assert_eq!(open.host.with(|host| host.sent.len()), taken as usize);
    open.seq = begin.wrapping_add(taken);
    open.say("", b"more");
    assert_eq!(open.guest.segments().last().unwrap().ack, Some(open.seq));
}
