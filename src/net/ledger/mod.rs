//! What was connected and what was refused: counted for everyone who asks, and told to the log.
//!
//! Bounded, whatever the guest does: so many destinations are told apart, the rest is one number.

mod log;
mod table;

pub use log::{EgressLog, LogError};
pub use table::Tally;

use super::policy::Protocol;
use super::wire::Unasked;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;
use table::Table;

/// Where something went to, or tried to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Destination {
    /// IP protocol number; 0 for ARP and what is no IP.
    protocol: u8,
    address: IpAddr,
    port: u16,
}

impl Destination {
    #[must_use]
    pub fn of_flow(protocol: Protocol, destination: SocketAddr) -> Self {
        let protocol = match protocol {
            Protocol::Tcp => 6,
            Protocol::Udp => 17,
        };
        Self { protocol, address: destination.ip(), port: destination.port() }
    }

    #[must_use]
    pub fn of_packet(protocol: u8, destination: SocketAddr) -> Self {
        Self { protocol, address: destination.ip(), port: destination.port() }
    }

    fn protocol(&self) -> String {
        match self.protocol {
            0 => "link".to_owned(),
            1 => "icmp".to_owned(),
            2 => "igmp".to_owned(),
            6 => "tcp".to_owned(),
            17 => "udp".to_owned(),
            58 => "icmpv6".to_owned(),
            number => format!("protocol {number}"),
        }
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.port, self.address) {
            (0, address) => write!(f, "{address}")?,
            (port, address) => write!(f, "{}", SocketAddr::new(address, port))?,
        }
        write!(f, "/{}", self.protocol())
    }
}

/// The numbers of a bottle so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Under way now, those being connected included.
    pub flows: u64,
    pub connected: u64,
    /// By the policy, or by the host's packet filter.
    pub denied: u64,
    /// Allowed, and not reached.
    pub failed: u64,
    /// Over a limit.
    pub busy: u64,
    /// Packets that the stack refused without asking.
    pub unasked: u64,
}

/// What is told to who asks; `bottle-vmm egress --json` prints it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    pub bottle: String,
    pub network: String,
    pub rules: Vec<String>,
    pub bundle: Option<String>,
    #[serde(flatten)]
    pub counts: Counts,
    pub connected_to: Vec<Tally>,
    /// Connections to destinations beyond those that are listed.
    pub connected_elsewhere: u64,
    pub refused_to: Vec<Tally>,
    /// What was refused to destinations beyond those that are listed.
    pub refused_elsewhere: u64,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Ledger {
    counts: Counts,
    connected: Table,
    refused: Table,
    log: Option<EgressLog>,
}

impl Ledger {
    #[must_use]
    pub fn new(log: Option<EgressLog>) -> Self {
        Self { log, ..Self::default() }
    }

    pub fn flows(&mut self, under_way: usize) {
        self.counts.flows = under_way as u64;
    }

    pub fn connected(&mut self, to: Destination, how: &str, now: Instant) {
        self.counts.connected += 1;
        self.connected.add(to, how, 1);
        if let Some(log) = &mut self.log {
            log.connected(to, how, now);
        }
    }

    /// `reason` in a person's words. Not allowed by the plan.
    pub fn denied(&mut self, to: Destination, reason: &str, now: Instant) {
        self.counts.denied += 1;
        self.refuse(to, reason, 1, now);
    }

    pub fn failed(&mut self, to: Destination, reason: &str, now: Instant) {
        self.counts.failed += 1;
        if let Some(log) = &mut self.log {
            log.failed("failed", to, reason, 1, now);
        }
    }

    pub fn busy(&mut self, to: Destination, reason: &str, now: Instant) {
        self.put_off(to, reason, 1, now);
    }

    fn put_off(&mut self, to: Destination, reason: &str, count: u64, now: Instant) {
        self.counts.busy = self.counts.busy.saturating_add(count);
        if let Some(log) = &mut self.log {
            log.failed("busy", to, reason, count, now);
        }
    }

