//! Entropy into any buffers.
#![no_main]

use bottle_fuzz::guest::{Step, act};
use bottle_vmm::vmm::devices::virtio::rng::Entropy;
use bottle_vmm::vmm::devices::virtio::testing::FakeDriver;

libfuzzer_sys::fuzz_target!(|steps: Vec<Step>| {
    let source = std::fs::File::open("/dev/urandom").expect("/dev/urandom");
    let mut driver = FakeDriver::started(Entropy::new(source));
    steps.into_iter().for_each(|step| act(&mut driver, 1, step));
});
