//! One run of somebody else's program. Law: its output is watched and bounded, its end is awaited, and a signal that would
//! end us ends it first.
//!
//! A program runs in a process group of its own, so that it can be ended with all that it started; a terminal's Ctrl-C then
//! reaches it through us alone. One thread does it all: our environment is about to be taken apart (`sys::environ`).

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, PipeReader, Read};
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use super::error::{BuilderError, Ended, LastLines};
use super::gate::AtWork;
use super::tail::Tail;
use crate::progress::Progress;
use crate::sys::held_signals::{self, HeldSignals};

/// How often the end of a program is looked for that has closed its output, or left it to a child of its own.
const TURN: Duration = Duration::from_millis(5);
const TURN_WHILE_TALKING: Duration = Duration::from_millis(100);

/// A program that was asked to end is killed after this.
const GRACE: Duration = Duration::from_secs(10);

/// SIGINT.
const INTERRUPT: u8 = 2;

/// Read at most this often before signals are looked at again.
const READS: usize = 64;

/// Where programs are found, and what of our environment they do not get.
#[derive(Debug)]
pub(super) struct Surroundings {
    path: OsString,
    withheld: Vec<OsString>,
}

impl Surroundings {
    pub(super) fn of_process(withheld: &[OsString]) -> Self {
        Self::new(std::env::var_os("PATH").unwrap_or_default(), withheld)
    }

    pub(super) fn new(path: OsString, withheld: &[OsString]) -> Self {
        let withheld = withheld.iter().filter(|name| !configures_programs(name)).cloned().collect();
        Self { path, withheld }
    }

    /// The file that a shell would run.
    pub(super) fn find(&self, program: &str) -> Option<PathBuf> {
        let is_program = |path: &PathBuf| {
            path.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
        };
        std::env::split_paths(&self.path).map(|directory| directory.join(program)).find(is_program)
    }

    /// A run of `program`, if it is there.
    pub(super) fn job(&self, program: &'static str) -> Option<Job> {
        let mut command = Command::new(self.find(program)?);
        command.env("PATH", &self.path).stdin(Stdio::null()).process_group(0);
        for name in &self.withheld {
            command.env_remove(name);
        }
        Some(Job { program, command, to_file: false, limit: None })
    }
}

/// Variables that these programs are configured by: one that the guest is to have as well is not kept from them.
#[must_use]
pub fn configures_programs(name: &OsStr) -> bool {
    let name = name.to_string_lossy();
    let exact =
        ["PATH", "HOME", "USER", "LOGNAME", "LANG", "TMPDIR", "REGISTRY_AUTH_FILE", "SSL_CERT_FILE", "SSL_CERT_DIR"];
    let starts =
        ["LC_", "XDG_", "DOCKER_", "BUILDKIT_", "BUILDX_", "BUILDAH_", "CONTAINER_", "CONTAINERS_", "STORAGE_"];
    exact.contains(&&*name)
        || starts.iter().any(|start| name.starts_with(start))
        || name.to_ascii_lowercase().ends_with("_proxy")
}

pub(super) struct Job {
    program: &'static str,
    command: Command,
    /// Standard output goes elsewhere than into the tail.
    to_file: bool,
    limit: Option<Duration>,
}

impl Job {
    pub(super) fn args<I: IntoIterator<Item = S>, S: AsRef<OsStr>>(mut self, args: I) -> Self {
        self.command.args(args);
        self
    }

    /// Ends it after this long.
    pub(super) fn limit(mut self, limit: Duration) -> Self {
        self.limit = Some(limit);
        self
    }

    /// Its standard input is `file`.
    pub(super) fn stdin(mut self, file: &File) -> Result<Self, BuilderError> {
        self.command.stdin(file.try_clone().map_err(host("duplicate a descriptor"))?);
        Ok(self)
    }

    /// Its standard output goes into `file`.
    pub(super) fn stdout(mut self, file: &File) -> Result<Self, BuilderError> {
        self.command.stdout(file.try_clone().map_err(host("duplicate a descriptor"))?);
        self.to_file = true;
        Ok(self)
    }

    /// Runs it to its end; `progress` is told its lines as they come.
    pub(super) fn run(mut self, progress: &dyn Progress) -> Result<Finished, BuilderError> {
        let program = self.program;
        let (signals, _at_work) = hold_signals(program)?;
        let (reader, writer) = io::pipe().map_err(host("make a pipe"))?;
        fcntl(&reader, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).map_err(|errno| host("make a pipe")(errno.into()))?;
        self.command.stderr(writer.try_clone().map_err(host("duplicate a descriptor"))?);
        if self.to_file {
            drop(writer);
        } else {
            self.command.stdout(writer);
        }
        let limit = self.limit;
        held_signals::not_held_in(&mut self.command);
        let child = self.command.spawn();
        let child = child.map_err(|source| BuilderError::Start { program, source })?;
        // It holds the ends that were given to the child; the pipe would never end.
        drop(self);
        let watched = Watched { child, output: Some(reader), tail: Tail::default(), ending: None, deadline: None };
        watched.run_to_end(program, limit, &signals, progress)
    }

    /// Runs it, and gives what it wrote to standard output, at most `most` bytes of it.
    pub(super) fn output(mut self, most: u64, progress: &dyn Progress) -> Result<(Finished, Vec<u8>), BuilderError> {
        let failed = host("make a temporary file");
        let file = tempfile::tempfile().map_err(&failed)?;
        self = self.stdout(&file)?;
        let finished = self.run(progress)?;
        let mut bytes = Vec::new();
        let mut start = file;
        io::Seek::rewind(&mut start).and_then(|()| start.take(most).read_to_end(&mut bytes)).map_err(failed)?;
        Ok((finished, bytes))
    }
}

