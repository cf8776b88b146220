//! The monitor's sandbox: what a guest that took over the monitor would try is fatal, is named, and would work without the sandbox.

use crate::bottle::{Bottle, Finished, guest_test};
use crate::processes::{monitor, ours, running, wait_for};
use crate::setup::{PROGRAM, kernels};
use bottle_vmm::paths;
use nix::unistd::{chown, geteuid};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, TargetArch};
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::Command;
use tempfile::TempDir;

/// Probes, and the system call that the report names.
const PROBES: [(&str, &str); 17] = [
    ("socket", "`socket` (system call 41)"),
    ("connect", "`connect` (system call 42)"),
    ("sendto-address", "`sendto` (system call 44)"),
    ("sendmsg-address", "`sendmsg` (system call 46)"),
    ("open", "`openat` (system call 257)"),
    ("execve", "`execve` (system call 59)"),
    ("fork", "`fork` (system call 57)"),
    ("ptrace", "`ptrace` (system call 101)"),
    ("process-vm-readv", "`process_vm_readv` (system call 310)"),
    ("kill", "`kill` (system call 62)"),
    ("tgkill", "`tgkill` (system call 234)"),
    ("io-uring", "`io_uring_setup` (system call 425)"),
    ("bpf", "`bpf` (system call 321)"),
    ("mount", "`mount` (system call 165)"),
    ("unshare", "`unshare` (system call 272)"),
    ("mmap-executable", "`mmap` (system call 9)"),
    ("ioctl", "`ioctl` (system call 16)"),
];

fn probing(thread: &str, probe: &str, options: &[&str]) -> Finished {
    probing_in(Bottle::new(), thread, probe, options)
}

fn probing_in(bottle: Bottle, thread: &str, probe: &str, options: &[&str]) -> Finished {
    let probe = format!("{thread}:{probe}");
    bottle.with(&["--console", "--sandbox-probe", &probe]).with(options).run(&["echo", "ran"])
}

const ATTACKED: [&str; 3] = ["the monitor tried ", "its sandbox forbids", "hint: this may be an attack"];

#[test]
fn every_escape_attempt_is_fatal_and_reported_by_name_in_both_kinds_of_threads() {
    guest_test(|| {
        for (probe, named) in PROBES {
            for thread in ["devices", "vcpu"] {
                probing(thread, probe, &[]).exits(125).prints("").complains(&ATTACKED).complains(&[named]);
            }
        }
        assert_eq!(ours(), []);
    });
}

#[test]
fn every_attempt_succeeds_without_the_sandbox_or_the_test_above_shows_nothing() {
    guest_test(|| {
        for (probe, _) in PROBES.iter().filter(|(probe, _)| !["execve", "tgkill"].contains(probe)) {
            let finished = probing("devices", probe, &["--no-sandbox"]).exits(0).prints("ran\n");
            finished
                .complains(&["WARNING: the monitor runs without its sandbox", "the probe of the sandbox succeeded"]);
        }
        // It has become another program, which ended.
        probing("devices", "execve", &["--no-sandbox"]).exits(125).complains(&["the monitor process was killed"]);
        let options = ["--no-sandbox", "--sandbox-probe", "devices:tgkill"];
        let launcher = Bottle::new().with(&options).into_command(&["true"]).status().unwrap();
        assert_eq!(launcher.signal(), Some(libc::SIGABRT));
    });
}

#[test]
fn each_layer_holds_without_the_others() {
    guest_test(|| {
        for (probe, why) in [
            ("open", "Permission denied"),          // Landlock
            ("connect", "Network is unreachable"), // the empty network; Landlock of Linux 6.7 and later comes to the same
            ("unshare", "Operation not permitted"), // no capabilities
            ("kill", "Operation not permitted"),   // another user
            ("tgkill", "Operation not permitted"),
            ("bpf", "Operation not permitted"),
        ] {
            let finished = probing("vcpu", probe, &["--no-sandbox=seccomp"]).exits(0).prints("ran\n");
            finished.complains(&["the probe of the sandbox failed", why, "a part of its sandbox: seccomp"]);
        }
        let without = ["--no-sandbox=seccomp", "--no-sandbox=landlock"];
        probing("vcpu", "open", &without).exits(0).complains(&["the probe of the sandbox succeeded"]);
        let without = ["--no-sandbox=seccomp", "--no-sandbox=user"];
        probing("vcpu", "unshare", &without).exits(0).complains(&["the probe of the sandbox succeeded"]);
        let without = ["--no-sandbox=seccomp", "--no-sandbox=network"];
        probing("vcpu", "connect", &without).exits(0).complains(&["the probe of the sandbox succeeded"]);
    });
}

#[test]
fn a_bug_of_the_monitors_is_told_from_inside_the_sandbox() {
    guest_test(|| {
        for thread in ["devices", "vcpu"] {
            probing(thread, "panic", &[])
                .exits(125)
                .complains(&["the monitor has a bug", "a probe of the sandbox panics"]);
        }
        wait_for("everything is gone", || ours().is_empty());
    });
}

