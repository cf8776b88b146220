//! Says what to run in a bottle, and what came out.

use crate::setup::{PROGRAM, kernels};
use serde_json::Value;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::Write as _;
use std::process::{Child, Command, Output, Stdio};

/// Runs the test's body where KVM can run Linux, with both kernels installed.
pub fn guest_test<F: FnOnce()>(body: F) {
    kernels();
    kvmhost::GuestTest::on(kvmhost::Host::default().timeout(Some(PATIENCE))).run(body);
}

/// How long a host may take: what takes seconds on a machine of one's own takes minutes on one that is shared.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(1800);

/// The same, with more memory for the host: for tests with many or large guests.
pub fn large_guest_test<F: FnOnce()>(body: F) {
    kernels();
    let host = kvmhost::Host::default().mem_mib(6144).timeout(Some(PATIENCE));
    kvmhost::GuestTest::on(host).run(body);
}

/// A `bottle-vmm run` to be.
pub struct Bottle {
    command: Command,
}

impl Bottle {
    /// With the kernel that `run` takes by itself.
    pub fn new() -> Self {
        Self::of(PROGRAM)
    }

    /// Of a program that is not ours.
    pub fn of(program: impl AsRef<OsStr>) -> Self {
        Self::of_command(Command::new(program))
    }

    /// Of a program that is started as somebody else, or somewhere else.
    pub fn of_command(mut command: Command) -> Self {
        command.args(["run", "--mem", "256M"]).stdin(Stdio::null());
        Self { command }
    }

    pub fn with(mut self, options: &[&str]) -> Self {
        self.command.args(options);
        self
    }

    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    pub fn in_directory(mut self, directory: &str) -> Self {
        self.command.current_dir(directory);
        self
    }

    /// Runs it to its end.
    pub fn run(mut self, words: &[&str]) -> Finished {
        self.command.arg("--").args(words);
        Finished::of(self.command.output().unwrap())
    }

    /// Runs it without words after `--`.
    pub fn run_default(mut self) -> Finished {
        Finished::of(self.command.output().unwrap())
    }

    /// Runs it with `input` on its standard input.
    pub fn run_with_input(mut self, input: Vec<u8>, words: &[&str]) -> Finished {
        self.command.arg("--").args(words).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = self.command.spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        // A command that does not read everything closes the pipe.
        let writer = std::thread::spawn(move || drop(stdin.write_all(&input)));
        let finished = Finished::of(child.wait_with_output().unwrap());
        writer.join().unwrap();
        finished
    }

    /// Starts it, standard output and error piped.
    pub fn spawn(mut self, words: &[&str]) -> Child {
        self.command.arg("--").args(words).stdout(Stdio::piped()).stderr(Stdio::piped());
        self.command.spawn().unwrap()
    }

    pub fn into_command(mut self, words: &[&str]) -> Command {
        self.command.arg("--").args(words);
        self.command
    }
}

/// What came out of it.
#[derive(Debug)]
pub struct Finished {
    pub code: Option<i32>,
    pub stdout: Vec<u8>,
    pub stderr: String,
}

impl Finished {
    pub fn of(output: Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: output.stdout,
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    #[track_caller]
    pub fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "stdout: {}\nstderr: {}", self.text(), self.stderr);
        self
    }

    #[track_caller]
    pub fn prints(self, expected: &str) -> Self {
        assert_eq!(self.text(), expected, "stderr: {}", self.stderr);
        self
    }

    /// Nothing unexpected slips in: the default is a silent standard error.
    #[track_caller]
    pub fn quietly(self) -> Self {
        assert_eq!(self.stderr, "");
        self
    }

    #[track_caller]
    pub fn complains(self, parts: &[&str]) -> Self {
        for part in parts {
            assert!(self.stderr.contains(part), "`{part}` is missing in:\n{}", self.stderr);
        }
        self
    }
}

/// What a running bottle's launcher says of its network.
pub fn report(name: &str) -> Value {
    let asked = Command::new(PROGRAM).args(["egress", name, "--json"]).output().unwrap();
    serde_json::from_slice(&Finished::of(asked).exits(0).quietly().stdout).unwrap()
}

/// Of a report, how often something was refused to a destination such as `192.0.2.1:443/tcp`, and why the last time.
#[derive(Debug, Default, PartialEq)]
pub struct Refused(pub BTreeMap<String, (u64, String)>);

impl Refused {
    pub fn of(report: &Value) -> Self {
        let text = |tally: &Value, field: &str| tally[field].as_str().unwrap().to_owned();
        let line = |tally: &Value| (text(tally, "shown"), (tally["count"].as_u64().unwrap(), text(tally, "detail")));
        Self(report["refused_to"].as_array().unwrap().iter().map(line).collect())
    }

    pub fn count(&self, destination: &str) -> u64 {
        self.0.get(destination).map_or(0, |(count, _)| *count)
    }
}
