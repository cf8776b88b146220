//! A bottle's name, held while it runs.
//!
//! The claim is a socket in the abstract namespace (unix(7)): it vanishes with the process, however that ends, so a killed
//! launcher leaves neither a file nor a name behind. Names are per user and per network namespace.

use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, bind, socket};
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
        let inner = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        let valid = (1..=63).contains(&name.len())
            && name.bytes().all(inner)
            && name.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
        if !valid {
            return Err(ClaimError::Invalid { name: name.escape_default().to_string() });
        }
        let failed = |source| ClaimError::Socket { name: name.to_owned(), source };
        let socket = socket(AddressFamily::Unix, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None).map_err(failed)?;
        let path = format!("bottle-vmm/{}/{name}", nix::unistd::getuid());
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_held_once_and_given_back() {
        let name = format!("claim-test-{}", std::process::id());
        let claim = Claim::new(&name).unwrap();
        assert!(matches!(Claim::new(&name), Err(ClaimError::Taken { .. })));
        drop(claim);
        Claim::new(&name).unwrap();
    }

    #[test]
    fn what_is_no_name_is_refused() {
        for name in ["", "-a", "a b", "a/b", "ä", &"x".repeat(64)] {
            assert!(matches!(Claim::new(name), Err(ClaimError::Invalid { .. })), "{name}");
        }
    }
}
