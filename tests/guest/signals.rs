//! Signals, time limits and ends from outside.

use crate::bottle::{Bottle, Finished, guest_test};
use crate::setup::PROGRAM;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::io::{BufRead as _, BufReader};
use std::os::unix::process::ExitStatusExt as _;
use std::process::Child;

/// Starts a command that prints a line when it is ready, and waits for that line.
fn ready(bottle: Bottle, script: &str) -> (Child, BufReader<std::process::ChildStdout>) {
    let mut child = bottle.spawn(&["sh", "-c", script]);
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    stdout.read_line(&mut line).unwrap();
    assert_eq!(line, "ready\n", "{:?}", child.wait_with_output());
    (child, stdout)
}

fn send(child: &Child, signal: Signal) {
    kill(Pid::from_raw(child.id().cast_signed()), signal).unwrap();
}

fn rest(child: Child, mut stdout: BufReader<std::process::ChildStdout>) -> Finished {
    let mut text = Vec::new();
    std::io::Read::read_to_end(&mut stdout, &mut text).unwrap();
    let mut output = child.wait_with_output().unwrap();
    output.stdout = text;
    Finished::of(output)
}

#[test]
fn signals_are_forwarded_and_the_command_may_handle_them() {
    guest_test(|| {
        for (signal, name) in
            [(Signal::SIGINT, "INT"), (Signal::SIGTERM, "TERM"), (Signal::SIGHUP, "HUP"), (Signal::SIGUSR1, "USR1")]
        {
            let script = format!("trap 'echo caught {name}; exit 9' {name}; echo ready; while :; do sleep 0.1; done");
            let (child, stdout) = ready(Bottle::new(), &script);
            send(&child, signal);
            rest(child, stdout).exits(9).prints(&format!("caught {name}\n")).quietly();
        }
    });
}

#[test]
fn a_command_that_dies_of_a_signal_gives_128_and_its_number() {
    guest_test(|| {
        Bottle::new().run(&["sh", "-c", "kill -9 $$"]).exits(137).quietly();
        let (child, stdout) = ready(Bottle::new(), "echo ready; exec sleep 1000");
        send(&child, Signal::SIGTERM);
        rest(child, stdout).exits(143).quietly();
    });
}

#[test]
fn a_second_sigterm_ends_a_command_that_ignores_the_first() {
    guest_test(|| {
        let (child, stdout) = ready(Bottle::new(), "trap '' TERM; echo ready; while :; do sleep 0.1; done");
        send(&child, Signal::SIGTERM);
        std::thread::sleep(std::time::Duration::from_millis(500));
        send(&child, Signal::SIGTERM);
        rest(child, stdout).exits(143);
    });
}

#[test]
fn a_signal_that_the_caller_ignores_stays_ignored() {
    guest_test(|| {
        let script = format!(
            "trap '' HUP; {PROGRAM} run --mem 256M -- sh -c 'trap \"echo hung up\" HUP; echo ready; sleep 3; echo over' & \
             sleep 2; kill -HUP $!; wait $!; echo $?"
        );
        let output = std::process::Command::new("bash").args(["-c", &script]).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout), "ready\nover\n0\n", "{output:?}");
    });
}

#[test]
fn a_time_limit_ends_with_124_and_says_so() {
    guest_test(|| {
        let said = Bottle::new().with(&["--timeout", "3s"]).run(&["sh", "-c", "echo partial; exec sleep 1000"]);
        said.exits(124).prints("partial\n");
        let script = "trap 'echo saved; exit 7' TERM; while :; do sleep 1; done";
        Bottle::new().with(&["--timeout", "2s"]).run(&["sh", "-c", script]).exits(124).prints("saved\n");
        let script = "trap '' TERM; echo deaf; while :; do sleep 1; done";
        Bottle::new().with(&["--timeout", "2s"]).run(&["sh", "-c", script]).exits(124).prints("deaf\n");
        Bottle::new().with(&["--timeout", "1s"]).run(&["sleep", "1000"]).exits(124).complains(&["ended after 1 s"]);
        Bottle::new().with(&["--timeout", "60s"]).run(&["true"]).exits(0).quietly();
        Bottle::new().with(&["--timeout", "0"]).run(&["sh", "-c", "sleep 1; exit 3"]).exits(3).quietly();
    });
}

#[test]
fn a_signal_during_boot_ends_the_bottle_at_once() {
    guest_test(|| {
        let child = Bottle::new().spawn(&["sleep", "1000"]);
        std::thread::sleep(std::time::Duration::from_millis(400));
        send(&child, Signal::SIGTERM);
        let status = child.wait_with_output().unwrap().status;
        // Before our handlers are there the signal's default does the same: a shell sees 143 either way.
        assert!(status.code() == Some(143) || status.signal() == Some(15), "{status:?}");
    });
}
