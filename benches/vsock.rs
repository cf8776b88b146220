//! vsock throughput through the real device, in both directions, by size of packet and of receive buffer.
//!
//! Both ends are in this process and the device runs on its thread, so a number holds the socket's cost on both sides; it is for
//! comparing one commit with another. Measures, never asserts. `cargo bench --bench vsock`.

use bottle_vmm::vmm::devices::virtio::VirtioDevice as _;
use bottle_vmm::vmm::devices::virtio::testing::{Buffer, FakeDriver};
use bottle_vmm::vmm::devices::virtio::vsock::{GuestCid, Vsock};
use bottle_vmm::vmm::event_loop::EventLoop;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use vmm_sys_util::epoll::EventSet;

const PORT: u32 = 1024;
const RX: usize = 0;
const TX: usize = 1;
const HEADER: usize = 44;

mod op {
    pub(super) const REQUEST: u16 = 1;
    pub(super) const RW: u16 = 5;
    pub(super) const CREDIT_UPDATE: u16 = 6;
}

/// A guest with an open connection.
struct Guest {
    driver: FakeDriver<Vsock>,
    host: UnixStream,
    buffers: BTreeMap<u16, Buffer>,
    consumed: u32,
    header: u64,
    _event_loop: EventLoop,
}

impl Guest {
    fn connected(buffer: usize) -> Self {
        let event_loop = EventLoop::new().expect("a descriptor");
        let (host, end) = UnixStream::pair().expect("descriptors");
        let device = Vsock::new(GuestCid::ONLY, vec![(PORT, end)], event_loop.next_registrar());
        let mut driver = FakeDriver::started(device);
        let header = driver.allocate(HEADER);
        let mut guest = Self { driver, host, buffers: BTreeMap::new(), consumed: 0, header, _event_loop: event_loop };
        for _ in 0..32 {
            let buffer = guest.driver.room(HEADER + buffer);
            let head = guest.driver.add(RX, &[buffer]);
            guest.buffers.insert(head, buffer);
        }
        guest.driver.notify(RX);
        guest.send(op::REQUEST, &[]);
        guest.receive();
        guest
    }

    fn send(&mut self, operation: u16, payload: &[Buffer]) {
        let length: u32 = payload.iter().map(|buffer| buffer.length).sum();
        let mut bytes = [3u64.to_le_bytes(), 2u64.to_le_bytes()].concat();
        for word in [4000, PORT, length, 1 | u32::from(operation) << 16, 0, 1 << 20, self.consumed] {
            bytes.extend(word.to_le_bytes());
        }
        self.driver.poke(self.header, &bytes);
        let header = Buffer::readable(self.header, 44);
        self.driver.add(TX, &[&[header], payload].concat());
        self.driver.notify(TX);
        self.driver.used(TX);
    }

    /// Takes what came and gives the buffers back: payload bytes.
    fn receive(&mut self) -> usize {
        let used = self.driver.used(RX);
        let bytes = used.iter().map(|used| (used.written as usize).saturating_sub(HEADER)).sum();
        let free: Vec<Buffer> = used.iter().filter_map(|used| self.buffers.remove(&used.head)).collect();
        for buffer in free {
            let head = self.driver.add(RX, &[buffer]);
            self.buffers.insert(head, buffer);
        }
        self.driver.notify(RX);
        self.consumed = self.consumed.wrapping_add(u32::try_from(bytes).unwrap_or(0));
        bytes
    }
}

fn guest_to_host(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("vsock/guest_to_host");
    for length in [64usize, 1024, 4096, 16_384, 65_536] {
        group.throughput(Throughput::Bytes(length as u64));
        group.bench_function(BenchmarkId::from_parameter(length), |bencher| {
            let mut guest = Guest::connected(4096 - HEADER);
            let payload = guest.driver.data(&vec![7; length]);
            let mut read = vec![0; length];
            bencher.iter(|| {
                guest.send(op::RW, &[payload]);
                guest.host.read_exact(&mut read).expect("what was sent");
                guest.receive();
            });
        });
    }
    group.finish();
}

/// The guest tells its credit twice per megabyte, as a driver that has read half its buffer.
fn host_to_guest(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("vsock/host_to_guest");
    for (length, buffer) in [(64usize, 4096 - HEADER), (4096, 4096 - HEADER), (65_536, 4096 - HEADER), (65_536, 65_536)]
    {
        group.throughput(Throughput::Bytes(length as u64));
        group.bench_function(BenchmarkId::new(length.to_string(), format!("buffers of {buffer}")), |bencher| {
            let mut guest = Guest::connected(buffer);
            let data = vec![7; length];
            let mut credit = 0;
            bencher.iter(|| {
                guest.host.write_all(&data).expect("room in the socket");
                guest.driver.device().host_event(PORT, EventSet::IN);
                let mut arrived = 0;
                while arrived < length {
                    arrived += guest.receive();
                }
                credit += arrived;
                if credit > 1 << 19 {
                    credit = 0;
                    guest.send(op::CREDIT_UPDATE, &[]);
                }
            });
        });
    }
    group.finish();
}

criterion_group!(benches, guest_to_host, host_to_guest);
criterion_main!(benches);
