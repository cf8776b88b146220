//! The network stack by itself: what a segment costs in either direction, and what a connection costs, beside how many others; and the
//! broker's one question to the kernel.
//!
//! Sockets take and give without doing anything, so a number is the stack's own cost: headers, tables, and for the guest one copy. Measures,
//! never asserts. `cargo bench --bench stack`.

use bottle_vmm::net::spec::NetSpec;
use bottle_vmm::net::stack::{Abilities, GUEST_MAC, HostSocket, OUR_MAC, Stack};
use bottle_vmm::net::wire::Request;
use bottle_vmm::sys::routing::Routing;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use etherparse::PacketBuilder;
use std::io;
use std::time::Duration;
use vm_memory::VolatileSlice;

const GUEST: [u8; 4] = [192, 168, 7, 3];
const SERVER: [u8; 4] = [192, 0, 2, 10];
const NOW: Duration = Duration::from_secs(1);

/// Takes everything; gives without end once it is asked to.
struct Endless {
    gives: bool,
}

impl HostSocket for Endless {
    fn send(&mut self, parts: &[VolatileSlice<'_>]) -> io::Result<usize> {
        Ok(parts.iter().map(VolatileSlice::len).sum())
    }

    fn receive(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.gives { Ok(buffer.len()) } else { Err(io::ErrorKind::WouldBlock.into()) }
    }

    fn finish(&mut self) {}

    fn abort(&mut self) {}
}

fn frame(port: u16, seq: u32, ack: Option<u32>, data: &[u8]) -> Vec<u8> {
    let step = PacketBuilder::ethernet2(GUEST_MAC, OUR_MAC).ipv4(GUEST, SERVER, 64).tcp(port, 443, seq, 60_000);
    let options =
        [etherparse::TcpOptionElement::MaximumSegmentSize(65_480), etherparse::TcpOptionElement::WindowScale(7)];
    let step = match ack {
        Some(ack) => step.ack(ack),
        None => step.syn().options(&options).expect("room for options"),
    };
    let mut frame = Vec::new();
    step.write(&mut frame, data).expect("a frame");
    frame
}

fn send(stack: &mut Stack<Endless>, frame: &mut [u8]) {
    let (head, body) = frame.split_at_mut(54);
    stack.receive(&[VolatileSlice::from(head), VolatileSlice::from(body)], NOW);
}

/// Opens a connection; where the stack's sequence goes on.
fn connect(stack: &mut Stack<Endless>, port: u16, gives: bool) -> u32 {
    send(stack, &mut frame(port, 0, None, &[]));
    if let Some(Request::Connect { flow, .. }) = stack.request() {
        stack.connected(flow, Endless { gives }, NOW);
    }
    let head = stack.outgoing().map(|frame| frame.head.to_vec()).unwrap_or_default();
    stack.sent(NOW);
    let next = head.get(38..42).and_then(|seq| seq.try_into().ok()).map_or(0, u32::from_be_bytes).wrapping_add(1);
    send(stack, &mut frame(port, 1, Some(next), &[]));
    next
}

fn stack(others: u16) -> Stack<Endless> {
    let spec = NetSpec::in_network([192, 168, 7, 0].into());
    let mut stack = Stack::new(spec);
    stack.start(Abilities { checksum: true, segmentation: true });
    for port in 0..others {
        connect(&mut stack, port, false);
    }
    stack
}

fn drain(stack: &mut Stack<Endless>) -> u32 {
    let mut length = 0;
    while let Some(frame) = stack.outgoing() {
        length += u32::try_from(frame.body.len()).unwrap_or(0);
        stack.sent(NOW);
    }
    length
}

fn guest_to_host(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("stack/guest_to_host");
    for (length, others) in [(1usize, 0), (1460, 0), (65_480, 0), (65_480, 10_000)] {
        group.throughput(Throughput::Bytes(length as u64));
        group.bench_function(BenchmarkId::new(length.to_string(), format!("beside {others}")), |bencher| {
            let mut stack = stack(others);
            let next = connect(&mut stack, 60_000, false);
            let mut bytes = frame(60_000, 1, Some(next), &vec![7; length]);
            let mut seq = 1u32;
            bencher.iter(|| {
                bytes[38..42].copy_from_slice(&seq.to_be_bytes());
                send(&mut stack, &mut bytes);
                drain(&mut stack);
                seq = seq.wrapping_add(u32::try_from(length).unwrap_or(0));
            });
        });
    }
    group.finish();
}

fn host_to_guest(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("stack/host_to_guest");
    for others in [0, 10_000] {
        group.throughput(Throughput::Bytes(1 << 20));
        group.bench_function(BenchmarkId::new("1 MiB", format!("beside {others}")), |bencher| {
            let mut stack = stack(others);
            let mut ack = connect(&mut stack, 60_000, true);
            bencher.iter(|| {
                stack.host_ready(u32::from(others));
                ack = ack.wrapping_add(drain(&mut stack));
                send(&mut stack, &mut frame(60_000, 1, Some(ack), &[]));
            });
        });
    }
    group.finish();
}

fn connections(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("stack/connect_and_reset");
    for others in [0, 10_000] {
        group.bench_function(BenchmarkId::new("one", format!("beside {others}")), |bencher| {
            let mut stack = stack(others);
            let mut reset = frame(60_000, 1, Some(0), &[]);
            reset[47] = 4;
            bencher.iter(|| {
                connect(&mut stack, 60_000, false);
                send(&mut stack, &mut reset);
                drain(&mut stack);
                while stack.request().is_some() {}
            });
        });
    }
    group.finish();
}

/// What the broker asks the kernel before it connects to an address that only a range allows.
fn route(criterion: &mut Criterion) {
    let mut routing = Routing::open().expect("netlink");
    criterion.bench_function("broker/route_of_an_address", |bencher| {
        bencher.iter(|| routing.reach(6, (SERVER, 443).into()));
    });
}

criterion_group!(benches, guest_to_host, host_to_guest, connections, route);
criterion_main!(benches);
