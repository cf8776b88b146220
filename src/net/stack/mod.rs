//! The network that a guest believes to be on: Ethernet frames from it in, frames for it and questions to the broker out.
//!
//! Law: no I/O but through [`HostSocket`], no clock but the `now` that is passed in, no thread, and no policy: the stack does not know
//! what is allowed, it asks. A flow is answered only when the broker has said what became of it; what is no flow is answered so that
//! a program fails at once, or is dropped and counted. Everything that the guest can make grow has a limit in [`flows`], [`tcp`],
//! [`udp`] or here.
//!
//! Frames for the guest are not queued: [`Stack::outgoing`] makes the one that is due, when there is a buffer for it, from the state of
//! the flow whose turn it is. What waits for the guest therefore waits in sockets of the host's.

mod arp;
mod drops;
mod flows;
mod host;
mod icmp;
mod packet;
mod payload;
mod receive;
mod tcp;
mod udp;

pub use drops::{DropReason, Drops};
pub use host::HostSocket;
pub use packet::{GUEST_MAC, MTU, OUR_MAC};

use crate::net::policy::Protocol;
use crate::net::spec::NetSpec;
use crate::net::wire::{Cause, Request};
use flows::{Flows, Kind};
use packet::Head;
use std::collections::hash_map::RandomState;
use std::collections::{BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;
use tcp::connection::{Emission, Shared};
use tcp::segment;

/// Answers that wait for the guest to have a buffer for them: ARP, ICMP, resets for what is no connection.
const ANSWERS_MAX: usize = 256;

/// Messages that wait for the broker, beyond which drops are not reported.
const REPORTS_MAX: usize = 1 << 10;

/// What is due, while something is under way and else.
const SOON: Duration = Duration::from_millis(250);
const LATER: Duration = Duration::from_secs(15);

/// A frame for the guest: `head` and then `body`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outgoing<'a> {
    pub head: &'a [u8],
    pub body: &'a [u8],
    /// The checksum is left to the guest: offset of what it covers, offset of it from there, in bytes.
    pub checksum: Option<(usize, usize)>,
    /// The data is to be taken as segments of this many bytes.
    pub segment: Option<usize>,
}

/// What the guest does for itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Abilities {
    pub checksum: bool,
    pub segmentation: bool,
}

/// See the module.
pub struct Stack<S> {
    spec: NetSpec,
    abilities: Abilities,
    flows: Flows<S>,
    shared: Shared,
    answers: VecDeque<Vec<u8>>,
    /// For the broker, in order.
    requests: VecDeque<Request>,
    drops: Drops,
    /// What [`Stack::outgoing`] has chosen, until it is sent or something happens.
    chosen: Option<Chosen>,
    head: Head,
    /// A datagram, before its length is known.
    datagram: Vec<u8>,
    /// Flows that could not read because too much is under way.
    starved: BTreeSet<usize>,
    /// Makes sequence numbers that cannot be guessed (RFC 6528).
    secret: RandomState,
}

#[derive(Clone, Copy, Debug)]
enum Chosen {
    Answer,
    Segment(usize, Emission),
    Datagram(usize),
}

impl<S: HostSocket> Stack<S> {
    #[must_use]
    pub fn new(spec: NetSpec) -> Self {
        Self {
            spec,
            abilities: Abilities::default(),
            flows: Flows::new(),
            shared: Shared::default(),
            answers: VecDeque::new(),
            requests: VecDeque::new(),
            drops: Drops::default(),
            chosen: None,
            head: Head::new(),
            datagram: vec![0; usize::from(u16::MAX)],
            starved: BTreeSet::new(),
            secret: RandomState::new(),
        }
    }

    /// The guest's driver has started.
    pub fn start(&mut self, abilities: Abilities) {
        self.chosen = None;
        self.abilities = abilities;
        self.shared.segmentation = abilities.segmentation;
    }

    /// What the stack refused by itself so far.
    #[must_use]
    pub fn drops(&self) -> &Drops {
        &self.drops
    }

    /// Flows that are open, or asked for, or being closed.
    #[must_use]
    pub fn flows(&self) -> usize {
        self.flows.len()
    }

    /// Whether a flow to this destination would be put to the broker.
    #[must_use]
    pub fn asks(&self, _protocol: Protocol, destination: SocketAddr) -> bool {
        match destination {
            SocketAddr::V4(address) => !self.is_group(*address.ip()),
            SocketAddr::V6(_) => false,
        }
    }

    /// The next question or message for the broker.
    pub fn request(&mut self) -> Option<Request> {
        self.requests.pop_front()
    }

