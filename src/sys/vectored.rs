//! One send from several pieces of guest memory, without a copy in between.
#![expect(unsafe_code, reason = "the kernel is handed pointers into guest memory, of which no Rust slice may exist")]

use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd};
use vm_memory::VolatileSlice;

/// Pieces that one call takes; what lies in later ones is not sent.
pub const PIECES: usize = 64;

/// Sends from `parts`, in order, to a connected socket: for a stream as much as it takes, for a datagram all. Does not wait, and
/// raises no SIGPIPE.
///
/// # Errors
/// The kernel's error; `WouldBlock` when nothing can be sent now.
pub fn send(socket: BorrowedFd<'_>, parts: &[VolatileSlice<'_>]) -> io::Result<usize> {
    let guards: arrayvec::ArrayVec<_, PIECES> = parts.iter().take(PIECES).map(VolatileSlice::ptr_guard).collect();
    let mut pieces: arrayvec::ArrayVec<libc::iovec, PIECES> = guards
        .iter()
        .map(|guard| libc::iovec { iov_base: guard.as_ptr().cast_mut().cast(), iov_len: guard.len() })
        .collect();
    // SAFETY: all bits zero is a valid msghdr: null pointers with zero lengths.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = pieces.as_mut_ptr();
    message.msg_iovlen = pieces.len();
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    // SAFETY: each iovec spans memory that its guard keeps mapped and readable until after the call; the kernel only reads it.
    let sent = unsafe { libc::sendmsg(socket.as_raw_fd(), &raw const message, flags) };
    usize::try_from(sent).map_err(|_| io::Error::last_os_error())
}

#[cfg(test)]
#[path = "vectored_test.rs"]
mod tests;
