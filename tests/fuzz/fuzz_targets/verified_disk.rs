//! A verified disk whose file changes under it: whatever the guest asks for, nothing that changed reaches its memory.
#![no_main]

use arbitrary::Arbitrary;
use bottle_fuzz::guest::{Step, act};
use bottle_vmm::verity::{BLOCK, BLOCK_U64, HashTree, digest, level_of};
use bottle_vmm::vmm::devices::virtio::blk::Block;
use bottle_vmm::vmm::devices::virtio::testing::{Buffer, FakeDriver};
use bottle_vmm::vmm::{DiskAccess, DiskSpec};
use std::os::unix::fs::FileExt;

const BLOCKS: u64 = 40;
const MARK: u8 = 0xee;

#[derive(Arbitrary, Debug)]
enum Event {
    Guest(Step),
    /// A well-formed read, whose answer is looked at.
    Read {
        sector: u16,
        sectors: u8,
    },
    /// Somebody writes to the file.
    Change {
        at: u32,
    },
    Cut {
        length: u32,
    },
}

libfuzzer_sys::fuzz_target!(|events: Vec<Event>| {
    let data = vec![1u8; usize::try_from(BLOCKS).expect("small") * BLOCK];
    let tree = level_of(&data.chunks(BLOCK).map(digest).collect::<Vec<_>>());
    let file = tempfile::tempfile_in("/dev/shm").expect("room in memory");
    file.write_all_at(&[data, tree.clone()].concat(), 0).expect("room in memory");
    let tree = HashTree { data_blocks: BLOCKS, offset: BLOCKS * BLOCK_U64, root: digest(&tree) };
    let disk = DiskSpec { file: file.try_clone().expect("a descriptor"), access: DiskAccess::Verified(tree) };
    let mut driver = FakeDriver::started(Block::new(disk, Box::new(|_, _| ())).expect("a tree"));
    for event in events {
        match event {
            Event::Guest(step) => act(&mut driver, 1, step),
            Event::Read { sector, sectors } => {
                driver.start(u64::MAX);
                driver.free_from(1 << 20);
                let header = [0u32.to_le_bytes(), [0; 4], u32::from(sector).to_le_bytes(), [0; 4]].concat();
                let room = driver.room(usize::from(sectors) * 512);
                let chain: Vec<Buffer> = vec![driver.data(&header), room, driver.room(1)];
                if chain.len() <= driver.space(0) {
                    driver.round_trip(0, &chain);
                    assert!(!driver.bytes(room).contains(&MARK), "a changed byte reached the guest");
                }
            }
            Event::Change { at } => {
                let _ = file.write_all_at(&[MARK], u64::from(at) % ((BLOCKS + 1) * BLOCK_U64));
            }
            Event::Cut { length } => {
                let _ = file.set_len(u64::from(length) % ((BLOCKS + 1) * BLOCK_U64));
            }
        }
    }
});
