//! Tests that need a KVM that runs Linux.
//!
//! ```text
//! #[test]
//! fn a_guest_boots() {
//!     kvmhost::guest_test(|| boot());
//! }
//! ```
//!
//! On a KVM host the body simply runs. Elsewhere the test starts an emulated host and runs *itself* there: the same test
//! program with `--exact` this test, which then finds a KVM that works. So both halves of a test stand in one place, and
//! the body may use terminals, signals and processes as on any machine.

use std::any::type_name_of_val;
use std::ffi::OsString;
use std::time::Duration;

use crate::host::{Host, HostError, Output, Source, Streams};
use crate::need::{Need, needed};
use crate::report::{Lines, describe};
use crate::slots;
use crate::streams::{EndMark, Sink};

/// Names the word that tells the outer test that the inner one ran: a name that matches no test is a success to libtest.
const PROOF: &str = "KVMHOST_PROOF";

/// No boot takes that long; a test that hangs should end before the pipeline does.
const TIMEOUT: Duration = Duration::from_secs(300);

/// Runs the test's body where KVM runs Linux. Call it from the `#[test]` function itself.
pub fn guest_test<F: FnOnce()>(body: F) {
    GuestTest::default().run(body);
}

/// A guest test with another host than the default: one processor, 2 GiB.
#[derive(Clone, Debug)]
pub struct GuestTest {
    host: Host,
}

impl Default for GuestTest {
    fn default() -> GuestTest {
        GuestTest { host: Host::default().timeout(Some(TIMEOUT)) }
    }
}

impl GuestTest {
    /// Any host, should an emulated one be needed.
    pub fn on(host: Host) -> GuestTest {
        GuestTest { host }
    }

    pub fn run<F: FnOnce()>(&self, body: F) {
        if matches!(needed(), Need::No) {
            let _turn = take_turns();
            body();
            prove();
            return;
        }
        let name = test_name(std::thread::current().name(), type_name_of_val(&body));
        let proof = EndMark::random().to_string();
        match self.run_inside(&name, &proof).or_else(|error| self.once_more(error, &name, &proof)) {
            Ok(output) => judge(&name, &proof, &output),
            Err(error) => {
                if let HostError::TimedOut { output, .. } = &error {
                    show(&output.stdout, &output.stderr, &proof);
                }
                panic!("{name}: {}", describe(&error));
            }
        }
    }

    /// QEMU's emulation of SVM has bugs, by which now and then the host's own kernel dies; of the test that says nothing. What is seen of
    /// it is printed, and no other failure is tried again.
    #[expect(clippy::print_stderr, reason = "a test that was run twice says so")]
    fn once_more(&self, error: HostError, name: &str, proof: &str) -> Result<Output, HostError> {
        if !error.is_crash_of_the_host() {
            return Err(error);
        }
        eprintln!("AGAIN: {name}: the emulated host's kernel died. {}", describe(&error));
        self.run_inside(name, proof)
    }

    fn run_inside(&self, name: &str, proof: &str) -> Result<Output, HostError> {
        let program = std::env::current_exe().map_err(HostError::Program)?;
        let words = ["--exact", name, "--nocapture", "--include-ignored", "--test-threads=1"];
        let argv: Vec<OsString> = [program.into_os_string()].into_iter().chain(words.map(OsString::from)).collect();
        let env = vec![(PROOF.into(), proof.into())];
        let streams = Streams { stdin: Source::Nothing, stdout: Sink::Capture, stderr: Sink::Capture, terminal: None };
        let _slot = slots::take().map_err(HostError::Slot)?;
        self.host.start(&argv, env, streams, &Lines { program: "kvmhost" })?.wait()
    }
}

/// On a machine whose own KVM runs the guests, tests would see one another's processes. Inside an emulated host there is one test,
/// whose outer half has its slot already.
fn take_turns() -> Option<slots::Slot> {
    let outermost = std::env::var_os(PROOF).is_none();
    outermost.then(|| slots::take_alone().unwrap_or_else(|error| panic!("cannot wait for other tests: {error}")))
}

/// The test's path as libtest knows it: the name of its thread; or, where the harness runs it on the main thread, that of
/// the function the body stands in (`crate::module::test::{{closure}}`).
fn test_name(thread: Option<&str>, body: &str) -> String {
    match thread {
        Some(name) if name != "main" => name.to_owned(),
        _ => {
            let function = body.split("::{{closure}}").next().unwrap_or(body);
            function.split_once("::").map_or(function, |(_, path)| path).to_owned()
        }
    }
}

#[expect(clippy::print_stdout, reason = "the word is for the outer test, which reads this test's output")]
fn prove() {
    if let Ok(proof) = std::env::var(PROOF) {
        println!("{proof}");
    }
}

fn judge(name: &str, proof: &str, output: &Output) {
    show(&output.stdout, &output.stderr, proof);
    assert!(output.code == 0, "{name} failed inside the emulated host (exit code {})", output.code);
    let proven = output.stdout.windows(proof.len()).any(|window| window == proof.as_bytes());
    assert!(
        proven,
        "{name} did not run inside the emulated host: is guest_test called from the #[test] function itself?"
    );
}

#[expect(clippy::print_stdout, clippy::print_stderr, reason = "so that libtest shows it with the outer test's failure")]
fn show(stdout: &[u8], stderr: &[u8], proof: &str) {
    print!("{}", String::from_utf8_lossy(stdout).replace(proof, ""));
    eprint!("{}", String::from_utf8_lossy(stderr));
}

#[cfg(test)]
#[path = "guest_test_test.rs"]
mod tests;