    /// Puts a message of somebody else's into the order.
    pub fn say(&mut self, request: Request) {
        self.requests.push_back(request);
    }

    /// The broker has connected `flow`. The socket comes back if nobody wants it any more.
    pub fn connected(&mut self, flow: u32, socket: S, now: Duration) -> Option<S> {
        self.chosen = None;
        let number = usize::try_from(flow).ok()?;
        if !self.flows.answered(number) {
            return Some(socket);
        }
        let mut surplus = None;
        match self.flows.get_mut(number).map(|flow| &mut flow.kind) {
            Some(Kind::Tcp(connection)) => {
                connection.connected(socket, now);
                if let Some(oldest) = self.flows.greet(number) {
                    self.give_up(oldest);
                }
            }
            Some(Kind::Udp(association)) => association.connected(socket),
            Some(Kind::Forsaken) | None => surplus = Some(socket),
        }
        if surplus.is_some() {
            self.flows.remove(number);
            self.requests.push_back(Request::Closed { flow });
        }
        self.flows.queue(number);
        surplus
    }

    /// The broker has refused `flow`.
    pub fn refused(&mut self, flow: u32, cause: Cause) {
        self.chosen = None;
        let Ok(number) = usize::try_from(flow) else { return };
        if !self.flows.answered(number) {
            return;
        }
        self.tell_refusal(number, cause);
        self.flows.remove(number);
    }

    /// A socket of the host's has something, takes something, or has hung up.
    pub fn host_ready(&mut self, flow: u32) {
        self.chosen = None;
        let Ok(number) = usize::try_from(flow) else { return };
        match self.flows.get_mut(number).map(|flow| &mut flow.kind) {
            Some(Kind::Tcp(connection)) => connection.host_ready(&mut self.shared),
            Some(Kind::Udp(association)) => association.host_ready(),
            Some(Kind::Forsaken) | None => return,
        }
        self.settle(number);
    }

