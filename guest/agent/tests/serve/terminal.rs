//! Terminals.

use bottle_protocol::{ExitStatus, OutputStream, ProcessId, Start, ToAgent, ToHost, WindowSize};

use crate::host::{Host, in_terminal};

const FIRST: ProcessId = ProcessId::FIRST;

/// Reads output until it contains `wanted`.
fn wait_for(host: &mut Host, wanted: &str) {
    let mut seen = String::new();
    while !seen.contains(wanted) {
        match host.receive() {
            ToHost::Stdout { bytes, .. } => {
                host.credit(FIRST, OutputStream::Stdout, bytes.len());
                seen.push_str(&String::from_utf8_lossy(&bytes));
            }
            ToHost::Credit { .. } => (),
            other => panic!("{other:?} after {seen:?}"),
        }
    }
}

#[test]
fn the_size_is_right_from_the_start() {
    let mut host = Host::new();
    let size = WindowSize { rows: 37, cols: 121 };
    host.start(Start { tty: Some(size), ..in_terminal(&["stty", "size"]) });
    assert_eq!(host.finish(FIRST).stdout, b"37 121\r\n");
}

#[test]
fn a_new_size_is_told_by_its_signal() {
    let mut host = Host::new();
    host.start(in_terminal(&["sh", "-c", "trap 'stty size; exit 5' WINCH; echo armed; while :; do sleep 0.01; done"]));
    wait_for(&mut host, "armed");
    host.send(&ToAgent::Resize { process: FIRST, size: WindowSize { rows: 50, cols: 200 } });
    let outcome = host.finish(FIRST);
    assert_eq!(outcome.exit, Some(ExitStatus::Code(5)));
    assert!(String::from_utf8_lossy(&outcome.stdout).contains("50 200"));
}

#[test]
fn it_controls_the_session_so_that_control_c_interrupts() {
    let mut host = Host::new();
    host.start(in_terminal(&["cat"]));
    host.send(&ToAgent::Stdin { process: FIRST, bytes: b"here\n".to_vec().into() });
    wait_for(&mut host, "here\r\nhere\r\n"); // its echo, then cat: it runs
    host.send(&ToAgent::Stdin { process: FIRST, bytes: vec![3].into() });
    assert_eq!(host.finish(FIRST).exit, Some(ExitStatus::Signal(2)));
}

#[test]
fn the_end_of_input_is_control_d() {
    let mut host = Host::new();
    host.start(in_terminal(&["cat"]));
    host.send(&ToAgent::Stdin { process: FIRST, bytes: b"line\n".to_vec().into() });
    host.send(&ToAgent::StdinEof { process: FIRST });
    let outcome = host.finish(FIRST);
    assert_eq!(outcome.exit, Some(ExitStatus::Code(0)));
    assert_eq!(outcome.stdout, b"line\r\nline\r\n"); // its echo, and what cat made of it
}

#[test]
fn all_output_comes_before_the_exit() {
    let mut host = Host::new();
    host.start(in_terminal(&["sh", "-c", "stty -opost; head -c 300000 /dev/zero; printf END"]));
    let outcome = host.finish(FIRST);
    assert_eq!(outcome.stdout.len(), 300_003);
    assert!(outcome.stdout.ends_with(b"END"));
}

#[test]
fn a_background_process_that_holds_the_terminal_does_not_hold_up_the_exit() {
    let mut host = Host::new();
    host.start(in_terminal(&["setsid", "--fork", "sh", "-c", "trap '' HUP; sleep 1000"]));
    assert_eq!(host.finish(FIRST).exit, Some(ExitStatus::Code(0)));
}
