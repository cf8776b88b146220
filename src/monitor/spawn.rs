//! The launcher's side: starts a monitor, hands it its descriptors, hears its events, and sees it gone.

use super::process::MONITOR_WORD;
use super::sandbox::{Confinement, EXIT_VIOLATION, LayerReport};
use super::wire::{self, LauncherRequest, MonitorEvent, MonitorSpec, PACKET_MAX, WireError};
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd, RawFd};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tokio::net::UnixStream;

#[derive(Debug, thiserror::Error)]
pub enum SpawnError {
    #[error("cannot start the monitor process")]
    Start(#[source] io::Error),
    #[error("the monitor process ended before it said anything of its sandbox")]
    Silent,
    #[error(transparent)]
    Wire(#[from] WireError),
}

/// What a monitor's end says when the monitor itself did not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// A system call that is forbidden.
    Sandbox,
    /// By itself: above all when it is refused memory.
    Aborted,
    Otherwise,
}

/// A running monitor. Dropping it kills the monitor and waits until it is gone.
#[derive(Debug)]
pub struct MonitorProcess {
    child: Child,
    control: OwnedFd,
}

impl MonitorProcess {
    /// Starts this program again as a monitor: empty environment, its own process group (so that the terminal's signals go to
    /// the launcher alone), nothing but the control socket as descriptor 0. It confines itself at once; its first event tells how.
    ///
    /// # Errors
    /// When the process cannot be started.
    pub fn start(confinement: &Confinement) -> Result<Self, SpawnError> {
        let (control, theirs) = wire::pair()?;
        let child = Command::new("/proc/self/exe")
            .arg0("bottle-vmm-monitor")
            .arg(MONITOR_WORD)
            .env_clear()
            .process_group(0)
            .stdin(Stdio::from(theirs))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(SpawnError::Start)?;
        let monitor = Self { child, control };
        wire::send_message(monitor.control.as_fd(), confinement, true)?;
        Ok(monitor)
    }

    /// Tells the monitor what to build; the descriptors in the order of [`MonitorSpec::descriptors`]. That of a monitor that is gone
    /// is no error here: its events tell why.
    ///
    /// # Errors
    /// When the message cannot be sent for another reason.
    pub fn build(&self, spec: &MonitorSpec, descriptors: &[RawFd]) -> Result<(), SpawnError> {
        match wire::send_with_descriptors(self.control.as_fd(), spec, descriptors) {
            Err(WireError::Send(Errno::EPIPE | Errno::ECONNRESET)) => Ok(()),
            other => Ok(other?),
        }
    }

    /// What this machine lets a monitor's sandbox do: one is started, confines itself, and is ended.
    ///
    /// # Errors
    /// When it cannot be started, or ends without telling.
    pub fn try_sandbox(confinement: &Confinement) -> Result<Vec<LayerReport>, SpawnError> {
        let monitor = Self::start(confinement)?;
        while let Some((event, _)) = wire::receive(monitor.control.as_fd())? {
            if let MonitorEvent::Confined { layers } = event {
                return Ok(layers);
            }
        }
        Err(SpawnError::Silent)
    }

    /// Asks the running monitor; the answer comes as an event. That of a monitor that is gone is no error here.
    ///
    /// # Errors
    /// When the question cannot be sent for another reason.
    pub fn ask(&self, request: LauncherRequest) -> Result<(), SpawnError> {
        match wire::send_message(self.control.as_fd(), &request, true) {
            Err(WireError::Send(Errno::EPIPE | Errno::ECONNRESET)) => Ok(()),
            other => Ok(other?),
        }
    }

    /// Waits for the end of a monitor that has hung up. One that a guest has taken over may hang up and go on; its time is short.
    #[must_use]
    pub fn ending(&mut self) -> Ending {
        let deadline = Instant::now() + LAST_MOMENTS;
        while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
        }
        // Without effect on one that has ended: it keeps its status.
        let _ = self.child.kill();
        match self.child.wait().map(|status| (status.code(), status.signal())) {
            Ok((Some(EXIT_VIOLATION), _) | (_, Some(libc::SIGSYS))) => Ending::Sandbox,
            Ok((_, Some(libc::SIGABRT))) => Ending::Aborted,
            _ => Ending::Otherwise,
        }
    }

    /// Ends it now. It is waited for when it is dropped.
    pub fn kill(&self) {
        // Its number is its own until then. Without effect on one that has ended.
        let _ = i32::try_from(self.pid()).map(|pid| kill(Pid::from_raw(pid), Signal::SIGKILL));
    }

    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The monitor's events. `None` from [`Events::next`] means that it has gone.
    ///
    /// # Errors
    /// When the process is out of descriptors. Must be called inside a tokio runtime.
    pub fn events(&self) -> Result<Events, SpawnError> {
        let control = std::os::unix::net::UnixStream::from(self.control.try_clone().map_err(SpawnError::Start)?);
        control.set_nonblocking(true).map_err(SpawnError::Start)?;
        Ok(Events { control: UnixStream::from_std(control).map_err(SpawnError::Start)?, packet: vec![0; PACKET_MAX] })
    }
}

/// How long a monitor that has hung up may take to end.
const LAST_MOMENTS: Duration = Duration::from_secs(2);

impl Drop for MonitorProcess {
    fn drop(&mut self) {
        // Both fail only if it has ended already. Waiting is short: the kernel is freeing the guest's memory.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// See [`MonitorProcess::events`]. A read of the socket yields one packet.
#[derive(Debug)]
pub struct Events {
    control: UnixStream,
    packet: Vec<u8>,
}

impl Events {
    /// Cancel-safe.
    ///
    /// # Errors
    /// When the monitor sends what is no event.
    pub async fn next(&mut self) -> Result<Option<MonitorEvent>, SpawnError> {
        loop {
            self.control.readable().await.map_err(SpawnError::Start)?;
            match self.control.try_read(&mut self.packet) {
                Ok(0) => return Ok(None),
                Ok(length) => {
                    let packet = self.packet.get(..length).unwrap_or_default();
                    return Ok(Some(serde_json::from_slice(packet).map_err(WireError::from)?));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                // A monitor that ended without reading what we sent leaves a reset, which comes before its last words.
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {}
                Err(error) => return Err(SpawnError::Start(error)),
            }
        }
    }
}
