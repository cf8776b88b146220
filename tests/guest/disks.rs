//! Where a bottle writes: memory, or a sparse disk that is thrown away.

use crate::bottle::{Bottle, Finished, guest_test};
use crate::setup::{PROGRAM, busybox, kernels};
use std::fs;
use std::path::Path;
use std::process::Command;

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
fn a_host_disk_that_fills_up_is_told_and_the_bottle_goes_on() {
    guest_test(|| {
        let dir = tempfile::tempdir().unwrap();
        let (image, cache) = (packed_busybox(dir.path()), dir.path().join("cache"));
        fs::create_dir(&cache).unwrap();
        let on_8_mib = "mount -t tmpfs -o size=8M none \"$XDG_CACHE_HOME\" && exec \"$@\"";
        let script = "busybox head -c 30000000 /dev/zero >/big; busybox sync; echo still here";
        let output = Command::new("unshare")
            .args(["--mount", "sh", "-c", on_8_mib, "sh", PROGRAM, "run", "--mem", "256M", "--disk", "64M", "--image"])
            .arg(image)
            .args(["--", "/bin/busybox", "sh", "-c", script])
            .env("XDG_CACHE_HOME", cache)
            .output()
            .unwrap();
        let finished = Finished::of(output).exits(0).prints("still here\n");
        let told = finished.stderr.matches("the scratch disk cannot be written (No space left on device").count();
        assert_eq!(told, 1, "{}", finished.stderr);
    });
}

/// An artifact with nothing but busybox in it, which needs no cache.
fn packed_busybox(dir: &Path) -> std::path::PathBuf {
    let (root, image) = (dir.join("root"), dir.join("root.bottle"));
    fs::create_dir_all(root.join("bin")).unwrap();
    fs::copy(busybox(), root.join("bin/busybox")).unwrap();
    let packed = Command::new(PROGRAM).arg("pack").arg(root).arg("-o").arg(&image).output().unwrap();
    Finished::of(packed).exits(0);
    image
}

#[test]
fn a_scratch_disk_has_no_name_while_it_is_used() {
    guest_test(|| {
        let mut child = Bottle::new().with(&["--disk", "1G"]).spawn(&["sh", "-c", "echo x >/file; sleep 600"]);
        let id = child.id();
        let scratch = || {
            let descriptors = fs::read_dir(format!("/proc/{id}/fd")).unwrap();
            let links = descriptors.filter_map(|entry| fs::read_link(entry.unwrap().path()).ok());
            links
                .map(|link| link.display().to_string())
                .find(|link| link.contains("/bottle-vmm/") && link.contains("(deleted)"))
        };
        while scratch().is_none() {
            assert!(child.try_wait().unwrap().is_none(), "it ended");
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        let name = scratch().unwrap();
        let path = name.strip_suffix(" (deleted)").unwrap();
        assert!(!Path::new(path).exists(), "{path}");
        child.kill().unwrap();
        child.wait().unwrap();
    });
}

#[test]
fn a_disk_too_small_to_hold_a_file_system_is_refused() {
    guest_test(|| {
        Bottle::new().with(&["--disk", "1M"]).run(&["true"]).exits(125).complains(&["bottle-vmm: ", "hint: "]);
    });
}