/// What became of a program.
#[derive(Debug)]
pub(super) struct Finished {
    program: &'static str,
    ended: Ended,
    lines: Vec<String>,
}

impl Finished {
    pub(super) fn succeeded(&self) -> bool {
        self.ended == Ended::Code(0)
    }

    pub(super) fn last_line(&self) -> &str {
        self.lines.last().map_or("", String::as_str)
    }

    /// An error with its last lines unless it succeeded; `what` is what failed then, in a person's words.
    pub(super) fn check(self, what: impl FnOnce() -> String) -> Result<(), BuilderError> {
        if self.succeeded() {
            return Ok(());
        }
        let Self { program, ended, lines } = self;
        Err(BuilderError::Failed { what: what(), program, ended, last_lines: LastLines(lines) })
    }
}

struct Watched {
    child: Child,
    /// Until it is at its end.
    output: Option<PipeReader>,
    tail: Tail,
    /// Why it is being ended, and when it is killed.
    ending: Option<Reason>,
    deadline: Option<Instant>,
}

#[derive(Clone, Copy)]
enum Reason {
    Signal(u8),
    TooSlow { seconds: u64 },
}

impl Watched {
    fn run_to_end(
        mut self,
        program: &'static str,
        limit: Option<Duration>,
        signals: &HeldSignals,
        progress: &dyn Progress,
    ) -> Result<Finished, BuilderError> {
        let slow_at = limit.map(|limit| (Instant::now() + limit, limit.as_secs()));
        let status = loop {
            wait(signals, self.output.as_ref());
            self.read(progress)?;
            if let Some(signal) = signals.caught() {
                self.end(Reason::Signal(signal));
            }
            if let Some((at, seconds)) = slow_at
                && self.ending.is_none()
                && Instant::now() >= at
            {
                self.end(Reason::TooSlow { seconds });
            }
            if self.deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                self.kill(Signal::SIGKILL);
            }
            if let Some(status) = self.child.try_wait().map_err(host("wait for a program"))? {
                self.read(progress)?;
                break status;
            }
        };
        let ended = match self.ending {
            Some(Reason::Signal(signal)) => return Err(BuilderError::Interrupted { program, signal }),
            Some(Reason::TooSlow { seconds }) => Ended::TooSlow { seconds },
            None => ended(status),
        };
        Ok(Finished { program, ended, lines: std::mem::take(&mut self.tail).finish() })
    }

    fn read(&mut self, progress: &dyn Progress) -> Result<(), BuilderError> {
        let mut buffer = [0; 16 << 10];
        for _ in 0..READS {
            let Some(output) = &mut self.output else { break };
            match output.read(&mut buffer) {
                Ok(0) => self.output = None,
                Ok(count) => {
                    if let Some(line) = self.tail.push(buffer.get(..count).unwrap_or_default()) {
                        progress.detail(line);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(host("read a program's output")(error)),
            }
        }
        Ok(())
    }

    /// Asks it to end; asked a second time, kills it.
    fn end(&mut self, reason: Reason) {
        let again = self.ending.replace(reason).is_some();
        self.deadline.get_or_insert_with(|| Instant::now() + GRACE);
        self.kill(if again { Signal::SIGKILL } else { Signal::SIGTERM });
    }

    fn kill(&self, signal: Signal) {
        if let Ok(pid) = i32::try_from(self.child.id()) {
            // It may have ended by itself, and will be found so.
            let _gone = killpg(Pid::from_raw(pid), signal);
        }
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        // Only on an error of ours is it still there.
        if let Ok(None) = self.child.try_wait() {
            self.kill(Signal::SIGKILL);
            let _reaped = self.child.wait();
        }
    }
}

fn ended(status: ExitStatus) -> Ended {
    status.code().map_or_else(|| Ended::Signal(status.signal().unwrap_or_default()), Ended::Code)
}

/// Signals that come are found here, and by nobody else. One that has come before is the end of it: nothing is started any more.
pub(super) fn hold_signals(program: &'static str) -> Result<(HeldSignals, AtWork), BuilderError> {
    let at_work = AtWork::begin();
    let signals = HeldSignals::hold().map_err(|errno| host("watch for signals")(errno.into()))?;
    if at_work.is_too_late() {
        // It is found here, or has been already, by one who does not wait for this answer.
        let signal = signals.caught().unwrap_or(INTERRUPT);
        return Err(BuilderError::Interrupted { program, signal });
    }
    Ok((signals, at_work))
}

/// Until there is a signal, or output, or it is time to look for the program's end.
fn wait(signals: &HeldSignals, output: Option<&PipeReader>) {
    let turn = if output.is_some() { TURN_WHILE_TALKING } else { TURN };
    let mut watched = vec![PollFd::new(signals.as_fd(), PollFlags::POLLIN)];
    watched.extend(output.map(|output| PollFd::new(output.as_fd(), PollFlags::POLLIN)));
    // Whatever it says, everything is looked at next.
    let _any = poll(&mut watched, PollTimeout::try_from(turn).unwrap_or(PollTimeout::ZERO));
}

pub(super) fn host(action: &'static str) -> impl Fn(io::Error) -> BuilderError {
    move |source| BuilderError::Host { action, source }
}
