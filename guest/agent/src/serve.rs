//! The agent's one loop: one thread, `poll(2)`, nothing that blocks.
//!
//! Every turn serves everything that could have become possible; with the one process of today, and at most
//! `MAX_PROCESSES` of tomorrow, asking a descriptor that has nothing costs less than keeping track of which has.

use std::io;
use std::os::fd::OwnedFd;

use bottle_protocol::{
    ArgumentLimits, Hello, MAX_PROCESSES, ProcessId, Put, Setup, Start, StartStage, ToAgent, ToHost,
};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::link::{Link, LinkError};
use crate::mount::SetupError;
use crate::placing::{PlaceError, Transfer};
use crate::process::Process;
use crate::reap::Reaper;
use crate::start::{self, Refusal};

/// Why serving ended other than by the host's wish.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ServeError {
    #[error("cannot use the socket")]
    Socket(#[source] io::Error),
    #[error("cannot wait for events")]
    Wait(#[source] Errno),
    #[error(transparent)]
    Link(#[from] LinkError),
    #[error("the host sent {what} {when}")]
    Order { what: &'static str, when: &'static str },
}

/// What the host may say now.
#[derive(PartialEq, Eq)]
enum Stage {
    /// Nothing but Setup.
    New,
    Ready,
    /// Setup failed. What the host had already sent behind it is ignored; it will shut down.
    Useless,
}

struct Server<'a> {
    link: Link,
    reaper: Reaper,
    processes: Vec<Process>,
    transfers: Vec<Transfer>,
    stage: Stage,
    set_up: &'a mut dyn FnMut(&Setup) -> Result<(), SetupError>,
}

/// Frames that one turn takes, so that a host that never stops sending cannot stop the streams.
const FRAMES_A_TURN: usize = 32;

/// Speaks first, then does as it is told until the host says Shutdown.
pub(crate) fn run(socket: OwnedFd, set_up: &mut dyn FnMut(&Setup) -> Result<(), SetupError>) -> Result<(), ServeError> {
    let flags = fcntl(&socket, FcntlArg::F_GETFL).map(OFlag::from_bits_retain);
    flags
        .and_then(|flags| fcntl(&socket, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK)))
        .map_err(|errno| ServeError::Socket(errno.into()))?;
    let reaper = Reaper::new().map_err(ServeError::Wait)?;
    let link = Link::new(socket);
    let mut server = Server { link, reaper, processes: Vec::new(), transfers: Vec::new(), stage: Stage::New, set_up };
    server.link.send(&ToHost::Hello(hello()))?;
    server.link.flush()?;
    while server.turn()? {}
    Ok(())
}

fn hello() -> Hello {
    let kernel = nix::sys::utsname::uname();
    Hello {
        agent: env!("CARGO_PKG_VERSION").to_owned(),
        kernel: kernel.map(|names| names.release().to_string_lossy().into_owned()).unwrap_or_default(),
        limits: ArgumentLimits::GUEST,
    }
}