/// A mistake of ours with numbers of the guest's takes the bottle along, not the host.
#[test]
fn a_monitor_that_wants_ever_more_memory_ends_its_bottle_with_an_error() {
    guest_test(|| {
        let finished = probing("devices", "memory", &[]).exits(125).prints("");
        finished.complains(&["the monitor gave up, as it does when it gets no more memory", "hint: "]);
        let finished = probing("devices", "memory", &["--no-sandbox=seccomp"]).exits(0).prints("ran\n");
        finished.complains(&["the probe of the sandbox succeeded: Memory"]);
        wait_for("everything is gone", || ours().is_empty());
    });
}

/// The values of one line of /proc/PID/task/TID/status, for every thread.
fn of_every_thread(process: i32, field: &str) -> BTreeSet<String> {
    let threads = fs::read_dir(format!("/proc/{process}/task")).unwrap();
    let statuses = threads.map(|thread| fs::read_to_string(thread.unwrap().path().join("status")).unwrap());
    statuses
        .map(|status| {
            let line = status.lines().find_map(|line| line.strip_prefix(&format!("{field}:")));
            line.unwrap().split_whitespace().collect::<Vec<_>>().join(" ")
        })
        .collect()
}

#[test]
fn from_outside_a_running_monitor_has_nothing() {
    guest_test(|| {
        for kernel in kernels().both() {
            let mut child = running(&["--kernel", kernel, "--cpus", "4", "--disk", "64M"]);
            let process = monitor().unwrap();
            assert!(fs::read_dir(format!("/proc/{process}/task")).unwrap().count() >= 5, "a thread per vCPU, and one");
            let all = |field: &str| of_every_thread(process, field);
            let only = |value: &str| BTreeSet::from([value.to_owned()]);
            assert_eq!(all("Seccomp"), only("2"), "SECCOMP_MODE_FILTER");
            assert_eq!(all("NoNewPrivs"), only("1"));
            for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
                assert_eq!(all(set), only("0000000000000000"), "{set}");
            }
            if geteuid().is_root() {
                let user: u32 = 0x7000_0000 | process.cast_unsigned();
                assert_eq!(all("Uid"), only(&format!("{user} {user} {user} {user}")));
                assert_eq!(all("Gid"), only(&format!("{user} {user} {user} {user}")));
                assert_eq!(all("Groups"), only(""));
            }
            let namespace = |process: &str| fs::read_link(format!("/proc/{process}/ns/net")).unwrap();
            assert_ne!(namespace(&process.to_string()), namespace("self"));
            check_limits(process);
            check_descriptors(process);
            child.kill().unwrap();
            child.wait().unwrap();
            wait_for("a monitor of another user dies with its launcher all the same", || ours().is_empty());
        }
    });
}

fn check_limits(process: i32) {
    let limits = fs::read_to_string(format!("/proc/{process}/limits")).unwrap();
    let hard = |name: &str| {
        let line = limits.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.split_whitespace().nth(1).unwrap().to_owned()
    };
    assert_eq!((hard("Max processes"), hard("Max core file size")), ("0".into(), "0".into()));
    // The scratch disk's.
    assert_eq!(hard("Max file size"), (64 << 20).to_string());
    // The guest's 256 MiB, and the monitor's own.
    assert_eq!(hard("Max data size"), (768 << 20).to_string());
    assert!(hard("Max open files").parse::<u64>().unwrap() <= 16 << 10);
}

/// Everything that a monitor has to have open, and nothing else: above all no directory, no /dev/kvm, and one file for writing.
fn check_descriptors(process: i32) {
    let mut writable = 0;
    for entry in fs::read_dir(format!("/proc/{process}/fd")).unwrap() {
        let entry = entry.unwrap();
        let number = entry.file_name().into_string().unwrap();
        let target = fs::read_link(entry.path()).unwrap().into_os_string().into_string().unwrap();
        let kinds = ["socket:[", "anon_inode:[eventfd]", "anon_inode:[eventpoll]", "anon_inode:kvm-v"];
        let known = kinds.iter().any(|kind| target.starts_with(kind))
            || ["/dev/null", "/dev/urandom"].contains(&target.as_str());
        if known {
            continue;
        }
        // Disks.
        assert!(entry.path().metadata().unwrap().is_file(), "descriptor {number} is {target}");
        let info = fs::read_to_string(format!("/proc/{process}/fdinfo/{number}")).unwrap();
        let flags = info.lines().find_map(|line| line.strip_prefix("flags:")).unwrap();
        writable += u32::from(u32::from_str_radix(flags.trim(), 8).unwrap() & 3 != 0);
        assert!(writable <= 1, "descriptor {number} is {target}, open for writing");
    }
    assert_eq!(writable, 1, "the scratch disk");
}

/// An ordinary user who may use /dev/kvm, with the program and the kernels where such a one can read them.
struct Ordinary(TempDir);

