use super::*;

/// VIRTIO_BLK_F_FLUSH (virtio 1.3 §5.2.3).
const F_FLUSH: u64 = 1 << 9;
use crate::vmm::devices::virtio::testing::{Buffer, FakeDriver, INDIRECT, NEXT, RAM_END, SEAM, WRITE};
use proptest::prelude::*;
use std::io::{Read as _, Seek as _, Write as _};
use std::os::unix::fs::FileExt as _;

const SECTORS: usize = 64;

/// A disk on which every byte tells its position.
fn contents() -> Vec<u8> {
    (0..SECTORS * 512).map(|i| u8::try_from((i / 512 + i) % 256).unwrap()).collect()
}

fn disk_file() -> File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&contents()).unwrap();
    file
}

fn block(file: File, read_only: bool) -> Block {
    let access = if read_only { DiskAccess::ReadOnly } else { DiskAccess::Writable };
    Block::new(DiskSpec { file, access }, Box::new(|offset, fault| panic!("{fault:?} at {offset}"))).unwrap()
}

fn disk(file: &File, read_only: bool) -> FakeDriver<Block> {
    FakeDriver::started(block(file.try_clone().unwrap(), read_only))
}

fn header(kind: u32, sector: u64) -> [u8; 16] {
    let mut header = [0; 16];
    header[..4].copy_from_slice(&kind.to_le_bytes());
    header[8..].copy_from_slice(&sector.to_le_bytes());
    header
}

/// One request: header, data, status. What the device says it wrote, and the status.
fn submit(driver: &mut FakeDriver<Block>, kind: u32, sector: u64, data: &[Buffer]) -> (u32, u8) {
    let header = driver.data(&header(kind, sector));
    let status = driver.room(1);
    let chain: Vec<Buffer> = [header].iter().chain(data).chain([&status]).copied().collect();
    let written = driver.round_trip(0, &chain).unwrap();
    (written, driver.bytes(status)[0])
}

fn on_disk(file: &File, sector: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    file.read_exact_at(&mut bytes, sector * 512).unwrap();
    bytes
}

const OK: u8 = 0;
const IO_ERROR: u8 = 1;
const UNSUPPORTED: u8 = 2;

#[test]
fn configuration_tells_capacity_and_segments_and_features_tell_read_only() {
    let file = disk_file();
    for (read_only, access) in [(true, F_READ_ONLY), (false, 0)] {
        let driver = disk(&file, read_only);
        assert_eq!(driver.load(0x100, 8), 64u64.to_le_bytes());
        assert_eq!(driver.load(0x10c, 4), 126u32.to_le_bytes());
        assert_eq!(driver.offered() & (F_READ_ONLY | F_FLUSH), access);
    }
}

#[test]
fn a_part_of_a_sector_at_the_end_is_not_there() {
    let mut file = disk_file();
    file.write_all(&[1; 511]).unwrap();
    let mut driver = disk(&file, true);
    assert_eq!(driver.load(0x100, 8), 64u64.to_le_bytes());
    let room = driver.room(512);
    assert_eq!(submit(&mut driver, request::IN, 64, &[room]), (1, IO_ERROR));
}

#[test]
fn reads_what_is_on_disk_and_interrupts() {
    let mut driver = disk(&disk_file(), true);
    let room = driver.room(1024);
    assert_eq!(submit(&mut driver, request::IN, 3, &[room]), (1025, OK));
    assert_eq!(driver.bytes(room), contents()[3 * 512..5 * 512]);
    assert_eq!(driver.interrupts(), 1);
}

#[test]
fn writes_where_it_is_told_and_nowhere_else() {
    let file = disk_file();
    let mut driver = disk(&file, false);
    let data = driver.data(&[0xee; 1024]);
    assert_eq!(submit(&mut driver, request::OUT, 62, &[data]), (1, OK));
    let mut expected = contents();
    expected[62 * 512..].fill(0xee);
    assert_eq!(on_disk(&file, 0, SECTORS * 512), expected);
}

