//! A bottle's name, held while it runs.
//!
//! The claim is a socket in the abstract namespace (unix(7)): it vanishes with the process, however that ends, so a killed
//! launcher leaves neither a file nor a name behind. Names are per user and per network namespace.

use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, bind, socket};
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufReader};
use std::os::fd::{AsRawFd as _, OwnedFd};

#[derive(Debug, thiserror::Error)]
pub enum ClaimError {
    #[error("bottle name `{name}` is not 1 to 63 letters, digits, `-`, `_` and `.`, beginning with a letter or digit")]
    Invalid { name: String },
    #[error("a bottle named `{name}` is running already")]
    Taken { name: String },
    #[error("cannot claim the name `{name}`")]
    Socket {
        name: String,
        #[source]
        source: nix::Error,
    },
}

impl ClaimError {
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Taken { .. } | Self::Invalid { .. } => {
                Some("give another `--name`, or none: it is made up then".to_owned())
            }
            Self::Socket { .. } => None,
        }
    }
}

/// A claimed name. Dropping it gives the name back.
#[derive(Debug)]
pub struct Claim {
    name: String,
    _socket: OwnedFd,
}

impl Claim {
    /// # Errors
    /// When the name is none, or taken.
    pub fn new(name: &str) -> Result<Self, ClaimError> {
        if !is_name(name) {
            return Err(ClaimError::Invalid { name: name.escape_default().to_string() });
        }
        let failed = |source| ClaimError::Socket { name: name.to_owned(), source };
        let socket = socket(AddressFamily::Unix, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None).map_err(failed)?;
        let path = prefix() + name;
        let address = UnixAddr::new_abstract(path.as_bytes()).map_err(failed)?;
        match bind(socket.as_raw_fd(), &address) {
            Ok(()) => Ok(Self { name: name.to_owned(), _socket: socket }),
            Err(nix::Error::EADDRINUSE) => Err(ClaimError::Taken { name: name.to_owned() }),
            Err(source) => Err(failed(source)),
        }
    }

    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}

fn is_name(name: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    (1..=63).contains(&name.len())
        && name.bytes().all(inner)
        && name.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric())
}

fn prefix() -> String {
    format!("bottle-vmm/{}/", nix::unistd::getuid())
}

/// The names that are held, in order: of every bottle of this user in this network namespace. Another user could hold one to be seen here;
/// it would be a name without a bottle.
///
/// # Errors
/// The kernel's list of sockets, `/proc/net/unix`, cannot be read.
pub fn held() -> io::Result<BTreeSet<String>> {
    held_in(BufReader::new(File::open("/proc/net/unix")?), &prefix())
}

/// A line a socket, of eight columns; the last is its address, whose first byte is shown as `@` in the abstract namespace.
fn held_in(list: impl io::BufRead, prefix: &str) -> io::Result<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    for line in list.split(b'\n') {
        let line = line?;
        let address = std::str::from_utf8(&line).ok().and_then(|line| line.split_ascii_whitespace().nth(7));
        let name = address.and_then(|address| address.strip_prefix('@')?.strip_prefix(prefix));
        names.extend(name.filter(|name| is_name(name)).map(str::to_owned));
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_held_once_and_given_back() {
        let name = format!("claim-test-{}", std::process::id());
        let claim = Claim::new(&name).unwrap();
        assert!(matches!(Claim::new(&name), Err(ClaimError::Taken { .. })));
        assert!(held().unwrap().contains(&name));
        drop(claim);
        assert!(!held().unwrap().contains(&name));
        Claim::new(&name).unwrap();
    }

    #[test]
    fn names_are_told_from_all_else_that_has_an_address() {
        let list = b"Num       RefCount Protocol Flags    Type St Inode Path\n\
            0000000000000000: 00000002 00000000 00000000 0002 01 10 @bottle-vmm/7/one\n\
            0000000000000000: 00000002 00000000 00010000 0001 01 11 @bottle-vmm/7/one/egress\n\
            0000000000000000: 00000002 00000000 00000000 0002 01 12 @bottle-vmm/70/other\n\
            0000000000000000: 00000002 00000000 00000000 0002 01 13 bottle-vmm/7/a-path\n\
            0000000000000000: 00000002 00000000 00000000 0002 01 14 @bottle-vmm/7/bad\xff\n\
            0000000000000000: 00000002 00000000 00000000 0002 01 15 @bottle-vmm/7/\x1b[2J\n\
            0000000000000000: 00000003 00000000 00000000 0001 03 16\n";
        assert_eq!(held_in(&list[..], "bottle-vmm/7/").unwrap(), BTreeSet::from(["one".to_owned()]));
    }

    #[test]
    fn what_is_no_name_is_refused() {
        for name in ["", "-a", "a b", "a/b", "ä", &"x".repeat(64)] {
            assert!(matches!(Claim::new(name), Err(ClaimError::Invalid { .. })), "{name}");
        }
    }
}