impl Server<'_> {
    /// `false`: the host wants the machine off.
    fn turn(&mut self) -> Result<bool, ServeError> {
        self.wait()?;
        for (pid, status) in self.reaper.ended() {
            let ours = self.processes.iter_mut().find(|process| process.pid() == pid && process.is_running());
            if let Some(process) = ours {
                process.ended(status);
            }
        }
        for _ in 0..FRAMES_A_TURN {
            if !self.link.has_room_for_answers() {
                break;
            }
            match self.link.receive()? {
                None => break,
                Some(ToAgent::Shutdown) => return Ok(false),
                Some(message) => self.obey(message)?,
            }
        }
        let mut served = 0;
        while let Some(process) = self.processes.get_mut(served) {
            if process.serve(&mut self.link)? {
                self.processes.remove(served);
            } else {
                served += 1;
            }
        }
        self.link.flush()?;
        Ok(true)
    }

    fn wait(&self) -> Result<(), ServeError> {
        let mut link = PollFlags::empty();
        link.set(PollFlags::POLLIN, self.link.has_room_for_answers());
        link.set(PollFlags::POLLOUT, self.link.wants_to_send());
        let mut watched =
            vec![PollFd::new(self.link.socket(), link), PollFd::new(self.reaper.descriptor(), PollFlags::POLLIN)];
        for process in &self.processes {
            watched.extend(process.writers().map(|fd| PollFd::new(fd, PollFlags::POLLOUT)));
            if self.link.has_room_for_output() {
                watched.extend(process.readers().map(|fd| PollFd::new(fd, PollFlags::POLLIN)));
            }
        }
        let pressing = self.link.has_room_for_output() && self.processes.iter().any(Process::is_pressing);
        match poll(&mut watched, if pressing { PollTimeout::ZERO } else { PollTimeout::NONE }) {
            Ok(_) | Err(Errno::EINTR) => Ok(()),
            Err(errno) => Err(ServeError::Wait(errno)),
        }
    }

    fn obey(&mut self, message: ToAgent) -> Result<(), ServeError> {
        match (message, &self.stage) {
            (ToAgent::Setup(setup), Stage::New) => self.set_up(&setup),
            (ToAgent::Setup(_), _) => Err(ServeError::Order { what: "Setup", when: "twice" }),
            (_, Stage::New) => Err(ServeError::Order { what: "another frame", when: "before Setup" }),
            (_, Stage::Useless) => Ok(()),
            (ToAgent::Start(start), Stage::Ready) => self.start(start),
            (ToAgent::Put(put), Stage::Ready) => self.put(&put),
            (message, Stage::Ready) => self.pass_on(message),
        }
    }

    fn set_up(&mut self, setup: &Setup) -> Result<(), ServeError> {
        let answer = match (self.set_up)(setup) {
            Ok(()) => {
                self.stage = Stage::Ready;
                ToHost::Ready
            }
            Err(error) => {
                self.stage = Stage::Useless;
                ToHost::SetupFailed { what: error.to_string(), errno: error.errno() }
            }
        };
        Ok(self.link.send(&answer)?)
    }

    fn start(&mut self, start: Start) -> Result<(), ServeError> {
        let id = start.process;
        if self.is_in_use(id) {
            return Err(ServeError::Order { what: "Start", when: "for a process id in use" });
        }
        let count = u32::try_from(start.env.len()).unwrap_or(u32::MAX);
        self.link.send(&ToHost::EnvAcknowledged { process: id, count })?;
        // Now, and not with what follows: a start may take its time, and the two are measured apart.
        self.link.flush()?;
        let started = if self.processes.len() < MAX_PROCESSES {
            start::start(start)
        } else {
            let detail = format!("{MAX_PROCESSES} commands run already");
            Err(Refusal { stage: StartStage::Limits, errno: Errno::EAGAIN as i32, detail })
        };
        let answer = match started {
            Ok(process) => {
                let pid = process.pid();
                self.processes.push(process);
                ToHost::Started { process: id, pid }
            }
            Err(Refusal { stage, errno, detail }) => ToHost::StartFailed { process: id, stage, errno, detail },
        };
        Ok(self.link.send(&answer)?)
    }

    fn put(&mut self, put: &Put) -> Result<(), ServeError> {
        if self.is_in_use(put.process) {
            return Err(ServeError::Order { what: "Put", when: "for a process id in use" });
        }
        let transfer = if self.transfers.len() < MAX_PROCESSES { Transfer::new(put) } else { Err(PlaceError::TooMany) };
        match transfer {
            Ok(transfer) => self.transfers.push(transfer),
            Err(error) => self.link.send(&error.answer(put.process))?,
        }
        Ok(())
    }

    /// What is for a transfer and for no process; the rest is given back.
    fn transfer(&mut self, message: ToAgent) -> Result<Option<ToAgent>, ServeError> {
        let (ToAgent::Stdin { process, .. } | ToAgent::StdinEof { process }) = &message else {
            return Ok(Some(message));
        };
        let Some(at) = self.transfers.iter().position(|transfer| transfer.id() == *process) else {
            return Ok(Some(message));
        };
        let Some(transfer) = self.transfers.get_mut(at) else { return Ok(None) };
        let goes_on = match message {
            ToAgent::Stdin { bytes, .. } => transfer.receive(&bytes, &mut self.link)?,
            _ => {
                transfer.finish(&mut self.link)?;
                false
            }
        };
        if !goes_on {
            self.transfers.remove(at);
        }
        Ok(None)
    }

    fn is_in_use(&mut self, id: ProcessId) -> bool {
        self.process(id).is_some() || self.transfers.iter().any(|transfer| transfer.id() == id)
    }

    /// A frame for one process. If that is not there any more, the frame has crossed with its Exited.
    fn pass_on(&mut self, message: ToAgent) -> Result<(), ServeError> {
        let Some(message) = self.transfer(message)? else { return Ok(()) };
        let result = match message {
            ToAgent::Stdin { process, bytes } => {
                self.process(process).map_or(Ok(()), |process| process.input().receive(&bytes))
            }
            ToAgent::Credit { process, stream, bytes } => {
                self.process(process).map_or(Ok(()), |process| process.credit(stream, bytes))
            }
            ToAgent::StdinEof { process } => {
                self.process(process).into_iter().for_each(|process| process.input().end());
                Ok(())
            }
            ToAgent::Resize { process, size } => {
                self.process(process).into_iter().for_each(|process| process.resize(size));
                Ok(())
            }
            ToAgent::CloseOutput { process, stream } => {
                self.process(process).into_iter().for_each(|process| process.close_output(stream));
                Ok(())
            }
            ToAgent::Signal { process, signal } => {
                self.process(process).into_iter().for_each(|process| process.signal(signal));
                Ok(())
            }
            ToAgent::Setup(_) | ToAgent::Start(_) | ToAgent::Put(_) | ToAgent::Shutdown => Ok(()), // obeyed before they come here
        };
        Ok(result.map_err(LinkError::from)?)
    }

    fn process(&mut self, id: ProcessId) -> Option<&mut Process> {
        self.processes.iter_mut().find(|process| process.id() == id)
    }
}