impl Ordinary {
    fn new() -> Self {
        let directory = TempDir::new().unwrap();
        let path = |name: &str| directory.path().join(name);
        fs::create_dir_all(path("data/bottle-vmm")).unwrap();
        fs::create_dir(path("home")).unwrap();
        fs::copy(PROGRAM, path("program")).unwrap();
        let store = paths::data().unwrap().join("kernels");
        let copied = Command::new("cp").arg("-r").arg(store).arg(path("data/bottle-vmm")).status().unwrap();
        let opened = Command::new("chmod").args(["-R", "a+rX"]).arg(directory.path()).status().unwrap();
        assert!(copied.success() && opened.success());
        if geteuid().is_root() {
            chown(&path("home"), Some(USER.into()), Some(USER.into())).unwrap();
            fs::set_permissions("/dev/kvm", fs::Permissions::from_mode(0o666)).unwrap();
        }
        Self(directory)
    }

    fn command(&self) -> Command {
        let path = |name: &str| self.0.path().join(name);
        let mut command = Command::new(path("program"));
        command.current_dir("/").env("HOME", path("home")).env("TMPDIR", path("home"));
        command.env("XDG_DATA_HOME", path("data")).env("XDG_RUNTIME_DIR", path("home"));
        if geteuid().is_root() {
            command.uid(USER).gid(USER);
        }
        command
    }

    fn bottle(&self) -> Bottle {
        Bottle::of_command(self.command())
    }
}

/// In the emulated host nobody has this number.
const USER: u32 = 1234;

#[test]
fn an_ordinary_user_has_the_same_sandbox_and_keeps_being_that_user() {
    guest_test(|| {
        let user = Ordinary::new();
        let finished = Finished::of(user.command().args(["doctor", "--json"]).output().unwrap());
        let report: serde_json::Value =
            serde_json::from_slice(&finished.stdout).unwrap_or_else(|_| panic!("{finished:?}"));
        for layer in ["network", "user", "landlock", "seccomp"] {
            let check = report["checks"].as_array().unwrap().iter().find(|check| check["name"] == layer).unwrap();
            assert_eq!(check["status"], "ok", "{check}");
        }
        assert!(finished.text().contains("the caller's user"), "{}", finished.text());
        user.bottle().run(&["sh", "-c", "id -u; exit 7"]).exits(7).prints("0\n").quietly();
        for (probe, named) in PROBES {
            let finished = probing_in(user.bottle(), "devices", probe, &[]).exits(125).prints("");
            finished.complains(&ATTACKED).complains(&[named]);
        }
        // Those that need no filter, as the monitor is of the user that started it.
        for (probe, why) in [("open", "Permission denied"), ("connect", "Network is unreachable")] {
            let finished = probing_in(user.bottle(), "vcpu", probe, &["--no-sandbox=seccomp"]).exits(0);
            finished.complains(&["the probe of the sandbox failed", why]);
        }
        wait_for("everything is gone", || ours().is_empty());
    });
}

/// Runs `body` in a thread for which, and for whose children, this system call does not exist: another kernel, or a container whose
/// manager has not heard of it.
fn where_there_is_no<T: Send>(call: libc::c_long, error: i32, body: impl FnOnce() -> T + Send) -> T {
    let denied = SeccompAction::Errno(error.cast_unsigned());
    let rules = [(call, vec![])].into_iter().collect();
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, denied, TargetArch::x86_64).unwrap();
    let program: BpfProgram = filter.try_into().unwrap();
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            seccompiler::apply_filter(&program).unwrap();
            body()
        });
        thread.join().unwrap()
    })
}

#[test]
fn a_kernel_that_lacks_a_layer_stops_the_bottle_and_names_the_layer_and_the_flag() {
    guest_test(|| {
        for (layer, call, error, why) in [
            ("landlock", libc::SYS_landlock_create_ruleset, libc::EOPNOTSUPP, "not switched on"),
            ("landlock", libc::SYS_landlock_create_ruleset, libc::ENOSYS, "has no Landlock"),
            ("seccomp", libc::SYS_seccomp, libc::ENOSYS, "has no seccomp filters"),
        ] {
            let flag = format!("--no-sandbox={layer}");
            where_there_is_no(call, error, || {
                let refused = Bottle::new().run(&["echo", "ran"]).exits(125).prints("");
                refused.complains(&["the monitor's sandbox cannot be closed", why, "hint: ", &flag]);
                let doctor = Finished::of(Command::new(PROGRAM).arg("doctor").output().unwrap()).exits(1);
                assert!(doctor.text().contains(why), "{}", doctor.text());
                Bottle::new().with(&[&flag]).run(&["echo", "ran"]).exits(0).prints("ran\n").complains(&["WARNING: "]);
            });
        }
        // Not required: without it the monitor still has neither `socket` nor `connect`.
        where_there_is_no(libc::SYS_unshare, libc::EPERM, || {
            Bottle::new().run(&["echo", "ran"]).exits(0).prints("ran\n").quietly();
        });
    });
}
