use super::super::DeviceKind;
use super::super::VirtioDevice;
use super::super::testing::{Buffer, FakeDriver, RAM_END, WRITE};
use super::{register, status};
use crate::vmm::devices::virtio::{Active, F_EVENT_IDX, F_VERSION_1, copy_config};
use crate::vmm::irq::{CONFIG_CHANGE, USED_BUFFER};
use proptest::prelude::*;
use virtio_queue::QueueT as _;
use virtio_queue::desc::split::Descriptor;
use vm_memory::Bytes as _;

/// Gives every chain back with its readable length, and remembers what happened to it.
#[derive(Default)]
struct Probe {
    active: Option<Active>,
    activations: usize,
    resets: usize,
    chains: usize,
    /// Chains that the guest adds to queue 0 while the device is serving it.
    added_meanwhile: u16,
}

const CONFIG: [u8; 6] = [1, 2, 3, 4, 5, 6];

impl VirtioDevice for Probe {
    fn kind(&self) -> DeviceKind {
        DeviceKind::Entropy
    }
    fn features(&self) -> u64 {
        F_VERSION_1 | F_EVENT_IDX | 1 << 3
    }
    fn queue_sizes(&self) -> &'static [u16] {
        &[8, 16]
    }
    fn read_config(&self, offset: u64, data: &mut [u8]) {
        copy_config(&CONFIG, offset, data);
    }
    fn activate(&mut self, active: Active) {
        self.activations += 1;
        self.active = Some(active);
    }
    fn reset(&mut self) {
        self.resets += 1;
        self.active = None;
    }
    fn queue_notified(&mut self, queue: u16) {
        if let Some(active) = &mut self.active {
            let index = vm_memory::GuestAddress(active.queues[0].avail_ring() + 2);
            active.drain(queue.into(), |ram, chain| {
                self.chains += 1;
                if self.added_meanwhile > 0 {
                    self.added_meanwhile -= 1;
                    ram.write_obj(ram.read_obj::<u16>(index).unwrap().wrapping_add(1), index).unwrap();
                }
                chain.map(|descriptor| descriptor.len()).sum()
            });
        }
    }
}

const READY_TO_START: u32 = status::ACKNOWLEDGE | status::DRIVER | status::FEATURES_OK;
const RUNNING: u32 = READY_TO_START | status::DRIVER_OK;

/// A driver that has got as far as FEATURES_OK.
fn negotiated() -> FakeDriver<Probe> {
    let mut driver = FakeDriver::new(Probe::default());
    driver.set_status(status::ACKNOWLEDGE);
    driver.set_status(status::ACKNOWLEDGE | status::DRIVER);
    driver.accept(F_VERSION_1);
    driver.set_status(READY_TO_START);
    driver
}

#[test]
fn the_identity_registers_say_a_modern_device() {
    let driver = FakeDriver::new(Probe::default());
    assert_eq!(driver.load(register::MAGIC, 4), b"virt");
    assert_eq!(driver.read(register::VERSION), 2);
    assert_eq!(driver.read(register::DEVICE_ID), 4);
    assert_eq!(driver.load(register::VENDOR_ID, 4), b"BTLV");
    assert_eq!(driver.read(register::CONFIG_GENERATION), 0);
    assert_eq!(driver.read(register::SHM_LENGTH_LOW), u32::MAX);
    assert_eq!(driver.read(register::SHM_LENGTH_HIGH), u32::MAX);
}

#[test]
fn the_initialisation_sequence_hands_over_the_queues_and_the_features() {
    let driver = FakeDriver::started(Probe::default());
    assert_eq!(driver.status(), RUNNING);
    let device = driver.device();
    let active = device.active.as_ref().unwrap();
    assert_eq!(active.features, F_VERSION_1 | F_EVENT_IDX | 1 << 3);
    assert_eq!(active.queues.iter().map(virtio_queue::Queue::size).collect::<Vec<_>>(), [8, 16]);
    assert!(active.queues.iter().all(|queue| queue.ready() && queue.event_idx_enabled()));
    assert_eq!(device.activations, 1);
}

#[test]
fn event_indices_are_used_only_if_the_driver_accepted_them() {
    let driver = FakeDriver::started_without_event_idx(Probe::default());
    assert!(driver.device().active.as_ref().unwrap().queues.iter().all(|queue| !queue.event_idx_enabled()));
}

