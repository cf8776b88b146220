//! The device itself: reset, notifications, start.

use super::*;

#[test]
fn a_reset_of_the_device_drops_every_connection_and_every_answer() {
    let mut guest = Guest::new(&[5, 6]);
    guest.send(to(5, op::REQUEST), b"");
    guest.send(to(7, op::REQUEST), b"");
    guest.driver.set_status(0);
    assert!(guest.host_sees_the_end(5));
    guest.driver.start(u64::MAX);
    guest.posted.clear();
    guest.post(8, 4096);
    assert_eq!(guest.told(), []);
    guest.send(to(6, op::REQUEST), b"");
    assert_eq!(guest.told(), [(6, op::RESPONSE)], "ports that were not used are still there");
}

#[test]
fn notifications_and_host_events_of_an_inactive_device_are_nothing() {
    let (_host, end) = UnixStream::pair().unwrap();
    let event_loop = EventLoop::new().unwrap();
    let mut device = Vsock::new(GuestCid::ONLY, vec![(5, end)], event_loop.next_registrar());
    for queue in [0, 1, 2, 3, u16::MAX] {
        device.queue_notified(queue);
    }
    device.host_event(5, EventSet::IN);
    device.reset();
}

#[test]
fn the_event_queue_and_queues_that_are_not_there_can_be_notified() {
    let mut guest = Guest::connected(&[5]);
    for queue in [2, 3, u16::MAX] {
        guest.driver.device().queue_notified(queue);
    }
    let event = guest.driver.room(8);
    guest.driver.add(2, &[event]);
    guest.driver.kick(2);
    assert_eq!(guest.driver.used(2), [], "no event ever happens");
}

#[test]
fn packets_queued_before_the_start_are_served_at_the_start() {
    let mut guest = Guest::new(&[5]);
    guest.driver.set_status(0);
    // As `start`, with packets on the rings at DRIVER_OK.
    guest.driver.set_status(3);
    guest.driver.accept(F_VERSION_1);
    guest.driver.set_status(11);
    (0..3).for_each(|queue| guest.driver.set_up_queue(queue));
    let request = guest.driver.data(&encode(&to(5, op::REQUEST)));
    let room = guest.driver.room(4096);
    guest.driver.add(TX_QUEUE, &[request]);
    guest.post_one(room);
    guest.driver.set_status(15);
    assert_eq!(guest.told(), [(5, op::RESPONSE)]);
}
