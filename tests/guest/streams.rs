//! Standard streams: separate, binary-safe, flow-controlled.

use crate::bottle::{Bottle, guest_test, large_guest_test};
use crate::setup::{PROGRAM, kernels};
use std::process::Command;

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
    });
}

#[test]
fn a_gibibyte_passes_through_with_bounded_memory_on_both_sides() {
    large_guest_test(|| {
        // The guest has 128 MiB and the launcher may have 64: neither can hold what passes through.
        let script = format!(
            "set -o pipefail; ulimit -d 65536; head -c 1G /dev/zero | {PROGRAM} run -i --mem 128M -- cat | md5sum; \
             head -c 1G /dev/zero | md5sum"
        );
        let output = Command::new("bash").args(["-c", &script]).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        let sums: Vec<_> = text.lines().collect();
        assert_eq!(sums.len(), 2, "{text}{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(sums[0], sums[1]);
    });
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
