//! Escape attempts, made by the monitor itself when a test asks for one: what a guest that took over a thread would try.
//!
//! In the product, too, because what is tested is the product: a launcher that is told so (`run --sandbox-probe`, hidden) sends the name,
//! before any guest runs, and all that can come of it is that this bottle ends. A guest cannot ask for it.
#![expect(unsafe_code, reason = "system calls as an attacker makes them: by number")]

use super::privileges;
use nix::sched::{CloneFlags, unshare};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
use serde::{Deserialize, Serialize};
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::str::FromStr;

/// What is tried, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Probe {
    pub thread: ProbeThread,
    pub call: Call,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProbeThread {
    Vcpu,
    Devices,
}

/// Each succeeds where there is no sandbox, if the user may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Call {
    Socket,
    Connect,
    SendtoAddress,
    SendmsgAddress,
    Open,
    Execve,
    Fork,
    Ptrace,
    ProcessVmReadv,
    Kill,
    /// With the signal that abort(3) sends, which the monitor may send to itself.
    Tgkill,
    IoUring,
    Bpf,
    Mount,
    Unshare,
    MmapExecutable,
    Ioctl,
    /// Not a call: a bug, whose report must get through.
    Panic,
    /// Nor this: more memory than the monitor may have.
    Memory,
}

impl Call {
    pub const ALL: [(&'static str, Self); 19] = [
        ("socket", Self::Socket),
        ("connect", Self::Connect),
        ("sendto-address", Self::SendtoAddress),
        ("sendmsg-address", Self::SendmsgAddress),
        ("open", Self::Open),
        ("execve", Self::Execve),
        ("fork", Self::Fork),
        ("ptrace", Self::Ptrace),
        ("process-vm-readv", Self::ProcessVmReadv),
        ("kill", Self::Kill),
        ("tgkill", Self::Tgkill),
        ("io-uring", Self::IoUring),
        ("bpf", Self::Bpf),
        ("mount", Self::Mount),
        ("unshare", Self::Unshare),
        ("mmap-executable", Self::MmapExecutable),
        ("ioctl", Self::Ioctl),
        ("panic", Self::Panic),
        ("memory", Self::Memory),
    ];
}

#[derive(Debug, thiserror::Error)]
#[error("a probe is THREAD:CALL, where THREAD is `vcpu` or `devices`, and CALL is one of {}", Call::ALL.map(|(name, _)| name).join(", "))]
pub struct UnknownProbe;

impl FromStr for Probe {
    type Err = UnknownProbe;

    fn from_str(text: &str) -> Result<Self, UnknownProbe> {
        let (thread, call) = text.split_once(':').ok_or(UnknownProbe)?;
        let thread = match thread {
            "vcpu" => ProbeThread::Vcpu,
            "devices" => ProbeThread::Devices,
            _ => return Err(UnknownProbe),
        };
        let (_, call) = Call::ALL.into_iter().find(|(name, _)| *name == call).ok_or(UnknownProbe)?;
        Ok(Self { thread, call })
    }
}

/// A sockaddr_in of 127.0.0.1, port 9 (discard).
static DISCARD: [u8; 16] = [2, 0, 0, 9, 127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0];

/// A probe, and what it needs that only the open monitor can make.
pub(super) struct Prepared {
    probe: Probe,
    /// A datagram socket, as a connection of the guest's would be.
    socket: OwnedFd,
    parent: usize,
}

impl Prepared {
    pub(super) fn new(probe: Probe) -> nix::Result<Self> {
        let socket = socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
        if probe.call == Call::Mount {
            // So that the one without a sandbox mounts nothing where others see it. With one, the right to do so is gone already.
            let _ = unshare(CloneFlags::CLONE_NEWNS);
        }
        let parent = usize::try_from(std::os::unix::process::parent_id()).unwrap_or(0);
        Ok(Self { probe, socket, parent })
    }

