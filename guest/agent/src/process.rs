//! A process that runs by order of the host.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use bottle_protocol::{ExitStatus, OutputStream, ProcessId, ProtocolError, SignalNumber, ToHost, WindowSize};

use crate::link::{Link, LinkError};
use crate::streams::{Input, Output};
use crate::sys;

/// ```text
///   running ── it ends ──> draining ── what it had written is sent ──> done (Exited is sent, the id is free)
/// ```
pub(crate) struct Process {
    id: ProcessId,
    pid: u32,
    terminal: Option<OwnedFd>,
    input: Input,
    outputs: Vec<Output>,
    status: Option<ExitStatus>,
}

impl Process {
    /// `terminal` is the master side of its terminal, if it has one.
    pub(crate) fn new(id: ProcessId, pid: u32, terminal: Option<OwnedFd>, input: Input, outputs: Vec<Output>) -> Self {
        Self { id, pid, terminal, input, outputs, status: None }
    }

    pub(crate) fn id(&self) -> ProcessId {
        self.id
    }

    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    pub(crate) fn is_running(&self) -> bool {
        self.status.is_none()
    }

    pub(crate) fn input(&mut self) -> &mut Input {
        &mut self.input
    }

    pub(crate) fn credit(&mut self, stream: OutputStream, bytes: u32) -> Result<(), ProtocolError> {
        match self.outputs.iter_mut().find(|output| output.stream() == stream) {
            Some(output) => output.credit(bytes),
            None => Err(ProtocolError::Overcredit { bytes, outstanding: 0 }),
        }
    }

    /// Nobody reads `stream` any more. A command that writes to it finds out as in a pipeline on the host; one on a terminal
    /// loses the terminal, which is told as a hang-up.
    pub(crate) fn close_output(&mut self, stream: OutputStream) {
        self.outputs.iter_mut().filter(|output| output.stream() == stream).for_each(Output::abandon);
        if self.terminal.take().is_some() {
            self.input.close();
        }
    }

    pub(crate) fn resize(&self, size: WindowSize) {
        if let Some(terminal) = &self.terminal {
            let _ = sys::set_window_size(terminal.as_fd(), size); // fails on what is not a terminal; this one is
        }
    }

    /// To the command alone, as `docker run` forwards signals: what it does about its children is its own affair. After its end the
    /// number may be somebody else's.
    pub(crate) fn signal(&self, signal: SignalNumber) {
        if self.is_running() {
            let _ = sys::signal(self.pid, signal); // it may end at any time
        }
    }

    pub(crate) fn ended(&mut self, status: ExitStatus) {
        self.status = Some(status);
        self.input.close();
        for output in &mut self.outputs {
            output.settle(self.terminal.is_some());
        }
    }

    /// Descriptors that wait to be written to.
    pub(crate) fn writers(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.input.waits_for().into_iter()
    }

    /// Descriptors that wait to be read.
    pub(crate) fn readers(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.outputs.iter().filter_map(Output::waits_for)
    }

    /// Whether to serve it again without waiting: after its end, no descriptor tells that there is nothing more.
    pub(crate) fn is_pressing(&self) -> bool {
        !self.is_running() && self.readers().next().is_some()
    }

    /// Moves what can be moved. `true`: it is done, and this was the last.
    pub(crate) fn serve(&mut self, link: &mut Link) -> Result<bool, LinkError> {
        self.input.push(self.id, link)?;
        for output in &mut self.outputs {
            // One frame each while it runs, so that no stream holds up another. After its end nothing may wake us for
            // the rest, so all is taken that the window and the socket allow; both wake us when they allow more.
            while output.pull(self.id, link)? && self.status.is_some() {}
        }
        match self.status {
            Some(status) if !self.outputs.iter().any(Output::is_open) => {
                link.send(&ToHost::Exited { process: self.id, status })?;
                Ok(true)
            }
            _ => Ok(false),
        }
    }
}
