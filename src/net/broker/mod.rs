//! The launcher's end of the network: judges what the monitor asks for, connects, and passes the descriptor.
//!
//! The monitor may be in the hands of its guest. So every message is parsed by [`wire`](super::wire), one that is none or that breaks
//! the order of things ends the conversation, descriptors that it sends are dropped by the kernel unseen, and what it can make us hold is
//! bounded: [`Limits::flows`] descriptors on its side, [`Limits::pending`] connections being made on ours. An answer that it does not
//! fetch stops us from reading on.

mod bundle;
mod connect;
mod pending;

pub use bundle::{BundleDirectory, BundleError};

use super::ledger::{Destination, Ledger};
use super::policy::{Denial, How, Policy, Protocol, Special, Verdict, canonical};
use super::rate::Rate;
use super::readback::Probe;
use super::wire::{Cause, Malformed, RECORD, Reply, Request};
use crate::sys::routing::{Reach, Routing};
use connect::{Buffers, Target, cause_at, connect};
use nix::sys::socket::{ControlMessage, MsgFlags, UnixAddr, sendmsg};
use pending::Pending;
use std::collections::HashMap;
use std::io::{self, IoSlice};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::io::Interest;
use tokio::net::UnixStream;
use tokio::task::JoinSet;

/// How often the log is looked at for what it owes.
const LOG_PERIOD: Duration = Duration::from_secs(5);
/// Requests taken before other tasks of the launcher have their turn.
const TURN: u32 = 32;
/// Questions to the stack that are under way at a time.
const QUESTIONS: usize = 32;

#[derive(Debug, thiserror::Error)]
pub enum BrokerError {
    #[error("the socket to the monitor's network failed")]
    Socket(#[from] io::Error),
    #[error("the monitor's network sent what is no message")]
    Malformed(#[from] Malformed),
    #[error("the monitor's network broke the rules: {what} flow {flow}")]
    Order { what: &'static str, flow: u32 },
    #[error("the monitor's network does not say what it would ask for ({answered} of {asked} answers came)")]
    Silent { answered: usize, asked: usize },
    #[error("the monitor's network answered what nobody asked")]
    Confused,
    #[error("a connection of the bottle's was lost inside the launcher")]
    Task(#[from] tokio::task::JoinError),
}

impl BrokerError {
    /// The way out.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Malformed(_) | Self::Order { .. } => {
                Some("the monitor may have been taken over by its guest; the bottle was ended".to_owned())
            }
            Self::Silent { .. } => Some(
                "no guest has run; is the machine very busy? `--boot-timeout` is how long an answer may take"
                    .to_owned(),
            ),
            Self::Confused => Some("this is a bug; no guest has run".to_owned()),
            Self::Socket(_) | Self::Task(_) => None,
        }
    }
}

/// What a bottle may have at a time.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Flows under way, those being connected included.
    pub flows: usize,
    /// Connections that wait for an answer, in all and of one address.
    pub pending: usize,
    pub pending_of_one: usize,
    /// How long one may take to connect.
    pub connect: Duration,
    /// How fast new ones may come.
    pub pace: Option<Pace>,
    /// So many flows of a protocol have socket buffers that grow as the kernel sees fit (6 MiB and 4 MiB, tcp(7)); those that come on top have small ones.
    /// Of 10,000 open connections, so, less than 2 GiB are in the host's kernel, and those of an agent are as fast as any: it seldom has
    /// more than some dozens. What a closed one has not sent yet stays with the kernel a while, by the host's own limits.
    pub roomy: usize,
}

/// New flows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// Both are at least 1.
    pub a_second: u32,
    /// After a silence.
    pub at_once: u32,
}

impl Pace {
    /// What a bottle has that was given no other. A package manager comes nowhere near it; and one bottle cannot fill the connection
    /// tracking of a small host (65,536 entries, each kept for two minutes after its end): with those that are kept open these come to
    /// 62,000. The burst is [`Limits::flows`]: what may be open at a time may be opened at once.
    pub const USUAL: Self = Self { a_second: 350, at_once: 10_000 };

    /// As many at once as in a second.
    #[must_use]
    pub const fn even(a_second: u32) -> Self {
        Self { a_second, at_once: a_second }
    }
}

impl Default for Limits {
    fn default() -> Self {
        let connect = Duration::from_secs(20);
        Self { flows: 10_000, pending: 1024, pending_of_one: 256, connect, pace: Some(Pace::USUAL), roomy: 64 }
    }
}