#[test]
fn many_segments_of_odd_lengths_are_one_run_of_bytes() {
    let file = disk_file();
    let mut driver = disk(&file, false);
    let lengths = [1, 511, 3, 1000, 21, 512];
    let rooms = lengths.map(|length| driver.room(length));
    assert_eq!(submit(&mut driver, request::IN, 7, &rooms), (2049, OK));
    let read: Vec<u8> = rooms.iter().flat_map(|room| driver.bytes(*room)).collect();
    assert_eq!(read, contents()[7 * 512..11 * 512]);

    let rooms: Vec<Buffer> = (0..126).map(|_| driver.room(256)).collect();
    assert_eq!(submit(&mut driver, request::IN, 0, &rooms), (126 * 256 + 1, OK));
}

#[test]
fn a_buffer_across_the_seam_of_two_regions_is_one_buffer() {
    let mut driver = disk(&disk_file(), true);
    let room = Buffer::writable(SEAM - 100, 512);
    assert_eq!(submit(&mut driver, request::IN, 9, &[room]), (513, OK));
    assert_eq!(driver.bytes(room), contents()[9 * 512..10 * 512]);
}

/// §2.7.4.1: the driver frames requests as it likes.
#[test]
fn framing_does_not_matter() {
    let file = disk_file();
    let mut driver = disk(&file, false);
    // Header in three descriptors, one of them empty; data and status in one.
    let [first, rest] = driver.data(&header(request::IN, 5)).split(3);
    let empty = Buffer::readable(rest.address, 0);
    let room = driver.room(513);
    assert_eq!(driver.round_trip(0, &[first, empty, rest, room]), Some(513));
    assert_eq!(driver.bytes(room)[..512], contents()[5 * 512..6 * 512]);
    assert_eq!(driver.bytes(room)[512], OK);
    // Header and data in one.
    let both = [header(request::OUT, 5).as_slice(), &[0x77; 512]].concat();
    let (both, status) = (driver.data(&both), driver.room(1));
    assert_eq!(driver.round_trip(0, &[both, status]), Some(1));
    assert_eq!(driver.bytes(status), [OK]);
    assert_eq!(on_disk(&file, 5, 512), [0x77; 512]);
}

#[test]
fn flush_is_not_offered_and_harmless_all_the_same() {
    let file = disk_file();
    assert_eq!(submit(&mut disk(&file, false), request::FLUSH, 0, &[]), (1, OK));
    assert_eq!(submit(&mut disk(&file, true), request::FLUSH, 0, &[]), (1, OK));
}

#[test]
fn get_id_answers_a_padded_name_or_nothing() {
    let mut driver = disk(&disk_file(), true);
    let room = driver.room(20);
    assert_eq!(submit(&mut driver, request::GET_ID, 0, &[room]), (21, OK));
    assert_eq!(driver.bytes(room), b"bottle-vmm\0\0\0\0\0\0\0\0\0\0");
    let small = driver.room(19);
    assert_eq!(submit(&mut driver, request::GET_ID, 0, &[small]), (1, IO_ERROR));
    let outside = Buffer::writable(RAM_END, 20);
    assert_eq!(submit(&mut driver, request::GET_ID, 0, &[outside]), (1, IO_ERROR));
}

#[test]
fn a_read_only_disk_refuses_writes_and_keeps_its_bytes() {
    let file = disk_file();
    let mut driver = disk(&file, true);
    let data = driver.data(&[0xee; 512]);
    assert_eq!(submit(&mut driver, request::OUT, 0, &[data]), (1, IO_ERROR));
    assert_eq!(on_disk(&file, 0, SECTORS * 512), contents());
}

#[test]
fn unknown_requests_are_unsupported() {
    let mut driver = disk(&disk_file(), false);
    for kind in [2, 3, 5, 7, 9, 11, 13, 0x8000_0000, u32::MAX] {
        assert_eq!(submit(&mut driver, kind, 0, &[]), (1, UNSUPPORTED), "{kind}");
    }
}

