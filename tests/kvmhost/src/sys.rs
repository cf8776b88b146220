//! The two system calls that neither `std` nor `nix` offers as safe functions.
#![expect(unsafe_code, reason = "Command::pre_exec and TIOCGWINSZ have no safe form")]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use nix::unistd::getppid;

use crate::terminal::Size;

/// Lets `command` inherit `descriptors` under their own numbers, and die with the thread that starts it.
///
/// The close-on-exec flag is dropped in the child only: dropped here, a process that another thread starts in the same
/// moment would inherit the descriptors too, and the end of QEMU would not be seen as end-of-file.
pub(crate) fn bind_to_caller(command: &mut Command, descriptors: Vec<RawFd>) {
    let parent = nix::unistd::getpid();
    let prepare = move || {
        set_pdeathsig(Signal::SIGKILL)?;
        // The parent may have died before the request was made; then nobody would ever send the signal.
        if getppid() != parent {
            return Err(io::ErrorKind::NotConnected.into());
        }
        for &descriptor in &descriptors {
            // SAFETY: the caller of `spawn` owns these descriptors until it returns, and the child has its own table.
            let descriptor = unsafe { BorrowedFd::borrow_raw(descriptor) };
            fcntl(descriptor, FcntlArg::F_SETFD(FdFlag::empty()))?;
        }
        Ok(())
    };
    // SAFETY: `prepare` makes only prctl, getppid and fcntl calls and allocates nothing, so it is async-signal-safe.
    unsafe { command.pre_exec(prepare) };
}

/// The size of the terminal behind `descriptor`; `None` where it is none or does not know.
pub(crate) fn terminal_size(descriptor: BorrowedFd<'_>) -> Option<Size> {
    let mut size = libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: TIOCGWINSZ writes one `winsize` to the address, which outlives the call.
    let done = unsafe { libc::ioctl(descriptor.as_raw_fd(), libc::TIOCGWINSZ, &raw mut size) };
    (done == 0 && size.ws_row > 0 && size.ws_col > 0).then_some(Size { rows: size.ws_row, columns: size.ws_col })
}
