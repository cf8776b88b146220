use super::*;
use bottle_protocol::{ExitStatus, ProcessId};
use std::io::Write as _;

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

#[test]
fn messages_arrive_whole_however_they_are_cut() {
    runtime().block_on(async {
        let (ours, mut guest) = std::os::unix::net::UnixStream::pair().unwrap();
        let (_sender, mut receiver) = open(ours).unwrap();
        let exited = ToHost::Exited { process: ProcessId::FIRST, status: ExitStatus::Code(7) };
        let mut bytes = Vec::new();
        exited.encode(&mut bytes).unwrap();
        let writer = std::thread::spawn(move || {
            for byte in bytes {
                guest.write_all(&[byte]).unwrap();
            }
        });
        assert_eq!(receiver.next().await.unwrap(), Some(exited));
        assert_eq!(receiver.next().await.unwrap(), None);
        writer.join().unwrap();
    });
}

#[test]
fn an_end_inside_a_frame_is_an_error() {
    runtime().block_on(async {
        let (ours, mut guest) = std::os::unix::net::UnixStream::pair().unwrap();
        let (_sender, mut receiver) = open(ours).unwrap();
        let mut bytes = Vec::new();
        ToHost::Ready.encode(&mut bytes).unwrap();
        guest.write_all(&bytes[..5]).unwrap();
        drop(guest);
        assert!(matches!(receiver.next().await, Err(ControlError::Protocol(ProtocolError::Cut))));
    });
}

#[test]
fn a_guest_that_does_not_read_ends_the_bottle_instead_of_growing_it() {
    runtime().block_on(async {
        let (ours, _guest) = std::os::unix::net::UnixStream::pair().unwrap();
        let (sender, _receiver) = open(ours).unwrap();
        let chunk = vec![0u8; 60 << 10];
        let mut sent = 0;
        let error = loop {
            match sender.send_stdin(ProcessId::FIRST, &chunk) {
                Ok(()) => sent += 1,
                Err(error) => break error,
            }
            tokio::task::yield_now().await;
            assert!(sent < 10_000, "nothing bounds what waits");
        };
        assert!(matches!(error, ControlError::NotReading));
    });
}
