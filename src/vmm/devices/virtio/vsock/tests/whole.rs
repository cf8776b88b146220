//! Everything together: behind the event loop, and in any order.

use super::*;

/// The device behind the real event loop, both sides blocking: a notification, an interrupt or an epoll edge that got lost would
/// hang here.
#[test]
fn echo_through_the_event_loop_arrives_intact() {
    const TOTAL: usize = 3 << 20;
    let mut guest = Guest::connected(&[5]);
    let mut host = guest.host.remove(&5).unwrap();
    host.set_nonblocking(false).unwrap();
    let echo = std::thread::spawn(move || {
        let mut buffer = vec![0; 30_000];
        while let Ok(count @ 1..) = host.read(&mut buffer) {
            host.write_all(&buffer[..count]).unwrap();
        }
    });

    let kicks = [EventFd::new(libc::EFD_NONBLOCK).unwrap(), EventFd::new(libc::EFD_NONBLOCK).unwrap()];
    let registrar = guest.event_loop.next_registrar();
    for (queue, kick) in (0..).zip(&kicks) {
        registrar.watch_queue(kick.as_raw_fd(), queue).unwrap();
    }
    let (stop, mut event_loop) =
        (Arc::new(Stop::new().unwrap()), std::mem::replace(&mut guest.event_loop, EventLoop::new().unwrap()));
    event_loop.add(guest.driver.shared());
    let (launcher, _launcher_end) = UnixStream::pair().unwrap();
    let thread = std::thread::spawn({
        let stop = Arc::clone(&stop);
        move || event_loop.run(&stop, launcher.as_raw_fd(), || {}).unwrap()
    });

    let (mut sent, mut received, mut consumed, mut credit) = (0, Vec::new(), 0u32, 0usize);
    let slots: Vec<u64> = (0..8).map(|_| guest.driver.allocate(HEADER + 20_000)).collect();
    let mut free = slots.clone();
    let mut lent = BTreeMap::new();
    while received.len() < TOTAL {
        while sent < TOTAL && sent - credit + 20_000 <= BUFFER_BYTES as usize {
            let Some(slot) = free.pop() else { break };
            let length = (TOTAL - sent).min(20_000);
            let data: Vec<u8> = (sent..sent + length).map(|at| u8::try_from(at % 253).unwrap()).collect();
            let header = Header { len: u32::try_from(length).unwrap(), fwd_cnt: consumed, ..to(5, op::RW) };
            guest.driver.poke(slot, &[encode(&header).as_slice(), &data].concat());
            lent.insert(
                guest.driver.add(TX_QUEUE, &[Buffer::readable(slot, u32::try_from(HEADER + length).unwrap())]),
                slot,
            );
            sent += length;
        }
        for (queue, kick) in kicks.iter().enumerate() {
            if guest.driver.owes_notification(queue) {
                kick.write(1).unwrap();
            }
        }
        let mut progress = false;
        for used in guest.driver.used(TX_QUEUE) {
            free.push(lent.remove(&used.head).unwrap());
            progress = true;
        }
        for packet in guest.receive() {
            progress = true;
            assert!(matches!(packet.header.op, op::RW | op::CREDIT_UPDATE), "{packet:?}");
            credit = packet.header.fwd_cnt as usize;
            consumed += packet.header.len;
            received.extend(packet.payload);
        }
        if !progress {
            wait(guest.driver.irq().line());
            let _ = guest.driver.interrupts();
        }
    }
    assert!(received.iter().enumerate().all(|(at, byte)| usize::from(*byte) == at % 253));
    stop.request(StopReason::PowerOff);
    assert!(matches!(thread.join().unwrap(), StopReason::PowerOff));
    drop(guest);
    echo.join().unwrap();
}

/// Until readable. The limit only turns a hang into a failure.
fn wait(line: &EventFd) {
    let epoll = Epoll::new().unwrap();
    epoll.ctl(ControlOperation::Add, line.as_raw_fd(), EpollEvent::new(EventSet::IN, 0)).unwrap();
    let ready = epoll.wait(60_000, &mut [EpollEvent::default()]).unwrap();
    assert_eq!(ready, 1, "the device forgot to interrupt");
}

