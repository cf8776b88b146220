//! The few system calls that nix has no safe face for, each as a safe function.

#![expect(unsafe_code, reason = "ioctl, kill and wait with the real-time signals that nix's Signal cannot hold")]

use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::Duration;

use bottle_protocol::{ExitStatus, SignalNumber, WindowSize};
use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

mod requests {
    nix::ioctl_write_ptr_bad!(tiocswinsz, libc::TIOCSWINSZ, libc::winsize);
    nix::ioctl_read_bad!(fionread, libc::FIONREAD, libc::c_int);
    nix::ioctl_write_int_bad!(tiocsctty, libc::TIOCSCTTY);
    nix::ioctl_read_bad!(siocgifflags, libc::SIOCGIFFLAGS, libc::ifreq);
    nix::ioctl_write_ptr_bad!(siocsifflags, libc::SIOCSIFFLAGS, libc::ifreq);
}

/// A closed pipe is an error where it is written to, not the end of this process.
pub(crate) fn ignore_broken_pipes() {
    // SAFETY: SIG_IGN is no code of ours.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_IGN) };
}

/// Gives a terminal its size; whoever runs in it gets SIGWINCH.
pub(crate) fn set_window_size(terminal: BorrowedFd<'_>, size: WindowSize) -> Result<(), Errno> {
    let size = libc::winsize { ws_row: size.rows, ws_col: size.cols, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: TIOCSWINSZ reads one winsize through the pointer, which is to a live one; the descriptor is open.
    unsafe { requests::tiocswinsz(terminal.as_raw_fd(), &raw const size) }.map(drop)
}

/// Makes a terminal the controlling one of the calling session leader.
pub(crate) fn take_terminal(terminal: BorrowedFd<'_>) -> Result<(), Errno> {
    // SAFETY: TIOCSCTTY takes an integer and no memory.
    unsafe { requests::tiocsctty(terminal.as_raw_fd(), 0) }.map(drop)
}

/// How long a connect(2) of a vsock socket may take, in whole seconds (`SO_VM_SOCKETS_CONNECT_TIMEOUT`, linux/vm_sockets.h).
pub(crate) fn wait_for_connection(socket: &impl AsRawFd, limit: Duration) -> Result<(), Errno> {
    const SO_VM_SOCKETS_CONNECT_TIMEOUT: libc::c_int = 6;
    let seconds = libc::time_t::try_from(limit.as_secs()).unwrap_or(libc::time_t::MAX);
    let limit = libc::timeval { tv_sec: seconds, tv_usec: 0 };
    let length = libc::socklen_t::try_from(size_of_val(&limit)).unwrap_or(0);
    let value = (&raw const limit).cast();
    // SAFETY: the option reads `length` bytes from a live timeval; the descriptor is open.
    let done =
        unsafe { libc::setsockopt(socket.as_raw_fd(), libc::AF_VSOCK, SO_VM_SOCKETS_CONNECT_TIMEOUT, value, length) };
    Errno::result(done).map(drop)
}

/// Bytes that a pipe holds.
pub(crate) fn readable_bytes(pipe: BorrowedFd<'_>) -> Result<usize, Errno> {
    let mut bytes: libc::c_int = 0;
    // SAFETY: FIONREAD writes one int through the pointer, which is to a live one; the descriptor is open.
    unsafe { requests::fionread(pipe.as_raw_fd(), &raw mut bytes) }?;
    Ok(usize::try_from(bytes).unwrap_or(0))
}

/// Brings up a network interface (`netdevice(7)`). The kernel gives `lo` its addresses then.
pub(crate) fn interface_up(name: &str) -> Result<(), Errno> {
    let socket = socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
    let mut request =
        libc::ifreq { ifr_name: [0; libc::IFNAMSIZ], ifr_ifru: libc::__c_anonymous_ifr_ifru { ifru_flags: 0 } };
    // One less than there is room for: the name ends with a NUL.
    for (place, byte) in request.ifr_name.iter_mut().take(libc::IFNAMSIZ - 1).zip(name.bytes()) {
        *place = byte.cast_signed();
    }
    // SAFETY: SIOCGIFFLAGS reads the name of the live ifreq and writes its flags.
    unsafe { requests::siocgifflags(socket.as_raw_fd(), &raw mut request) }?;
    // SAFETY: the call above has filled this member of the union, and any bits are a valid one.
    let flags = unsafe { request.ifr_ifru.ifru_flags };
    request.ifr_ifru.ifru_flags = flags | libc::c_short::try_from(libc::IFF_UP).unwrap_or(0);
    // SAFETY: SIOCSIFFLAGS reads name and flags of the live ifreq.
    unsafe { requests::siocsifflags(socket.as_raw_fd(), &raw const request) }.map(drop)
}

/// Sends a signal to a process.
pub(crate) fn signal(pid: u32, signal: SignalNumber) -> Result<(), Errno> {
    let pid = libc::pid_t::try_from(pid).map_err(|_| Errno::ESRCH)?;
    if pid <= 1 {
        return Err(Errno::ESRCH); // 1 is this very process and 0 its group; no command of ours is either
    }
    // SAFETY: kill takes integers and no memory.
    Errno::result(unsafe { libc::kill(pid, signal.get().into()) }).map(drop)
}

/// Reaps one child that has ended, if there is one.
pub(crate) fn wait_for_any() -> Option<(u32, ExitStatus)> {
    wait(-1, libc::WNOHANG)
}

/// Reaps a child that is about to end.
pub(crate) fn wait_for(pid: u32) -> Option<(u32, ExitStatus)> {
    wait(libc::pid_t::try_from(pid).ok()?, 0)
}

fn wait(which: libc::pid_t, flags: libc::c_int) -> Option<(u32, ExitStatus)> {
    let mut status: libc::c_int = 0;
    let pid = loop {
        // SAFETY: waitpid writes one int through the pointer, which is to a live one.
        let pid = unsafe { libc::waitpid(which, &raw mut status, flags) };
        if pid != -1 || Errno::last() != Errno::EINTR {
            break pid;
        }
    };
    let pid = u32::try_from(pid).ok().filter(|&pid| pid > 0)?;
    // Neither number is above 255 (`wait(2)`), and stops are not asked for.
    let byte = |number: libc::c_int| u8::try_from(number).unwrap_or(u8::MAX);
    Some((
        pid,
        if libc::WIFSIGNALED(status) {
            ExitStatus::Signal(byte(libc::WTERMSIG(status)))
        } else {
            ExitStatus::Code(byte(libc::WEXITSTATUS(status)))
        },
    ))
}
