//! Chains of a network driver's, against a wire that has frames of any length for it.
#![no_main]

use arbitrary::Arbitrary;
use bottle_fuzz::guest::{Step, act};
use bottle_vmm::vmm::devices::virtio::VirtioDevice as _;
use bottle_vmm::vmm::devices::virtio::net::{FrameBackend, FrameForGuest, GuestFrame, Net, NetConfig, Offloads};
use bottle_vmm::vmm::devices::virtio::testing::FakeDriver;
use vmm_sys_util::epoll::EventSet;

#[derive(Arbitrary, Debug)]
enum Event {
    Guest(Step),
    Frames { head: Vec<u8>, body: u16, count: u8 },
    Quota(u16),
}

#[derive(Default)]
struct Wire {
    head: Vec<u8>,
    body: Vec<u8>,
    left: u8,
    quota: u16,
}

impl FrameBackend for Wire {
    fn start(&mut self, _offloads: Offloads) {}

    fn quota(&mut self) -> u16 {
        self.quota
    }

    fn receive(&mut self, frame: &GuestFrame<'_>) {
        // Every byte is there to be read.
        for part in &frame.parts {
            part.copy_to(&mut vec![0u8; part.len().min(1 << 16)]);
        }
    }

    fn next(&mut self) -> Option<FrameForGuest<'_>> {
        (self.left > 0).then_some(FrameForGuest { head: &self.head, body: &self.body, checksum: None, segment: None })
    }

    fn sent(&mut self) {
        self.left -= 1;
    }

    fn host_event(&mut self, _token: u32, _events: EventSet) {}
}

libfuzzer_sys::fuzz_target!(|events: Vec<Event>| {
    let config = NetConfig { mac: [2; 6], mtu: 65_520 };
    let mut driver = FakeDriver::started(Net::new(config, Wire { quota: u16::MAX, ..Wire::default() }));
    for event in events {
        match event {
            Event::Guest(step) => act(&mut driver, 2, step),
            Event::Frames { head, body, count } => {
                let mut device = driver.device();
                *device.backend() = Wire { head, body: vec![7; body.into()], left: count, quota: u16::MAX };
                device.host_event(0, EventSet::IN);
            }
            Event::Quota(quota) => driver.device().backend().quota = quota,
        }
        driver.settle();
    }
});
