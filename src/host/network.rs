//! The networks and addresses that this machine has already.

use nix::ifaddrs::getifaddrs;
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr};

/// Every address of an interface that is up or not.
///
/// # Errors
/// When the kernel does not tell.
pub fn addresses() -> io::Result<Vec<IpAddr>> {
    let address = |interface: nix::ifaddrs::InterfaceAddress| {
        let address = interface.address?;
        let v4 = address.as_sockaddr_in().map(|address| IpAddr::V4(address.ip()));
        v4.or_else(|| address.as_sockaddr_in6().map(|address| IpAddr::V6(address.ip())))
    };
    Ok(getifaddrs()?.filter_map(address).collect())
}

/// Every IPv4 network that a routing table knows, those of policy routing and of VPNs included, as address and prefix length.
///
/// # Errors
/// When /proc is not there.
pub fn routes() -> io::Result<Vec<(Ipv4Addr, u8)>> {
    Ok(in_fib_trie(&fs::read_to_string("/proc/net/fib_trie")?))
}

/// A leaf is a line `|-- ADDRESS`; the lines `/LENGTH SCOPE TYPE` behind it are its routes. Lines `+-- ` are the trie's own.
fn in_fib_trie(text: &str) -> Vec<(Ipv4Addr, u8)> {
    let mut leaf = None;
    let mut routes = Vec::new();
    for line in text.lines().map(str::trim_start) {
        if let Some(address) = line.strip_prefix("|-- ") {
            leaf = address.trim_end().parse().ok();
        } else if let (Some(rest), Some(address)) = (line.strip_prefix('/'), leaf) {
            let length = rest.split(' ').next().and_then(|length| length.parse().ok());
            routes.extend(length.filter(|length| *length <= 32).map(|length| (address, length)));
        }
    }
    routes.sort_unstable();
    routes.dedup();
    routes
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRIE: &str = "\
Main:
  +-- 0.0.0.0/0 3 0 5
     |-- 0.0.0.0
        /0 universe UNICAST
     +-- 192.168.5.0/24 2 0 2
        |-- 192.168.5.0
           /24 link UNICAST
           /32 link BROADCAST
        |-- 192.168.5.9
           /32 host LOCAL
Id 200:
  |-- 10.8.0.0
     /16 universe UNICAST
";

    #[test]
    fn leaves_are_routes_and_nodes_are_not() {
        let ip = |text: &str| text.parse::<Ipv4Addr>().unwrap();
        let routes = [
            (ip("0.0.0.0"), 0),
            (ip("10.8.0.0"), 16),
            (ip("192.168.5.0"), 24),
            (ip("192.168.5.0"), 32),
            (ip("192.168.5.9"), 32),
        ];
        assert_eq!(in_fib_trie(TRIE), routes);
        assert_eq!(in_fib_trie("/24 link UNICAST\n|-- nonsense\n/24\n|-- 10.0.0.0\n/99\n/x\n"), []);
    }

    #[test]
    fn loopback_is_an_address_and_a_route_of_every_machine() {
        let loopback = Ipv4Addr::LOCALHOST;
        assert!(addresses().unwrap().contains(&loopback.into()));
        assert!(routes().unwrap().contains(&(loopback, 32)));
    }
}
