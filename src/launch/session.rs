//! While the command runs: streams, window sizes and signals in both directions, and its exit.

use super::PROCESS;
use super::boot::{Guest, name};
use super::error::LaunchError;
use super::signals::{Caught, HANG_UP, Signals};
use super::streams::{Output, Written, read_stdin};
use super::terminal::{self, Lent};
use super::timings::{Phase, Timings};
use crate::control::Room;
use crate::monitor::MonitorProcess;
use bottle_protocol::{
    ExitStatus, MAX_DATA, OutputStream, ReceiveWindow, SignalNumber, ToAgent, ToHost, Window, WindowSize,
};
use std::io;
use std::time::Duration;
use tokio::sync::mpsc;

/// How a bottle ended, when nothing of ours went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Exited(ExitStatus),
    /// `--timeout` was over.
    TimedOut(Duration),
    /// The caller ended it by this signal before the command could answer, or with its terminal (SIGHUP).
    Interrupted(u8),
}

impl Outcome {
    /// As `docker run` and `timeout` have it.
    #[must_use]
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Exited(status) => status.exit_code(),
            Self::TimedOut(_) => 124,
            Self::Interrupted(signal) => signal.saturating_add(128),
        }
    }
}

/// How long a command has to end by itself whose time is up (it is told so by SIGTERM), or whose terminal is gone (SIGHUP).
const GRACE: Duration = Duration::from_secs(5);
const TERMINATE: u32 = 15;

/// How long output that has arrived may take to be written when the end came before it: whoever reads it may have stopped.
const LAST_OUTPUT: Duration = Duration::from_secs(2);

pub(super) struct Session {
    guest: Guest,
    signals: Signals,
    stdin: Stdin,
    stdout: Downstream,
    stderr: Downstream,
    written: mpsc::UnboundedReceiver<Written>,
    /// The command has a terminal.
    terminal: bool,
    /// Takes the caller's terminal back when the session is dropped.
    _lent: Option<Lent>,
}

/// Standard input on its way to the guest.
struct Stdin {
    room: Room,
    chunks: Option<mpsc::Receiver<Vec<u8>>>,
    waiting: Vec<u8>,
    window: Window,
}

/// One output on its way to the caller.
struct Downstream {
    stream: OutputStream,
    output: Output,
    window: ReceiveWindow,
    /// Bytes given to the thread that are not written yet.
    outstanding: usize,
}

enum Step {
    Message(ToHost),
    Chunk(Option<Vec<u8>>),
    Written(Written),
    Signal(Caught, bool),
    TimeUp,
    HungUp,
}

