use super::super::{Block, request};
use super::*;
use crate::vmm::devices::virtio::testing::{Buffer, FakeDriver};
use crate::vmm::spec::{DiskAccess, DiskSpec};
use proptest::prelude::*;
use std::sync::mpsc::{Receiver, channel};

/// A file of data with its tree behind it, made the slow way: all digests of a level, then all of the next.
fn file_with_tree(blocks: u64, offset_blocks: u64) -> (File, HashTree) {
    let data: Vec<u8> =
        (0..blocks * BLOCK_U64).map(|at| u8::try_from((at / 4096 * 7 + at % 251) % 256).unwrap()).collect();
    let mut levels = Vec::new();
    let mut digests: Vec<_> = data.chunks(BLOCK).map(verity::digest).collect();
    while digests.len() > 1 {
        let level = verity::level_of(&digests);
        digests = level.chunks(BLOCK).map(verity::digest).collect();
        levels.push(level);
    }
    let file = tempfile::tempfile().unwrap();
    file.write_all_at(&data, 0).unwrap();
    let offset = (blocks + offset_blocks) * BLOCK_U64;
    let tree: Vec<u8> = levels.into_iter().rev().flatten().collect();
    file.write_all_at(&tree, offset).unwrap();
    (file, HashTree { data_blocks: blocks, offset, root: digests[0] })
}

type Alarms = Receiver<(u64, DiskFault)>;

fn guest(file: &File, tree: &HashTree) -> (FakeDriver<Block>, Alarms) {
    let (alarm, alarms) = channel();
    let spec = DiskSpec { file: file.try_clone().unwrap(), access: DiskAccess::Verified(tree.clone()) };
    let block = Block::new(spec, Box::new(move |offset, fault| alarm.send((offset, fault)).unwrap())).unwrap();
    (FakeDriver::started(block), alarms)
}

/// Reads `length` bytes from `sector` on, cut into buffers; `Err` with what the buffers hold if the device reports an I/O error.
fn read_sectors(driver: &mut FakeDriver<Block>, sector: u64, lengths: &[usize]) -> Result<Vec<u8>, Vec<u8>> {
    let mut header = [0; 16];
    header[..4].copy_from_slice(&request::IN.to_le_bytes());
    header[8..].copy_from_slice(&sector.to_le_bytes());
    let (head, status) = (driver.data(&header), driver.room(1));
    let rooms: Vec<Buffer> = lengths.iter().map(|&length| driver.room(length)).collect();
    let chain: Vec<Buffer> = [head].into_iter().chain(rooms.iter().copied()).chain([status]).collect();
    driver.round_trip(0, &chain).unwrap();
    let bytes = rooms.iter().flat_map(|&room| driver.bytes(room)).collect();
    if driver.bytes(status) == [0] { Ok(bytes) } else { Err(bytes) }
}

fn bytes_of(file: &File, offset: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    file.read_exact_at(&mut bytes, offset).unwrap();
    bytes
}

fn flip(file: &File, at: u64) {
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 0x10], at).unwrap();
}

#[test]
fn what_is_whole_is_read_as_from_any_disk() {
    for blocks in [1, 2, 128, 129, 300] {
        let (file, tree) = file_with_tree(blocks, 3);
        let (mut driver, alarms) = guest(&file, &tree);
        assert_eq!(driver.load(0x100, 8), (blocks * 8).to_le_bytes(), "the tree is no part of the disk");
        for (sector, lengths) in [(0, vec![512]), (3, vec![1, 511, 2048]), (blocks * 8 - 1, vec![512]), (0, vec![4096])]
        {
            let length: usize = lengths.iter().sum();
            if sector * 512 + length as u64 <= blocks * BLOCK_U64 {
                assert_eq!(read_sectors(&mut driver, sector, &lengths).unwrap(), bytes_of(&file, sector * 512, length));
            }
        }
        let all = usize::try_from(blocks * BLOCK_U64).unwrap();
        assert_eq!(read_sectors(&mut driver, 0, &[all]).unwrap(), bytes_of(&file, 0, all));
        assert!(read_sectors(&mut driver, blocks * 8, &[512]).is_err(), "beyond the end");
        assert!(alarms.try_recv().is_err());
    }
}

#[test]
fn a_changed_block_is_an_io_error_and_an_alarm_and_never_reaches_the_guest() {
    let (file, tree) = file_with_tree(300, 0);
    flip(&file, 200 * BLOCK_U64 + 17);
    let (mut driver, alarms) = guest(&file, &tree);
    let changed = bytes_of(&file, 200 * BLOCK_U64, 4096);
    let seen = read_sectors(&mut driver, 199 * 8, &[8192]).unwrap_err();
    assert_eq!(alarms.try_recv(), Ok((200 * BLOCK_U64, DiskFault::Changed)));
    assert!(!seen.windows(64).any(|part| part == &changed[..64]), "the guest has the changed block");
    assert_eq!(read_sectors(&mut driver, 198 * 8, &[4096]).unwrap(), bytes_of(&file, 198 * BLOCK_U64, 4096));
}

