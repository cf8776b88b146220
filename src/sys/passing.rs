//! A message and its descriptors over a unix socket (SCM_RIGHTS, unix(7)).
#![expect(unsafe_code, reason = "received descriptors arrive as bare numbers")]

use nix::sys::socket::{ControlMessageOwned, MsgFlags, UnixAddr, recvmsg};
use std::io::{self, IoSliceMut};
use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd, RawFd};

/// Most descriptors that come with one message: what Linux passes at once (SCM_MAX_FD).
const DESCRIPTORS_MAX: usize = 253;

/// What came.
#[derive(Debug)]
pub struct Received {
    /// Bytes of the message; 0 when the other side has hung up.
    pub length: usize,
    pub descriptors: Vec<OwnedFd>,
    /// With `MSG_TRUNC` if the message was longer than the buffer, with `MSG_CTRUNC` if descriptors are missing: more than this
    /// process has room for.
    pub flags: MsgFlags,
}

/// Receives a message into `buffer` and all descriptors that came with it, closed on exec.
///
/// # Errors
/// The kernel's error.
pub fn receive_all(socket: BorrowedFd<'_>, buffer: &mut [u8], flags: MsgFlags) -> nix::Result<Received> {
    let mut space = nix::cmsg_space!([RawFd; DESCRIPTORS_MAX]);
    let mut parts = [IoSliceMut::new(buffer)];
    let flags = flags | MsgFlags::MSG_CMSG_CLOEXEC;
    let received = recvmsg::<UnixAddr>(socket.as_raw_fd(), &mut parts, Some(&mut space), flags)?;
    let mut descriptors = Vec::new();
    for message in received.cmsgs().into_iter().flatten() {
        if let ControlMessageOwned::ScmRights(fds) = message {
            descriptors.extend(fds.into_iter().map(own));
        }
    }
    Ok(Received { length: received.bytes, descriptors, flags: received.flags })
}

/// Receives a message into `buffer`, without waiting: its length, 0 when the other side has hung up, and its first descriptor. Further
/// ones are closed; one that this process has no room for is missing, which is for the caller to notice.
///
/// # Errors
/// The kernel's error; `WouldBlock` when there is no message; `InvalidData` when it is longer than `buffer`.
pub fn receive(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<(usize, Option<OwnedFd>)> {
    let received = receive_all(socket, buffer, MsgFlags::MSG_DONTWAIT)?;
    if received.flags.contains(MsgFlags::MSG_TRUNC) {
        return Err(io::ErrorKind::InvalidData.into());
    }
    Ok((received.length, received.descriptors.into_iter().next()))
}

fn own(fd: RawFd) -> OwnedFd {
    // SAFETY: the kernel has just put this descriptor into our table for us, and nothing else knows its number.
    unsafe { OwnedFd::from_raw_fd(fd) }
}
