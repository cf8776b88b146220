//! A bottle's network as the launcher has it: the plan becomes a subnet, a judge and a broker, and is read back before it counts.

use crate::host;
use crate::monitor::wire;
use crate::net::broker::{Broker, BrokerError, BundleDirectory, Limits, Pace};
use crate::net::inquiry::Desk;
use crate::net::ledger::{About, Ledger};
use crate::net::policy::{Bundle, Cidr, Conflict, Policy, Rule, Surroundings};
use crate::net::readback::{self, Probe, Surprise};
use crate::net::spec::NetSpec;
use crate::net::subnet::{Subnet, SubnetError};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use std::future::pending;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// Descriptors that a process needs besides its flows'.
const OTHER_DESCRIPTORS: u64 = 512;

/// What a bottle may reach, as it was asked for.
#[derive(Debug)]
pub struct Egress {
    pub rules: Vec<Rule>,
    pub bundle: BundlePlan,
    /// The bottle's network, if it has one already.
    pub subnet: Option<Subnet>,
    /// New connections a second, if it is to be other than usual.
    pub rate: Option<u32>,
    /// Bytes a second in each direction.
    pub bandwidth: Option<u64>,
    /// Shared with whoever tells what was in it at the end.
    pub ledger: Arc<Mutex<Ledger>>,
}

/// Where the bundle's gateways are.
#[derive(Debug)]
pub enum BundlePlan {
    None,
    /// They listen on sockets in this directory; the guest sees a host of its own network.
    Sockets(BundleDirectory),
    External(IpAddr),
}

