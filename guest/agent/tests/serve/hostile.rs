//! A host that breaks the protocol. The agent must say so and end; in a guest that resets the machine.

use std::io::Write;
use std::net::Shutdown;

use bottle_protocol::{DataKind, INITIAL_WINDOW, OutputStream, ProcessId, Start, ToAgent, ToHost, data_header};

use crate::host::{Host, command};

const FIRST: ProcessId = ProcessId::FIRST;

/// Waits for the agent to hang up; returns what it complained of.
fn complaint(mut host: Host) -> String {
    while host.try_receive().is_some() {}
    host.last_words()
}

#[test]
fn shutdown_is_no_complaint() {
    let mut host = Host::new();
    host.send(&ToAgent::Shutdown);
    assert_eq!(complaint(host), "");
}

#[test]
fn a_lost_connection_is_told() {
    let host = Host::new();
    host.socket().shutdown(Shutdown::Write).unwrap();
    assert!(complaint(host).contains("the host closed the connection"));
}

#[test]
fn a_frame_cut_off_is_told() {
    let host = Host::new();
    host.socket().write_all(&[2, 0, 0, 0, 1]).unwrap();
    host.socket().shutdown(Shutdown::Write).unwrap();
    assert!(complaint(host).contains("the stream ended inside a frame"));
}

#[test]
fn unknown_kinds_and_lengths_over_the_limit_end_it_at_the_header() {
    let cases: [(&[u8; 12], &str); 4] = [
        (&[77, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0], "unknown kind 77"),
        (&[2, 0, 0, 0, 1, 0, 0, 0, 255, 255, 255, 255], "the limit is 4194304"),
        (&[3, 0, 0, 0, 1, 0, 0, 0, 1, 0, 1, 0], "the limit is 65536"),
        (&[128, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], "wrong direction"),
    ];
    for (header, words) in cases {
        let mut host = Host::new();
        host.send_raw(header);
        let complaint = complaint(host);
        assert!(complaint.contains(words), "{complaint}");
    }
}

#[test]
fn nothing_may_come_before_setup_and_setup_only_once() {
    let mut host = Host::unspoken();
    host.send(&ToAgent::Start(command(&["true"])));
    assert!(complaint(host).contains("before Setup"));
    let mut host = Host::new();
    let (hostname, root) = ("b".to_owned(), "vda".to_owned());
    let hostname = bottle_protocol::Hostname::new(&hostname).unwrap();
    let root = bottle_protocol::DeviceName::new(&root).unwrap();
    host.send(&ToAgent::Setup(bottle_protocol::Setup { hostname, root, scratch: None, network: None }));
    assert!(complaint(host).contains("Setup twice"));
}

#[test]
fn a_process_id_in_use_cannot_be_started_again() {
    let mut host = Host::new();
    host.start(command(&["sleep", "1000"]));
    host.send(&ToAgent::Start(command(&["true"])));
    assert!(complaint(host).contains("for a process id in use"));
}

#[test]
fn more_input_than_the_window_ends_it() {
    let mut host = Host::new();
    host.start(Start { stdin: true, ..command(&["sleep", "1000"]) });
    let mut socket = host.socket();
    for _ in 0..=INITIAL_WINDOW / 65_536 + 1 {
        // The agent hangs up in the middle, which is the point; then writing fails.
        let _ = socket.write_all(&data_header(DataKind::Stdin, FIRST, 65_536).unwrap());
        let _ = socket.write_all(&[0; 65_536]);
    }
    assert!(complaint(host).contains("bytes were sent into a window of"));
}

#[test]
fn credit_for_what_never_was_ends_it() {
    let mut host = Host::new();
    host.start(command(&["sleep", "1000"]));
    host.credit(FIRST, OutputStream::Stdout, 1);
    assert!(complaint(host).contains("1 bytes of credit were given, only 0 were outstanding"));
}

#[test]
fn a_host_that_asks_and_never_listens_is_not_served_further() {
    let host = Host::new();
    let mut socket = host.socket();
    socket.set_nonblocking(true).unwrap();
    let mut frame = bottle_protocol::SecretBytes::new();
    let user = std::ffi::CString::new("u".repeat(1900)).unwrap(); // the answer repeats it, so that few are enough
    ToAgent::Start(Start { user, ..command(&["true"]) }).encode(&mut frame).unwrap();
    let mut refused = 0;
    // Until the agent stops reading: its answers fill the socket, then its queue, and then ours fills too.
    while refused < 50 {
        match socket.write(frame.expose()) {
            Ok(written) if written == frame.len() => refused = 0,
            Ok(_) => break,
            Err(_) => {
                refused += 1;
                std::thread::sleep(std::time::Duration::from_millis(10));
            }
        }
    }
    let status = std::fs::read_to_string(format!("/proc/{}/status", host.pid())).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let peak_kib: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
    assert!(peak_kib < 8 * 1024, "{peak_kib} KiB");
}

#[test]
fn too_many_processes_are_refused_and_the_others_live() {
    let mut host = Host::new();
    let most = u32::try_from(bottle_protocol::MAX_PROCESSES).unwrap();
    for number in 1..=most {
        host.start(Start { process: ProcessId::new(number).unwrap(), ..command(&["sleep", "1000"]) });
    }
    let process = ProcessId::new(most + 1).unwrap();
    host.send(&ToAgent::Start(Start { process, ..command(&["true"]) }));
    assert!(matches!(host.answer(1), ToHost::StartFailed { stage: bottle_protocol::StartStage::Limits, .. }));
    for number in 1..=most {
        let signal = bottle_protocol::SignalNumber::new(9).unwrap();
        host.send(&ToAgent::Signal { process: ProcessId::new(number).unwrap(), signal });
    }
    let mut exited = 0;
    while exited < most {
        exited += u32::from(matches!(host.receive(), ToHost::Exited { .. }));
    }
}
