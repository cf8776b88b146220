use super::*;
use crate::verity::HashTree;
use std::io::Read as _;
use std::os::fd::AsFd as _;

fn spec() -> MonitorSpec {
    MonitorSpec {
        vcpus: 2,
        memory_mib: 128,
        advise_huge_pages: false,
        cmdline: String::new(),
        verbose_console: false,
        modules: true,
        disks: vec![
            DiskAccess::Verified(HashTree { data_blocks: u64::MAX, offset: u64::MAX, root: [255; 32] }),
            DiskAccess::Writable,
        ],
        vsock_ports: vec![1024],
        probe: None,
        net: None,
    }
}

#[test]
fn a_message_and_its_descriptors_arrive_together() {
    let (a, b) = pair().unwrap();
    let (reader, writer) = std::io::pipe().unwrap();
    send_with_descriptors(a.as_fd(), &spec(), &[writer.as_raw_fd()]).unwrap();
    drop(writer);
    let (got, fds) = receive::<MonitorSpec>(b.as_fd()).unwrap().unwrap();
    assert_eq!((got, fds.len()), (spec(), 1));
    std::io::Write::write_all(&mut std::fs::File::from(fds.into_iter().next().unwrap()), b"through").unwrap();
    let mut text = String::new();
    { reader }.read_to_string(&mut text).unwrap();
    assert_eq!(text, "through");
}

#[test]
fn a_hang_up_is_the_end_and_an_oversized_message_never_leaves() {
    let (a, b) = pair().unwrap();
    let line = "x".repeat(PACKET_MAX);
    assert!(matches!(send_message(a.as_fd(), &MonitorEvent::Console { line }, true), Err(WireError::TooLong)));
    drop(a);
    assert!(receive::<MonitorEvent>(b.as_fd()).unwrap().is_none());
}

#[test]
fn what_is_no_message_is_an_error_and_leaks_no_descriptor() {
    let (a, b) = pair().unwrap();
    let (reader, writer) = std::io::pipe().unwrap();
    send_with_descriptors(a.as_fd(), &"no event", &[writer.as_raw_fd()]).unwrap();
    drop(writer);
    assert!(matches!(receive::<MonitorEvent>(b.as_fd()), Err(WireError::Message(_))));
    let mut rest = Vec::new();
    { reader }.read_to_end(&mut rest).unwrap();
    assert!(rest.is_empty(), "the pipe only ends if the passed writer was closed");
}

#[test]
fn a_full_socket_drops_what_need_not_arrive() {
    let (a, _b) = pair().unwrap();
    let event = MonitorEvent::Console { line: "y".repeat(512) };
    let refused = (0..100_000).find_map(|_| send_message(a.as_fd(), &event, false).err());
    assert!(matches!(refused, Some(WireError::Send(nix::Error::EAGAIN))));
}