#[test]
fn features_are_shown_by_halves_and_nothing_beyond() {
    let driver = FakeDriver::new(Probe::default());
    assert_eq!(driver.offered(), F_VERSION_1 | F_EVENT_IDX | 1 << 3);
    for select in [2, 3, 31, 32, u32::MAX] {
        driver.write(register::DEVICE_FEATURES_SELECT, select);
        assert_eq!(driver.read(register::DEVICE_FEATURES), 0);
    }
}

#[test]
fn features_that_were_not_offered_are_refused_and_may_be_mended() {
    for features in [F_VERSION_1 | 1, F_VERSION_1 | 1 << 63, F_EVENT_IDX, 0] {
        let mut driver = FakeDriver::new(Probe::default());
        driver.set_status(status::ACKNOWLEDGE | status::DRIVER);
        driver.accept(features);
        driver.set_status(READY_TO_START);
        assert_eq!(driver.status(), status::ACKNOWLEDGE | status::DRIVER, "{features:#x}");
        driver.set_status(RUNNING);
        assert_eq!(driver.device().activations, 0, "{features:#x}");
        driver.accept(F_VERSION_1);
        driver.set_status(READY_TO_START);
        assert_eq!(driver.status(), READY_TO_START);
    }
}

#[test]
fn features_are_fixed_after_features_ok() {
    let mut driver = negotiated();
    driver.accept(F_VERSION_1 | F_EVENT_IDX);
    driver.set_status(RUNNING);
    assert_eq!(driver.device().active.as_ref().unwrap().features, F_VERSION_1);
}

#[test]
fn driver_ok_before_features_ok_starts_nothing() {
    let driver = FakeDriver::new(Probe::default());
    for status in [status::DRIVER_OK, status::ACKNOWLEDGE | status::DRIVER | status::DRIVER_OK] {
        driver.set_status(status);
        assert_eq!(driver.status() & status::DRIVER_OK, 0);
        assert_eq!(driver.device().activations, 0);
    }
}

#[test]
fn status_bits_stay_until_reset() {
    let driver = FakeDriver::started(Probe::default());
    driver.set_status(status::ACKNOWLEDGE);
    assert_eq!(driver.status(), RUNNING);
    driver.set_status(RUNNING);
    assert_eq!(driver.device().activations, 1, "DRIVER_OK again activates nothing");
    driver.set_status(0);
    assert_eq!(driver.status(), 0);
}

#[test]
fn a_queue_set_up_outside_its_time_is_ignored() {
    let mut driver = FakeDriver::new(Probe::default());
    driver.set_up_queue(0);
    assert_eq!(driver.read(register::QUEUE_READY), 0, "before FEATURES_OK");
    driver.start(u64::MAX);
    driver.write(register::QUEUE_SELECT, 1);
    driver.write(register::QUEUE_SIZE, 2);
    driver.write(register::QUEUE_READY, 0);
    assert_eq!(driver.read(register::QUEUE_READY), 1, "after DRIVER_OK");
    assert_eq!(driver.device().active.as_ref().unwrap().queues[1].size(), 16);
}

#[test]
fn queues_that_do_not_exist_have_no_size_and_take_no_writes() {
    let driver = negotiated();
    for queue in [2, 3, 0xffff, u32::MAX] {
        driver.write(register::QUEUE_SELECT, queue);
        assert_eq!(driver.read(register::QUEUE_SIZE_MAX), 0);
        driver.write(register::QUEUE_READY, 1);
        assert_eq!(driver.read(register::QUEUE_READY), 0);
    }
    driver.write(register::QUEUE_SELECT, 1);
    assert_eq!(driver.read(register::QUEUE_SIZE_MAX), 16);
}

#[test]
fn a_size_that_is_no_power_of_two_or_too_large_is_not_taken() {
    let mut driver = negotiated();
    driver.set_up_queue(0);
    driver.write(register::QUEUE_SELECT, 0);
    for size in [0, 3, 7, 16, 0x8000, 0x1_0000, 0x1_0004, u32::MAX] {
        driver.write(register::QUEUE_SIZE, size);
    }
    driver.set_status(RUNNING);
    assert_eq!(driver.device().active.as_ref().unwrap().queues[0].size(), 8);
}