#[test]
fn nothing_beyond_the_end_is_read_or_written() {
    let file = disk_file();
    let mut driver = disk(&file, false);
    let (room, data) = (driver.room(1024), driver.data(&[0xee; 1024]));
    let far = [63, 64, 65, 1 << 40, u64::MAX / 512, u64::MAX / 512 + 1, u64::MAX - 1, u64::MAX];
    for sector in far {
        assert_eq!(submit(&mut driver, request::IN, sector, &[room]), (1, IO_ERROR), "{sector}");
        assert_eq!(submit(&mut driver, request::OUT, sector, &[data]), (1, IO_ERROR), "{sector}");
    }
    assert_eq!(on_disk(&file, 0, SECTORS * 512), contents());
    assert_eq!(file.metadata().unwrap().len(), contents().len() as u64, "the file did not grow");
}

#[test]
fn lengths_are_whole_sectors() {
    let mut driver = disk(&disk_file(), false);
    for length in [1, 511, 513] {
        let (room, data) = (driver.room(length), driver.data(&vec![1; length]));
        assert_eq!(submit(&mut driver, request::IN, 0, &[room]), (1, IO_ERROR));
        assert_eq!(submit(&mut driver, request::OUT, 0, &[data]), (1, IO_ERROR));
    }
}

#[test]
fn data_in_the_wrong_direction_is_refused() {
    let file = disk_file();
    let mut driver = disk(&file, false);
    let (room, data) = (driver.room(512), driver.data(&[0xee; 512]));
    assert_eq!(submit(&mut driver, request::IN, 0, &[data]), (1, IO_ERROR));
    assert_eq!(submit(&mut driver, request::OUT, 0, &[room]), (1, IO_ERROR));
    assert_eq!(submit(&mut driver, request::OUT, 0, &[data, room]), (1, IO_ERROR));
    assert_eq!(on_disk(&file, 0, 512), contents()[..512]);
}

#[test]
fn chains_that_are_no_request_come_back_untouched() {
    let mut driver = disk(&disk_file(), true);
    let head = driver.data(&header(request::IN, 0));
    let [short, _] = head.split(15);
    let (status, nowhere) = (driver.room(1), Buffer::writable(RAM_END, 1));
    let bad_header = Buffer::readable(RAM_END - 8, 16);
    let no_status = Buffer { length: 0, ..status };
    for chain in [
        vec![head],
        vec![status],
        vec![short, status],
        vec![head, no_status],
        vec![Buffer { writable: true, ..head }, status],
        vec![bad_header, status],
        vec![head, nowhere],
        vec![head, Buffer::writable(u64::MAX, u32::MAX)],
    ] {
        assert_eq!(driver.round_trip(0, &chain), Some(0), "{chain:?}");
    }
    assert_eq!(driver.bytes(status), [0xa5]);
    assert_eq!(submit(&mut driver, request::FLUSH, 0, &[]), (1, OK), "the device goes on");
}

#[test]
fn buffers_outside_ram_are_io_errors() {
    let mut driver = disk(&disk_file(), false);
    for address in [RAM_END, RAM_END - 256, 1 << 40, u64::MAX - 511] {
        assert_eq!(
            submit(&mut driver, request::IN, 0, &[Buffer::writable(address, 512)]),
            (1, IO_ERROR),
            "{address:#x}"
        );
        assert_eq!(
            submit(&mut driver, request::OUT, 0, &[Buffer::readable(address, 512)]),
            (1, IO_ERROR),
            "{address:#x}"
        );
    }
}

#[test]
fn lengths_of_4_gib_and_more_are_refused() {
    let mut driver = disk(&disk_file(), false);
    let huge = Buffer::writable(0, !511);
    assert_eq!(submit(&mut driver, request::IN, 0, &[huge]), (1, IO_ERROR));
    // Over 2^32 in all, which no chain may be (§2.7.5.2): it ends before its status, and nothing is read.
    let head = driver.data(&header(request::IN, 0));
    let status = driver.room(1);
    driver.round_trip(0, &[head, huge, huge, status]).unwrap();
    assert_eq!(driver.bytes(status), [0xa5]);
}

