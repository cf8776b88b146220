//! `bottle-vmm egress BOTTLE`: a running bottle's launcher tells what was connected and refused.
//!
//! The launcher listens on a socket in the abstract namespace, as for the bottle's name. Both ends look at who the other is
//! (SO_PEERCRED, unix(7)): only the same user is answered, and only the same user is believed.

use super::ledger::{About, Ledger, Report};
use nix::sys::socket::{getsockopt, sockopt};
use std::io::{self, Read as _};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::AsyncWriteExt as _;
use tokio::net::UnixListener;

/// How long who asks may take to read the answer.
const READER: Duration = Duration::from_secs(2);
/// Over what the ledger's bounds come to.
const REPORT_MAX: u64 = 4 << 20;

#[derive(Debug, thiserror::Error)]
pub enum InquiryError {
    #[error("no bottle named `{name}` with a network is running")]
    NoBottle { name: String },
    #[error("`{name}` is answered by user {uid}, who is not you")]
    Stranger { name: String, uid: u32 },
    #[error("cannot ask the bottle `{name}`")]
    Socket {
        name: String,
        #[source]
        source: io::Error,
    },
    #[error("the bottle `{name}` does not answer in a way that is understood")]
    Answer {
        name: String,
        #[source]
        source: serde_json::Error,
    },
}

impl InquiryError {
    /// The way out.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NoBottle { .. } => {
                Some("a bottle's name is given by `run --name`; it needs `--allow` or `--bundle`".to_owned())
            }
            Self::Answer { .. } => Some("is it of another version of bottle-vmm?".to_owned()),
            Self::Stranger { .. } | Self::Socket { .. } => None,
        }
    }
}

fn address(name: &str) -> io::Result<SocketAddr> {
    SocketAddr::from_abstract_name(format!("bottle-vmm/{}/{name}/egress", nix::unistd::getuid()))
}

/// Where a bottle can be asked.
#[derive(Debug)]
pub struct Desk {
    listener: UnixListener,
}

impl Desk {
    /// Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// When the name is taken, or the process is out of descriptors.
    pub fn open(name: &str) -> io::Result<Self> {
        let listener = std::os::unix::net::UnixListener::bind_addr(&address(name)?)?;
        listener.set_nonblocking(true)?;
        Ok(Self { listener: UnixListener::from_std(listener)? })
    }

    /// Answers one after another, for ever.
    pub async fn serve(self, ledger: Arc<Mutex<Ledger>>, about: About) {
        loop {
            let Ok((mut stream, _)) = self.listener.accept().await else {
                // Out of descriptors: others need them more.
                tokio::time::sleep(Duration::from_secs(1)).await;
                continue;
            };
            let ours = stream.peer_cred().is_ok_and(|peer| peer.uid() == nix::unistd::getuid().as_raw());
            if !ours {
                continue;
            }
            let report = ledger.lock().unwrap_or_else(PoisonError::into_inner).report(&about);
            if let Ok(bytes) = serde_json::to_vec(&report) {
                // Who asked and went, or sleeps, has to ask again.
                let _ = tokio::time::timeout(READER, stream.write_all(&bytes)).await;
            }
        }
    }
}

/// Asks a running bottle of this user.
///
/// # Errors
/// [`InquiryError`].
pub fn ask(name: &str) -> Result<Report, InquiryError> {
    let failed = |source| InquiryError::Socket { name: name.to_owned(), source };
    let address = address(name).map_err(|_| InquiryError::NoBottle { name: name.escape_default().to_string() })?;
    let stream = UnixStream::connect_addr(&address).map_err(|source| match source.kind() {
        io::ErrorKind::ConnectionRefused => InquiryError::NoBottle { name: name.escape_default().to_string() },
        _ => failed(source),
    })?;
    let uid = getsockopt(&stream, sockopt::PeerCredentials).map_err(|error| failed(error.into()))?.uid();
    if uid != nix::unistd::getuid().as_raw() {
        return Err(InquiryError::Stranger { name: name.to_owned(), uid });
    }
    stream.set_read_timeout(Some(READER)).map_err(failed)?;
    let mut text = Vec::new();
    stream.take(REPORT_MAX).read_to_end(&mut text).map_err(failed)?;
    serde_json::from_slice(&text).map_err(|source| InquiryError::Answer { name: name.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::super::ledger::Destination;
    use super::super::policy::Protocol;
    use super::*;

    #[test]
    fn the_owner_is_told_and_a_bottle_that_is_not_there_is_named() {
        let name = format!("desk-test-{}", std::process::id());
        assert!(matches!(ask(&name), Err(InquiryError::NoBottle { .. })));
        assert!(matches!(ask(&"x".repeat(200)), Err(InquiryError::NoBottle { .. })));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let ledger = Arc::new(Mutex::new(Ledger::new(None)));
        let about = About { bottle: name.clone(), network: "192.168.7.0/24".into(), rules: vec![], bundle: None };
        let report = runtime.block_on(async {
            tokio::spawn(Desk::open(&name).unwrap().serve(Arc::clone(&ledger), about.clone()));
            assert_eq!(Desk::open(&name).unwrap_err().kind(), io::ErrorKind::AddrInUse);
            // One that never reads does not keep the next from its answer.
            let _idle = UnixStream::connect_addr(&address(&name).unwrap()).unwrap();
            let to = Destination::of_flow(Protocol::Udp, "8.8.8.8:53".parse().unwrap());
            ledger.lock().unwrap().denied(to, "not allowed", std::time::Instant::now());
            let asked = name.clone();
            tokio::task::spawn_blocking(move || ask(&asked)).await.unwrap().unwrap()
        });
        assert_eq!(report, ledger.lock().unwrap().report(&about));
        assert_eq!((report.refused_to.len(), report.refused_to[0].count), (1, 1));
    }
}
