use super::*;
use nix::fcntl::OFlag;
use nix::unistd::{pipe2, read};
use proptest::prelude::*;
use std::os::fd::AsFd;

proptest! {
    /// Whatever is pushed comes out once and in order, however the pipe fills and empties.
    #[test]
    fn bytes_come_out_as_they_went_in(steps in prop::collection::vec((0usize..200_000, 0usize..100_000), 1..12)) {
        let (reader, writer) = pipe2(OFlag::O_NONBLOCK).unwrap();
        let (mut queue, mut pushed, mut taken) = (ByteQueue::default(), Vec::new(), Vec::new());
        let mut buffer = vec![0; 65_536];
        for (push, take) in steps {
            let bytes: Vec<u8> = (pushed.len()..pushed.len() + push).map(|at| at.to_le_bytes()[0]).collect();
            queue.push(&bytes);
            pushed.extend_from_slice(&bytes);
            queue.write_to(writer.as_fd()).unwrap();
            let end = taken.len() + take;
            while taken.len() < end {
                let Ok(bytes) = read(&reader, &mut buffer) else { break };
                taken.extend_from_slice(&buffer[..bytes]);
            }
            prop_assert!(queue.bytes.len() <= 2 * queue.len() + ByteQueue::WORTH_COMPACTING, "what is gone is kept");
        }
        while !queue.is_empty() {
            queue.write_to(writer.as_fd()).unwrap();
            while let Ok(bytes) = read(&reader, &mut buffer) {
                taken.extend_from_slice(&buffer[..bytes]);
            }
        }
        while let Ok(bytes) = read(&reader, &mut buffer) {
            taken.extend_from_slice(&buffer[..bytes]);
        }
        prop_assert!(taken == pushed);
    }
}

#[test]
fn a_closed_pipe_is_an_error_and_what_waits_can_be_discarded() {
    let (reader, writer) = pipe2(OFlag::O_NONBLOCK).unwrap();
    drop(reader);
    let mut queue = ByteQueue::default();
    queue.push(b"abc");
    assert_eq!(queue.write_to(writer.as_fd()), Err(Errno::EPIPE));
    assert_eq!(queue.discard(), 3);
    assert!(queue.is_empty());
}
