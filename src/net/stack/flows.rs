//! The table of flows: who is who, whose turn it is, and how many there may be of each kind.

use super::host::HostSocket;
use super::tcp::connection::Connection;
use super::udp::Association;
use crate::net::policy::Protocol;
use slab::Slab;
use std::collections::{HashMap, VecDeque};
use std::net::SocketAddrV4;

/// Flows of all kinds. Each is a descriptor of the host's and some hundred bytes.
pub(super) const FLOWS_MAX: usize = 16 << 10;
/// Flows that the broker has not answered about, in all and to one destination: a destination that does not answer leaves room for
/// others.
pub(super) const ASKING_MAX: usize = 4 << 10;
pub(super) const ASKING_PER_DESTINATION: usize = 1 << 10;
/// Connections that the guest has not completed; a real one completes in less than a millisecond, so the oldest is given up for a new
/// one.
pub(super) const GREETING_MAX: usize = 1 << 10;
/// Datagram flows; the one that was silent longest is given up for a new one.
pub(super) const DATAGRAM_FLOWS_MAX: usize = 1 << 10;

/// Who speaks with whom. The guest has one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) protocol: Protocol,
    pub(super) guest_port: u16,
    pub(super) destination: SocketAddrV4,
}

pub(super) enum Kind<S> {
    Tcp(Box<Connection<S>>),
    Udp(Box<Association<S>>),
    /// Given up by the guest while the broker was still to answer: the number is not free before it has.
    Forsaken,
}

pub(super) struct Flow<S> {
    pub(super) key: Key,
    pub(super) kind: Kind<S>,
    /// In the queue of those that have something for the guest.
    queued: bool,
    /// The broker owes an answer.
    asking: bool,
    /// Tells it from others that have had its number.
    serial: u64,
}

/// Numbers of flows are those that the broker knows.
pub(super) struct Flows<S> {
    slab: Slab<Flow<S>>,
    index: HashMap<Key, usize>,
    turns: VecDeque<usize>,
    /// Connections in the order in which they were greeted, number and serial; those that have got on since are skipped.
    greeted: VecDeque<(usize, u64)>,
    serial: u64,
    asking: HashMap<SocketAddrV4, usize>,
    asking_total: usize,
    datagram: usize,
}

impl<S: HostSocket> Flows<S> {
    pub(super) fn new() -> Self {
        Self {
            slab: Slab::new(),
            index: HashMap::new(),
            turns: VecDeque::new(),
            greeted: VecDeque::new(),
            serial: 0,
            asking: HashMap::new(),
            asking_total: 0,
            datagram: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.slab.len()
    }

    pub(super) fn find(&self, key: &Key) -> Option<usize> {
        self.index.get(key).copied()
    }

    pub(super) fn get_mut(&mut self, number: usize) -> Option<&mut Flow<S>> {
        self.slab.get_mut(number)
    }

    pub(super) fn get(&self, number: usize) -> Option<&Flow<S>> {
        self.slab.get(number)
    }

    pub(super) fn numbers(&self) -> Vec<usize> {
        self.slab.iter().map(|(number, _)| number).collect()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (usize, &Flow<S>)> {
        self.slab.iter()
    }

    #[cfg(test)]
    pub(super) fn turns(&self) -> usize {
        self.turns.len()
    }

    pub(super) fn datagram_count(&self) -> usize {
        self.datagram
    }

    /// Whether the broker may be asked for one more flow to `destination`.
    pub(super) fn may_ask(&self, destination: SocketAddrV4) -> bool {
        self.slab.len() < FLOWS_MAX
            && self.asking_total < ASKING_MAX
            && self.asking.get(&destination).is_none_or(|count| *count < ASKING_PER_DESTINATION)
    }

    /// A new flow, about which the broker is asked.
    pub(super) fn insert(&mut self, key: Key, kind: Kind<S>) -> usize {
        self.datagram += usize::from(matches!(kind, Kind::Udp(_)));
        *self.asking.entry(key.destination).or_default() += 1;
        self.asking_total += 1;
        self.serial += 1;
        let number = self.slab.insert(Flow { key, kind, queued: false, asking: true, serial: self.serial });
        self.index.insert(key, number);
        number
    }

    /// The broker has answered about `number`; false if it was not asked.
    pub(super) fn answered(&mut self, number: usize) -> bool {
        let Some(flow) = self.slab.get_mut(number).filter(|flow| flow.asking) else { return false };
        flow.asking = false;
        self.asking_total = self.asking_total.saturating_sub(1);
        if let Some(count) = self.asking.get_mut(&flow.key.destination) {
            *count -= 1;
            if *count == 0 {
                self.asking.remove(&flow.key.destination);
            }
        }
        true
    }

    /// Forgets a flow. One that the broker still has to answer about keeps its number.
    pub(super) fn remove(&mut self, number: usize) {
        let Some(flow) = self.slab.get_mut(number) else { return };
        self.datagram -= usize::from(matches!(flow.kind, Kind::Udp(_)));
        if self.index.get(&flow.key) == Some(&number) {
            self.index.remove(&flow.key);
        }
        flow.kind = Kind::Forsaken;
        if std::mem::take(&mut flow.queued) {
            // Otherwise a guest that takes no frames could leave a number behind for each flow that it opens and resets.
            self.turns.retain(|queued| *queued != number);
        }
        if !flow.asking {
            self.slab.remove(number);
        }
    }

    /// Puts a flow into the queue of those that have something for the guest, or may have.
    pub(super) fn queue(&mut self, number: usize) {
        if let Some(flow) = self.slab.get_mut(number).filter(|flow| !flow.queued) {
            flow.queued = true;
            self.turns.push_back(number);
        }
    }

    /// Whose turn it is.
    pub(super) fn turn(&self) -> Option<usize> {
        self.turns.front().copied()
    }

    /// Takes the first out of the queue.
    pub(super) fn pass(&mut self) -> Option<usize> {
        let number = self.turns.pop_front()?;
        if let Some(flow) = self.slab.get_mut(number) {
            flow.queued = false;
        }
        Some(number)
    }

    /// Notes a connection whose SYN is being answered; the one to give up for it, if there are too many.
    pub(super) fn greet(&mut self, number: usize) -> Option<usize> {
        self.greeted.push_back((number, self.slab.get(number)?.serial));
        if self.greeted.len() <= GREETING_MAX {
            return None;
        }
        let same = |flow: &Flow<S>, serial| flow.serial == serial && flow.is_greeting();
        self.greeted.retain(|&(number, serial)| self.slab.get(number).is_some_and(|flow| same(flow, serial)));
        if self.greeted.len() <= GREETING_MAX {
            return None;
        }
        self.greeted.pop_front().map(|(oldest, _)| oldest)
    }
}

impl<S: HostSocket> Flow<S> {
    pub(super) fn is_asking(&self) -> bool {
        self.asking
    }

    fn is_greeting(&self) -> bool {
        matches!(&self.kind, Kind::Tcp(connection) if connection.stage() == super::tcp::connection::Stage::Greeting)
    }
}