/// See the module.
#[derive(Debug)]
pub struct Broker {
    socket: UnixStream,
    policy: Policy,
    routing: Routing,
    bundle: Option<Arc<BundleDirectory>>,
    limits: Limits,
    rate: Option<Rate>,
    ledger: Arc<Mutex<Ledger>>,
    flows: HashMap<u32, Flow>,
    /// How many of them are connections: lookups, whose sockets stay for minutes, do not make those slow.
    connections: usize,
    connecting: JoinSet<Connected>,
    pending: Pending,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Flow {
    protocol: Protocol,
    open: bool,
}

/// A connection that was tried.
#[derive(Debug)]
struct Connected {
    flow: u32,
    to: Destination,
    how: How,
    /// Whose answer it waited for; nobody's takes time but that of a stream to another machine.
    waited: Option<IpAddr>,
    result: Result<OwnedFd, Cause>,
}

/// What is wrong with a destination that the policy allows.
enum Amiss {
    Denied(Denial),
    Failed(Cause),
}

impl Broker {
    /// `socket` is our end of a sequenced-packet pair. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// When the socket cannot be watched, or the kernel cannot be asked for its routes.
    pub fn new(
        socket: OwnedFd,
        policy: Policy,
        bundle: Option<BundleDirectory>,
        limits: Limits,
        ledger: Arc<Mutex<Ledger>>,
    ) -> io::Result<Self> {
        let socket = std::os::unix::net::UnixStream::from(socket);
        socket.set_nonblocking(true)?;
        Ok(Self {
            socket: UnixStream::from_std(socket)?,
            policy,
            routing: Routing::open()?,
            bundle: bundle.map(Arc::new),
            rate: limits.pace.map(|pace| Rate::new(pace.a_second, pace.at_once, Instant::now())),
            limits,
            ledger,
            flows: HashMap::new(),
            connections: 0,
            connecting: JoinSet::new(),
            pending: Pending::default(),
        })
    }

    /// Asks the stack, before its guest runs, what it would put before us; an answer for each probe. `None` when the monitor has gone.
    /// Each answer may take `limit`: the first one is there when the machine is built.
    ///
    /// # Errors
    /// When it does not answer, or with something else.
    pub async fn ask(&mut self, probes: &[Probe], limit: Duration) -> Result<Option<Vec<bool>>, BrokerError> {
        let mut questions = probes.iter().zip(0u32..);
        for (probe, question) in questions.by_ref().take(QUESTIONS) {
            put(&self.socket, probe, question).await?;
        }
        let mut answers = Vec::with_capacity(probes.len());
        for expected in (0u32..).take(probes.len()) {
            let silent = BrokerError::Silent { answered: answers.len(), asked: probes.len() };
            match tokio::time::timeout(limit, receive(&self.socket)).await.map_err(|_| silent)?? {
                Some(Request::Says { question, asks }) if question == expected => answers.push(asks),
                Some(_) => return Err(BrokerError::Confused),
                None => return Ok(None),
            }
            if let Some((probe, question)) = questions.next() {
                put(&self.socket, probe, question).await?;
            }
        }
        Ok(Some(answers))
    }

    /// Serves until the monitor hangs up.
    ///
    /// # Errors
    /// When the monitor does what no monitor of ours does. The bottle is to end then.
    pub async fn serve(mut self) -> Result<(), BrokerError> {
        let mut taken = 0u32;
        let mut owed = tokio::time::interval(LOG_PERIOD);
        owed.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let served = tokio::select! {
                biased;
                _ = owed.tick() => {
                    self.with_ledger(|ledger| ledger.catch_up(Instant::now()));
                    Ok(())
                }
                Some(connected) = self.connecting.join_next() => self.pass(connected?).await,
                request = receive(&self.socket) => match request? {
                    Some(request) => self.take(request).await,
                    None => return Ok(()),
                },
            };
            match served {
                // It hung up while it was answered.
                Err(BrokerError::Socket(error)) if hung_up(&error) => return Ok(()),
                other => other?,
            }
            taken = taken.wrapping_add(1);
            if taken.is_multiple_of(TURN) {
                tokio::task::yield_now().await;
            }
        }
    }

