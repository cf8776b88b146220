//! A bottle leaves nothing behind, however it ends.

use crate::bottle::{Bottle, Finished, guest_test, large_guest_test};
use crate::processes::{monitor, ours, running, wait_for};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs;
use std::path::Path;
use std::process::Command;

#[test]
fn a_killed_monitor_is_an_error_of_ours() {
    guest_test(|| {
        let child = running(&[]);
        kill(Pid::from_raw(monitor().unwrap()), Signal::SIGKILL).unwrap();
        Finished::of(child.wait_with_output().unwrap())
            .exits(125)
            .complains(&["the monitor process was killed", "hint: "]);
        wait_for("everything is gone", || ours().is_empty());
    });
}

#[test]
fn a_killed_launcher_takes_its_guest_with_it_and_leaves_no_file() {
    guest_test(|| {
        let runtime = tempfile::tempdir().unwrap();
        // Where scratch disks and images in the making are; the image of this test is there already.
        Bottle::new().run(&["true"]).exits(0);
        let cache = bottle_vmm::paths::cache().unwrap();
        let before = files_in(&cache);
        let mut child = Bottle::new()
            .env("TMPDIR", runtime.path())
            .env("XDG_RUNTIME_DIR", runtime.path())
            .env("XDG_STATE_HOME", runtime.path())
            .with(&["--name", "held", "--disk", "64M"])
            .spawn(&["sh", "-c", "echo ready; exec sleep 1000"]);
        let mut ready = [0; 6];
        std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut ready).unwrap();
        assert!(monitor().is_some());
        child.kill().unwrap();
        child.wait().unwrap();
        wait_for("the monitor dies with its launcher", || ours().is_empty());
        assert_eq!(fs::read_dir(runtime.path()).unwrap().count(), 0);
        assert_eq!(files_in(&cache), before);
        Bottle::new().with(&["--name", "held"]).run(&["true"]).exits(0).quietly();
    });
}

/// Every file, with its size.
fn files_in(directory: &Path) -> Vec<String> {
    let output = Command::new("find").arg(directory).args(["-type", "f", "-printf", "%P %s\n"]).output().unwrap();
    let mut files: Vec<_> = String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect();
    files.sort();
    files
}

#[test]
fn a_name_is_taken_while_its_bottle_runs() {
    guest_test(|| {
        let mut child = Bottle::new().with(&["--name", "mine"]).spawn(&["sh", "-c", "hostname; exec sleep 1000"]);
        let mut name = [0; 5];
        std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut name).unwrap();
        assert_eq!(&name, b"mine\n");
        Bottle::new()
            .with(&["--name", "mine"])
            .run(&["true"])
            .exits(125)
            .complains(&["`mine` is running already", "hint: "]);
        child.kill().unwrap();
        child.wait().unwrap();
    });
}

#[test]
fn a_guest_that_dies_is_reported_with_its_last_words() {
    guest_test(|| {
        Bottle::new().with(&["--kernel-args", "rdinit=/nothing init=/nothing"]).run(&["true"]).exits(125).complains(&[
            "the guest ended (reset)",
            "its console ends with",
            "Kernel panic",
            "hint: ",
        ]);
    });
}

#[test]
fn a_guest_that_never_answers_runs_into_its_limit() {
    guest_test(|| {
        Bottle::new()
            .with(&["--boot-timeout", "50ms"])
            .run(&["true"])
            .exits(125)
            .complains(&["did not come up within", "console"]);
        wait_for("the guest that was given up is gone", || ours().is_empty());
    });
}

#[test]
fn a_guest_that_resets_itself_ends_its_bottle() {
    guest_test(|| {
        let finished = Bottle::new().run(&["sh", "-c", "echo last words; reboot -f; sleep 60"]);
        finished
            .exits(125)
            .prints("last words\n")
            .complains(&["the guest ended (reset) before the command did", "hint: "]);
    });
}

#[test]
fn twenty_bottles_at_once() {
    large_guest_test(|| {
        let children: Vec<_> = (0..20)
            .map(|n| {
                Bottle::new().with(&["--mem", "128M", "--boot-timeout", "300"]).spawn(&[
                    "sh",
                    "-c",
                    &format!("echo {n}; exit {n}"),
                ])
            })
            .collect();
        for (n, child) in (0..).zip(children) {
            Finished::of(child.wait_with_output().unwrap()).exits(n).prints(&format!("{n}\n")).quietly();
        }
        wait_for("everything is gone", || ours().is_empty());
    });
}

#[test]
fn two_hundred_bottles_in_a_row_leak_nothing() {
    large_guest_test(|| {
        let boot = |n: i32| {
            let bottle = Bottle::new().with(&["--mem", "128M"]);
            bottle.run(&["sh", "-c", &format!("exit {}", n % 100)]).exits(n % 100).quietly();
        };
        (0..5).for_each(boot);
        let before = Leftovers::now();
        (0..200).for_each(boot);
        wait_for("everything is gone", || ours().is_empty());
        Leftovers::now().compare(&before);
    });
}

/// What a leak would show in.
#[derive(Debug)]
struct Leftovers {
    temporary_files: usize,
    open_files: u64,
    anonymous_kib: u64,
}

impl Leftovers {
    fn now() -> Self {
        let meminfo = fs::read_to_string("/proc/meminfo").unwrap();
        let line = meminfo.lines().find_map(|line| line.strip_prefix("AnonPages:")).unwrap();
        let open_files = fs::read_to_string("/proc/sys/fs/file-nr").unwrap();
        Self {
            temporary_files: fs::read_dir(std::env::temp_dir()).unwrap().count(),
            open_files: open_files.split_whitespace().next().unwrap().parse().unwrap(),
            anonymous_kib: line.trim().strip_suffix(" kB").unwrap().parse().unwrap(),
        }
    }

    /// Other programs of the host come and go: what counts is that 200 boots did not add up.
    #[track_caller]
    fn compare(&self, before: &Self) {
        assert_eq!(self.temporary_files, before.temporary_files);
        assert!(self.open_files < before.open_files + 200, "{self:?} {before:?}");
        assert!(self.anonymous_kib < before.anonymous_kib + 64 * 1024, "{self:?} {before:?}");
    }
}