#[test]
fn a_loop_of_descriptors_is_answered_once() {
    let mut driver = disk(&disk_file(), true);
    let head = driver.data(&header(request::IN, 0));
    driver.descriptor(0, 0, Descriptor::new(head.address, 16, NEXT, 1));
    driver.descriptor(0, 1, Descriptor::new(0x20_0000, 512, NEXT | WRITE, 1));
    driver.publish(0, 0);
    driver.kick(0);
    assert_eq!(driver.used(0).len(), 1);
}

#[test]
fn an_indirect_table_costs_no_more_than_the_queue() {
    let mut driver = disk(&disk_file(), true);
    // 65,535 descriptors, all in one page of zeros but the first, linked to itself.
    let head = driver.data(&header(request::FLUSH, 0));
    let table: Vec<u8> = [head.address.to_le_bytes().as_slice(), &[16, 0, 0, 0, 1, 0, 0, 0]].concat();
    let table = driver.data(&table);
    driver.descriptor(0, 0, Descriptor::new(table.address, 16 * 65535, INDIRECT, 0));
    driver.publish(0, 0);
    driver.kick(0);
    assert_eq!(driver.used(0)[0].written, 0);
    // Indirect inside indirect, and a table that is no whole number of descriptors.
    driver.descriptor(0, 1, Descriptor::new(table.address, 17, INDIRECT, 0));
    driver.publish(0, 1);
    driver.kick(0);
    assert_eq!(driver.used(0)[0].written, 0);
}

#[test]
fn a_file_truncated_under_the_disk_is_an_io_error() {
    let file = disk_file();
    let mut driver = disk(&file, true);
    file.set_len(512).unwrap();
    let room = driver.room(1024);
    assert_eq!(submit(&mut driver, request::IN, 0, &[room]), (1, IO_ERROR));
    assert_eq!(submit(&mut driver, request::IN, 8, &[room]), (1, IO_ERROR));
    let room = driver.room(512);
    assert_eq!(submit(&mut driver, request::IN, 0, &[room]), (513, OK), "what is left can be read");
}

#[test]
fn a_full_queue_is_served_in_order() {
    let mut driver = disk(&disk_file(), true);
    let requests: Vec<(Buffer, Buffer)> = (0..42)
        .map(|sector| {
            let (head, room, status) = (driver.data(&header(request::IN, sector)), driver.room(512), driver.room(1));
            driver.add(0, &[head, room, status]);
            (room, status)
        })
        .collect();
    assert!(driver.notify(0));
    assert_eq!(driver.used(0).len(), 42);
    for (sector, (room, status)) in requests.into_iter().enumerate() {
        assert_eq!(driver.bytes(room), contents()[sector * 512..(sector + 1) * 512]);
        assert_eq!(driver.bytes(status), [OK]);
    }
}

#[test]
fn two_machines_share_a_disk_without_disturbing_each_other() {
    let mut file = disk_file();
    let mut drivers = [disk(&file, true), disk(&file, true)];
    for sector in 0..4 {
        for driver in &mut drivers {
            let room = driver.room(512);
            submit(driver, request::IN, sector, &[room]);
            let start = usize::try_from(sector).unwrap() * 512;
            assert_eq!(driver.bytes(room), contents()[start..start + 512]);
        }
    }
    file.rewind().unwrap();
    assert_eq!(file.read(&mut [0; 1]).unwrap(), 1);
}

#[test]
fn nothing_is_served_before_the_start_and_after_a_reset() {
    let mut driver = FakeDriver::new(block(disk_file(), true));
    driver.kick(0);
    driver.start(u64::MAX);
    driver.set_status(0);
    let chain = [driver.data(&header(request::FLUSH, 0)), driver.room(1)];
    assert_eq!(driver.round_trip(0, &chain), None);
    driver.start(u64::MAX);
    assert_eq!(driver.round_trip(0, &chain), Some(1));
}