#[derive(Debug, thiserror::Error)]
pub enum EgressError {
    #[error(transparent)]
    Conflict(#[from] Conflict),
    #[error(transparent)]
    Subnet(#[from] SubnetError),
    #[error("`{rule}` could never be reached: {why}")]
    Unreachable { rule: String, why: &'static str },
    #[error("the egress policy is not what was asked for")]
    Surprise(#[from] Surprise),
    #[error(transparent)]
    Broker(#[from] BrokerError),
    #[error("cannot {what}")]
    Host {
        what: &'static str,
        #[source]
        source: io::Error,
    },
}

impl EgressError {
    /// The way out.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Conflict(error) => error.hint(),
            Self::Subnet(error) => Some(error.hint()),
            Self::Unreachable { .. } => Some("leave it out".to_owned()),
            Self::Surprise(_) => Some("this is a bug; nothing was let out".to_owned()),
            Self::Broker(error) => error.hint(),
            Self::Host { .. } => None,
        }
    }
}

/// What is wrong with a plan wherever it is carried out: it is found before anything else is done for a bottle.
///
/// # Errors
/// A rule, or the address of the bundle, is for what no guest can speak with; or a rule is for the bundle's address.
pub fn check(rules: &[Rule], bundle: &BundlePlan) -> Result<(), EgressError> {
    let external = bundle.external();
    let named = rules.iter().map(|rule| (rule.network(), rule.to_string()));
    let mut named = named.chain(external.map(|address| (Cidr::single(address), address.to_string())));
    named.try_for_each(|(network, rule)| reachable(network, rule))?;
    let gateways = external.map(Cidr::single);
    match rules.iter().find(|rule| Some(rule.network()) == gateways) {
        Some(&rule) => Err(Conflict::Bundle { rule }.into()),
        None => Ok(()),
    }
}

impl BundlePlan {
    const fn external(&self) -> Option<IpAddr> {
        match self {
            Self::External(address) => Some(*address),
            Self::None | Self::Sockets(_) => None,
        }
    }
}

fn host_error(what: &'static str) -> impl Fn(io::Error) -> EgressError {
    move |source| EgressError::Host { what, source }
}

/// A network that is planned and judged, before there is a monitor.
pub(super) struct Network {
    subnet: Subnet,
    policy: Policy,
    probes: Vec<Probe>,
    directory: Option<BundleDirectory>,
    limits: Limits,
    ledger: Arc<Mutex<Ledger>>,
    about: About,
    socket: OwnedFd,
}

impl Network {
    /// The network, what the monitor is to know of it, and the monitor's end of the broker's socket. To be called before the monitor
    /// is started: it inherits the limit on descriptors.
    pub(super) fn plan(egress: Egress, bottle: &str) -> Result<(Self, NetSpec, OwnedFd), EgressError> {
        let Egress { rules, bundle, subnet, rate, bandwidth, ledger } = egress;
        check(&rules, &bundle)?;
        let external = bundle.external();
        let routes = host::network::routes().map_err(host_error("read the host's routes"))?;
        let routes = routes.into_iter().map(|(address, length)| Cidr::around(address, length));
        let meant = rules.iter().map(Rule::network).chain(external.map(Cidr::single));
        let subnet = match subnet {
            Some(subnet) => subnet,
            None => Subnet::allocate(bottle, None, &routes.chain(meant).collect::<Vec<_>>())?,
        };
        let at = match (&bundle, external) {
            (BundlePlan::Sockets(_), _) => Some(subnet.bundle()),
            (_, Some(IpAddr::V4(address))) => Some(address),
            _ => None,
        };
        let spec = NetSpec {
            gateway: subnet.gateway(),
            guest: subnet.guest(),
            prefix_length: subnet.prefix_length(),
            bundle: at,
            beyond: !rules.is_empty(),
            bandwidth,
        };
        let (bundle, directory) = match bundle {
            BundlePlan::None => (Bundle::None, None),
            BundlePlan::Sockets(directory) => (Bundle::Virtual(subnet.bundle()), Some(directory)),
            BundlePlan::External(address) => (Bundle::External(address), None),
        };
        let about = About {
            bottle: bottle.to_owned(),
            network: subnet.network().to_string(),
            rules: rules.iter().map(Rule::to_string).collect(),
            bundle: spec.bundle.map(|address| address.to_string()),
        };
        let host = host::network::addresses().map_err(host_error("read the host's addresses"))?;
        let surroundings = Surroundings { network: subnet.network(), bundle, host };
        let policy = Policy::new(rules.clone(), surroundings.clone())?;
        let probes = readback::probes(&rules, &surroundings);
        readback::verify(&policy, &probes)?;
        let pace = rate.map_or(Pace::USUAL, Pace::even);
        let limits = Limits { flows: room_for_flows(), pace: Some(pace), ..Limits::default() };
        let (socket, theirs) = wire::pair().map_err(|error| EgressError::Host {
            what: "make the socket between monitor and broker",
            source: io::Error::other(error),
        })?;
        Ok((Self { subnet, policy, probes, directory, limits, ledger, about, socket }, spec, theirs))
    }

    /// Reads the monitor's part back, each answer in `limit`, then serves it. Must be called inside a tokio runtime.
    pub(super) fn serve(self, limit: Duration) -> Result<Serving, EgressError> {
        let desk = Desk::open(&self.about.bottle).map_err(host_error("be asked about the bottle's egress"))?;
        tokio::spawn(desk.serve(Arc::clone(&self.ledger), self.about));
        let mut broker = Broker::new(self.socket, self.policy, self.directory, self.limits, self.ledger)
            .map_err(host_error("watch the broker's socket"))?;
        let (network, probes) = (self.subnet.network(), readback::for_the_stack(&self.probes));
        let (verified, verdict) = oneshot::channel();
        let task = tokio::spawn(async move {
            let Some(asks) = broker.ask(&probes, limit).await? else { return Ok(()) };
            readback::verify_stack(network, &asks, &probes)?;
            // Nobody waits any more if the guest did not come up.
            let _ = verified.send(());
            Ok(broker.serve().await?)
        });
        Ok(Serving { _subnet: self.subnet, verified: Some(verdict), task: Some(task) })
    }
}

/// A network that is served. Nothing is connected before the monitor's part was read back.
pub(super) struct Serving {
    _subnet: Subnet,
    verified: Option<oneshot::Receiver<()>>,
    task: Option<JoinHandle<Result<(), EgressError>>>,
}

impl Serving {
    /// Waits for the read-back, for ever if the monitor is gone. To be called before the guest runs.
    pub(super) async fn verified(&mut self) -> Result<(), EgressError> {
        let Some(verdict) = self.verified.take() else { return Ok(()) };
        if verdict.await.is_ok() { Ok(()) } else { Err(self.failed().await) }
    }

    /// What the bottle has to end for, if that happens. Cancel-safe.
    pub(super) async fn failed(&mut self) -> EgressError {
        if let Some(task) = &mut self.task {
            let ended = task.await;
            self.task = None;
            match ended {
                Ok(Err(error)) => return error,
                Err(error) => return BrokerError::from(error).into(),
                // The monitor hung up: its end is told by those who watch it.
                Ok(Ok(())) => {}
            }
        }
        pending().await
    }
}

/// Hears what the monitor, which must have been killed, had still to say of what it refused: the last words of many a guest.
pub(super) async fn finish(serving: Option<Serving>) {
    const LIMIT: Duration = Duration::from_secs(1);
    if let Some(task) = serving.and_then(|serving| serving.task) {
        // What went wrong with the network makes no difference any more.
        let _ = tokio::time::timeout(LIMIT, task).await;
    }
}

/// [`Serving::failed`] of a bottle that may have no network.
pub(super) async fn failed(serving: &mut Option<Serving>) -> EgressError {
    match serving {
        Some(serving) => serving.failed().await,
        None => pending().await,
    }
}

/// A rule for what no guest can speak with is an error, as it would otherwise allow nothing without a word.
fn reachable(network: Cidr, rule: String) -> Result<(), EgressError> {
    let why = match network.network() {
        IpAddr::V6(_) => "there is no IPv6 in a bottle",
        IpAddr::V4(address) if !network.is_single() || !is_nobody(address) => return Ok(()),
        IpAddr::V4(_) => "what a bottle sends to many at once, or to nobody, goes nowhere",
    };
    Err(EgressError::Unreachable { rule, why })
}

fn is_nobody(address: Ipv4Addr) -> bool {
    address.is_multicast() || address.is_broadcast() || address.is_unspecified()
}

/// Raises the limit on open descriptors as far as flows need, and tells for how many it is enough: a shell's usual 1,024 would be over
/// soon. The monitor inherits it.
fn room_for_flows() -> usize {
    let wanted = Limits::default().flows;
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else { return wanted };
    let needed = (wanted as u64).saturating_add(OTHER_DESCRIPTORS);
    let raised = soft.max(needed.min(hard));
    let limit = match setrlimit(Resource::RLIMIT_NOFILE, raised, hard) {
        Ok(()) => raised,
        Err(_) => soft,
    };
    // With few descriptors, half of them are better than none.
    let room = limit.saturating_sub(OTHER_DESCRIPTORS).max(limit / 2);
    usize::try_from(room).unwrap_or(wanted).min(wanted)
}