    async fn take(&mut self, request: Request) -> Result<(), BrokerError> {
        match request {
            Request::Connect { flow, protocol, destination, .. } => match self.judge(flow, protocol, destination)? {
                Ok(()) => Ok(()),
                Err(cause) => send(&self.socket, &Reply::Refused { flow, cause }, None).await.map_err(Into::into),
            },
            Request::Closed { flow } => match self.flows.get(&flow) {
                Some(Flow { open: true, .. }) => {
                    self.forget(flow);
                    Ok(())
                }
                _ => Err(BrokerError::Order { what: "it closed what was not open, ", flow }),
            },
            Request::Unasked { cause, protocol, destination, count } => {
                let to = Destination::of_packet(protocol, destination);
                self.with_ledger(|ledger| ledger.unasked(cause, to, count, Instant::now()));
                Ok(())
            }
            Request::Says { question, .. } => {
                Err(BrokerError::Order { what: "it answered what nobody asked, ", flow: question })
            }
        }
    }

    /// Begins to connect, or says why not.
    fn judge(&mut self, flow: u32, protocol: Protocol, asked: SocketAddr) -> Result<Result<(), Cause>, BrokerError> {
        if self.flows.contains_key(&flow) {
            return Err(BrokerError::Order { what: "it opened once more ", flow });
        }
        let now = Instant::now();
        let address = SocketAddr::new(canonical(asked.ip()), asked.port());
        let to = Destination::of_flow(protocol, address);
        let how = match self.policy.judge(protocol, address.ip(), address.port()) {
            Verdict::Allow(how) => how,
            Verdict::Deny(denial) => {
                self.with_ledger(|ledger| ledger.denied(to, &denial.to_string(), now));
                return Ok(Err(Cause::Denied));
            }
        };
        let waited = (how == How::Direct && protocol == Protocol::Tcp).then_some(address.ip());
        if let Some(limit) = self.over_a_limit(waited, now) {
            self.with_ledger(|ledger| ledger.busy(to, limit, now));
            return Ok(Err(Cause::Busy));
        }
        let named = self.policy.names(protocol, address.ip(), address.port());
        if how == How::Direct && !named {
            match self.look(protocol, address) {
                Ok(()) => {}
                Err(Amiss::Denied(denial)) => {
                    self.with_ledger(|ledger| ledger.denied(to, &denial.to_string(), now));
                    return Ok(Err(Cause::Denied));
                }
                Err(Amiss::Failed(cause)) => {
                    self.with_ledger(|ledger| ledger.failed(to, in_words(cause), now));
                    return Ok(Err(cause));
                }
            }
        }
        let target = match (how, &self.bundle) {
            (How::Direct, _) => Target::Direct { protocol, address, named },
            (How::Bundle(port), Some(directory)) => Target::Bundle { directory: Arc::clone(directory), port },
            (How::Bundle(_), None) => return Ok(Err(Cause::ConnectionRefused)),
        };
        let limit = self.limits.connect;
        let alike = match protocol {
            Protocol::Tcp => self.connections,
            Protocol::Udp => self.flows.len().saturating_sub(self.connections),
        };
        let buffers = if alike < self.limits.roomy { Buffers::Roomy } else { Buffers::Small };
        self.flows.insert(flow, Flow { protocol, open: false });
        self.connections += usize::from(protocol == Protocol::Tcp);
        self.count_flows();
        waited.into_iter().for_each(|address| self.pending.begin(address));
        self.connecting
            .spawn(async move { Connected { flow, to, how, waited, result: connect(target, buffers, limit).await } });
        Ok(Ok(()))
    }

    /// Looks where the kernel would take what a range allows. The host may have been given an address since the bottle was judged, and
    /// which of its addresses it answers from says nothing.
    fn look(&mut self, protocol: Protocol, address: SocketAddr) -> Result<(), Amiss> {
        let number = match protocol {
            Protocol::Tcp => 6,
            Protocol::Udp => 17,
        };
        Err(match self.routing.reach(number, address) {
            Ok(Reach::Elsewhere) => return Ok(()),
            Ok(Reach::Here) => Amiss::Denied(Denial::Host),
            Ok(Reach::Broadcast) => Amiss::Denied(Denial::Special(Special::Broadcast)),
            Ok(Reach::Multicast) => Amiss::Denied(Denial::Special(Special::Multicast)),
            Err(error) => Amiss::Failed(cause_at(address, &error)),
        })
    }