    /// The frame that the guest is to have next; the same until [`Self::sent`], or until something happens.
    pub fn outgoing(&mut self) -> Option<Outgoing<'_>> {
        if self.chosen.is_none() {
            self.chosen = self.choose();
        }
        let plain = |head, body| Outgoing { head, body, checksum: None, segment: None };
        match self.chosen? {
            Chosen::Answer => Some(plain(self.answers.front()?.as_slice(), &[])),
            Chosen::Datagram(number) => {
                let Kind::Udp(association) = &self.flows.get(number)?.kind else { return None };
                let checksum = self.abilities.checksum.then_some(udp::CHECKSUM);
                Some(Outgoing { checksum, ..plain(&self.head, association.arrived()) })
            }
            Chosen::Segment(number, emission) => {
                let Kind::Tcp(connection) = &self.flows.get(number)?.kind else { return None };
                let body = if emission == Emission::Data { connection.sending.body() } else { &[] };
                let mss = connection.sending.mss;
                let checksum = self.abilities.checksum.then_some(segment::CHECKSUM);
                Some(Outgoing { checksum, segment: (body.len() > mss).then_some(mss), ..plain(&self.head, body) })
            }
        }
    }

    fn choose(&mut self) -> Option<Chosen> {
        loop {
            if !self.answers.is_empty() {
                return Some(Chosen::Answer);
            }
            let number = self.flows.turn()?;
            if let Some(chosen) = self.choose_of(number) {
                return Some(chosen);
            }
            if self.answers.is_empty() {
                self.flows.pass();
                self.settle_silent(number);
            }
        }
    }

    /// What this flow has for the guest, headers made. It may also leave an answer.
    fn choose_of(&mut self, number: usize) -> Option<Chosen> {
        let flow = self.flows.get_mut(number)?;
        let (from, to) = (flow.key.destination, (self.spec.guest, flow.key.guest_port));
        match &mut flow.kind {
            Kind::Tcp(connection) => {
                let emission = connection.emission(&mut self.shared)?;
                let body = if emission == Emission::Data { connection.sending.body() } else { &[] };
                self.head = connection.reply(emission).head(from, to, body, self.abilities.checksum);
                Some(Chosen::Segment(number, emission))
            }
            Kind::Udp(association) => match association.news(&mut self.datagram)? {
                udp::News::Datagram => {
                    self.head = udp::head(from, to, association.arrived(), self.abilities.checksum);
                    Some(Chosen::Datagram(number))
                }
                udp::News::Failed(why) => {
                    let (news, quote) = (icmp::news_of(why), udp::quote(to, from));
                    let source = if news == icmp::News::Port { *from.ip() } else { self.spec.gateway };
                    self.answer(icmp::unreachable(source, self.spec.guest, news, &quote));
                    None
                }
            },
            Kind::Forsaken => None,
        }
    }

    /// The guest has what [`Self::outgoing`] said.
    pub fn sent(&mut self, now: Duration) {
        match self.chosen.take() {
            None => {}
            Some(Chosen::Answer) => drop(self.answers.pop_front()),
            Some(Chosen::Datagram(number)) => {
                if let Some(Kind::Udp(association)) = self.flows.get_mut(number).map(|flow| &mut flow.kind) {
                    association.sent(now);
                }
                self.rotate(number);
            }
            Some(Chosen::Segment(number, emission)) => {
                if let Some(Kind::Tcp(connection)) = self.flows.get_mut(number).map(|flow| &mut flow.kind) {
                    connection.sent(emission, now);
                }
                self.rotate(number);
            }
        }
    }

    /// The flow whose turn it was comes last, or is over.
    fn rotate(&mut self, number: usize) {
        self.flows.pass();
        self.settle(number);
    }

    /// Ends a flow that is over; any other may have something for the guest.
    fn settle(&mut self, number: usize) {
        match self.flows.get(number).map(|flow| &flow.kind) {
            Some(Kind::Tcp(connection)) if connection.is_over() => self.end(number),
            Some(_) => self.flows.queue(number),
            None => {}
        }
    }

    /// A flow had nothing for the guest: it may be over, or wait for memory.
    fn settle_silent(&mut self, number: usize) {
        if let Some(Kind::Tcp(connection)) = self.flows.get_mut(number).map(|flow| &mut flow.kind) {
            if connection.is_over() {
                self.end(number);
            } else if std::mem::take(&mut connection.starved) {
                self.starved.insert(number);
            }
        }
    }

    /// Forgets a flow; the broker hears that its descriptor is closed.
    fn end(&mut self, number: usize) {
        let Some(flow) = self.flows.get_mut(number) else { return };
        let connected = !flow.is_asking();
        self.flows.remove(number);
        if connected && let Ok(flow) = u32::try_from(number) {
            self.requests.push_back(Request::Closed { flow });
        }
    }

    /// Gives a connection up without a word to the guest.
    fn give_up(&mut self, number: usize) {
        if let Some(Kind::Tcp(connection)) = self.flows.get_mut(number).map(|flow| &mut flow.kind) {
            connection.abort(false, &mut self.shared);
        }
        self.end(number);
    }

    fn answer(&mut self, frame: Vec<u8>) {
        if self.answers.len() < ANSWERS_MAX {
            self.answers.push_back(frame);
        } else {
            self.drops.count_answer();
        }
    }

    /// Time has passed: call it when [`Self::due`] says so.
    pub fn tick(&mut self, now: Duration) {
        self.chosen = None;
        for number in self.flows.numbers() {
            let Some(flow) = self.flows.get_mut(number) else { continue };
            match &mut flow.kind {
                Kind::Tcp(connection) => connection.tick(now, &mut self.shared),
                Kind::Udp(association) if association.is_idle(now) => {
                    self.end(number);
                    continue;
                }
                Kind::Udp(_) | Kind::Forsaken => continue,
            }
            self.settle(number);
        }
        self.wake_starved();
        // A broker that does not read is told later.
        if self.requests.len() < REPORTS_MAX {
            self.requests.extend(self.drops.report());
        }
    }

    fn wake_starved(&mut self) {
        if !self.shared.pool.is_exhausted() {
            std::mem::take(&mut self.starved).into_iter().for_each(|number| self.flows.queue(number));
        }
    }

    /// How long [`Self::tick`] may be put off; `None` if there is nothing to wait for.
    #[must_use]
    pub fn due(&self) -> Option<Duration> {
        let pressing = |kind: &Kind<S>| matches!(kind, Kind::Tcp(connection) if connection.is_pressing());
        if !self.drops.is_quiet() || self.flows.iter().any(|(_, flow)| pressing(&flow.kind)) {
            return Some(SOON);
        }
        (self.flows.len() > 0).then_some(LATER)
    }

    fn is_group(&self, address: std::net::Ipv4Addr) -> bool {
        let host_bits = u32::MAX.checked_shr(self.spec.prefix_length.into()).unwrap_or(0);
        let network = |address: std::net::Ipv4Addr| u32::from(address) & !host_bits;
        let directed = network(address) == network(self.spec.guest) && u32::from(address) & host_bits == host_bits;
        address.is_multicast() || address.is_broadcast() || address.is_unspecified() || directed
    }
}

#[cfg(test)]
mod tests;