    /// What the stack says that it refused.
    pub fn unasked(&mut self, cause: Unasked, to: Destination, count: u32, now: Instant) {
        let reason = match cause {
            Unasked::Full => return self.put_off(to, "too many packets at once", count.into(), now),
            Unasked::Icmp => Some("ICMP"),
            Unasked::Protocol => Some("neither TCP nor UDP"),
            Unasked::Source => Some("not the guest's own address"),
            Unasked::Malformed => Some("malformed"),
            // What every system sends by itself; worth counting, not telling.
            Unasked::Resolution | Unasked::Group | Unasked::Ipv6 => None,
        };
        self.counts.unasked = self.counts.unasked.saturating_add(count.into());
        if let Some(reason) = reason {
            self.refuse(to, reason, count.into(), now);
        }
    }

    fn refuse(&mut self, to: Destination, reason: &str, count: u64, now: Instant) {
        self.refused.add(to, reason, count);
        if let Some(log) = &mut self.log {
            log.refused(to, reason, count, now);
        }
    }

    /// Writes what the log owes of bursts that are over: call it now and then.
    pub fn catch_up(&mut self, now: Instant) {
        if let Some(log) = &mut self.log {
            log.catch_up(now);
        }
    }

    /// Writes what the log still owes.
    pub fn finish(&mut self) {
        if let Some(log) = &mut self.log {
            log.finish(Instant::now());
        }
    }

    #[must_use]
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// `egress: 3 refused: 8.8.8.8:53/udp ×2, 192.0.2.1/icmp`, if anything was; and what is forgotten, if anything is.
    #[must_use]
    pub fn summary(&self) -> Option<String> {
        const SHOWN: usize = 5;
        let total = self.refused.total();
        let mut parts = Vec::new();
        if total > 0 {
            let mut names: Vec<_> = self.refused.largest(SHOWN).iter().map(Tally::to_string).collect();
            let more = self.refused.destinations().saturating_sub(SHOWN);
            match (more, self.refused.elsewhere()) {
                (0, 0) => {}
                (1, 0) => names.push("and another destination".to_owned()),
                (more, 0) => names.push(format!("and {more} other destinations")),
                (more, _) => names.push(format!("and over {more} other destinations")),
            }
            parts.push(format!("{total} refused: {}", names.join(", ")));
        }
        // What was connected is no news, unless there is more of it than can be looked up.
        if self.connected.elsewhere() > 0 {
            let (known, more) = (self.connected.destinations(), self.connected.elsewhere());
            parts.push(format!(
                "connected to more than {known} destinations, and {more} times to those that are not listed"
            ));
        }
        if self.counts.busy > 0 {
            parts.push(format!("{} put off by a limit", self.counts.busy));
        }
        let unwritten = self.log.as_ref().map_or(0, EgressLog::unwritten);
        if unwritten > 0 {
            parts.push(format!("the egress log could not be written, and lacks {unwritten} of these"));
        }
        (!parts.is_empty()).then(|| format!("egress: {}", parts.join("; ")))
    }

    #[must_use]
    pub fn report(&self, about: &About) -> Report {
        Report {
            bottle: about.bottle.clone(),
            network: about.network.clone(),
            rules: about.rules.clone(),
            bundle: about.bundle.clone(),
            counts: self.counts,
            connected_to: self.connected.largest(usize::MAX),
            connected_elsewhere: self.connected.elsewhere(),
            refused_to: self.refused.largest(usize::MAX),
            refused_elsewhere: self.refused.elsewhere(),
        }
    }
}

/// What a report says that does not change.
#[derive(Clone, Debug)]
pub struct About {
    pub bottle: String,
    pub network: String,
    pub rules: Vec<String>,
    pub bundle: Option<String>,
}

#[cfg(test)]
#[path = "ledger_test.rs"]
mod tests;
