//! From the first instruction of `/init` to the control channel.

use std::fs::OpenOptions;
use std::os::fd::{AsRawFd, IntoRawFd};

use bottle_protocol::Setup;

use crate::{connect, modules, mount, network, report, serve};

/// Why the machine is of no use.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BootError {
    #[error("cannot make /dev")]
    Devices(#[source] mount::SetupError),
    #[error("cannot reach the host")]
    Connect(#[from] connect::ConnectError),
    #[error("the control channel ended")]
    Serve(#[from] serve::ServeError),
}

/// Returns when the host wants the machine off.
pub(crate) fn run() -> Result<(), BootError> {
    mount::devices().map_err(BootError::Devices)?;
    standard_streams();
    report::to_kernel_log();
    modules::load();
    let socket = connect::to_host()?;
    serve::run(socket, &mut set_up)?;
    Ok(())
}

/// A kernel without a console starts us without descriptors 0 to 2. Whatever took their place would be overwritten in
/// every child before it is used.
fn standard_streams() {
    while let Ok(null) = OpenOptions::new().read(true).write(true).open("/dev/null") {
        if null.as_raw_fd() > libc::STDERR_FILENO {
            break;
        }
        let _ = null.into_raw_fd(); // stays open for good
    }
}

fn set_up(setup: &Setup) -> Result<(), mount::SetupError> {
    mount::root(setup)?;
    network::name_host(&setup.hostname);
    network::loopback_up();
    Ok(setup.network.as_ref().map_or(Ok(()), network::join)?)
}
