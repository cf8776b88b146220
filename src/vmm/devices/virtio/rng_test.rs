use super::*;
use crate::vmm::devices::virtio::testing::{Buffer, FakeDriver, RAM_END, SEAM};
use std::io::Write as _;

/// A device whose entropy is what is in a file, so that tests see which bytes came.
fn device(entropy: &[u8]) -> Entropy {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(entropy).unwrap();
    std::io::Seek::rewind(&mut file).unwrap();
    Entropy::new(file)
}

fn counting(length: usize) -> Vec<u8> {
    (0..length).map(|i| u8::try_from(i % 251).unwrap()).collect()
}

#[test]
fn entropy_fills_the_buffer_and_interrupts() {
    let mut driver = FakeDriver::started(device(&counting(64)));
    let buffer = driver.room(64);
    assert_eq!(driver.round_trip(0, &[buffer]), Some(64));
    assert_eq!(driver.bytes(buffer), counting(64));
    assert_eq!(driver.interrupts(), 1);
}

#[test]
fn the_hosts_generator_does_not_repeat_itself() {
    let mut driver = FakeDriver::started(Entropy::new(File::open("/dev/urandom").unwrap()));
    let (first, second) = (driver.room(32), driver.room(32));
    assert_eq!(driver.round_trip(0, &[first]), Some(32));
    assert_eq!(driver.round_trip(0, &[second]), Some(32));
    assert_ne!(driver.bytes(first), driver.bytes(second));
}

#[test]
fn a_request_is_cut_at_its_bound_however_large_the_buffer() {
    let mut driver = FakeDriver::started(device(&counting(2 * REQUEST_MAX)));
    let buffer = driver.room(2 * REQUEST_MAX);
    assert_eq!(driver.round_trip(0, &[buffer]), Some(4096));
    assert_eq!(driver.peek(buffer.address + 4096, 4096), vec![0xa5; 4096]);
}

#[test]
fn several_buffers_are_filled_one_after_another_up_to_the_bound() {
    let mut driver = FakeDriver::started(device(&counting(8192)));
    let buffers = [driver.room(100), driver.room(0), driver.room(4000), driver.room(100)];
    assert_eq!(driver.round_trip(0, &buffers), Some(4096));
    let filled: Vec<u8> = buffers.iter().flat_map(|buffer| driver.bytes(*buffer)).collect();
    assert_eq!(filled[..4096], counting(4096)[..]);
    assert_eq!(filled[4096..], [0xa5; 104]);
}

#[test]
fn readable_buffers_are_passed_over_and_stay_as_they_are() {
    let mut driver = FakeDriver::started(device(&counting(64)));
    let (readable, writable) = (driver.data(b"untouched"), driver.room(16));
    assert_eq!(driver.round_trip(0, &[readable]), Some(0));
    assert_eq!(driver.round_trip(0, &[readable, writable]), Some(16));
    assert_eq!(driver.bytes(readable), b"untouched");
}

#[test]
fn a_short_read_leaves_no_hole_that_counts_as_filled() {
    // Each read of a datagram socket gives one datagram, however much was asked for.
    let (sender, source) = std::os::unix::net::UnixDatagram::pair().unwrap();
    sender.send(&[1; 10]).unwrap();
    sender.send(&[2; 16]).unwrap();
    let mut driver = FakeDriver::started(Entropy::new(File::from(std::os::fd::OwnedFd::from(source))));
    let (first, second) = (driver.room(16), driver.room(16));
    assert_eq!(driver.round_trip(0, &[first, second]), Some(10));
    assert_eq!(driver.bytes(second), [0xa5; 16]);
}

#[test]
fn a_source_that_ran_dry_gives_nothing() {
    let mut driver = FakeDriver::started(device(b""));
    let buffer = driver.room(16);
    assert_eq!(driver.round_trip(0, &[buffer]), Some(0));
}

#[test]
fn bad_addresses_end_the_request_and_nothing_else() {
    let mut driver = FakeDriver::started(device(&counting(8192)));
    let good = driver.room(8);
    for address in [RAM_END, RAM_END + 1, 1 << 40, u64::MAX - 15, u64::MAX] {
        assert_eq!(driver.round_trip(0, &[Buffer::writable(address, 16)]), Some(0), "{address:#x}");
        assert_eq!(driver.round_trip(0, &[good, Buffer::writable(address, u32::MAX)]), Some(8), "{address:#x}");
    }
    // Half inside: what lies inside is filled.
    assert_eq!(driver.round_trip(0, &[Buffer::writable(RAM_END - 8, 16)]), Some(8));
    assert_eq!(driver.round_trip(0, &[Buffer::writable(SEAM - 8, 16)]), Some(16));
}

#[test]
fn a_queue_full_of_requests_is_served_with_one_notification() {
    let mut driver = FakeDriver::started(device(&counting(4096)));
    let heads: Vec<u16> = (0..16)
        .map(|_| {
            let buffer = driver.room(16);
            driver.add(0, &[buffer])
        })
        .collect();
    assert!(driver.notify(0));
    let used = driver.used(0);
    assert_eq!(used.iter().map(|used| used.head).collect::<Vec<_>>(), heads);
    assert!(used.iter().all(|used| used.written == 16));
}

#[test]
fn a_request_made_before_the_start_is_served_at_the_start() {
    let mut driver = FakeDriver::new(device(&counting(64)));
    driver.set_status(3);
    driver.accept(F_VERSION_1);
    driver.set_status(11);
    driver.set_up_queue(0);
    let buffer = driver.room(64);
    driver.add(0, &[buffer]);
    driver.set_status(15);
    driver.settle();
    assert_eq!(driver.bytes(buffer), counting(64));
}
