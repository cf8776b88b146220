//! A command in the emulated host on this process's own standard streams: what both programs of this crate do.

use std::ffi::OsString;
use std::io::{self, IsTerminal};
use std::os::fd::AsFd;
use std::process::ExitCode;
use std::thread;

use bottle_vmm::progress::Progress;

use crate::host::{Host, HostError, Session, Source, Streams};
use crate::report::{describe, say};
use crate::streams::Sink;
use crate::terminal::{RawTerminal, SessionEvent, SessionSignals, Size};

const TIMED_OUT: u8 = 124;
/// The exit code when no command was run, as with `docker run`.
pub const HOST_FAILED: u8 = 125;
/// What a shell reports of a program that SIGPIPE ended.
const READER_GONE: u8 = 128 + 13;

/// What a terminal is taken to be that does not tell its size.
const USUAL_SIZE: Size = Size { rows: 24, columns: 80 };

/// What the command's standard input is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stdin {
    Nothing,
    Pipe,
    /// A terminal inside; this process's own terminal, if it has one, is put into raw mode meanwhile.
    Terminal,
}

impl Stdin {
    /// A terminal if a person sits at both ends, else a pipe.
    pub fn as_found() -> Stdin {
        if io::stdin().is_terminal() && io::stdout().is_terminal() { Stdin::Terminal } else { Stdin::Pipe }
    }
}

/// Runs the command on this process's standard streams.
///
/// Without a terminal there is nothing to do for signals: they end this process, and QEMU dies with it.
pub fn run(host: &Host, argv: &[OsString], stdin: Stdin, progress: &dyn Progress) -> Result<u8, HostError> {
    let streams = |stdin, terminal| Streams {
        stdin,
        stdout: Sink::Writer(Box::new(io::stdout())),
        stderr: Sink::Writer(Box::new(io::stderr())),
        terminal,
    };
    let own = || Source::Reader(Box::new(io::stdin()));
    let session = match stdin {
        Stdin::Nothing => host.start(argv, Vec::new(), streams(Source::Nothing, None), progress)?,
        Stdin::Pipe => host.start(argv, Vec::new(), streams(own(), None), progress)?,
        Stdin::Terminal => {
            let size = Size::of(io::stdin().as_fd());
            let signals = SessionSignals::block().map_err(HostError::Terminal)?;
            let session = host.start(argv, Vec::new(), streams(own(), Some(size.unwrap_or(USUAL_SIZE))), progress)?;
            return attached(session, signals, size.is_some());
        }
    };
    session.wait().map(|output| output.code)
}

/// Waits with the terminal in raw mode. Every way out, a signal included, goes through the guard that restores it.
fn attached(session: Session, signals: SessionSignals, raw: bool) -> Result<u8, HostError> {
    let resizer = session.resizer()?;
    let ender = session.ender()?;
    let _terminal = if raw { Some(RawTerminal::enter().map_err(HostError::Terminal)?) } else { None };
    thread::spawn(move || {
        while let Ok(event) = signals.next() {
            match event {
                // A session that is over needs no size.
                SessionEvent::Resized => drop(Size::of(io::stdin().as_fd()).map(|size| resizer.resize(size))),
                SessionEvent::End(signal) => ender.end(signal),
            }
        }
    });
    session.wait().map(|output| output.code)
}

/// What this process exits with, after saying what went wrong, if anything did.
pub fn exit_code(program: &str, ended: Result<u8, HostError>) -> ExitCode {
    let code = match ended {
        Ok(code) => code,
        Err(HostError::Signalled { signal }) => u8::try_from(128 + signal).unwrap_or(HOST_FAILED),
        // Whoever stopped reading has what he wanted.
        Err(HostError::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => READER_GONE,
        Err(error) => {
            say(program, &describe(&error));
            if matches!(error, HostError::TimedOut { .. }) { TIMED_OUT } else { HOST_FAILED }
        }
    };
    ExitCode::from(code)
}
