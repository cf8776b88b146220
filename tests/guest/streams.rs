//! Standard streams: separate, binary-safe, flow-controlled.

use crate::bottle::{Bottle, Finished, guest_test, large_guest_test};
use crate::setup::{PROGRAM, kernels};
use std::process::{Command, Stdio};
use std::time::Duration;

#[test]
fn standard_input_reaches_the_command_only_if_asked_for() {
    guest_test(|| {
        Bottle::new().with(&["-i"]).run_with_input(b"hello".to_vec(), &["cat"]).exits(0).prints("hello").quietly();
        Bottle::new().run_with_input(b"hello".to_vec(), &["cat"]).exits(0).prints("").quietly();
    });
}

#[test]
fn every_byte_value_survives_in_both_directions_on_both_kernels() {
    guest_test(|| {
        let bytes: Vec<u8> = (0..3_000_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        for kernel in kernels().both() {
            let finished = Bottle::new()
                .with(&["-i", "--kernel", kernel])
                .run_with_input(bytes.clone(), &["cat"])
                .exits(0)
                .quietly();
            assert!(finished.stdout == bytes, "{} bytes came back changed", finished.stdout.len());
        }
    });
}

#[test]
fn a_command_that_does_not_read_its_input_ends_all_the_same() {
    guest_test(|| {
        Bottle::new().with(&["-i"]).run_with_input(vec![b'x'; 4 << 20], &["true"]).exits(0).quietly();
        Bottle::new()
            .with(&["-i"])
            .run_with_input(vec![b'x'; 4 << 20], &["sh", "-c", "exec <&-; echo done"])
            .exits(0)
            .prints("done\n");
    });
}

#[test]
fn a_reader_that_goes_away_ends_the_command_as_in_a_pipeline() {
    guest_test(|| {
        let script = format!("{PROGRAM} run --mem 256M -- yes | head -1; echo ${{PIPESTATUS[0]}}");
        let output = Command::new("bash").args(["-c", &script]).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout), "y\n141\n");
        // One that ignores the signal finds the pipe broken, as it would here.
        let ignores = "trap '' PIPE; while echo y; do :; done 2>/dev/null; exit 3";
        let script = format!("{PROGRAM} run --mem 256M -- sh -c \"{ignores}\" | head -1; echo ${{PIPESTATUS[0]}}");
        let output = Command::new("bash").args(["-c", &script]).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout), "y\n3\n");
    });
}

#[test]
fn a_gibibyte_passes_through_with_bounded_memory_on_both_sides() {
    large_guest_test(|| {
        let mut zeros = Command::new("head").args(["-c", "1G", "/dev/zero"]).stdout(Stdio::piped()).spawn().unwrap();
        let mut command = Bottle::new().with(&["-i", "--mem", "128M"]).into_command(&["cat"]);
        let mut launcher = command.stdin(zeros.stdout.take().unwrap()).stdout(Stdio::piped()).spawn().unwrap();
        let sum = Command::new("md5sum").stdin(launcher.stdout.take().unwrap()).stdout(Stdio::piped()).spawn().unwrap();
        let (mut launcher_peak, mut monitor_peak) = (0, 0);
        while launcher.try_wait().unwrap().is_none() {
            launcher_peak = peak_kib(launcher.id()).unwrap_or(launcher_peak);
            monitor_peak = child_of(launcher.id()).and_then(peak_kib).unwrap_or(monitor_peak);
            std::thread::sleep(Duration::from_millis(200));
        }
        zeros.wait().unwrap();
        let sum = String::from_utf8(sum.wait_with_output().unwrap().stdout).unwrap();
        // Of 2^30 zero bytes.
        assert_eq!(sum, "cd573cfaace07e7949bc0c46028904ff  -\n");
        assert!((1..32 * 1024).contains(&launcher_peak), "the launcher took {launcher_peak} KiB");
        assert!((1..(128 + 16) * 1024).contains(&monitor_peak), "monitor and guest took {monitor_peak} KiB");
    });
}

/// The most memory a process ever had (`VmHWM`, proc(5)).
fn peak_kib(process: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?.trim().strip_suffix(" kB")?.parse().ok()
}

fn child_of(process: u32) -> Option<u32> {
    std::fs::read_to_string(format!("/proc/{process}/task/{process}/children"))
        .ok()?
        .split_whitespace()
        .next()?
        .parse()
        .ok()
}

#[test]
fn output_left_in_the_pipes_at_the_exit_is_not_lost() {
    guest_test(|| {
        let finished =
            Bottle::new().run(&["sh", "-c", "head -c 2000000 /dev/zero; head -c 1000 /dev/zero >&2; exit 3"]).exits(3);
        assert_eq!((finished.stdout.len(), finished.stderr.len()), (2_000_000, 1000));
    });
}

#[test]
fn a_background_process_does_not_hold_the_bottle() {
    guest_test(|| {
        Bottle::new().run(&["sh", "-c", "sleep 1000 & echo started"]).exits(0).prints("started\n").quietly();
    });
}

#[test]
fn output_that_cannot_be_written_is_an_error() {
    guest_test(|| {
        let mut command = Bottle::new().into_command(&["echo", "text"]);
        let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
        Finished::of(command.stdout(full).output().unwrap())
            .exits(125)
            .complains(&["cannot write the command's output"]);
    });
}

#[test]
fn the_kernels_log_and_the_commands_errors_share_standard_error() {
    guest_test(|| {
        let script = "echo from the guest >/dev/kmsg; sleep 1; echo done; echo error >&2";
        let finished = Bottle::new().with(&["--console"]).run(&["sh", "-c", script]).exits(0).prints("done\n");
        finished.complains(&["from the guest", "error\n"]);
    });
}
