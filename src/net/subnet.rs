//! A bottle's network: 192.168.X.0/24, with the stack at .1, the bundle at .2 and the guest at .3.
//!
//! X comes from the bottle's name, or is the one that it had before: a bottle that is started again has the same addresses. Held like
//! the name itself: by a socket in the abstract namespace (unix(7)), which binds for one process at a time and vanishes with it. That is
//! lock, record and clean-up in one: two bottles cannot both bind, and nothing stale can be left.

use super::policy::Cidr;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, bind, socket};
use sha2::{Digest as _, Sha256};
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd as _, OwnedFd};

/// Never taken: 0 is easily mistaken for the whole of 192.168/16, 17 is near what container engines take first, 255 its end.
const SKIPPED: [u8; 3] = [0, 17, 255];
/// A network that is wider is in the way of every X, and so of none in particular: the bottle's /24 is more specific.
const WIDEST: u8 = 17;
const PREFIX: u8 = 24;

#[derive(Debug, thiserror::Error)]
pub enum SubnetError {
    #[error(
        "there is no free network for the bottle among 192.168.1.0/24 to 192.168.254.0/24: {routed} are routed or allowed elsewhere, {running} are other bottles'"
    )]
    None { routed: usize, running: usize },
    #[error("cannot claim a network for the bottle")]
    Socket(#[source] nix::Error),
}

impl SubnetError {
    /// The way out.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::None { running, .. } if *running > 0 => "end some of the running bottles",
            Self::None { .. } => "`ip route show table all` shows who has them",
            Self::Socket(_) => {
                "a network is claimed by a socket: `ulimit -n` tells how many descriptors a process may have"
            }
        }
        .to_owned()
    }
}

/// A network that is this bottle's as long as it lives.
#[derive(Debug)]
pub struct Subnet {
    third: u8,
    _claim: OwnedFd,
}

impl Subnet {
    /// The network that has `before` in it, if it is one of ours and free; that of a bottle of this name; or the next that is free. `taken`
    /// are the host's routes and what the plan allows.
    ///
    /// # Errors
    /// [`SubnetError`].
    pub fn allocate(name: &str, before: Option<Ipv4Addr>, taken: &[Cidr]) -> Result<Self, SubnetError> {
        let (mut routed, mut running) = (0, 0);
        let before = before.and_then(third_of);
        let others = candidates(name).filter(|third| Some(*third) != before);
        for third in before.into_iter().chain(others) {
            let network = network(third);
            if taken.iter().any(|other| other.prefix() >= WIDEST && other.overlaps(network)) {
                routed += 1;
                continue;
            }
            match claim(third) {
                Ok(claim) => return Ok(Self { third, _claim: claim }),
                Err(nix::Error::EADDRINUSE) => running += 1,
                Err(error) => return Err(SubnetError::Socket(error)),
            }
        }
        Err(SubnetError::None { routed, running })
    }

    #[must_use]
    pub fn network(&self) -> Cidr {
        network(self.third)
    }

    #[must_use]
    pub const fn prefix_length(&self) -> u8 {
        PREFIX
    }

    #[must_use]
    pub const fn gateway(&self) -> Ipv4Addr {
        Ipv4Addr::new(192, 168, self.third, 1)
    }

    #[must_use]
    pub const fn bundle(&self) -> Ipv4Addr {
        Ipv4Addr::new(192, 168, self.third, 2)
    }

    #[must_use]
    pub const fn guest(&self) -> Ipv4Addr {
        Ipv4Addr::new(192, 168, self.third, 3)
    }
}

fn network(third: u8) -> Cidr {
    Cidr::around(Ipv4Addr::new(192, 168, third, 0), PREFIX)
}

/// X, of an address in a network that a bottle can have.
fn third_of(address: Ipv4Addr) -> Option<u8> {
    match address.octets() {
        [192, 168, third, _] if !SKIPPED.contains(&third) => Some(third),
        _ => None,
    }
}

/// Every X once, from the name's own upwards and around.
fn candidates(name: &str) -> impl Iterator<Item = u8> {
    let all: Vec<u8> = (0..=u8::MAX).filter(|third| !SKIPPED.contains(third)).collect();
    let digest = Sha256::digest(name.as_bytes());
    let number = digest.iter().take(8).fold(0u64, |number, byte| number << 8 | u64::from(*byte));
    let start = usize::try_from(number % all.len() as u64).unwrap_or(0);
    let count = all.len();
    all.into_iter().cycle().skip(start).take(count)
}

fn claim(third: u8) -> nix::Result<OwnedFd> {
    let socket = socket(AddressFamily::Unix, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
    // A bottle's name has no slash: the two kinds of claims cannot meet.
    let path = format!("bottle-vmm/{}/subnet/{third}", nix::unistd::getuid());
    bind(socket.as_raw_fd(), &UnixAddr::new_abstract(path.as_bytes())?)?;
    Ok(socket)
}

/// Claims are the machine's: a test that counts them, or takes all, does so while no other test has one.
#[cfg(test)]
pub(crate) mod turns {
    use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

    /// How many tests have claims. Not a lock for readers: one test may be here twice.
    static HOLDERS: Mutex<usize> = Mutex::new(0);
    static FEWER: Condvar = Condvar::new();

    fn holders() -> MutexGuard<'static, usize> {
        HOLDERS.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) struct Shared;

    pub(crate) fn shared() -> Shared {
        *holders() += 1;
        Shared
    }

    impl Drop for Shared {
        fn drop(&mut self) {
            *holders() -= 1;
            FEWER.notify_all();
        }
    }

    pub(crate) fn alone() -> MutexGuard<'static, usize> {
        FEWER.wait_while(holders(), |holders| *holders > 0).unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
#[path = "subnet_test.rs"]
mod tests;
