use super::*;
use std::io::Read as _;
use std::os::fd::AsFd as _;
use std::os::unix::net::{UnixDatagram, UnixStream};

fn parts<'a>(pieces: &'a mut [Vec<u8>]) -> Vec<VolatileSlice<'a>> {
    pieces.iter_mut().map(|piece| VolatileSlice::from(piece.as_mut_slice())).collect()
}

#[test]
fn pieces_arrive_as_one_in_their_order() {
    let (mut here, there) = UnixStream::pair().unwrap();
    let mut pieces = [b"one ".to_vec(), Vec::new(), b"two".to_vec()];
    assert_eq!(send(there.as_fd(), &parts(&mut pieces)).unwrap(), 7);
    let mut bytes = [0; 16];
    let length = here.read(&mut bytes).unwrap();
    assert_eq!(&bytes[..length], b"one two");
    let (here, there) = UnixDatagram::pair().unwrap();
    assert_eq!(send(there.as_fd(), &parts(&mut pieces)).unwrap(), 7);
    assert_eq!(here.recv(&mut bytes).unwrap(), 7);
}

#[test]
fn an_empty_datagram_is_one() {
    let (here, there) = UnixDatagram::pair().unwrap();
    here.set_nonblocking(true).unwrap();
    let nothing: [Vec<Vec<u8>>; 2] = [Vec::new(), vec![Vec::new(), Vec::new()]];
    for mut pieces in nothing {
        assert_eq!(send(there.as_fd(), &parts(&mut pieces)).unwrap(), 0);
        assert_eq!(here.recv(&mut [0; 4]).unwrap(), 0);
    }
}

#[test]
fn a_full_socket_takes_a_part_and_then_nothing_and_nobody_waits() {
    let (_here, there) = UnixStream::pair().unwrap();
    there.set_nonblocking(true).unwrap();
    let mut pieces = vec![vec![7; 1 << 20]; 8];
    let mut taken = 0;
    let error = loop {
        match send(there.as_fd(), &parts(&mut pieces)) {
            Ok(count) => taken += count,
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    assert!(taken > 0);
}

#[test]
fn a_closed_socket_is_an_error_and_no_signal() {
    let (here, there) = UnixStream::pair().unwrap();
    drop(here);
    let mut pieces = [vec![7]];
    assert_eq!(send(there.as_fd(), &parts(&mut pieces)).unwrap_err().kind(), io::ErrorKind::BrokenPipe);
}
