//! Frames, raw and nearly right, against the network stack; sockets that take, give and break; a broker that answers anything.
#![no_main]

use arbitrary::Arbitrary;
use bottle_vmm::net::policy::Protocol;
use bottle_vmm::net::spec::NetSpec;
use bottle_vmm::net::stack::{Abilities, GUEST_MAC, HostSocket, OUR_MAC, Stack};
use bottle_vmm::net::wire::{Cause, Request};
use etherparse::PacketBuilder;
use std::io;
use std::time::Duration;
use vm_memory::VolatileSlice;

const GUEST: [u8; 4] = [192, 168, 7, 3];

#[derive(Arbitrary, Debug)]
enum Event {
    Raw(Vec<u8>),
    /// A whole packet with some bytes changed.
    Tcp {
        port: u8,
        server: u8,
        seq: u8,
        ack: i16,
        window: u16,
        flags: u8,
        data: u16,
        change: Option<(u8, u8)>,
    },
    Udp {
        port: u8,
        server: u8,
        data: u16,
        change: Option<(u8, u8)>,
    },
    Connected {
        flow: u8,
        socket: Script,
    },
    Refused {
        flow: u8,
        cause: u8,
    },
    Ready {
        flow: u8,
    },
    Start {
        checksum: bool,
        segmentation: bool,
    },
    Take(u8),
    Pass(u16),
}

/// What a socket does, over and over.
#[derive(Arbitrary, Clone, Debug)]
struct Script {
    sends: Vec<u16>,
    receives: Vec<u16>,
    at: u8,
}

impl HostSocket for Script {
    fn send(&mut self, parts: &[VolatileSlice<'_>]) -> io::Result<usize> {
        let length: usize = parts.iter().map(VolatileSlice::len).sum();
        self.step(true).map(|count| count.min(length))
    }

    fn receive(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = buffer.len();
        self.step(false).map(|count| count.min(length))
    }

    fn finish(&mut self) {}

    fn abort(&mut self) {}
}

impl Script {
    fn step(&mut self, sends: bool) -> io::Result<usize> {
        self.at = self.at.wrapping_add(1);
        let list = if sends { &self.sends } else { &self.receives };
        match list.get(usize::from(self.at) % list.len().max(1)).copied() {
            None | Some(1) => Err(io::ErrorKind::WouldBlock.into()),
            Some(2) => Err(io::ErrorKind::ConnectionReset.into()),
            Some(3) => Err(io::ErrorKind::ConnectionRefused.into()),
            // A stream that takes nothing without saying so there is not.
            Some(0) if sends => Ok(1),
            Some(count) => Ok(count.into()),
        }
    }
}

libfuzzer_sys::fuzz_target!(|events: Vec<Event>| {
    let spec = NetSpec { bundle: Some([192, 168, 7, 2].into()), ..NetSpec::in_network([192, 168, 7, 0].into()) };
    let mut stack: Stack<Script> = Stack::new(spec);
    let mut now = Duration::ZERO;
    // What the guest was last sent, per port: near it are the interesting numbers.
    let mut last = [(0u32, 0u32); 256];
    for event in events {
        let to = |server: u8| PacketBuilder::ethernet2(GUEST_MAC, OUR_MAC).ipv4(GUEST, [198, 18, 0, server], 64);
        let changed = |mut frame: Vec<u8>, change: Option<(u8, u8)>| {
            if let Some((at, value)) = change {
                let at = usize::from(at) % frame.len();
                frame[at] = value;
            }
            frame
        };
        let frame = match event {
            Event::Raw(bytes) => bytes,
            Event::Tcp { port, server, seq, ack, window, flags, data, change } => {
                let (next, expected) = last[usize::from(port)];
                let mut step = to(server % 4).tcp(port.into(), 443, expected.wrapping_add(seq.into()), window);
                step = step.ack(next.wrapping_add_signed(ack.into()));
                for (bit, set) in [1, 2, 4, 8].map(|bit| flags & bit != 0).into_iter().enumerate() {
                    step = match bit {
                        0 if set => step.syn(),
                        1 if set => step.fin(),
                        2 if set => step.rst(),
                        3 if set => step.psh(),
                        _ => step,
                    };
                }
                let mut frame = Vec::new();
                step.write(&mut frame, &vec![7; data.min(65_000).into()]).expect("a frame");
                if flags & 16 != 0 {
                    // Without ACK; the stack does not look at the checksum.
                    frame[47] &= !16;
                }
                changed(frame, change)
            }
            Event::Udp { port, server, data, change } => {
                let mut frame = Vec::new();
                to(server % 4)
                    .udp(port.into(), 53)
                    .write(&mut frame, &vec![7; data.min(65_000).into()])
                    .expect("a frame");
                changed(frame, change)
            }
            Event::Connected { flow, socket } => {
                stack.connected(flow.into(), socket, now);
                continue;
            }
            Event::Refused { flow, cause } => {
                stack.refused(flow.into(), Cause::ALL[usize::from(cause) % Cause::ALL.len()]);
                continue;
            }
            Event::Ready { flow } => {
                stack.host_ready(flow.into());
                continue;
            }
            Event::Start { checksum, segmentation } => {
                stack.start(Abilities { checksum, segmentation });
                continue;
            }
            Event::Take(count) => {
                for _ in 0..count {
                    let Some(frame) = stack.outgoing() else { break };
                    assert!(frame.head.len() + frame.body.len() <= 14 + 65_520);
                    if frame.head.len() >= 54 && frame.head[23] == 6 {
                        let word =
                            |at: usize| u32::from_be_bytes(frame.head[at..at + 4].try_into().expect("four bytes"));
                        let length =
                            u32::try_from(frame.body.len()).expect("a frame") + u32::from(frame.head[47] & 3 != 0);
                        last[usize::from(frame.head[37])] = (word(38).wrapping_add(length), word(42));
                    }
                    stack.sent(now);
                }
                continue;
            }
            Event::Pass(milliseconds) => {
                now += Duration::from_millis(milliseconds.into());
                stack.tick(now);
                continue;
            }
        };
        let mut frame = frame;
        let at = frame.len().min(54);
        let (head, body) = frame.split_at_mut(at);
        stack.receive(&[VolatileSlice::from(head), VolatileSlice::from(body)], now);
        while let Some(request) = stack.request() {
            if let Request::Connect { protocol, destination, .. } = request {
                assert!(stack.asks(protocol, destination), "asks what it said it would not");
                assert!(matches!(protocol, Protocol::Tcp | Protocol::Udp));
            }
        }
        assert!(stack.flows() <= 16 << 10);
    }
    // A socket may have datagrams without end.
    for _ in 0..256 {
        if stack.outgoing().is_none() {
            break;
        }
        stack.sent(now);
    }
});
