//! A message and at most one descriptor over a unix socket (SCM_RIGHTS, unix(7)).
#![expect(unsafe_code, reason = "received descriptors arrive as bare numbers")]

use nix::sys::socket::{ControlMessageOwned, MsgFlags, UnixAddr, recvmsg};
use std::io::{self, IoSliceMut};
use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd, RawFd};

/// Receives a message into `buffer`, without waiting: its length, 0 when the other side has hung up, and its first descriptor. Further
/// ones are closed.
///
/// # Errors
/// The kernel's error; `WouldBlock` when there is no message; `InvalidData` when it is longer than `buffer`.
pub fn receive(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<(usize, Option<OwnedFd>)> {
    let mut space = nix::cmsg_space!([RawFd; 1]);
    let mut parts = [IoSliceMut::new(buffer)];
    let flags = MsgFlags::MSG_CMSG_CLOEXEC | MsgFlags::MSG_DONTWAIT;
    let received = recvmsg::<UnixAddr>(socket.as_raw_fd(), &mut parts, Some(&mut space), flags)?;
    let cut = received.flags.contains(MsgFlags::MSG_TRUNC);
    let length = received.bytes;
    let mut descriptors = Vec::new();
    // A descriptor that this process has no room for is missing here, which is for the caller to notice.
    for message in received.cmsgs().into_iter().flatten() {
        if let ControlMessageOwned::ScmRights(fds) = message {
            descriptors.extend(fds.into_iter().map(own));
        }
    }
    if cut { Err(io::ErrorKind::InvalidData.into()) } else { Ok((length, descriptors.into_iter().next())) }
}

fn own(fd: RawFd) -> OwnedFd {
    // SAFETY: the kernel has just put this descriptor into our table for us, and nothing else knows its number.
    unsafe { OwnedFd::from_raw_fd(fd) }
}
