use super::*;
use crate::vmm::devices::virtio::testing::{Buffer, FakeDriver, INDIRECT, NEXT, RAM_END, SEAM, WRITE};
use std::collections::VecDeque;
use std::mem::take;
use virtio_queue::desc::split::Descriptor as RawDescriptor;

/// Notes what the guest sends, gives it what the test says.
#[derive(Default)]
struct Wire {
    offloads: Option<Offloads>,
    received: Vec<Vec<u8>>,
    due: VecDeque<Due>,
    /// Frames that are taken; `None` is no limit.
    quota: Option<u16>,
}

#[derive(Clone, Default)]
struct Due {
    head: Vec<u8>,
    body: Vec<u8>,
    checksum: Option<(u16, u16)>,
    segment: Option<u16>,
}

impl FrameBackend for Wire {
    fn start(&mut self, offloads: Offloads) {
        self.offloads = Some(offloads);
    }

    fn quota(&mut self) -> u16 {
        self.quota.unwrap_or(u16::MAX)
    }

    fn receive(&mut self, frame: &GuestFrame<'_>) {
        self.quota = self.quota.map(|quota| quota.saturating_sub(1));
        let mut bytes = vec![0; frame.parts.iter().map(VolatileSlice::len).sum()];
        let mut at = 0;
        for part in &frame.parts {
            at += part.copy_to(&mut bytes[at..]);
        }
        self.received.push(bytes);
    }

    fn next(&mut self) -> Option<FrameForGuest<'_>> {
        let Due { head, body, checksum, segment } = self.due.front()?;
        Some(FrameForGuest { head, body, checksum: *checksum, segment: *segment })
    }

    fn sent(&mut self) {
        self.due.pop_front();
    }

    fn host_event(&mut self, _token: u32, _events: EventSet) {}
}

const CONFIG: NetConfig = NetConfig { mac: [2, 1, 2, 3, 4, 5], mtu: 65_520 };

fn device() -> Net<Wire> {
    Net::new(CONFIG, Wire::default())
}

fn guest() -> FakeDriver<Net<Wire>> {
    FakeDriver::started(device())
}

fn received(guest: &FakeDriver<Net<Wire>>) -> Vec<Vec<u8>> {
    take(&mut guest.device().backend().received)
}

/// Gives the guest a frame, as if a host event had brought it.
fn give(guest: &FakeDriver<Net<Wire>>, due: Due) {
    let mut device = guest.device();
    device.backend().due.push_back(due);
    device.host_event(1, EventSet::IN);
}

fn plain(length: usize) -> Due {
    let body = (0..length).map(|at| at.to_le_bytes()[0]).collect();
    Due { head: b"head".to_vec(), body, ..Due::default() }
}

#[test]
fn the_configuration_says_address_and_mtu() {
    let guest = guest();
    assert_eq!(guest.load(0x100, 8), [2, 1, 2, 3, 4, 5, 0, 0]);
    assert_eq!(guest.load(0x10a, 2), 65_520u16.to_le_bytes());
    assert_eq!(guest.read(0x08), 1);
}

#[test]
fn a_frame_from_the_guest_arrives_without_its_header_however_it_is_cut() {
    let mut guest = guest();
    let bytes: Vec<u8> = (0..100).collect();
    let whole = guest.data(&bytes);
    for at in [1, 11, 12, 13, 40, 99] {
        let [first, second] = whole.split(at);
        assert_eq!(guest.round_trip(TX_QUEUE, &[first, second]), Some(0));
        assert_eq!(received(&guest), [bytes[12..].to_vec()]);
    }
    let each: Vec<Buffer> = (0..100).map(|at| Buffer::readable(whole.address + at, 1)).collect();
    assert_eq!(guest.round_trip(TX_QUEUE, &each), Some(0));
    assert_eq!(received(&guest), [bytes[12..].to_vec()]);
}

#[test]
fn a_frame_may_lie_across_the_hosts_own_seams() {
    let mut guest = guest();
    guest.poke(SEAM - 20, &[7; 40]);
    guest.round_trip(TX_QUEUE, &[Buffer::readable(SEAM - 20, 40)]);
    assert_eq!(received(&guest), [vec![7; 28]]);
}