/// Rings that reach beyond RAM, or stand where the queue takes them for never set up.
#[test]
fn a_queue_outside_ram_makes_the_device_ask_for_a_reset() {
    let parts = [register::QUEUE_DESC_LOW, register::QUEUE_DRIVER_LOW, register::QUEUE_DEVICE_LOW];
    for part in parts {
        for address in [RAM_END, RAM_END - 16, !0xf, 1 << 40] {
            let mut driver = negotiated();
            driver.set_up_queue(0);
            driver.write(part, u32::try_from(address & 0xffff_ffff).unwrap());
            driver.write(part + 4, u32::try_from(address >> 32).unwrap());
            driver.set_status(RUNNING);
            assert_eq!(driver.status(), READY_TO_START | status::NEEDS_RESET, "{part:#x} {address:#x}");
            assert_eq!(driver.read(register::INTERRUPT_STATUS), CONFIG_CHANGE);
            assert_eq!(driver.interrupts(), 1);
            assert_eq!(driver.device().activations, 0);
            // Mended queues do not help: only a reset does.
            driver.set_up_queue(0);
            driver.set_status(RUNNING);
            assert_eq!(driver.device().activations, 0);
            driver.start(u64::MAX);
            assert_eq!((driver.status(), driver.device().activations), (RUNNING, 1));
        }
    }
}

#[test]
fn an_available_ring_at_address_zero_is_not_set_up() {
    let mut driver = negotiated();
    driver.set_up_queue(0);
    driver.write(register::QUEUE_DRIVER_LOW, 0);
    driver.set_status(RUNNING);
    assert_eq!(driver.status() & (status::NEEDS_RESET | status::DRIVER_OK), status::NEEDS_RESET);
}

#[test]
fn a_driver_that_gave_up_has_to_reset() {
    let driver = negotiated();
    driver.set_status(READY_TO_START | status::FAILED);
    driver.set_status(RUNNING | status::FAILED);
    assert_eq!(driver.status(), READY_TO_START | status::FAILED);
    assert_eq!(driver.device().activations, 0);
}

#[test]
fn reset_works_in_every_state_and_leads_back_to_a_working_device() {
    for steps in
        [vec![], vec![1], vec![1, 3], vec![1, 3, READY_TO_START], vec![1, 3, READY_TO_START, RUNNING], vec![128]]
    {
        let mut driver = FakeDriver::new(Probe::default());
        driver.accept(F_VERSION_1);
        steps.iter().for_each(|step| driver.set_status(*step));
        driver.set_status(0);
        driver.set_status(0);
        assert_eq!((driver.status(), driver.device().resets), (0, 2), "{steps:?}");
        driver.start(u64::MAX);
        let buffer = driver.data(b"12345");
        assert_eq!(driver.round_trip(0, &[buffer]), Some(5));
    }
}

#[test]
fn reset_forgets_queues_features_selections_and_interrupts() {
    let mut driver = FakeDriver::started(Probe::default());
    let buffer = driver.data(b"1");
    driver.round_trip(1, &[buffer]).unwrap();
    assert_eq!(driver.read(register::INTERRUPT_STATUS), USED_BUFFER);
    driver.set_status(0);
    assert_eq!(driver.read(register::INTERRUPT_STATUS), 0);
    assert_eq!(driver.read(register::QUEUE_READY), 0);
    assert_eq!(driver.read(register::QUEUE_SIZE_MAX), 8, "queue 0 is selected");
    driver.set_status(RUNNING);
    assert_eq!(driver.status(), status::ACKNOWLEDGE | status::DRIVER, "no features are accepted");
}

#[test]
fn interrupts_stay_pending_until_acknowledged() {
    let mut driver = FakeDriver::started(Probe::default());
    let buffer = driver.data(b"1");
    driver.round_trip(0, &[buffer]).unwrap();
    driver.write(register::INTERRUPT_ACK, CONFIG_CHANGE);
    assert_eq!(driver.read(register::INTERRUPT_STATUS), USED_BUFFER);
    driver.write(register::INTERRUPT_ACK, USED_BUFFER);
    assert_eq!(driver.read(register::INTERRUPT_STATUS), 0);
}

#[test]
fn registers_are_32_bits_and_aligned() {
    let driver = FakeDriver::started(Probe::default());
    for width in [1, 2, 8] {
        assert_eq!(driver.load(register::MAGIC, width), vec![0; width]);
    }
    for offset in 1..4 {
        assert_eq!(driver.load(register::MAGIC + offset, 4), [0; 4]);
    }
    driver.store(register::STATUS, &[0]);
    driver.store(register::STATUS, &[0; 2]);
    driver.store(register::STATUS, &[0; 8]);
    assert_eq!(driver.status(), RUNNING, "none of these is a reset");
}

#[test]
fn configuration_is_read_at_any_offset_and_width() {
    let driver = FakeDriver::new(Probe::default());
    for width in 1..=8 {
        for offset in 0..16 {
            let expected: Vec<u8> = (offset..offset + width).map(|at| CONFIG.get(at).copied().unwrap_or(0)).collect();
            assert_eq!(driver.load(register::CONFIG + offset as u64, width), expected, "{offset}+{width}");
        }
    }
    assert_eq!(driver.load(0xfff, 8), [0; 8]);
    assert_eq!(driver.load(u64::MAX, 4), [0; 4]);
    driver.write(register::CONFIG, 0xffff_ffff);
    assert_eq!(driver.load(register::CONFIG, 4), CONFIG[..4], "configuration is read-only");
}