proptest! {
    #[test]
    fn any_chain_comes_back_once_and_the_disk_stays_as_it_was(
        kind in prop_oneof![Just(request::IN), Just(request::OUT), Just(request::GET_ID), any::<u32>()],
        sector in prop_oneof![0u64..70, any::<u64>()],
        buffers in prop::collection::vec((prop_oneof![0x10_0000..RAM_END + 4096, any::<u64>()],
            prop_oneof![0u32..4096, any::<u32>()], any::<bool>()), 1..20),
    ) {
        let file = disk_file();
        let mut driver = disk(&file, true);
        let chain: Vec<Buffer> = [driver.data(&header(kind, sector))].into_iter()
            .chain(buffers.into_iter().map(|(address, length, writable)| Buffer { address, length, writable }))
            .collect();
        prop_assert!(driver.round_trip(0, &chain).is_some());
        prop_assert_eq!(on_disk(&file, 0, SECTORS * 512), contents());
    }
}

#[test]
fn a_write_that_the_host_refuses_is_an_io_error_and_told_once() {
    let (alarm, alarms) = std::sync::mpsc::channel();
    // The one device whose every write fails as on a full disk (full(4)), put in place of a file that has a size.
    let file = File::options().read(true).write(true).open("/dev/full").unwrap();
    let sized = disk_file();
    let spec = DiskSpec { file: sized, access: DiskAccess::Writable };
    let mut block = Block::new(spec, Box::new(move |offset, fault| alarm.send((offset, fault)).unwrap())).unwrap();
    block.disk.backing = Backing::Writable(file);
    let mut driver = FakeDriver::started(block);
    for _ in 0..3 {
        let data = driver.data(&[7; 512]);
        assert_eq!(submit(&mut driver, request::OUT, 5, &[data]), (1, IO_ERROR));
    }
    assert_eq!(alarms.try_iter().collect::<Vec<_>>(), [(5 * 512, DiskFault::Unwritable { errno: libc::ENOSPC })]);
}

#[test]
fn a_request_that_names_the_same_memory_over_and_over_is_cut_off_by_its_length() {
    let mut file = disk_file();
    file.set_len(1 << 40).unwrap();
    file.rewind().unwrap();
    let mut driver = disk(&file, true);
    let room = driver.room(128 << 10);
    let many = [Buffer { length: 64 << 10, ..room }; 100];
    assert_eq!(submit(&mut driver, request::IN, 0, &many).1, OK);
    let more = [Buffer { length: 128 << 10, ..room }; 64];
    assert_eq!(submit(&mut driver, request::IN, 0, &more), (1, IO_ERROR));
}

#[test]
fn a_turn_ends_by_bytes_or_by_requests_and_is_come_back_to() {
    let mut file = disk_file();
    file.set_len(64 << 20).unwrap();
    file.rewind().unwrap();
    let mut driver = disk(&file, true);
    let room = driver.room(128 << 10);
    let ask = |driver: &mut FakeDriver<Block>, pieces: usize| {
        let chain = [driver.data(&header(request::IN, 0))].into_iter().chain(vec![room; pieces]);
        let chain: Vec<Buffer> = chain.chain([driver.room(1)]).collect();
        driver.add(0, &chain);
    };
    // A MiB each.
    (0..12).for_each(|_| ask(&mut driver, 8));
    driver.device().queue_notified(0);
    assert_eq!((driver.used(0).len(), driver.rung()), (4, Some(0)));
    driver.device().queue_notified(0);
    assert_eq!((driver.used(0).len(), driver.rung()), (4, Some(0)));
    driver.kick(0);
    assert_eq!(driver.used(0).len(), 4);
    (0..40).for_each(|_| ask(&mut driver, 1));
    driver.device().queue_notified(0);
    assert_eq!((driver.used(0).len(), driver.rung()), (16, Some(0)));
    driver.kick(0);
    assert_eq!((driver.used(0).len(), driver.rung()), (24, None));
}