#[test]
fn chains_that_are_no_frame_come_back_and_nothing_arrives() {
    let mut guest = guest();
    let (data, room) = (guest.data(&[1; 64]), guest.room(64));
    let outside = Buffer::readable(RAM_END - 8, 64);
    let far = Buffer::readable(u64::MAX - 4, 64);
    let short = Buffer::readable(data.address, 11);
    for chain in [vec![room], vec![data, room], vec![outside], vec![data, outside], vec![far], vec![short]] {
        assert_eq!(guest.round_trip(TX_QUEUE, &chain), Some(0), "{chain:?}");
        assert_eq!(received(&guest), Vec::<Vec<u8>>::new(), "{chain:?}");
    }
    // The header alone is a frame without bytes, which is for the backend to judge.
    guest.round_trip(TX_QUEUE, &[Buffer::readable(data.address, 12)]);
    assert_eq!(received(&guest), [Vec::<u8>::new()]);
}

#[test]
fn chains_that_loop_or_hide_in_tables_end() {
    let mut guest = guest();
    let data = guest.data(&[1; 64]);
    guest.descriptor(TX_QUEUE, 0, RawDescriptor::new(data.address, 64, NEXT, 0));
    guest.publish(TX_QUEUE, 0);
    guest.descriptor(TX_QUEUE, 9, RawDescriptor::new(data.address, 64, INDIRECT, 0));
    guest.publish(TX_QUEUE, 9);
    guest.kick(TX_QUEUE);
    assert_eq!(guest.used(TX_QUEUE).len(), 2);
    guest.descriptor(RX_QUEUE, 0, RawDescriptor::new(data.address, 8, NEXT | WRITE, 0));
    guest.publish(RX_QUEUE, 0);
    guest.kick(RX_QUEUE);
    give(&guest, plain(100_000));
    assert_eq!(guest.used(RX_QUEUE), []);
}

#[test]
fn a_frame_fills_as_many_buffers_as_it_needs() {
    let mut guest = guest();
    let buffers: Vec<Buffer> = [10, 3, 30, 1000, 50].map(|length| guest.room(length)).to_vec();
    for buffer in &buffers {
        guest.add(RX_QUEUE, &[*buffer]);
    }
    guest.kick(RX_QUEUE);
    give(&guest, plain(200));
    let used = guest.used(RX_QUEUE);
    assert_eq!(used.iter().map(|used| used.written).collect::<Vec<_>>(), [10, 3, 30, 173]);
    let bytes: Vec<u8> = buffers
        .iter()
        .zip(&used)
        .flat_map(|(buffer, used)| guest.peek(buffer.address, used.written as usize))
        .collect();
    assert_eq!(bytes[..12], [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0], "four buffers");
    assert_eq!(bytes[12..], [b"head".to_vec(), plain(200).body].concat());
    assert_eq!(guest.bytes(buffers[3])[173..], [0xa5; 827], "nothing behind the frame");
    assert_eq!(guest.interrupts(), 1);
}

#[test]
fn a_frame_without_room_waits_and_comes_whole() {
    let mut guest = guest();
    let small = guest.room(64);
    guest.add(RX_QUEUE, &[small]);
    guest.notify(RX_QUEUE);
    give(&guest, plain(500));
    assert_eq!((guest.used(RX_QUEUE), guest.bytes(small)), (vec![], vec![0xa5; 64]));
    let large = guest.room(1000);
    guest.add(RX_QUEUE, &[large]);
    assert!(guest.notify(RX_QUEUE), "the driver is asked to say when there is more");
    let written: Vec<_> = guest.used(RX_QUEUE).iter().map(|used| used.written).collect();
    assert_eq!(written, [64, 452]);
}

#[test]
fn the_header_says_what_is_left_to_the_guest() {
    let mut guest = guest();
    assert_eq!(guest.device().backend().offloads, Some(Offloads { checksum: true, segmentation: true }));
    let room = guest.room(4000);
    guest.add(RX_QUEUE, &[room]);
    guest.kick(RX_QUEUE);
    give(&guest, Due { checksum: Some((34, 16)), segment: Some(1460), ..plain(3000) });
    assert_eq!(guest.bytes(room)[..12], [1, 1, 4, 0, 0xb4, 5, 34, 0, 16, 0, 1, 0]);
}

#[test]
fn a_driver_that_declines_gets_no_more_than_it_takes() {
    for (declined, checksum) in [(feature::GUEST_CSUM, false), (feature::GUEST_TSO4, true)] {
        let mut guest = FakeDriver::new(device());
        guest.start(!declined);
        let offloads = Some(Offloads { checksum, segmentation: false });
        assert_eq!(guest.device().backend().offloads, offloads);
    }
}