#[test]
fn a_block_that_changes_after_it_was_read_is_found_the_next_time() {
    let (file, tree) = file_with_tree(300, 0);
    let (mut driver, alarms) = guest(&file, &tree);
    read_sectors(&mut driver, 0, &[4096]).unwrap();
    flip(&file, 0);
    read_sectors(&mut driver, 100 * 8, &[4096]).unwrap();
    read_sectors(&mut driver, 0, &[4096]).unwrap_err();
    assert_eq!(alarms.try_recv(), Ok((0, DiskFault::Changed)));
}

#[test]
fn a_changed_tree_is_found_at_every_level_and_so_is_a_wrong_root() {
    let (file, tree) = file_with_tree(129 * 128, 0);
    let levels = Layout::new(tree.data_blocks).unwrap().levels().to_vec();
    assert_eq!(levels.len(), 3);
    for level in levels {
        let at = tree.offset + level.first * BLOCK_U64;
        flip(&file, at + 5);
        let (mut driver, alarms) = guest(&file, &tree);
        read_sectors(&mut driver, 0, &[512]).unwrap_err();
        assert_eq!(alarms.try_recv(), Ok((at, DiskFault::Changed)));
        flip(&file, at + 5);
    }
    let other = HashTree { root: [1; 32], ..tree.clone() };
    let (mut driver, alarms) = guest(&file, &other);
    read_sectors(&mut driver, 0, &[512]).unwrap_err();
    assert_eq!(alarms.try_recv(), Ok((tree.offset, DiskFault::Changed)));
}

#[test]
fn a_file_that_is_cut_short_is_an_alarm() {
    let (file, tree) = file_with_tree(300, 0);
    let (mut driver, alarms) = guest(&file, &tree);
    file.set_len(10 * BLOCK_U64).unwrap();
    read_sectors(&mut driver, 20 * 8, &[512]).unwrap_err();
    assert_eq!(alarms.try_recv(), Ok((20 * BLOCK_U64, DiskFault::Changed)));
}

#[test]
fn a_tree_that_cannot_be_is_refused() {
    for data_blocks in [0, u64::MAX] {
        let access = DiskAccess::Verified(HashTree { data_blocks, offset: u64::MAX, root: [0; 32] });
        let spec = DiskSpec { file: tempfile::tempfile().unwrap(), access };
        assert!(Block::new(spec, Box::new(|_, _| ())).is_err());
    }
    let tree = HashTree { data_blocks: 1 << 32, offset: u64::MAX - 5, root: [0; 32] };
    let (mut driver, alarms) = guest(&tempfile::tempfile().unwrap(), &tree);
    read_sectors(&mut driver, 0, &[512]).unwrap_err();
    assert!(alarms.try_recv().is_ok());
}

#[test]
fn nothing_is_written() {
    let (file, tree) = file_with_tree(4, 0);
    let (mut driver, _alarms) = guest(&file, &tree);
    let mut header = [0; 16];
    header[..4].copy_from_slice(&request::OUT.to_le_bytes());
    let chain = [driver.data(&header), driver.data(&[9; 512]), driver.room(1)];
    driver.round_trip(0, &chain).unwrap();
    assert_eq!(driver.bytes(chain[2]), [1]);
    assert_ne!(bytes_of(&file, 0, 512), [9; 512]);
}

#[test]
fn memory_stays_bounded_however_large_the_disk() {
    let (file, tree) = file_with_tree(128 * 600, 0);
    let mut disk = VerifiedFile::new(file, tree).unwrap();
    for round in 0..3 {
        for block in (0..128 * 600).step_by(128) {
            let position = block * BLOCK_U64 + round;
            disk.at(position, position + 1).unwrap();
        }
    }
    assert!(disk.kept.len() <= KEPT && disk.window.capacity() as u64 <= WINDOW_BLOCKS * BLOCK_U64);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever byte of the data or the tree is flipped: a read of everything fails, and no byte of what was read is wrong.
    #[test]
    fn any_flipped_byte_is_noticed(blocks in 1u64..400, at in any::<prop::sample::Index>(), bit in 0u8..8) {
        let (file, tree) = file_with_tree(blocks, 0);
        let length = file.metadata().unwrap().len();
        let at = at.index(usize::try_from(length).unwrap()) as u64;
        let original = bytes_of(&file, 0, usize::try_from(blocks * BLOCK_U64).unwrap());
        let mut byte = [0];
        file.read_exact_at(&mut byte, at).unwrap();
        file.write_all_at(&[byte[0] ^ 1 << bit], at).unwrap();
        let mut disk = VerifiedFile::new(file, tree).unwrap();
        let mut noticed = false;
        for block in 0..blocks {
            let start = block * BLOCK_U64;
            let mut position = start;
            while position < start + BLOCK_U64 {
                match disk.at(position, start + BLOCK_U64) {
                    Ok(bytes) => {
                        let here = usize::try_from(position).unwrap();
                        prop_assert_eq!(bytes, &original[here..here + bytes.len()]);
                        position += bytes.len() as u64;
                    }
                    Err(_) => {
                        noticed = true;
                        break;
                    }
                }
            }
        }
        prop_assert!(noticed);
    }
}
