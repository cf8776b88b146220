//! The vsock connection to the host (`vsock(7)`: CID 2 is the host).

use std::os::fd::{AsRawFd, OwnedFd};
use std::thread::sleep;
use std::time::Duration;

use bottle_protocol::CONTROL_PORT;
use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, VsockAddr, connect, socket};

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    #[error(
        "this kernel has no vsock; built in, and not as modules, it needs CONFIG_VIRTIO_MMIO, CONFIG_VIRTIO_BLK, CONFIG_VSOCKETS and \
         CONFIG_VIRTIO_VSOCKETS, as the kernels of `bottle-vmm kernel install` and `build` have"
    )]
    NoVsock(#[source] Errno),
    #[error("vsock connection to port {CONTROL_PORT} of the host failed {attempts} times")]
    Refused { attempts: u32, source: Errno },
}

/// With the pauses between them, tries for about a third of a second: only a device that is still being probed is worth trying again.
const ATTEMPTS: u32 = 6;
/// How long one attempt may take; Linux gives up after two seconds otherwise (af_vsock(7)), and by then the host may have taken the
/// connection already, which cannot be had twice. The launcher's own limit comes before this one.
const ANSWER: Duration = Duration::from_secs(3600);
const FIRST_PAUSE: Duration = Duration::from_millis(10);

pub(crate) fn to_host() -> Result<OwnedFd, ConnectError> {
    let host = VsockAddr::new(libc::VMADDR_CID_HOST, CONTROL_PORT);
    let mut pause = FIRST_PAUSE;
    let mut attempts = 0;
    loop {
        // A socket that failed to connect may not be used again, so each attempt has its own.
        let socket = socket(AddressFamily::Vsock, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)
            .map_err(ConnectError::NoVsock)?;
        crate::sys::wait_for_connection(&socket, ANSWER).map_err(ConnectError::NoVsock)?;
        attempts += 1;
        match connect(socket.as_raw_fd(), &host) {
            Ok(()) => return Ok(socket),
            Err(Errno::ENODEV) if attempts < ATTEMPTS => {
                sleep(pause);
                pause *= 2;
            }
            Err(source) => return Err(ConnectError::Refused { attempts, source }),
        }
    }
}