#[test]
fn without_mergeable_buffers_a_frame_has_one_or_is_lost_with_it() {
    let mut guest = FakeDriver::new(device());
    guest.start(!feature::MRG_RXBUF);
    let (large, small, next) = (guest.room(400), guest.room(20), guest.room(400));
    for buffer in [large, small, next] {
        guest.add(RX_QUEUE, &[buffer]);
    }
    guest.kick(RX_QUEUE);
    for _ in 0..3 {
        give(&guest, plain(100));
    }
    let written: Vec<_> = guest.used(RX_QUEUE).iter().map(|used| used.written).collect();
    assert_eq!(written, [116, 20, 116]);
}

#[test]
fn a_ring_of_buffers_without_room_costs_the_guest_a_frame_and_holds_nothing_up() {
    let mut guest = guest();
    let nothing = guest.data(&[0; 4]);
    for _ in 0..QUEUE_SIZE - 1 {
        guest.add(RX_QUEUE, &[nothing]);
    }
    guest.kick(RX_QUEUE);
    give(&guest, plain(100));
    assert_eq!(guest.used(RX_QUEUE), [], "the last one may have room");
    guest.add(RX_QUEUE, &[nothing]);
    guest.kick(RX_QUEUE);
    let used = guest.used(RX_QUEUE);
    assert_eq!(used.len(), usize::from(QUEUE_SIZE));
    assert!(used.iter().all(|used| used.written == 0));
    assert_eq!(guest.bytes(nothing), [0; 4]);
    let room = guest.room(200);
    guest.add(RX_QUEUE, &[nothing]);
    guest.add(RX_QUEUE, &[room]);
    guest.kick(RX_QUEUE);
    assert_eq!(guest.used(RX_QUEUE), [], "that frame is gone");
    give(&guest, plain(100));
    let written: Vec<_> = guest.used(RX_QUEUE).iter().map(|used| used.written).collect();
    assert_eq!(written, [0, 116]);
    assert_eq!(guest.bytes(room)[10..12], [2, 0], "buffers of the frame, the empty one among them");
}

#[test]
fn a_turn_is_bounded_in_both_directions_and_comes_back() {
    let mut guest = guest();
    let turn = |guest: &FakeDriver<Net<Wire>>| guest.device().queue_notified(0);
    let frame = guest.data(&[1; 20]);
    for _ in 0..200 {
        guest.add(TX_QUEUE, &[frame]);
    }
    turn(&guest);
    assert_eq!(received(&guest).len(), usize::from(BUDGET));
    assert_eq!(guest.rung(), Some(1));
    guest.kick(TX_QUEUE);
    assert_eq!(received(&guest).len(), 200 - usize::from(BUDGET));
    for _ in 0..200 {
        let room = guest.room(64);
        guest.add(RX_QUEUE, &[room]);
    }
    guest.device().backend().due.extend((0..200).map(|_| plain(10)));
    turn(&guest);
    assert_eq!(guest.used(RX_QUEUE).len(), usize::from(BUDGET));
    assert_eq!(guest.rung(), Some(0));
    guest.kick(RX_QUEUE);
    assert_eq!(guest.used(RX_QUEUE).len(), 200 - usize::from(BUDGET));
}

#[test]
fn a_backend_without_quota_leaves_frames_in_the_ring() {
    let mut guest = guest();
    guest.device().backend().quota = Some(2);
    let frame = guest.data(&[1; 20]);
    for _ in 0..5 {
        guest.add(TX_QUEUE, &[frame]);
    }
    guest.kick(TX_QUEUE);
    assert_eq!(received(&guest).len(), 2);
    guest.device().backend().quota = None;
    guest.device().host_event(1, EventSet::IN);
    assert_eq!(received(&guest).len(), 3);
}

#[test]
fn a_driver_may_start_again() {
    let mut guest = guest();
    give(&guest, plain(10));
    guest.set_status(0);
    guest.kick(RX_QUEUE);
    guest.start(u64::MAX);
    let room = guest.room(100);
    guest.add(RX_QUEUE, &[room]);
    guest.kick(RX_QUEUE);
    assert_eq!(guest.used(RX_QUEUE).len(), 1, "what was due is due still");
}

#[test]
fn queues_that_were_never_set_up_are_not_touched() {
    let mut guest = FakeDriver::new(device());
    for queue in [RX_QUEUE, TX_QUEUE, 2, 9] {
        guest.kick(queue.min(1));
        guest.device().queue_notified(u16::try_from(queue).unwrap());
    }
    give(&guest, plain(10));
    assert_eq!(guest.interrupts(), 0);
}
