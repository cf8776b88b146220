//! One send from several pieces of guest memory, without a copy in between.
#![expect(unsafe_code, reason = "the kernel is handed pointers into guest memory, of which no Rust slice may exist")]

use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd};
use vm_memory::VolatileSlice;

/// Pieces that one call takes; what lies in later ones is not sent.
pub const PIECES: usize = 64;

/// Sends from `parts`, in order, to a connected, non-blocking socket: for a stream as much as it takes, for a datagram all.
///
/// By writev and not by sendmsg, which could name another destination and is not in the monitor's sandbox. Like every write of a Rust
/// program to a socket, it relies on SIGPIPE being ignored, which std sees to.
///
/// # Errors
/// The kernel's error; `WouldBlock` when nothing can be sent now.
pub fn send(socket: BorrowedFd<'_>, parts: &[VolatileSlice<'_>]) -> io::Result<usize> {
    // Empty pieces left out: writev of nothing is nothing, but an empty datagram is one.
    let parts = parts.iter().filter(|part| !part.is_empty());
    let guards: arrayvec::ArrayVec<_, PIECES> = parts.take(PIECES).map(VolatileSlice::ptr_guard).collect();
    let pieces: arrayvec::ArrayVec<libc::iovec, PIECES> = guards
        .iter()
        .map(|guard| libc::iovec { iov_base: guard.as_ptr().cast_mut().cast(), iov_len: guard.len() })
        .collect();
    let sent = if pieces.is_empty() {
        let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
        // SAFETY: no bytes are read from the null pointer.
        unsafe { libc::send(socket.as_raw_fd(), std::ptr::null(), 0, flags) }
    } else {
        // At most 64.
        let count = i32::try_from(pieces.len()).unwrap_or(i32::MAX);
        // SAFETY: each iovec spans memory that its guard keeps mapped and readable until after the call; the kernel only reads it.
        unsafe { libc::writev(socket.as_raw_fd(), pieces.as_ptr(), count) }
    };
    usize::try_from(sent).map_err(|_| io::Error::last_os_error())
}

#[cfg(test)]
#[path = "vectored_test.rs"]
mod tests;