#[derive(Clone, Debug)]
enum Step {
    GuestSends(usize),
    HostWrites(usize),
    HostReads(usize),
    GuestConsumes,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (1usize..70_000).prop_map(|length| Step::GuestSends(length.min(65_536))),
        (1usize..70_000).prop_map(Step::HostWrites),
        (1usize..200_000).prop_map(Step::HostReads),
        Just(Step::GuestConsumes),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Whatever the chunks and whoever is slow: what arrives is what was sent, in both directions, and credit never stops it.
    #[test]
    fn streams_arrive_as_they_were_sent(steps in prop::collection::vec(step(), 1..120), buf_alloc in 2000u32..100_000) {
        let mut guest = Guest::ready(&[5]);
        let arena = guest.driver.allocate(1 << 17);
        guest.send(Header { buf_alloc, ..to(5, op::REQUEST) }, b"");
        let [mut sent, mut arrived, mut written, mut received]: [Vec<u8>; 4] = Default::default();
        let (mut told, mut consumed) = (0usize, 0u32);
        let drain = steps.iter().cloned().chain((0..2000).flat_map(|_| [Step::HostReads(1 << 20), Step::GuestConsumes]));
        for (index, step) in drain.enumerate() {
            match step {
                Step::GuestSends(length) => {
                    let length = length.min(BUFFER_BYTES as usize - (sent.len() - told));
                    let bytes: Vec<u8> = (0..length).map(|at| u8::try_from((at + index) % 256).unwrap()).collect();
                    let header = Header { len: u32::try_from(length).unwrap(), buf_alloc, fwd_cnt: consumed, ..to(5, op::RW) };
                    guest.driver.poke(arena, &[encode(&header).as_slice(), &bytes].concat());
                    guest.send_chain(&[Buffer::readable(arena, u32::try_from(HEADER + length).unwrap())]);
                    sent.extend(bytes);
                }
                Step::HostWrites(length) => {
                    let bytes: Vec<u8> = (0..length).map(|at| u8::try_from((at * 7 + index) % 256).unwrap()).collect();
                    if let Ok(count) = guest.host(5).write(&bytes) {
                        written.extend(&bytes[..count]);
                    }
                    guest.wake(5);
                }
                Step::HostReads(length) => {
                    let mut bytes = vec![0; length];
                    if let Ok(count) = guest.host(5).read(&mut bytes) {
                        prop_assert!(count > 0, "the connection was closed");
                        arrived.extend(&bytes[..count]);
                    }
                    guest.wake(5);
                }
                Step::GuestConsumes => {
                    for packet in guest.receive() {
                        prop_assert!(packet.header.op != op::RST);
                        told = packet.header.fwd_cnt as usize;
                        received.extend(packet.payload);
                    }
                    prop_assert!(received.len() - consumed as usize <= buf_alloc as usize, "more than the guest can take");
                    consumed = u32::try_from(received.len()).unwrap();
                    guest.send(Header { buf_alloc, fwd_cnt: consumed, ..to(5, op::CREDIT_UPDATE) }, b"");
                    guest.driver.notify(RX_QUEUE);
                    guest.driver.free_from(arena + (1 << 17));
                }
            }
            if index >= steps.len() && arrived.len() == sent.len() && received.len() == written.len() {
                break;
            }
        }
        prop_assert_eq!(arrived.len(), sent.len());
        prop_assert!(arrived == sent);
        prop_assert_eq!(received.len(), written.len());
        prop_assert!(received == written);
    }

    #[test]
    fn no_packet_breaks_the_device(packets in prop::collection::vec(
        (any::<(u16, u32, u32, u32, u32)>(), 0u16..10, prop::sample::select(vec![5u32, 6, 7]), 0usize..300), 1..40)
    ) {
        let mut guest = Guest::ready(&[5, 6]);
        for ((socket_type, flags, buf_alloc, fwd_cnt, len), op, port, length) in packets {
            let socket_type = if socket_type % 4 == 0 { socket_type } else { TYPE_STREAM };
            let len = if len % 3 == 0 { len } else { u32::try_from(length).unwrap() };
            guest.send_raw(&Header { socket_type, flags, buf_alloc, fwd_cnt, len, ..to(port, op) }, &counting(length));
            let _ = guest.host(5).write(b"x");
            guest.wake(5);
            guest.receive();
            guest.driver.notify(RX_QUEUE);
        }
        guest.driver.set_status(0);
        prop_assert!(guest.host_reads(5).len() < 1 << 20);
    }
}
