//! Where a bottle writes: memory, or a sparse disk that is thrown away.

use crate::bottle::{Bottle, guest_test};
use crate::setup::kernels;

#[test]
fn a_scratch_disk_takes_what_memory_would_not_hold_on_both_kernels() {
    guest_test(|| {
        for kernel in kernels().both() {
            let script = "head -c 300000000 /dev/zero >/big && ls -l /big | awk '{print $5}'; df -m / | awk 'NR==2 {print ($2 > 1900)}'";
            Bottle::new()
                .with(&["--kernel", kernel, "--disk", "2G"])
                .run(&["sh", "-c", script])
                .exits(0)
                .prints("300000000\n1\n")
                .quietly();
        }
    });
}

#[test]
fn a_disk_that_fills_up_is_the_commands_error_and_not_the_end() {
    guest_test(|| {
        let script = "cat /dev/zero >/big; echo code $?; rm /big; echo small >/file && cat /file";
        let finished = Bottle::new().with(&["--disk", "64M"]).run(&["sh", "-c", script]).exits(0);
        assert!(finished.text().ends_with("code 1\nsmall\n"), "{finished:?}");
        assert!(finished.stderr.contains("No space left on device"), "{}", finished.stderr);
    });
}

#[test]
fn nothing_of_a_scratch_disk_is_ever_to_be_seen() {
    guest_test(|| {
        let dir = tempfile::tempdir().unwrap();
        let child = Bottle::new().env("TMPDIR", dir.path()).with(&["--disk", "1G"]).spawn(&[
            "sh",
            "-c",
            "echo x >/file; sleep 3",
        ]);
        std::thread::sleep(std::time::Duration::from_secs(4));
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
        assert!(child.wait_with_output().unwrap().status.success());
    });
}

#[test]
fn a_disk_too_small_to_hold_a_file_system_is_refused() {
    guest_test(|| {
        Bottle::new().with(&["--disk", "1M"]).run(&["true"]).exits(125).complains(&["bottle-vmm: ", "hint: "]);
    });
}
