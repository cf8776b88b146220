//! A writable disk: no chain may reach beyond it, whatever it says.
#![no_main]

use bottle_fuzz::guest::{Step, act};
use bottle_vmm::vmm::devices::virtio::blk::Block;
use bottle_vmm::vmm::devices::virtio::testing::FakeDriver;
use bottle_vmm::vmm::{DiskAccess, DiskSpec};

const BYTES: u64 = 64 << 10;

libfuzzer_sys::fuzz_target!(|steps: Vec<Step>| {
    let file = tempfile::tempfile_in("/dev/shm").expect("room in memory");
    file.set_len(BYTES).expect("room in memory");
    let disk = DiskSpec { file: file.try_clone().expect("a descriptor"), access: DiskAccess::Writable };
    let mut driver =
        FakeDriver::started(Block::new(disk, Box::new(|_, _| unreachable!("nothing is verified"))).expect("a size"));
    steps.into_iter().for_each(|step| act(&mut driver, 1, step));
    assert_eq!(file.metadata().expect("a size").len(), BYTES, "the disk grew");
});