    fn over_a_limit(&mut self, waits: Option<IpAddr>, now: Instant) -> Option<&'static str> {
        let Limits { flows, pending, pending_of_one, .. } = self.limits;
        if self.flows.len() >= flows {
            return Some("too many connections");
        }
        if waits.is_some_and(|address| !self.pending.has_room(address, pending, pending_of_one)) {
            return Some("too many connections being made");
        }
        let slow = self.rate.as_mut().is_some_and(|rate| !rate.take(now));
        slow.then_some("too many connections a second")
    }

    /// Hands over what has come of a connection. Our own copy of the descriptor is closed.
    async fn pass(&mut self, connected: Connected) -> Result<(), BrokerError> {
        let Connected { flow, to, how, waited, result } = connected;
        waited.into_iter().for_each(|address| self.pending.end(address));
        let now = Instant::now();
        let passed = match result {
            Ok(descriptor) => match send(&self.socket, &Reply::Connected { flow }, Some(&descriptor)).await {
                // Too many descriptors of this user are between processes (unix(7)).
                Err(error) if error.raw_os_error() == Some(libc::ETOOMANYREFS) => Err(Cause::Busy),
                sent => Ok(sent?),
            },
            Err(cause) => Err(cause),
        };
        if let Err(cause) = passed {
            self.forget(flow);
            self.with_ledger(|ledger| match cause {
                Cause::Denied => ledger.denied(to, "the host does not let it out", now),
                Cause::Busy => ledger.busy(to, "the host is out of something", now),
                cause => ledger.failed(to, in_words(cause), now),
            });
            return Ok(send(&self.socket, &Reply::Refused { flow, cause }, None).await?);
        }
        if let Some(flow) = self.flows.get_mut(&flow) {
            flow.open = true;
        }
        let how = if matches!(how, How::Bundle(_)) { "bundle" } else { "direct" };
        self.with_ledger(|ledger| ledger.connected(to, how, now));
        Ok(())
    }

    fn forget(&mut self, flow: u32) {
        let gone = self.flows.remove(&flow);
        self.connections -= usize::from(gone.is_some_and(|flow| flow.protocol == Protocol::Tcp));
        self.count_flows();
    }

    fn count_flows(&self) {
        self.with_ledger(|ledger| ledger.flows(self.flows.len()));
    }

    fn with_ledger(&self, note: impl FnOnce(&mut Ledger)) {
        note(&mut self.ledger.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

fn in_words(cause: Cause) -> &'static str {
    match cause {
        Cause::Denied => "denied",
        Cause::ConnectionRefused => "connection refused",
        Cause::NetworkUnreachable => "network unreachable",
        Cause::HostUnreachable => "host unreachable",
        Cause::TimedOut => "timed out",
        Cause::Busy => "busy",
    }
}

fn hung_up(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset | io::ErrorKind::NotConnected)
}

/// The next request; `None` when the monitor has gone. Cancel-safe. A read has no room for descriptors: the kernel drops them.
async fn receive(socket: &UnixStream) -> Result<Option<Request>, BrokerError> {
    // One byte more, to see that a packet is too long.
    let mut packet = [0; RECORD + 1];
    loop {
        socket.readable().await?;
        match socket.try_read(&mut packet) {
            Ok(0) => return Ok(None),
            Ok(length) => return Ok(Some(Request::decode(packet.get(..length).unwrap_or_default())?)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) if hung_up(&error) => return Ok(None),
            Err(error) => return Err(error.into()),
        }
    }
}

/// Puts a question to the stack. That of a monitor that is gone is no error here: it answers nothing.
async fn put(socket: &UnixStream, probe: &Probe, question: u32) -> io::Result<()> {
    let (protocol, destination) = (probe.protocol, probe.destination);
    match send(socket, &Reply::Ask { question, protocol, destination }, None).await {
        Err(error) if hung_up(&error) => Ok(()),
        other => other,
    }
}

async fn send(socket: &UnixStream, reply: &Reply, descriptor: Option<&OwnedFd>) -> io::Result<()> {
    let bytes = reply.encode();
    let descriptors = descriptor.map(|descriptor| [descriptor.as_raw_fd()]);
    let rights = descriptors.as_ref().map(|descriptors| ControlMessage::ScmRights(descriptors));
    let flags = MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT;
    let send = || Ok(sendmsg::<UnixAddr>(socket.as_raw_fd(), &[IoSlice::new(&bytes)], rights.as_slice(), flags, None)?);
    socket.async_io(Interest::WRITABLE, send).await.map(drop)
}

#[cfg(test)]
mod tests;
