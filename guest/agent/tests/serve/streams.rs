//! Windows, credit and memory.

use std::io::Write;

use bottle_protocol::{
    DataKind, ExitStatus, INITIAL_WINDOW, OutputStream, ProcessId, Start, ToAgent, ToHost, data_header,
};

use crate::host::{Host, command};

const FIRST: ProcessId = ProcessId::FIRST;

fn pattern(bytes: usize) -> Vec<u8> {
    (0..bytes as u64).map(|at| (at.wrapping_mul(2_654_435_761) >> 24).to_le_bytes()[0]).collect()
}

/// Sends `input` through `cat` as the windows allow and returns what came back.
fn through_cat(input: &[u8]) -> Vec<u8> {
    let mut host = Host::new();
    host.start(Start { stdin: true, ..command(&["cat"]) });
    let (mut sent, mut window, mut output) = (0, INITIAL_WINDOW as usize, Vec::new());
    let mut told_end = false;
    loop {
        while window > 0 && sent < input.len() {
            let bytes = window.min(input.len() - sent).min(48 * 1024);
            host.send_raw(&data_header(DataKind::Stdin, FIRST, bytes).unwrap());
            host.send_raw(&input[sent..sent + bytes]);
            sent += bytes;
            window -= bytes;
        }
        if sent == input.len() && !told_end {
            host.send(&ToAgent::StdinEof { process: FIRST });
            told_end = true;
        }
        match host.receive() {
            ToHost::Stdout { bytes, .. } => {
                output.extend_from_slice(&bytes);
                host.credit(FIRST, OutputStream::Stdout, bytes.len());
            }
            ToHost::Credit { bytes, .. } => window += bytes as usize,
            ToHost::Exited { status, .. } => {
                assert_eq!(status, ExitStatus::Code(0));
                return output;
            }
            ToHost::Eof { .. } => (),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn sixteen_mebibytes_come_through_cat_intact() {
    let input = pattern(16 << 20);
    assert!(through_cat(&input) == input);
}

#[test]
fn without_credit_a_window_is_all_that_comes() {
    let mut host = Host::new();
    host.start(command(&["head", "-c", "1000000", "/dev/zero"]));
    let mut received = 0;
    while received < INITIAL_WINDOW as usize {
        let ToHost::Stdout { bytes, .. } = host.receive() else { panic!("not output") };
        received += bytes.len();
    }
    assert_eq!(received, INITIAL_WINDOW as usize);
    // The answer to a second command comes next although `head` has more to say: it stands behind its own window only.
    let second = ProcessId::new(2).unwrap();
    host.send(&ToAgent::Start(Start { process: second, ..command(&["true"]) }));
    assert!(matches!(host.answer(1), ToHost::Started { process, .. } if process == second));
    host.credit(FIRST, OutputStream::Stdout, received);
    let mut exited = 0;
    while exited < 2 {
        match host.receive() {
            ToHost::Stdout { bytes, .. } => {
                received += bytes.len();
                host.credit(FIRST, OutputStream::Stdout, bytes.len());
            }
            ToHost::Exited { .. } => exited += 1,
            _ => (),
        }
    }
    assert_eq!(received, 1_000_000);
}

#[test]
fn a_reader_that_does_not_read_costs_the_agent_no_memory() {
    let mut host = Host::new();
    for number in 1..=16 {
        let process = ProcessId::new(number).unwrap();
        host.send(&ToAgent::Start(Start { process, ..command(&["cat", "/dev/zero"]) }));
    }
    // Long enough for anything unbounded to show: each of 16 writers makes gigabytes a second.
    std::thread::sleep(std::time::Duration::from_secs(1));
    let status = std::fs::read_to_string(format!("/proc/{}/status", host.pid())).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let peak_kib: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
    assert!(peak_kib < 8 * 1024, "{peak_kib} KiB");
}

#[test]
fn input_that_nobody_reads_is_credited_once_its_end_is_closed() {
    let mut host = Host::new();
    host.start(Start { stdin: true, ..command(&["sh", "-c", "exec <&-; echo closed; sleep 1000"]) });
    assert!(matches!(host.receive(), ToHost::Stdout { .. }));
    let mut credited = 0;
    for _ in 0..8 {
        host.send_raw(&data_header(DataKind::Stdin, FIRST, 65_536).unwrap());
        host.send_raw(&[0; 65_536]);
        let ToHost::Credit { bytes, .. } = host.receive() else { panic!("no credit") };
        credited += bytes;
    }
    assert_eq!(credited, 8 * 65_536); // twice the window
}

#[test]
fn input_is_credited_as_the_command_takes_it_and_not_before() {
    let mut host = Host::new();
    host.start(Start { stdin: true, ..command(&["sleep", "1000"]) });
    for _ in 0..4 {
        host.send_raw(&data_header(DataKind::Stdin, FIRST, 65_536).unwrap());
        host.send_raw(&[b'x'; 65_536]);
    }
    // The pipe has taken its fill, the rest of the window waits for a reader.
    assert_eq!(host.receive(), ToHost::Credit { process: FIRST, bytes: 65_536 });
    let second = ProcessId::new(2).unwrap();
    host.send(&ToAgent::Start(Start { process: second, ..command(&["true"]) }));
    assert!(matches!(host.answer(1), ToHost::Started { process, .. } if process == second));
}

#[test]
fn a_closed_output_is_a_broken_pipe_to_the_command_even_if_it_ignores_the_signal() {
    let mut host = Host::new();
    host.start(command(&["sh", "-c", "trap '' PIPE; while echo x; do :; done 2>/dev/null; echo over >&2; exit 3"]));
    assert!(matches!(host.receive(), ToHost::Stdout { .. }));
    host.send(&ToAgent::CloseOutput { process: FIRST, stream: OutputStream::Stdout });
    let finished = host.finish(FIRST);
    assert_eq!((finished.stderr.as_slice(), finished.exit), (&b"over\n"[..], Some(ExitStatus::Code(3))));
}

#[test]
fn all_that_was_written_before_the_exit_comes_before_it() {
    let mut host = Host::new();
    host.start(command(&["sh", "-c", "head -c 60000 /dev/zero; head -c 50000 /dev/zero >&2"]));
    let outcome = host.finish(FIRST);
    assert_eq!((outcome.stdout.len(), outcome.stderr.len()), (60_000, 50_000));
}

#[test]
fn frames_for_a_process_that_has_ended_are_ignored() {
    let mut host = Host::new();
    host.start(Start { stdin: true, ..command(&["true"]) });
    host.finish(FIRST);
    host.send(&ToAgent::Stdin { process: FIRST, bytes: vec![1].into() });
    host.send(&ToAgent::StdinEof { process: FIRST });
    host.credit(FIRST, OutputStream::Stdout, 99);
    host.start(command(&["true"]));
    assert_eq!(host.finish(FIRST).exit, Some(ExitStatus::Code(0)));
}

#[test]
fn frames_may_come_in_pieces_of_one_byte() {
    let mut host = Host::new();
    host.start(Start { stdin: true, ..command(&["cat"]) });
    let mut bytes = data_header(DataKind::Stdin, FIRST, 3).unwrap().to_vec();
    bytes.extend_from_slice(b"abc");
    let mut socket = host.socket();
    for byte in bytes {
        socket.write_all(&[byte]).unwrap();
    }
    host.send(&ToAgent::StdinEof { process: FIRST });
    assert_eq!(host.finish(FIRST).stdout, b"abc");
}
