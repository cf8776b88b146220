//! Messages between the launcher and the monitor, over a sequenced-packet socket: one JSON message a packet.
//!
//! Launcher → monitor: one [`Confinement`](super::sandbox::Confinement), one [`MonitorSpec`], its descriptors attached (SCM_RIGHTS, unix(7)), then [`LauncherRequest`]s. Monitor → launcher: [`MonitorEvent`]s.
//! The monitor is the less trusted side: the launcher bounds every packet and treats what is in it as a report, never as a request.

use super::sandbox::{LayerReport, Probe};
use crate::net::spec::NetSpec;
use crate::sys::passing;
use crate::vmm::DiskAccess;
use crate::vmm::stop::StopReason;
use nix::sys::socket::{
    AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, UnixAddr, send, sendmsg, socketpair,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::io::IoSlice;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};

/// Largest packet either side takes.
pub const PACKET_MAX: usize = 64 << 10;

#[derive(Debug, thiserror::Error)]
pub enum WireError {
    #[error("cannot make the socket between launcher and monitor")]
    Socket(#[source] nix::Error),
    #[error("cannot send to the other side")]
    Send(#[source] nix::Error),
    #[error("cannot receive from the other side")]
    Receive(#[source] nix::Error),
    #[error("a message between launcher and monitor is over {PACKET_MAX} bytes")]
    TooLong,
    #[error("a message between launcher and monitor is not understood")]
    Message(#[from] serde_json::Error),
    #[error("{got} descriptors came where {wanted} were announced")]
    Descriptors { got: usize, wanted: usize },
}

/// What the monitor is to build. The descriptors follow in the order of [`MonitorSpec::descriptors`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MonitorSpec {
    pub vcpus: u8,
    pub memory_mib: u64,
    pub advise_huge_pages: bool,
    pub cmdline: String,
    pub verbose_console: bool,
    pub modules: bool,
    /// One for each disk.
    pub disks: Vec<DiskAccess>,
    pub vsock_ports: Vec<u32>,
    /// An escape attempt to make, for tests of the sandbox.
    pub probe: Option<Probe>,
    /// The bottle's network; without it there is no network device.
    pub net: Option<NetSpec>,
}

impl MonitorSpec {
    /// KVM, entropy, kernel, then modules if any, disks, vsock ports, and the broker's socket if there is a network.
    #[must_use]
    pub fn descriptors(&self) -> usize {
        let net = usize::from(self.net.is_some());
        3 + usize::from(self.modules) + self.disks.len() + self.vsock_ports.len() + net
    }
}

/// Points in time that only the monitor sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MonitorPhase {
    Started,
    MemoryReady,
    Entering,
    GuestAlive,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MonitorEvent {
    /// CLOCK_MONOTONIC in nanoseconds, and the CPU time of the monitor until then in microseconds.
    Phase {
        phase: MonitorPhase,
        at_ns: u64,
        cpu_us: u64,
    },
    /// What became of each layer of the sandbox that belongs to the process. A required one that is missing is the monitor's end.
    Confined {
        layers: Vec<LayerReport>,
    },
    /// The monitor made a system call that its sandbox forbids, and has ended.
    Violation {
        syscall: u32,
    },
    /// A line, or a piece of one, of the guest's console.
    Console {
        line: String,
    },
    /// The answer to [`LauncherRequest::Statistics`]; nothing where the host's KVM does not count.
    Statistics {
        exits: Option<u64>,
    },
    /// The host cannot write the scratch disk; told once.
    Unwritable {
        errno: i32,
    },
    Stopped(StopReason),
    /// The monitor could not do its work; the causes, outermost first.
    Failed {
        causes: Vec<String>,
    },
}

/// What the launcher may ask of a machine that is built.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LauncherRequest {
    /// To let the guest run. Devices are served before.
    Enter,
    Statistics,
}

/// Both ends of a new socket: sequenced packets, closed on exec.
///
/// # Errors
/// When the process is out of descriptors.
pub fn pair() -> Result<(OwnedFd, OwnedFd), WireError> {
    socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC).map_err(WireError::Socket)
}

/// Sends one message with descriptors.
///
/// # Errors
/// When it is too long or the other side is gone.
pub fn send_with_descriptors(socket: BorrowedFd<'_>, message: &impl Serialize, fds: &[RawFd]) -> Result<(), WireError> {
    let bytes = encode(message)?;
    let rights = [ControlMessage::ScmRights(fds)];
    let rights = if fds.is_empty() { &[] } else { rights.as_slice() };
    sendmsg::<UnixAddr>(socket.as_raw_fd(), &[IoSlice::new(&bytes)], rights, MsgFlags::MSG_NOSIGNAL, None)
        .map_err(WireError::Send)?;
    Ok(())
}

/// Sends one message; with `wait` false it is dropped when the socket is full.
///
/// # Errors
/// When it is too long or the other side is gone.
pub fn send_message(socket: BorrowedFd<'_>, message: &impl Serialize, wait: bool) -> Result<(), WireError> {
    let flags = if wait { MsgFlags::MSG_NOSIGNAL } else { MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT };
    send(socket.as_raw_fd(), &encode(message)?, flags).map_err(WireError::Send)?;
    Ok(())
}

fn encode(message: &impl Serialize) -> Result<Vec<u8>, WireError> {
    let bytes = serde_json::to_vec(message)?;
    if bytes.len() > PACKET_MAX { Err(WireError::TooLong) } else { Ok(bytes) }
}

/// Receives one message and the descriptors that came with it. `None` when the other side hung up.
///
/// # Errors
/// When the message is cut, too long, or no message.
pub fn receive<M: DeserializeOwned>(socket: BorrowedFd<'_>) -> Result<Option<(M, Vec<OwnedFd>)>, WireError> {
    let mut bytes = vec![0u8; PACKET_MAX];
    let received = passing::receive_all(socket, &mut bytes, MsgFlags::empty()).map_err(WireError::Receive)?;
    let message = match received.length {
        0 => return Ok(None),
        _ if received.flags.intersects(MsgFlags::MSG_TRUNC | MsgFlags::MSG_CTRUNC) => return Err(WireError::TooLong),
        length => serde_json::from_slice(&bytes[..length])?,
    };
    Ok(Some((message, received.descriptors)))
}

#[cfg(test)]
#[path = "wire_test.rs"]
mod tests;
