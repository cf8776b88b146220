//! Connecting, on the host's side: the only place from which anything of a bottle leaves the machine.

use super::bundle::BundleDirectory;
use crate::net::policy::Protocol;
use crate::net::wire::Cause;
use nix::sys::socket::{setsockopt, sockopt};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpSocket, UnixStream};
use tokio::time::timeout;

/// What was judged, and nothing that was not.
#[derive(Clone, Debug)]
pub(super) enum Target {
    /// `named`: by a rule for the single address, which may then be the host's own.
    Direct {
        protocol: Protocol,
        address: SocketAddr,
        named: bool,
    },
    Bundle {
        directory: Arc<BundleDirectory>,
        port: u16,
    },
}

/// What the host's kernel may keep of a flow's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Buffers {
    /// As it sees fit.
    Roomy,
    Small,
}

/// Bytes in each direction; the kernel doubles it for what they take beside their contents (socket(7)).
const SMALL: usize = 32 << 10;

impl Buffers {
    /// To be given before a stream is connected: its window is scaled by them.
    fn give(self, socket: &impl AsFd) -> io::Result<()> {
        if self == Self::Small {
            setsockopt(socket, sockopt::RcvBuf, &SMALL)?;
            setsockopt(socket, sockopt::SndBuf, &SMALL)?;
        }
        Ok(())
    }
}

/// A connected, non-blocking descriptor that is closed on exec. Linux chooses source address and port.
pub(super) async fn connect(target: Target, buffers: Buffers, limit: Duration) -> Result<OwnedFd, Cause> {
    match target {
        Target::Direct { protocol: Protocol::Tcp, address, named } => tcp(address, named, buffers, limit).await,
        Target::Direct { protocol: Protocol::Udp, address, named } => udp(address, named, buffers),
        Target::Bundle { directory, port } => bundle(&directory, port, buffers, limit).await,
    }
}

async fn tcp(address: SocketAddr, named: bool, buffers: Buffers, limit: Duration) -> Result<OwnedFd, Cause> {
    let failed = |error: io::Error| cause_at(address, &error);
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() };
    let socket = socket.map_err(failed)?;
    // A byte that is sent as urgent comes in its place among the others (tcp(7)); it would be left out of the stream.
    setsockopt(&socket, sockopt::OobInline, &true).map_err(|errno| failed(errno.into()))?;
    buffers.give(&socket).map_err(failed)?;
    notice_silence(&socket).map_err(failed)?;
    let connecting = socket.connect(address);
    let stream = timeout(limit, connecting).await.map_err(|_| Cause::TimedOut)?.map_err(failed)?;
    let ends = stream.local_addr().and_then(|local| Ok((local, stream.peer_addr()?)));
    check(ends.map_err(failed)?, address, named)?;
    // The guest's own stack has put small writes together already, or was told not to.
    stream.set_nodelay(true).map_err(failed)?;
    Ok(stream.into_std().map_err(failed)?.into())
}

/// Has the kernel ask an idle peer whether it is still there, after a minute, and give it up three minutes later. The guest cannot: its own
/// questions are answered by the monitor's stack, which is always there.
fn notice_silence(socket: &impl AsFd) -> io::Result<()> {
    setsockopt(socket, sockopt::KeepAlive, &true)?;
    setsockopt(socket, sockopt::TcpKeepIdle, &60)?;
    setsockopt(socket, sockopt::TcpKeepInterval, &20)?;
    setsockopt(socket, sockopt::TcpKeepCount, &9)?;
    Ok(())
}

fn udp(address: SocketAddr, named: bool, buffers: Buffers) -> Result<OwnedFd, Cause> {
    let any: IpAddr = if address.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let connected = UdpSocket::bind(SocketAddr::new(any, 0)).and_then(|socket| {
        buffers.give(&socket)?;
        socket.set_nonblocking(true)?;
        socket.connect(address)?;
        Ok(((socket.local_addr()?, socket.peer_addr()?), socket))
    });
    let (ends, socket) = connected.map_err(|error| cause_at(address, &error))?;
    check(ends, address, named)?;
    Ok(socket.into())
}

