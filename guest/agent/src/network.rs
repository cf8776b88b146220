//! The machine's name and its interfaces. A command can run without a name and without the loopback interface, so these failures
//! are reported, no more; a network that was asked for and is not there ends the machine.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;

use bottle_protocol::{Hostname, Network};
use nix::errno::Errno;
use nix::net::if_::if_nametoindex;

use crate::netlink::Netlink;
use crate::{report, sys};

/// Why there is no network.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NetworkError {
    #[error("the kernel shows no network device: it has no virtio_net, or its modules were installed without it")]
    NoDevice(#[source] Errno),
    #[error("cannot {what} the network interface")]
    Refused { what: &'static str, source: Errno },
}

impl NetworkError {
    /// The system's part of it.
    pub(crate) fn errno(&self) -> i32 {
        match self {
            Self::NoDevice(source) | Self::Refused { source, .. } => *source as i32,
        }
    }
}

/// The only device that is not virtual, by the kernel's own naming.
const DEVICE: &str = "eth0";
/// IPv6 there is not, so nobody is to look for it: neither the kernel for a router, nor a program for an address.
const NO_IPV6: &str = "/proc/sys/net/ipv6/conf/eth0/disable_ipv6";

/// Configures the network interface as told.
pub(crate) fn join(network: &Network) -> Result<(), NetworkError> {
    let refused = |what| move |source| NetworkError::Refused { what, source };
    let index = if_nametoindex(DEVICE).map_err(NetworkError::NoDevice)?;
    // A kernel without IPv6 has no such file, which is as good.
    let _ = fs::write(NO_IPV6, "1");
    let netlink = Netlink::open(index).map_err(refused("reach"))?;
    netlink.up(network.mtu).map_err(refused("bring up"))?;
    netlink.address(network.address).map_err(refused("give an address to"))?;
    for host in [Some(network.gateway), network.bundle].into_iter().flatten() {
        netlink.route_to(host).map_err(refused("route to a host over"))?;
    }
    if network.beyond {
        netlink.default_route(network.gateway).map_err(refused("route over"))?;
    }
    Ok(())
}

/// Sets the host name and writes `/etc/hostname` and `/etc/hosts`, as docker does over what the image has there.
pub(crate) fn name_host(name: &Hostname) {
    if let Err(errno) = nix::unistd::sethostname(name.as_str()) {
        report::critical(format_args!("cannot set the host name: {errno}"));
    }
    let _ = fs::create_dir("/etc"); // most often there
    replace("/etc/hostname", &format!("{name}\n"));
    replace("/etc/hosts", &hosts(name));
}

pub(crate) fn loopback_up() {
    if let Err(errno) = sys::interface_up("lo") {
        report::critical(format_args!("cannot bring up lo: {errno}"));
    }
}

/// Debian's form: the machine's own name has an address of its own, so that `localhost` stays the name of 127.0.0.1.
fn hosts(name: &Hostname) -> String {
    format!("127.0.0.1\tlocalhost\n127.0.1.1\t{name}\n::1\tlocalhost ip6-localhost ip6-loopback\n")
}

fn replace(path: &str, text: &str) {
    if let Err(error) = write_new(path, text) {
        report::critical(format_args!("cannot write {path}: {error}"));
    }
}

/// The image's own file is removed first: it may be a link to somewhere, or a FIFO that would hold us up.
fn write_new(path: &str, text: &str) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => (),
    }
    OpenOptions::new().write(true).create_new(true).mode(0o644).open(path)?.write_all(text.as_bytes())
}

#[cfg(test)]
#[path = "network_test.rs"]
mod tests;
