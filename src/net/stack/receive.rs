//! Frames from the guest: judged, and handed to the flow that they belong to.

use super::drops::DropReason;
use super::flows::{DATAGRAM_FLOWS_MAX, Key, Kind};
use super::packet::{Carried, Frame, Ipv4};
use super::tcp::connection::Connection;
use super::tcp::segment::{Reply, Segment, Seq};
use super::udp::{Association, Datagram};
use super::{HostSocket, REPORTS_MAX, Stack, arp, icmp, udp};
use crate::net::policy::Protocol;
use crate::net::wire::{Cause, Request};
use etherparse::IpNumber;
use std::hash::BuildHasher as _;
use std::net::{SocketAddr, SocketAddrV4};
use std::time::Duration;
use vm_memory::VolatileSlice;

impl<S: HostSocket> Stack<S> {
    /// Takes a frame, where the guest has put it.
    pub fn receive(&mut self, parts: &[VolatileSlice<'_>], now: Duration) {
        self.chosen = None;
        let frame = Frame::new(parts);
        let judged = frame.carried();
        match judged {
            Err(reason) => self.drops.count(reason),
            Ok(Carried::Ipv6) => self.drops.count(DropReason::Ipv6),
            Ok(Carried::Arp) => match arp::receive(&self.spec, &frame) {
                Ok(answer) => answer.into_iter().for_each(|answer| self.answer(answer.to_vec())),
                Err((reason, target)) => self.drops.count_packet(reason, 0, target),
            },
            Ok(Carried::Ipv4) => match frame.ipv4() {
                Err(reason) => self.drops.count(reason),
                Ok(packet) => self.receive_ipv4(&packet, now),
            },
        }
        if self.requests.len() < REPORTS_MAX {
            self.requests.extend(self.drops.fresh());
        }
        self.wake_starved();
    }

    fn receive_ipv4(&mut self, packet: &Ipv4<'_>, now: Duration) {
        let judged = if packet.source != self.spec.guest {
            Err(DropReason::IpSpoofing)
        } else if self.is_group(packet.destination) {
            Err(DropReason::Group)
        } else if let Some(reason) = packet.refused {
            // Neither a later fragment nor a message about a message is answered (RFC 1122 §3.2.2).
            if packet.first && IpNumber(packet.protocol) != IpNumber::ICMP {
                self.prohibit(packet);
            }
            Err(reason)
        } else {
            match IpNumber(packet.protocol) {
                IpNumber::TCP => self.receive_tcp(packet, now),
                IpNumber::UDP => self.receive_udp(packet, now),
                IpNumber::ICMP => self.receive_icmp(packet),
                _ => {
                    self.prohibit(packet);
                    Err(DropReason::Protocol)
                }
            }
        };
        if let Err(reason) = judged {
            let port = destination_port(packet);
            self.drops.count_packet(reason, packet.protocol, SocketAddrV4::new(packet.destination, port));
        }
    }

    /// Says of a packet that it is administratively prohibited, so that its sender need not wait.
    fn prohibit(&mut self, packet: &Ipv4<'_>) {
        let news = icmp::News::FilterProhibited;
        self.answer(icmp::unreachable(self.spec.gateway, self.spec.guest, news, &packet.quote()));
    }

    fn receive_icmp(&mut self, packet: &Ipv4<'_>) -> Result<(), DropReason> {
        match icmp::receive(&self.spec, packet) {
            Ok(answer) => self.answer(answer),
            Err(icmp::Refusal::Silent(reason)) => return Err(reason),
            Err(icmp::Refusal::Answered(reason)) => {
                self.prohibit(packet);
                return Err(reason);
            }
        }
        Ok(())
    }

    fn receive_tcp(&mut self, packet: &Ipv4<'_>, now: Duration) -> Result<(), DropReason> {
        let segment = Segment::parse(packet)?;
        let destination = SocketAddrV4::new(packet.destination, segment.ports.host);
        let key = Key { protocol: Protocol::Tcp, guest_port: segment.ports.guest, destination };
        if let Some(number) = self.flows.find(&key) {
            if let Some(Kind::Tcp(connection)) = self.flows.get_mut(number).map(|flow| &mut flow.kind) {
                connection.receive(&segment, now, &mut self.shared);
            }
            self.settle(number);
            return Ok(());
        }
        if segment.rst {
            return Ok(());
        }
        if !segment.syn || segment.ack.is_some() || segment.fin {
            self.reset(key, Reply::reset(&segment));
            return Ok(());
        }
        // It is said again in a second, when there may be room.
        if !self.flows.may_ask(destination) {
            return Err(DropReason::Full);
        }
        let first = Seq(u32::try_from(self.secret.hash_one((key, now)) >> 32).unwrap_or(0));
        self.ask(key, Kind::Tcp(Box::new(Connection::new(&segment, first, now))));
        Ok(())
    }

    fn receive_udp(&mut self, packet: &Ipv4<'_>, now: Duration) -> Result<(), DropReason> {
        let datagram = Datagram::parse(packet)?;
        let destination = SocketAddrV4::new(packet.destination, datagram.port);
        let key = Key { protocol: Protocol::Udp, guest_port: datagram.guest_port, destination };
        let number = match self.flows.find(&key) {
            Some(number) => number,
            None => {
                // Whoever sends datagrams sends them again.
                if !self.flows.may_ask(destination) {
                    return Err(DropReason::Full);
                }
                if self.flows.datagram_count() >= DATAGRAM_FLOWS_MAX {
                    self.end_most_silent();
                }
                self.ask(key, Kind::Udp(Box::new(Association::new(now))))
            }
        };
        let sent = match self.flows.get_mut(number).map(|flow| &mut flow.kind) {
            Some(Kind::Udp(association)) => association.send(&datagram.payload, now),
            _ => false,
        };
        self.flows.queue(number);
        if sent { Ok(()) } else { Err(DropReason::Full) }
    }

    /// Puts a new flow to the broker.
    fn ask(&mut self, key: Key, kind: Kind<S>) -> usize {
        let number = self.flows.insert(key, kind);
        let destination = SocketAddr::V4(key.destination);
        if let Ok(flow) = u32::try_from(number) {
            self.requests.push_back(Request::Connect { flow, protocol: key.protocol, destination });
        }
        number
    }

    fn end_most_silent(&mut self) {
        let touched = |kind: &Kind<S>| match kind {
            Kind::Udp(association) => Some(association.touched()),
            Kind::Tcp(_) | Kind::Forsaken => None,
        };
        let flows = self.flows.iter().filter_map(|(number, flow)| Some((touched(&flow.kind)?, number)));
        if let Some((_, number)) = flows.min() {
            self.end(number);
        }
    }

    fn reset(&mut self, key: Key, reply: Reply) {
        let to = (self.spec.guest, key.guest_port);
        self.answer(reply.head(key.destination, to, &[], false).to_vec());
    }

    /// Passes the broker's refusal on to the guest, in the words of its protocol.
    pub(super) fn tell_refusal(&mut self, number: usize, cause: Cause) {
        let Some(flow) = self.flows.get(number) else { return };
        let (key, guest) = (flow.key, self.spec.guest);
        let quote = match &flow.kind {
            Kind::Tcp(connection) => connection.quote(key.destination, (guest, key.guest_port)),
            Kind::Udp(_) => udp::quote((guest, key.guest_port), key.destination),
            Kind::Forsaken => return,
        };
        let news = match (key.protocol, cause) {
            (_, Cause::NetworkUnreachable) => icmp::News::Network,
            (_, Cause::HostUnreachable | Cause::TimedOut) => icmp::News::Host,
            // A SYN is said again in a second, when there may be room, and a datagram by whoever waits for an answer.
            (_, Cause::Busy) => return,
            (Protocol::Tcp, Cause::Denied | Cause::ConnectionRefused) => {
                let reply = match &flow.kind {
                    Kind::Tcp(connection) => connection.refusal(),
                    Kind::Udp(_) | Kind::Forsaken => return,
                };
                return self.reset(key, reply);
            }
            (Protocol::Udp, Cause::ConnectionRefused) => icmp::News::Port,
            (Protocol::Udp, Cause::Denied) => icmp::News::FilterProhibited,
        };
        let source = if cause == Cause::ConnectionRefused { *key.destination.ip() } else { self.spec.gateway };
        self.answer(icmp::unreachable(source, guest, news, &quote));
    }
}

/// As far as the packet has one where a port stands.
fn destination_port(packet: &Ipv4<'_>) -> u16 {
    match (IpNumber(packet.protocol), packet.head()) {
        (IpNumber::TCP | IpNumber::UDP, [_, _, high, low, ..]) if packet.first => u16::from_be_bytes([*high, *low]),
        _ => 0,
    }
}