async fn bundle(directory: &BundleDirectory, port: u16, buffers: Buffers, limit: Duration) -> Result<OwnedFd, Cause> {
    let connecting = UnixStream::connect(directory.socket(port));
    let stream =
        timeout(limit, connecting).await.map_err(|_| Cause::TimedOut)?.map_err(|error| match error.kind() {
            // Nobody has ever listened there, or nobody does any more.
            io::ErrorKind::NotFound => Cause::ConnectionRefused,
            // A Unix socket does not wait for room in the listener's queue.
            io::ErrorKind::WouldBlock => Cause::Busy,
            _ => cause(&error),
        })?;
    buffers.give(&stream).map_err(|error| cause(&error))?;
    Ok(stream.into_std().map_err(|error| cause(&error))?.into())
}

/// Once more, from what the kernel says: the peer is the one that was judged, and it is not the host under an address that it was
/// given at this very moment (a connection to oneself mostly has the same address at both ends).
fn check((local, peer): (SocketAddr, SocketAddr), judged: SocketAddr, named: bool) -> Result<(), Cause> {
    if (peer.ip(), peer.port()) != (judged.ip(), judged.port()) {
        return Err(Cause::Denied);
    }
    if local == peer {
        // Nobody listens: by chance, Linux took the very port as the source, and the socket met itself.
        return Err(Cause::ConnectionRefused);
    }
    if local.ip() == peer.ip() && !named { Err(Cause::Denied) } else { Ok(()) }
}

/// A host without any IPv6 address has none to connect from, and says so where one without a route says that.
pub(super) fn cause_at(address: SocketAddr, error: &io::Error) -> Cause {
    let no_source = address.is_ipv6() && error.kind() == io::ErrorKind::AddrNotAvailable;
    if no_source { Cause::NetworkUnreachable } else { cause(error) }
}

/// As the guest is to see it.
fn cause(error: &io::Error) -> Cause {
    match error.raw_os_error().map(nix::Error::from_raw) {
        Some(nix::Error::ECONNREFUSED | nix::Error::ECONNRESET) => Cause::ConnectionRefused,
        Some(nix::Error::ENETUNREACH | nix::Error::EAFNOSUPPORT | nix::Error::ENETDOWN) => Cause::NetworkUnreachable,
        Some(nix::Error::ETIMEDOUT) => Cause::TimedOut,
        // The host's packet filter, or an address that no socket may be connected to.
        Some(nix::Error::EACCES | nix::Error::EPERM) => Cause::Denied,
        Some(
            nix::Error::EMFILE
            | nix::Error::ENFILE
            | nix::Error::ENOBUFS
            | nix::Error::ENOMEM
            // Every local port is taken.
            | nix::Error::EADDRNOTAVAIL
            | nix::Error::EAGAIN,
        ) => Cause::Busy,
        _ => Cause::HostUnreachable,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_says_is_what_was_judged() {
        let at = |text: &str| text.parse::<SocketAddr>().unwrap();
        let (here, there) = (at("10.0.0.1:40000"), at("192.0.2.1:443"));
        assert_eq!(check((here, there), there, false), Ok(()));
        assert_eq!(check((here, at("192.0.2.1:444")), there, true), Err(Cause::Denied));
        assert_eq!(check((here, at("192.0.2.2:443")), there, true), Err(Cause::Denied));
        let own = at("10.0.0.1:443");
        assert_eq!(check((here, own), own, false), Err(Cause::Denied), "the host itself, as one of a range");
        assert_eq!(check((here, own), own, true), Ok(()), "the host itself, by its name");
        assert_eq!(check((own, own), own, true), Err(Cause::ConnectionRefused), "the socket itself");
    }

    #[test]
    fn errors_reach_the_guest_as_what_they_are() {
        let of = |errno: nix::Error| cause(&io::Error::from(errno));
        assert_eq!(of(nix::Error::ECONNREFUSED), Cause::ConnectionRefused);
        assert_eq!(of(nix::Error::EHOSTUNREACH), Cause::HostUnreachable);
        assert_eq!(of(nix::Error::ENETUNREACH), Cause::NetworkUnreachable);
        assert_eq!(of(nix::Error::ETIMEDOUT), Cause::TimedOut);
        assert_eq!(of(nix::Error::EPERM), Cause::Denied);
        assert_eq!(of(nix::Error::EMFILE), Cause::Busy);
        assert_eq!(of(nix::Error::EADDRNOTAVAIL), Cause::Busy);
    }
}