#[test]
fn an_index_further_ahead_than_the_ring_is_long_does_not_hang_the_device() {
    for ahead in [9, 100, 0x7fff, 0x8000, 0xffff] {
        let mut driver = FakeDriver::started(Probe::default());
        driver.set_avail_index(0, ahead);
        driver.kick(0);
        assert_eq!(driver.device().chains, 0);
        // The queue is as good as before once the index is.
        driver.set_avail_index(0, 0);
        let buffer = driver.data(b"123");
        assert_eq!(driver.round_trip(0, &[buffer]), Some(3));
    }
}

#[test]
fn a_notification_for_a_queue_that_was_not_set_up_touches_nothing() {
    let mut driver = negotiated();
    driver.set_up_queue(1);
    driver.set_status(RUNNING);
    // The guest's own data, where an address that was never written would point to.
    driver.poke(0, &[0x5a; 64]);
    driver.kick(0);
    assert_eq!(driver.peek(0, 64), [0x5a; 64]);
    let buffer = driver.data(b"123");
    assert_eq!(driver.round_trip(1, &[buffer]), Some(3));
}

#[test]
fn heads_and_links_outside_the_table_end_the_chain() {
    let mut driver = FakeDriver::started(Probe::default());
    for head in [8, 9, 0x7fff, 0xffff] {
        driver.publish(0, head);
    }
    driver.kick(0);
    assert_eq!(driver.used(0), [], "heads outside of the table cannot be given back");
    driver.descriptor(0, 0, Descriptor::new(0x10_0000, 16, super::super::testing::NEXT | WRITE, 8));
    driver.publish(0, 0);
    driver.kick(0);
    assert_eq!(driver.used(0)[0].written, 16);
}

#[test]
fn a_chain_that_bites_its_tail_ends() {
    let mut driver = FakeDriver::started(Probe::default());
    driver.descriptor(0, 3, Descriptor::new(0x10_0000, 16, super::super::testing::NEXT, 3));
    driver.publish(0, 3);
    driver.kick(0);
    assert_eq!(driver.used(0)[0].written, 8 * 16, "as many as the table has");
}

/// A guest that adds as fast as the device takes.
#[test]
fn a_guest_that_refills_its_ring_does_not_hold_the_event_loop() {
    let mut driver = FakeDriver::started(Probe::default());
    driver.device().added_meanwhile = 0xffff;
    driver.add(0, &[Buffer::readable(0x10_0000, 1)]);
    let turn = |driver: &FakeDriver<Probe>| {
        let before = driver.device().chains;
        driver.device().queue_notified(0);
        driver.device().chains - before
    };
    assert_eq!(turn(&driver), 8, "a ring's worth");
    assert!(driver.interrupts() > 0);
    assert_eq!(driver.rung(), Some(0), "the device wants to be called again");
    assert_eq!(turn(&driver), 8);
    driver.kick(0);
    assert_eq!(driver.device().chains, 1 << 16, "in turns, all are served");
}

#[test]
fn with_event_indices_the_guest_is_interrupted_only_when_it_asked() {
    let mut driver = FakeDriver::started(Probe::default());
    let buffer = driver.data(b"1");
    driver.add(0, &[buffer]);
    driver.kick(0);
    assert_eq!(driver.interrupts(), 1);
    // The guest has not looked yet, so that it did not ask for the next.
    driver.add(0, &[buffer]);
    driver.kick(0);
    assert_eq!(driver.interrupts(), 0);
    driver.used(0);
    driver.add(0, &[buffer]);
    driver.kick(0);
    assert_eq!(driver.interrupts(), 1);
}

proptest! {
    #[test]
    fn any_sequence_of_register_writes_leaves_a_device_that_can_be_reset_and_used(
        writes in prop::collection::vec((0u64..0x110, prop_oneof![0u32..256, any::<u32>()]), 0..200)
    ) {
        let mut driver = FakeDriver::new(Probe::default());
        for (offset, value) in writes {
            driver.write(offset, value);
            driver.kick(0);
            let _ = driver.read(offset);
        }
        driver.start(u64::MAX);
        let buffer = driver.data(b"1234");
        prop_assert_eq!(driver.round_trip(0, &[buffer]), Some(4));
    }
}
