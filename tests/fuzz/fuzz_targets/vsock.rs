//! Packets, well-formed ones too, against two host ports whose other ends write, read and go.
#![no_main]

use arbitrary::Arbitrary;
use bottle_fuzz::guest::{Step, act};
use bottle_vmm::vmm::devices::virtio::VirtioDevice as _;
use bottle_vmm::vmm::devices::virtio::testing::{Buffer, FakeDriver};
use bottle_vmm::vmm::devices::virtio::vsock::{GuestCid, Vsock};
use bottle_vmm::vmm::event_loop::EventLoop;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use vmm_sys_util::epoll::EventSet;

#[derive(Arbitrary, Debug)]
enum Event {
    Guest(Step),
    /// Valid where it matters for getting on, hostile elsewhere.
    Packet {
        port: bool,
        operation: u8,
        flags: u8,
        buf_alloc: u32,
        fwd_cnt: u32,
        payload: Vec<u8>,
        lie: Option<u32>,
    },
    ReceiveBuffers {
        count: u8,
        size: u16,
    },
    HostWrites {
        port: bool,
        length: u16,
    },
    HostReads {
        port: bool,
        length: u16,
    },
    HostCloses {
        port: bool,
    },
}

const PORTS: [u32; 2] = [1024, 1025];
const PACKET: u64 = 3 << 20;

libfuzzer_sys::fuzz_target!(|events: Vec<Event>| {
    // The program has Rust's runtime do so; libFuzzer's main does not.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_IGN) };
    let event_loop = EventLoop::new().expect("a descriptor");
    let pairs = PORTS.map(|_| UnixStream::pair().expect("descriptors"));
    let (mut hosts, ends): (Vec<_>, Vec<_>) = pairs.into_iter().map(|(host, end)| (Some(host), end)).unzip();
    hosts.iter().flatten().for_each(|host| host.set_nonblocking(true).expect("a socket"));
    let ports = PORTS.into_iter().zip(ends).collect();
    let mut driver = FakeDriver::started(Vsock::new(GuestCid::ONLY, ports, event_loop.next_registrar()));
    for event in events {
        let woken = match event {
            Event::Guest(step) => {
                act(&mut driver, 3, step);
                continue;
            }
            Event::Packet { port, operation, flags, buf_alloc, fwd_cnt, payload, lie } => {
                let length = u32::try_from(payload.len()).unwrap_or(0);
                let mut bytes = [3u64.to_le_bytes(), 2u64.to_le_bytes()].concat();
                for word in [4000, PORTS[usize::from(port)], lie.unwrap_or(length)] {
                    bytes.extend(word.to_le_bytes());
                }
                bytes.extend([1, 0, operation % 9, 0]);
                for word in [u32::from(flags), buf_alloc, fwd_cnt] {
                    bytes.extend(word.to_le_bytes());
                }
                bytes.extend(payload);
                driver.poke(PACKET, &bytes);
                if driver.space(1) > 0 {
                    driver.add(1, &[Buffer::readable(PACKET, u32::try_from(bytes.len()).unwrap_or(0))]);
                    driver.notify(1);
                }
                driver.used(1);
                continue;
            }
            Event::ReceiveBuffers { count, size } => {
                driver.used(0);
                for index in 0..usize::from(count).min(driver.space(0)) {
                    driver.add(0, &[Buffer::writable((4 << 20) + (index as u64) * 8192, size.into())]);
                }
                driver.notify(0);
                continue;
            }
            Event::HostWrites { port, length } => {
                if let Some(host) = &mut hosts[usize::from(port)] {
                    let _ = host.write(&vec![7; length.into()]);
                }
                port
            }
            Event::HostReads { port, length } => {
                if let Some(host) = &mut hosts[usize::from(port)] {
                    let _ = host.read(&mut vec![0; length.into()]);
                }
                port
            }
            Event::HostCloses { port } => {
                hosts[usize::from(port)] = None;
                port
            }
        };
        driver.device().host_event(PORTS[usize::from(woken)], EventSet::IN);
    }
});
