//! `run -it` as a person uses it.

use crate::bottle::{Bottle, guest_test};
use crate::processes::{monitor, ours, wait_for};
use crate::setup::kernels;
use crate::terminal::Terminal;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

#[test]
fn a_shell_has_the_right_size_from_the_start_and_follows_resizes_on_both_kernels() {
    guest_test(|| {
        for kernel in kernels().both() {
            let mut terminal =
                Terminal::open(30, 100, &["run", "-it", "--mem", "256M", "--kernel", kernel, "--", "sh"]);
            terminal.shows("# ").types("stty size\n").shows("30 100");
            terminal.resize(11, 77).types("sleep 1; stty size\n").shows("11 77");
            terminal.types("exit 5\n");
            assert!(terminal.exits(5).is_cooked(), "the terminal was not restored");
        }
    });
}

#[test]
fn keys_that_would_signal_here_signal_there() {
    guest_test(|| {
        let mut terminal = Terminal::open(24, 80, &["run", "-it", "--mem", "256M", "--", "sh"]);
        terminal.shows("# ").types("sleep 1000\n").shows("sleep 1000");
        std::thread::sleep(std::time::Duration::from_millis(500));
        terminal.types("\x03").shows("# ").types("echo code $?\n").shows("code 130");
        terminal.types("sleep 1000\n").shows("sleep 1000");
        std::thread::sleep(std::time::Duration::from_millis(500));
        terminal.types("\x1a").shows("Stopped").shows("# ").types("fg\n").shows("sleep 1000");
        std::thread::sleep(std::time::Duration::from_millis(500));
        terminal.types("\x03").shows("# ").types("echo again $?\n").shows("again 130").shows("# ").types("exit 0\n");
        terminal.exits(0);
    });
}

#[test]
fn a_program_in_raw_mode_gets_every_key_as_it_is() {
    guest_test(|| {
        // What an editor does: no echo, no line editing, escape sequences both ways.
        let script =
            "stty raw -echo; printf '\\033[2Jraw\\r\\n'; dd bs=1 count=6 2>/dev/null | od -An -tx1; stty sane; exit 3";
        let mut terminal = Terminal::open(24, 80, &["run", "-it", "--mem", "256M", "--", "sh", "-c", script]);
        terminal.shows("\x1b[2Jraw").types("\x03\x1b[A\x1a\r").shows("03 1b 5b 41 1a 0d");
        terminal.exits(3);
    });
}

#[test]
fn the_terminal_is_restored_whatever_ends_the_bottle() {
    guest_test(|| {
        let mut terminal = Terminal::open(24, 80, &["run", "-it", "--timeout", "3", "--mem", "256M", "--", "sh"]);
        terminal.shows("# ");
        assert!(!terminal.is_cooked(), "raw mode is on while the command runs");
        assert!(terminal.exits(124).is_cooked());
        for (how, code) in [("reboot -f; sleep 60", 125), ("exit 3", 3)] {
            let mut terminal = Terminal::open(24, 80, &["run", "-it", "--mem", "256M", "--", "sh"]);
            terminal.shows("# ").types(how).types("\n");
            assert!(terminal.exits(code).is_cooked(), "{how}");
        }
        let mut terminal = Terminal::open(24, 80, &["run", "-it", "--mem", "256M", "--", "sh"]);
        terminal.shows("# ");
        kill(Pid::from_raw(monitor().unwrap()), Signal::SIGKILL).unwrap();
        assert!(terminal.exits(125).is_cooked(), "the monitor was killed");
        let terminal = Terminal::open(24, 80, &["run", "-it", "--mem", "256M", "--", "nothing-of-that-name"]);
        assert!(terminal.exits(127).is_cooked());
    });
}

/// A screen of its own, mouse reports, marked pasting, another keyboard; and something in the terminal's input that nobody has read.
#[test]
fn nothing_that_a_guest_had_the_terminal_do_is_left_to_the_shell() {
    guest_test(|| {
        let script = "printf '\\033[?1049h\\033[?1003h\\033[?2004h\\033[>1u'; echo ready; exec sleep 1000";
        let mut terminal = Terminal::open(24, 80, &["run", "-t", "--mem", "256M", "--", "sh", "-c", script]);
        terminal.shows("ready").types("rm -rf /\n");
        assert!(terminal.has_input(), "or the last line could not fail");
        kill(Pid::from_raw(monitor().unwrap()), Signal::SIGKILL).unwrap();
        for undone in ["\x1b[?1049l", "\x1b[?1003l", "\x1b[?2004l", "\x1b[<99u"] {
            terminal.shows(undone);
        }
        assert!(!terminal.exits(125).has_input());
    });
}

#[test]
fn a_terminal_that_goes_away_ends_its_bottle_and_a_signal_alone_does_not() {
    guest_test(|| {
        // Whether it says something about it, where nobody can hear it, or nothing.
        for (options, script) in [
            ("-i", "trap '' HUP; echo ready; exec sleep 1000"),
            ("-it", "trap 'echo gone' HUP; echo ready; while :; do sleep 1; echo on; done"),
        ] {
            let mut terminal = Terminal::open(24, 80, &["run", options, "--mem", "256M", "--", "sh", "-c", script]);
            terminal.shows("ready").hang_up();
            terminal.exits(129);
            wait_for("the guest is gone, too", || ours().is_empty());
        }
        // Longer than a command has whose terminal is gone.
        let script = "trap 'sleep 8; exit 7' HUP; echo ready; while :; do sleep 1; done";
        let mut terminal = Terminal::open(24, 80, &["run", "--mem", "256M", "--", "sh", "-c", script]);
        terminal.shows("ready").signal(Signal::SIGHUP);
        terminal.exits(7);
    });
}

#[test]
fn asking_for_a_terminal_without_having_one_is_an_error() {
    guest_test(|| {
        Bottle::new().with(&["-it"]).run(&["sh"]).exits(125).complains(&["not a terminal", "hint: leave out `-t`"]);
        Bottle::new().with(&["-t"]).run(&["sh", "-c", "test -t 1 && echo terminal"]).exits(0).prints("terminal\r\n");
    });
}