    /// Makes the call if it is this thread's, and says what came of it.
    pub(super) fn attempt(&self, thread: ProbeThread) -> Option<String> {
        if self.probe.thread != thread {
            return None;
        }
        let call = self.probe.call;
        assert!(call != Call::Panic, "a probe of the sandbox panics");
        Some(match self.make() {
            Ok(()) => format!("the probe of the sandbox succeeded: {call:?}"),
            Err(error) => format!("the probe of the sandbox failed: {call:?}: {error}"),
        })
    }
}

impl Prepared {
    fn make(&self) -> io::Result<()> {
        let socket = usize::try_from(self.socket.as_raw_fd()).unwrap_or(usize::MAX);
        let (to, to_length) = (address(&DISCARD), DISCARD.len());
        match self.probe.call {
            Call::Socket => raw(libc::SYS_socket, [2, 2, 0, 0, 0, 0]),
            Call::Connect => raw(libc::SYS_connect, [socket, to, to_length, 0, 0, 0]),
            Call::SendtoAddress => raw(libc::SYS_sendto, [socket, to, 1, 0, to, to_length]),
            Call::SendmsgAddress => {
                // A msghdr: name, its length, and nothing more.
                let message = [to, to_length, 0, 0, 0, 0, 0];
                raw(libc::SYS_sendmsg, [socket, address(&message), 0, 0, 0, 0])
            }
            Call::Open => raw(libc::SYS_openat, [0, c"/etc/passwd".as_ptr().expose_provenance(), 0, 0, 0, 0]),
            Call::Execve => raw(libc::SYS_execve, [c"/bin/true".as_ptr().expose_provenance(), 0, 0, 0, 0, 0]),
            Call::Fork => fork(),
            Call::Ptrace => raw(libc::SYS_ptrace, [0; 6]),
            Call::ProcessVmReadv => {
                let mut buffer = [0u8; 8];
                let (from, into) = ([to, buffer.len()], [writable(&mut buffer), buffer.len()]);
                let process = usize::try_from(std::process::id()).unwrap_or(0);
                raw(libc::SYS_process_vm_readv, [process, address(&into), 1, address(&from), 1, 0])
            }
            Call::Kill => raw(libc::SYS_kill, [self.parent, 0, 0, 0, 0, 0]),
            Call::Tgkill => {
                let abort = usize::try_from(libc::SIGABRT).unwrap_or(0);
                raw(libc::SYS_tgkill, [self.parent, self.parent, abort, 0, 0, 0])
            }
            // 120 bytes of parameters, which the kernel fills in.
            Call::IoUring => raw(libc::SYS_io_uring_setup, [1, writable(&mut [0u64; 15]), 0, 0, 0, 0]),
            Call::Bpf => {
                // BPF_MAP_CREATE: an array (2) of one element, with keys and values of four bytes.
                let map = [2u32, 4, 4, 1];
                raw(libc::SYS_bpf, [0, address(&map), size_of_val(&map), 0, 0, 0])
            }
            Call::Mount => {
                let (kind, at) = (c"tmpfs".as_ptr().expose_provenance(), c"/mnt".as_ptr().expose_provenance());
                raw(libc::SYS_mount, [kind, at, kind, 0, 0, 0])
            }
            // CLONE_NEWUTS.
            Call::Unshare => raw(libc::SYS_unshare, [0x0400_0000, 0, 0, 0, 0, 0]),
            // Readable, writable and executable; private and anonymous.
            Call::MmapExecutable => raw(libc::SYS_mmap, [0, 4096, 7, 0x22, usize::MAX, 0]),
            // FIONREAD on the control socket.
            Call::Ioctl => raw(libc::SYS_ioctl, [0, 0x541b, writable(&mut 0u32), 0, 0, 0]),
            Call::Memory => {
                // The guest's memory is mapped: what is left is less than this by what the monitor has of its own.
                let bytes = usize::try_from(privileges::OWN_MEMORY).unwrap_or(usize::MAX);
                drop(std::hint::black_box(vec![0u8; bytes]));
                Ok(())
            }
            Call::Panic => Ok(()),
        }
    }
}

fn address<T: ?Sized>(value: &T) -> usize {
    std::ptr::from_ref(value).expose_provenance()
}

fn writable<T>(value: &mut T) -> usize {
    std::ptr::from_mut(value).expose_provenance()
}

fn raw(number: libc::c_long, arguments: [usize; 6]) -> io::Result<()> {
    let [a, b, c, d, e, f] = arguments;
    // SAFETY: every address that `make` passes is of a value that is large enough for the call and lives until it has returned; what the
    // kernel writes there, nobody reads.
    let result = unsafe { libc::syscall(number, a, b, c, d, e, f) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn fork() -> io::Result<()> {
    // SAFETY: takes no arguments; the child, a copy of this one thread, makes only the call below.
    match unsafe { libc::syscall(libc::SYS_fork) } {
        // SAFETY: async-signal-safe, as the child of a process with threads needs it to be.
        0 => unsafe { libc::_exit(0) },
        process if process > 0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
