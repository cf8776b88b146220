//! The emulated host itself: what goes in comes out. Every test starts at least one.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use kvmhost::{Host, HostError, Output};

fn shell(script: &str) -> Output {
    Host::default().run(&["sh", "-c", script], b"").unwrap_or_else(|error| panic!("{error:?}"))
}

#[test]
fn exit_codes_are_the_commands() {
    for code in [0, 3, 42, 125] {
        assert_eq!(shell(&format!("exit {code}")).code, code);
    }
}

#[test]
fn a_killed_command_and_a_missing_one_exit_as_in_a_shell() {
    assert_eq!(shell("kill -9 $$").code, 137);
    assert_eq!(Host::default().run(&["no-such-program"], b"").unwrap().code, 127);
    assert_eq!(Host::default().run(&["/etc/passwd"], b"").unwrap().code, 126);
}

#[test]
fn a_command_that_does_not_end_is_ended_and_what_it_wrote_is_kept() {
    let host = Host::default().timeout(Some(Duration::from_secs(8)));
    let error = host.run(&["sh", "-c", "echo so far; sleep 1000"], b"").unwrap_err();
    let HostError::TimedOut { output, .. } = error else { panic!("{error}") };
    assert_eq!(output.stdout, b"so far\n");
}

#[test]
fn megabytes_of_any_bytes_pass_through_both_ways() {
    let bytes: Vec<u8> = (0_u32..3 << 20).map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()[3]).collect();
    let output = Host::default().run(&["cat"], &bytes).unwrap();
    assert_eq!(output.code, 0);
    assert!(output.stdout == bytes, "{} bytes of {}", output.stdout.len(), bytes.len());
}

#[test]
fn the_streams_stay_apart_and_nothing_is_lost_when_the_command_is_gone() {
    let output = shell("echo err >&2; echo out; (sleep 1000; echo never) & head -c 1000000 /dev/zero");
    assert_eq!(output.stderr, b"err\n");
    assert_eq!(output.stdout.len(), 4 + 1_000_000);
}

#[test]
fn standard_input_is_empty_if_none_is_given() {
    assert_eq!(Host::default().run(&["cat"], b"").unwrap().stdout, b"");
}

#[test]
fn kvm_is_there_and_the_machines_own_programs_and_files_are_too() {
    let output = shell("test -w /dev/kvm && grep -c svm /proc/cpuinfo && id -u && uname -n && pwd");
    let cwd = std::env::current_dir().unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), format!("1\n0\nkvmhost\n{}\n", cwd.display()));
    let ours = std::fs::read("/usr/bin/env").unwrap();
    assert!(Host::default().run(&["cat", "/usr/bin/env"], b"").unwrap().stdout == ours);
}

#[test]
fn writes_stay_inside_but_in_the_shared_directories() {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let (shared, other) = (dir.path().join("shared"), dir.path().join("other"));
    std::fs::create_dir(&shared).unwrap();
    std::fs::create_dir(&other).unwrap();
    // The working directory is shared, and these are not in it: the package's directory holds no target directory.
    let script = format!("echo 1 >{}/file && echo 2 >{}/file", shared.display(), other.display());
    let output = Host::default().share(&shared).run(&["sh", "-c", &script], b"").unwrap();
    assert_eq!(output.code, 0);
    assert_eq!(std::fs::read(shared.join("file")).unwrap(), b"1\n");
    assert!(!other.join("file").exists());
}

#[test]
fn two_hosts_at_once_do_not_meet() {
    let run = |number: u8| move || shell(&format!("mkdir /run/only-one && sleep 1; echo {number}; exit {number}"));
    std::thread::scope(|scope| {
        let (one, two) = (scope.spawn(run(1)), scope.spawn(run(2)));
        for (output, number) in [(one.join().unwrap(), 1), (two.join().unwrap(), 2)] {
            assert_eq!(output.code, number);
            assert_eq!(output.stdout, format!("{number}\n").as_bytes());
        }
    });
}

#[test]
fn setting_up_what_is_set_up_changes_nothing() {
    Host::default().set_up(&bottle_vmm::progress::Silent).unwrap();
    assert_eq!(shell("exit 5").code, 5);
    Host::default().set_up(&bottle_vmm::progress::Silent).unwrap();
}

fn kvmhost(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kvmhost"));
    command.args(arguments);
    command
}

#[test]
fn the_program_tells_a_timeout_from_a_failure_of_the_host() {
    let late = kvmhost(&["--timeout", "8", "--", "sleep", "1000"]).output().unwrap();
    assert_eq!(late.status.code(), Some(124), "{}", String::from_utf8_lossy(&late.stderr));
    let died = kvmhost(&["--", "sh", "-c", "echo o >/proc/sysrq-trigger; sleep 1000"]).output().unwrap();
    let said = String::from_utf8(died.stderr).unwrap();
    assert_eq!(died.status.code(), Some(125), "{said}");
    assert!(said.contains("ended"), "{said}");
}

#[test]
fn standard_input_goes_in_as_it_comes() {
    let mut child = kvmhost(&["-i", "--", "sh", "-c", "read -r line; echo got $line; cat"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let mut stdout = std::io::BufReader::new(child.stdout.take().unwrap());
    stdin.write_all(b"first\n").unwrap();
    let mut line = String::new();
    // Without an end of the input: what was given must have arrived by itself.
    std::io::BufRead::read_line(&mut stdout, &mut line).unwrap();
    assert_eq!(line, "got first\n");
    stdin.write_all(b"second\n").unwrap();
    drop(stdin);
    line.clear();
    std::io::BufRead::read_line(&mut stdout, &mut line).unwrap();
    assert_eq!(line, "second\n");
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn a_terminal_inside_has_a_size_and_passes_the_exit_code() {
    let output = kvmhost(&["-t", "--", "sh", "-c", "test -t 0 && test -t 1 && stty size; exit 7"])
        .stdin(Stdio::piped())
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "24 80\r\n");
    assert_eq!(output.status.code(), Some(7));
}

#[test]
fn a_reader_that_goes_away_ends_the_run() {
    let mut child = kvmhost(&["--", "yes"]).stdout(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    assert_eq!(child.wait().unwrap().code(), Some(128 + 13));
}
