//! Running commands in the emulated KVM host.

use std::ffi::{OsStr, OsString};
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use bottle_vmm::progress::{Progress, Silent};

use crate::cache::{Cache, CacheError};
use crate::job::{self, Job, JobError, Screen};
use crate::machine::{MachineError, Shape, Snapshot};
use crate::parts::{Parts, PartsError};
use crate::qemu::{Line, MAX_SHARES, Qemu, QemuError};
use crate::streams::{Arrival, EndMark, Sink, carry};
use crate::terminal::Size;

/// What the caller's `timeout` is without asking for another.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(600);

#[derive(Debug, thiserror::Error)]
pub enum HostError {
    #[error(transparent)]
    Cache(#[from] CacheError),
    #[error("cannot set up the emulated host")]
    Machine(#[from] MachineError),
    #[error("cannot run the emulated host")]
    Qemu(#[from] QemuError),
    #[error("cannot give the emulated host its job")]
    Job(#[from] JobError),
    #[error("cannot share the directory {}", path.display())]
    Share { path: PathBuf, source: io::Error },
    #[error("{count} directories to share read-write, at most {MAX_SHARES} are possible")]
    TooManyShares { count: usize },
    #[error("cannot find out this program's own file")]
    Program(#[source] io::Error),
    #[error("cannot wait for a place among the emulated hosts of this machine")]
    Slot(#[source] io::Error),
    #[error("cannot use this terminal")]
    Terminal(#[source] io::Error),
    #[error("ended by signal {signal}")]
    Signalled { signal: i32 },
    #[error("no working directory")]
    WorkingDirectory(#[source] io::Error),
    #[error("cannot talk to the emulated host")]
    Control(#[source] io::Error),
    #[error("cannot hand on the command's output")]
    Output(#[source] io::Error),
    #[error("the command did not end in {} s", after.as_secs())]
    TimedOut { after: Duration, output: Box<Captured>, console: String },
}

impl HostError {
    /// Did the emulated machine's own kernel die as it does by QEMU's doing, and by nothing that ran on it?
    pub fn is_crash_of_the_host(&self) -> bool {
        let signs = ["stack guard page was hit", "corrupted stack end detected"];
        matches!(self, HostError::Qemu(QemuError::Ended { console, .. }) if signs.iter().any(|sign| console.contains(sign)))
    }

    pub fn hint(&self) -> Option<String> {
        match self {
            HostError::Cache(error) => error.hint(),
            HostError::Machine(error) => error.hint(),
            HostError::Qemu(error) => error.hint(),
            HostError::TooManyShares { .. } => Some("share a directory that holds several of them".into()),
            _ => None,
        }
    }
}

impl From<PartsError> for HostError {
    fn from(error: PartsError) -> HostError {
        HostError::Machine(error.into())
    }
}

/// What a command wrote, where that was captured.
#[derive(Debug, Default)]
pub struct Captured {
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
}

/// How a command ended.
#[derive(Debug)]
pub struct Output {
    /// The command's exit code; 128+N if signal N ended it, 127 if there is no such program.
    pub code: u8,
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
}

/// The command's standard input.
pub enum Source {
    Nothing,
    /// All of the reader, as it comes.
    Reader(Box<dyn Read + Send>),
}

/// The command's standard streams.
pub struct Streams {
    pub stdin: Source,
    pub stdout: Sink,
    pub stderr: Sink,
    /// A pseudo-terminal of this size inside, for all three; what it shows goes to `stdout`.
    pub terminal: Option<Size>,
}

/// An emulated KVM host as it will be. Every run gets a fresh one; what commands do there, as root, is gone with it,
/// except in the shared directories.
#[derive(Clone, Debug)]
pub struct Host {
    shape: Shape,
    timeout: Option<Duration>,
    shares: Vec<PathBuf>,
    log: Option<PathBuf>,
}

impl Default for Host {
    fn default() -> Host {
        Host { shape: Shape { smp: 1, mem_mib: 2048 }, timeout: Some(DEFAULT_TIMEOUT), shares: Vec::new(), log: None }
    }
}

impl Host {
    /// The number of processors. With more than one, QEMU's emulation of SVM fails now and then (README.md, Limits).
    #[must_use]
    pub fn smp(mut self, smp: u32) -> Host {
        self.shape.smp = smp;
        self
    }

    #[must_use]
    pub fn mem_mib(mut self, mem_mib: u32) -> Host {
        self.shape.mem_mib = mem_mib;
        self
    }

    /// A further directory that is the machine's own inside, to be read and written; the working directory always is.
    #[must_use]
    pub fn share(mut self, dir: impl Into<PathBuf>) -> Host {
        self.shares.push(dir.into());
        self
    }

    /// When a command is ended, with its host; `None` for never.
    #[must_use]
    pub fn timeout(mut self, timeout: Option<Duration>) -> Host {
        self.timeout = timeout;
        self
    }

    /// A file for the console of the emulated host's kernel.
    #[must_use]
    pub fn log(mut self, file: impl Into<PathBuf>) -> Host {
        self.log = Some(file.into());
        self
    }

    /// Gets everything ready for runs of this host, and repairs what has gone missing.
    pub fn set_up(&self, progress: &dyn Progress) -> Result<(), HostError> {
        let cache = Cache::open_default()?;
        let (parts, held) = Parts::ensure(&cache, progress)?;
        drop(held);
        parts.check(&cache, progress)?;
        Snapshot::ensure(&cache, self.shape, progress)?;
        Ok(())
    }

    /// Runs a command to its end with the given standard input.
    pub fn run(&self, argv: &[impl AsRef<OsStr>], stdin: &[u8]) -> Result<Output, HostError> {
        let source = match stdin {
            [] => Source::Nothing,
            bytes => Source::Reader(Box::new(io::Cursor::new(bytes.to_vec()))),
        };
        let streams = Streams { stdin: source, stdout: Sink::Capture, stderr: Sink::Capture, terminal: None };
        self.start(argv, Vec::new(), streams, &Silent)?.wait()
    }

    /// Starts a command. `env` is added to the caller's environment. The session must be waited for by the same thread.
    pub fn start(
        &self,
        argv: &[impl AsRef<OsStr>],
        env: Vec<(OsString, OsString)>,
        streams: Streams,
        progress: &dyn Progress,
    ) -> Result<Session, HostError> {
        let cwd = std::env::current_dir().map_err(HostError::WorkingDirectory)?;
        let shares = self.resolve_shares(&cwd)?;
        let argv: Vec<OsString> = argv.iter().map(|word| word.as_ref().to_owned()).collect();
        let screen = match (streams.terminal, &streams.stdin) {
            (Some(size), _) => Screen::Terminal(size),
            (None, Source::Nothing) => Screen::None,
            (None, Source::Reader(_)) => Screen::Pipe,
        };
        let cache = Cache::open_default()?;
        let (snapshot, held) = Snapshot::ensure(&cache, self.shape, progress)?;
        let env = std::env::vars_os().chain(env).collect();
        let modules = snapshot.machine.parts.modules();
        let job = Job { argv: &argv, env, cwd: &cwd, shares: &shares, screen, modules: &modules };
        let end = EndMark::random();
        // A job that cannot be told is refused before anything is started.
        let message = job.encode(&end)?;
        let qemu = Qemu::restore(&snapshot, &shares, self.log.as_deref())?;
        drop(held);
        qemu.control().write_all_to(&message).map_err(HostError::Control)?;
        Session::begin(qemu, &end, streams, self.timeout)
    }

    /// The shares as they are mounted: existing directories, none inside another.
    fn resolve_shares(&self, cwd: &Path) -> Result<Vec<PathBuf>, HostError> {
        let mut shares = Vec::new();
        for path in &self.shares {
            let found = path.canonicalize().and_then(|path| std::fs::read_dir(&path).map(|_| path));
            shares.push(found.map_err(|source| HostError::Share { path: path.clone(), source })?);
        }
        // The whole machine is shared only if that is asked for by name.
        if cwd != Path::new("/") {
            shares.push(cwd.to_owned());
        }
        shares.sort();
        shares.dedup_by(|inner, outer| inner.starts_with(outer));
        if shares.len() > MAX_SHARES {
            return Err(HostError::TooManyShares { count: shares.len() });
        }
        Ok(shares)
    }
}

trait WriteAllTo {
    fn write_all_to(&self, bytes: &[u8]) -> io::Result<()>;
}

impl WriteAllTo for UnixStream {
    fn write_all_to(&self, bytes: &[u8]) -> io::Result<()> {
        let mut stream = self;
        stream.write_all(bytes)
    }
}

/// A command under way; dropped, it is ended with its host.
#[derive(Debug)]
pub struct Session {
    qemu: Qemu,
    out: JoinHandle<Arrival>,
    err: JoinHandle<Arrival>,
    timeout: Option<Duration>,
    started: Instant,
    /// What [`Ender::end`] was told, else 0.
    signal: Arc<AtomicI32>,
}

/// Tells a session's terminal its new size.
#[derive(Debug)]
pub struct Resizer(UnixStream);

impl Resizer {
    pub fn resize(&self, size: Size) -> io::Result<()> {
        job::resize(&self.0, size)
    }
}

/// Ends a session from another thread.
#[derive(Debug)]
pub struct Ender {
    control: UnixStream,
    signal: Arc<AtomicI32>,
}

impl Ender {
    /// [`Session::wait`] returns [`HostError::Signalled`].
    pub fn end(&self, signal: i32) {
        self.signal.store(signal, Ordering::SeqCst);
        // It fails only if the connection is gone already.
        let _ = self.control.shutdown(Shutdown::Both);
    }
}

impl Session {
    fn begin(qemu: Qemu, end: &EndMark, streams: Streams, timeout: Option<Duration>) -> Result<Session, HostError> {
        if let Source::Reader(reader) = streams.stdin {
            let input = qemu.input.try_clone().map_err(HostError::Control)?;
            // Never joined: it may wait for a person to type.
            thread::spawn(move || feed(reader, input));
        }
        let out = carrier(&qemu, &qemu.out, end, streams.stdout)?;
        let err = carrier(&qemu, &qemu.err, end, streams.stderr)?;
        Ok(Session { qemu, out, err, timeout, started: Instant::now(), signal: Arc::default() })
    }

    pub fn resizer(&self) -> Result<Resizer, HostError> {
        self.qemu.control().try_clone().map(Resizer).map_err(HostError::Control)
    }

    pub fn ender(&self) -> Result<Ender, HostError> {
        let control = self.qemu.control().try_clone().map_err(HostError::Control)?;
        Ok(Ender { control, signal: Arc::clone(&self.signal) })
    }

    /// Waits for the command's end and for the last byte of its output.
    pub fn wait(mut self) -> Result<Output, HostError> {
        let deadline = self.timeout.map(|timeout| self.started + timeout);
        let last = self.qemu.line(deadline).map_err(HostError::Control)?;
        if let Line::Text(line) = &last {
            let Some(code) = line.strip_prefix("EXIT ").and_then(|code| code.parse().ok()) else {
                return Err(self.qemu.failed_inside(line).into());
            };
            // Only now may QEMU end: the marks tell that nothing is on its way any more.
            let (stdout, stderr) = (arrived(self.out)?, arrived(self.err)?);
            return Ok(Output { code, stdout, stderr });
        }
        let ended = self.qemu.ended();
        let signal = self.signal.load(Ordering::SeqCst);
        if signal != 0 {
            return Err(HostError::Signalled { signal });
        }
        let console = self.qemu.console_tail();
        let (stdout, stderr) = (arrived(self.out)?, arrived(self.err)?);
        match last {
            Line::Late => {
                let after = self.timeout.unwrap_or_default();
                Err(HostError::TimedOut { after, output: Box::new(Captured { stdout, stderr }), console })
            }
            Line::Text(_) | Line::End => Err(ended.into()),
        }
    }
}

/// A thread that carries one output stream. If that is refused the run is over: the control connection is shut, which
/// wakes up [`Session::wait`].
fn carrier(qemu: &Qemu, port: &UnixStream, end: &EndMark, sink: Sink) -> Result<JoinHandle<Arrival>, HostError> {
    let port = port.try_clone().map_err(HostError::Control)?;
    let control = qemu.control().try_clone().map_err(HostError::Control)?;
    let end = end.clone();
    Ok(thread::spawn(move || {
        let arrival = carry(port, &end, sink);
        if let Arrival::Refused(_) = arrival {
            // It fails only if the connection is gone already.
            let _ = control.shutdown(Shutdown::Both);
        }
        arrival
    }))
}

fn arrived(carrier: JoinHandle<Arrival>) -> Result<Vec<u8>, HostError> {
    match carrier.join() {
        Ok(Arrival::Whole(bytes) | Arrival::Cut(bytes)) => Ok(bytes),
        Ok(Arrival::Refused(error)) => Err(HostError::Output(error)),
        // A sink that panicked has said why.
        Err(_) => Err(HostError::Output(io::ErrorKind::Other.into())),
    }
}

/// Copies standard input and then closes only the writing half: QEMU reads what is on its way before it sees the end,
/// while a connection closed on both sides is dropped with what is in it.
fn feed(mut reader: Box<dyn Read + Send>, mut input: UnixStream) {
    // A reader that fails is at its end; a command that reads no more has no use for the rest.
    let _ = io::copy(&mut reader, &mut input);
    let _ = input.shutdown(Shutdown::Write);
}

#[cfg(test)]
#[path = "host_test.rs"]
mod tests;