async fn reached(at: Option<tokio::time::Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

fn host(what: &'static str) -> impl Fn(io::Error) -> LaunchError {
    move |source| LaunchError::Host { what, source }
}

impl Session {
    /// `terminal` is the size that the command was started with, if it has one.
    pub(super) fn begin(
        guest: Guest,
        signals: Signals,
        terminal: Option<WindowSize>,
        stdin: bool,
    ) -> Result<Self, LaunchError> {
        let (report, written) = mpsc::unbounded_channel();
        let stdout = Downstream::start(OutputStream::Stdout, report.clone())?;
        let stderr = Downstream::start(OutputStream::Stderr, report)?;
        let lend = |_| Lent::to_guest(stdin, stdout.output.gate()).map_err(host("switch the terminal to raw mode"));
        let lent = terminal.map(lend).transpose()?;
        let chunks = if stdin { Some(read_stdin().map_err(host("read standard input"))?) } else { None };
        let room = guest.sender.room();
        let session = Self {
            guest,
            signals,
            stdin: Stdin { room, chunks, waiting: Vec::new(), window: Window::new() },
            stdout,
            stderr,
            written,
            terminal: terminal.is_some(),
            _lent: lent,
        };
        // It may have changed while nobody listened.
        if terminal.is_some_and(|size| size != terminal::size()) {
            session.resize()?;
        }
        Ok(session)
    }

    /// Stays until the command has exited and its output is written, the time is up, or the caller insists. When the command has exited
    /// the monitor is ended, if `measured` after it was asked for its statistics: whoever reads the output may take his time, and the guest
    /// has none left. What has arrived is written whatever the end, unless the caller insists.
    pub(super) async fn run(
        &mut self,
        limit: Option<Duration>,
        monitor: &MonitorProcess,
        measured: bool,
        timings: &mut Timings,
    ) -> Result<Outcome, LaunchError> {
        let end = self.stay(limit, monitor, measured, timings).await;
        if !matches!(end, Ok(Outcome::Interrupted(_))) {
            self.write_what_arrived().await;
        }
        end
    }

    async fn stay(
        &mut self,
        limit: Option<Duration>,
        monitor: &MonitorProcess,
        measured: bool,
        timings: &mut Timings,
    ) -> Result<Outcome, LaunchError> {
        let mut exited = None;
        let mut deadline = limit.map(|limit| tokio::time::Instant::now() + limit);
        // The limit, once it is over.
        let mut over = None;
        let mut hang_up = None;
        loop {
            if let (Some(status), true) = (exited, self.all_written()) {
                return Ok(over.map_or(Outcome::Exited(status), Outcome::TimedOut));
            }
            match self.step(deadline, hang_up, exited.is_some(), timings).await? {
                Step::Message(ToHost::Exited { status, .. }) => {
                    timings.mark(Phase::CommandExited);
                    if measured {
                        // The command's exit code counts for more than a number that is missing.
                        let _ = self.guest.count_exits(monitor, timings).await;
                    }
                    monitor.kill();
                    exited = Some(status);
                }
                Step::Message(message) => self.take(message)?,
                Step::Chunk(chunk) => self.queue_stdin(chunk)?,
                Step::Written(written) => self.account(written, exited.is_some())?,
                Step::Signal(Caught::Forward(signal), true) => return Ok(Outcome::Interrupted(signal)),
                Step::Signal(caught, _) => {
                    if caught == Caught::Forward(HANG_UP) {
                        hang_up.get_or_insert_with(|| tokio::time::Instant::now() + GRACE);
                    }
                    self.pass_on(caught)?;
                }
                // It is asked now and not when the signal came, which may be before the terminal is taken away.
                Step::HungUp if self.signals.lost_terminal() => {
                    self.write_what_arrived().await;
                    return Ok(Outcome::Interrupted(HANG_UP));
                }
                Step::HungUp => hang_up = None,
                Step::TimeUp if over.is_none() => {
                    over = limit;
                    deadline = Some(tokio::time::Instant::now() + GRACE);
                    self.signal(TERMINATE)?;
                }
                Step::TimeUp => return Ok(Outcome::TimedOut(limit.unwrap_or_default())),
            }
        }
    }

    async fn step(
        &mut self,
        deadline: Option<tokio::time::Instant>,
        hang_up: Option<tokio::time::Instant>,
        exited: bool,
        timings: &mut Timings,
    ) -> Result<Step, LaunchError> {
        let Self { guest, signals, stdin, written, .. } = self;
        Ok(tokio::select! {
            message = guest.next(timings), if !exited => Step::Message(message?),
            chunk = stdin.next(), if stdin.wants() && !exited => Step::Chunk(chunk),
            Some(written) = written.recv() => Step::Written(written),
            (caught, insists) = signals.next() => Step::Signal(caught, insists),
            () = reached(deadline), if !exited => Step::TimeUp,
            () = reached(hang_up), if !exited => Step::HungUp,
        })
    }

    /// The command is given up, what it had said is not. Another signal to terminate cuts it short.
    async fn write_what_arrived(&mut self) {
        let deadline = tokio::time::Instant::now() + LAST_OUTPUT;
        while !self.all_written() {
            let Self { signals, written, .. } = self;
            let written = tokio::select! {
                Some(written) = written.recv() => written,
                (_, insists) = signals.next() => match insists {
                    true => return,
                    false => continue,
                },
                () = tokio::time::sleep_until(deadline) => return,
                else => return,
            };
            if self.account(written, true).is_err() {
                return;
            }
        }
    }

    fn all_written(&self) -> bool {
        self.stdout.outstanding == 0 && self.stderr.outstanding == 0
    }

    fn take(&mut self, message: ToHost) -> Result<(), LaunchError> {
        match message {
            ToHost::Stdout { bytes, .. } => self.stdout.take(bytes.into_vec()),
            // Of a terminal there is one output, and one gate that is shut behind it.
            ToHost::Stderr { bytes, .. } if !self.terminal => self.stderr.take(bytes.into_vec()),
            ToHost::Eof { .. } => Ok(()),
            ToHost::Credit { bytes, .. } => {
                self.stdin.window.refill(bytes).map_err(|error| LaunchError::Control(error.into()))?;
                self.send_stdin()
            }
            other => Err(LaunchError::Unexpected { message: name(&other), expected: "output or exit of the command" }),
        }
    }

    fn queue_stdin(&mut self, chunk: Option<Vec<u8>>) -> Result<(), LaunchError> {
        match chunk {
            Some(chunk) => {
                self.stdin.waiting = chunk;
                self.send_stdin()
            }
            None => {
                self.stdin.chunks = None;
                Ok(self.guest.sender.send(&ToAgent::StdinEof { process: PROCESS })?)
            }
        }
    }

    /// Sends what waits, as far as the guest's window goes.
    fn send_stdin(&mut self) -> Result<(), LaunchError> {
        while !self.stdin.waiting.is_empty() && self.stdin.window.available() > 0 {
            let room = self.stdin.window.available().min(MAX_DATA);
            let length = self.stdin.waiting.len().min(usize::try_from(room).unwrap_or(0));
            let rest = self.stdin.waiting.split_off(length);
            let bytes = std::mem::replace(&mut self.stdin.waiting, rest);
            let consumed = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
            self.stdin.window.consume(consumed).map_err(|error| LaunchError::Control(error.into()))?;
            self.guest.sender.send_stdin(PROCESS, &bytes)?;
        }
        Ok(())
    }

    fn account(&mut self, written: Written, exited: bool) -> Result<(), LaunchError> {
        let (stream, bytes) = match written {
            Written::Bytes(stream, bytes) => (stream, bytes),
            Written::Failed(source) => return Err(host("write the command's output")(source)),
            Written::Closed(_) if exited => return Ok(()),
            Written::Closed(stream) => {
                return Ok(self.guest.sender.send(&ToAgent::CloseOutput { process: PROCESS, stream })?);
            }
        };
        let downstream = if stream == OutputStream::Stdout { &mut self.stdout } else { &mut self.stderr };
        match downstream.wrote(bytes)? {
            Some(credit) if !exited => {
                Ok(self.guest.sender.send(&ToAgent::Credit { process: PROCESS, stream, bytes: credit })?)
            }
            _ => Ok(()),
        }
    }

    fn pass_on(&mut self, caught: Caught) -> Result<(), LaunchError> {
        match caught {
            Caught::Forward(signal) => self.signal(signal.into()),
            Caught::Resized if self.terminal => self.resize(),
            Caught::Resized => Ok(()),
        }
    }

    fn resize(&self) -> Result<(), LaunchError> {
        Ok(self.guest.sender.send(&ToAgent::Resize { process: PROCESS, size: terminal::size() })?)
    }

    fn signal(&mut self, number: u32) -> Result<(), LaunchError> {
        let signal = SignalNumber::new(number)
            .map_err(|error| LaunchError::Control(bottle_protocol::ProtocolError::from(error).into()))?;
        Ok(self.guest.sender.send(&ToAgent::Signal { process: PROCESS, signal })?)
    }
}

impl Stdin {
    fn wants(&self) -> bool {
        self.chunks.is_some() && self.waiting.is_empty()
    }

    /// The next chunk, once the guest has read most of those before.
    async fn next(&mut self) -> Option<Vec<u8>> {
        self.room.wait().await;
        match &mut self.chunks {
            Some(chunks) => chunks.recv().await,
            None => None,
        }
    }
}

impl Downstream {
    fn start(stream: OutputStream, report: mpsc::UnboundedSender<Written>) -> Result<Self, LaunchError> {
        let output = Output::start(stream, report).map_err(host("write the command's output"))?;
        Ok(Self { stream, output, window: ReceiveWindow::new(), outstanding: 0 })
    }

    fn take(&mut self, bytes: Vec<u8>) -> Result<(), LaunchError> {
        self.window.receive(bytes.len()).map_err(|error| LaunchError::Control(error.into()))?;
        self.outstanding = self.outstanding.saturating_add(bytes.len());
        self.output.write(bytes);
        Ok(())
    }

    /// The credit to give the guest for it, if it is time.
    fn wrote(&mut self, bytes: usize) -> Result<Option<u32>, LaunchError> {
        debug_assert!(self.outstanding >= bytes, "{:?} reports more than it was given", self.stream);
        self.outstanding = self.outstanding.saturating_sub(bytes);
        self.window.dispose(bytes).map_err(|error| LaunchError::Control(error.into()))
    }
}
