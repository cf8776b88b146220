//! The stack's place in the monitor: sockets that the broker passes, the event loop that watches them, time.
//!
//! The only file that knows both the machine and the network. Sockets are watched edge-triggered and used without waiting; nothing
//! here opens or connects one. Runs on the event loop's thread.

use super::bandwidth::Bucket;
use super::spec::NetSpec;
use super::stack::{Abilities, HostSocket, Stack};
use super::wire::{Cause, RECORD, Reply, Request};
use crate::sys::{passing, vectored};
use crate::vmm::devices::virtio::net::{FrameBackend, FrameForGuest, GuestFrame, Offloads};
use crate::vmm::event_loop::{EventLoopError, Registrar};
use nix::sys::socket::{MsgFlags, Shutdown, recv, send, setsockopt, shutdown, sockopt};
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId as TimerClock, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use nix::time::{ClockId, clock_gettime};
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::time::Duration;
use vm_memory::VolatileSlice;
use vmm_sys_util::epoll::EventSet;

/// Tokens; those below are flows.
const BROKER: u32 = 1 << 30;
const TIMER: u32 = BROKER + 1;
const PACE: u32 = BROKER + 2;

/// The first look after something happened; the stack then says when the next is due.
const SOON: Duration = Duration::from_millis(250);
/// Frames in one go, where no limit is to be kept.
const UNLIMITED: u16 = u16::MAX;
/// Bytes of a frame that are no packet.
const ETHERNET: usize = 14;

/// A socket that the broker has connected, and has given the options that it needs: the sandbox allows one here, and that late.
struct Socket(OwnedFd);

impl HostSocket for Socket {
    fn send(&mut self, parts: &[VolatileSlice<'_>]) -> io::Result<usize> {
        vectored::send(self.0.as_fd(), parts)
    }

    fn receive(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        Ok(recv(self.0.as_raw_fd(), buffer, MsgFlags::MSG_DONTWAIT)?)
    }

    fn finish(&mut self) {
        // Fails when the other side is gone already.
        let _ = shutdown(self.0.as_raw_fd(), Shutdown::Write);
    }

    fn abort(&mut self) {
        // Not known to every kind of socket; then it ends like any other.
        let _ = setsockopt(&self.0, sockopt::Linger, &libc::linger { l_onoff: 1, l_linger: 0 });
    }
}

/// See the module.
pub struct Backend {
    stack: Stack<Socket>,
    /// Sequenced packets; `None` once the launcher has hung up.
    broker: Option<OwnedFd>,
    /// A message that the broker's socket had no room for.
    unsent: Option<[u8; RECORD]>,
    registrar: Registrar,
    timer: TimerFd,
    pace: TimerFd,
    /// When that goes off.
    paced: Option<Duration>,
    /// The timer will go off soon.
    soon: bool,
    from_guest: Option<Bucket>,
    for_guest: Option<Bucket>,
    /// As of the last event.
    now: Duration,
    /// Bytes of the packet in the frame that [`FrameBackend::next`] has shown.
    shown: usize,
}

impl Backend {
    /// `broker` speaks as [`super::wire`] says.
    ///
    /// # Errors
    /// When the process is out of descriptors.
    pub fn new(spec: NetSpec, broker: OwnedFd, registrar: Registrar) -> Result<Self, EventLoopError> {
        let timer = || {
            let flags = TimerFlags::TFD_CLOEXEC | TimerFlags::TFD_NONBLOCK;
            TimerFd::new(TimerClock::CLOCK_MONOTONIC, flags).map_err(|errno| EventLoopError::Watch(errno.into()))
        };
        let (timer, pace, now) = (timer()?, timer()?, now());
        registrar.watch(broker.as_raw_fd(), BROKER)?;
        registrar.watch(timer.as_fd().as_raw_fd(), TIMER)?;
        registrar.watch(pace.as_fd().as_raw_fd(), PACE)?;
        let bucket = spec.bandwidth.map(|rate| Bucket::new(rate, now));
        Ok(Self {
            stack: Stack::new(spec),
            broker: Some(broker),
            unsent: None,
            registrar,
            timer,
            pace,
            paced: None,
            soon: false,
            from_guest: bucket,
            for_guest: bucket,
            now,
            shown: 0,
        })
    }

    /// Tells the broker what there is to tell, as far as its socket takes it.
    fn tell(&mut self) {
        loop {
            let Some(message) = self.unsent.take().or_else(|| self.stack.request().map(|request| request.encode()))
            else {
                return;
            };
            let Some(broker) = &self.broker else {
                self.refuse(&message);
                continue;
            };
            match send(broker.as_raw_fd(), &message, MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL) {
                Ok(_) => {}
                Err(nix::errno::Errno::EAGAIN) => {
                    self.unsent = Some(message);
                    return;
                }
                Err(nix::errno::Errno::EINTR) => self.unsent = Some(message),
                Err(_) => {
                    self.broker = None;
                    self.unsent = Some(message);
                }
            }
        }
    }

    /// Without a broker nothing is allowed.
    fn refuse(&mut self, message: &[u8; RECORD]) {
        if let Ok(Request::Connect { flow, .. }) = Request::decode(message) {
            self.stack.refused(flow, Cause::Denied);
        }
    }

    /// Hears what the broker has to say.
    fn hear(&mut self) {
        let mut record = [0; RECORD];
        while let Some(broker) = &self.broker {
            match passing::receive(broker.as_fd(), &mut record) {
                Ok((0, _)) => self.broker = None,
                Ok((length, descriptor)) => match Reply::decode(record.get(..length).unwrap_or_default()) {
                    Ok(reply) => self.obey(reply, descriptor),
                    // The broker is this very program: what it does not say right it does not say at all.
                    Err(_) => self.broker = None,
                },
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => self.broker = None,
            }
        }
    }

    fn obey(&mut self, reply: Reply, descriptor: Option<OwnedFd>) {
        match (reply, descriptor) {
            (Reply::Connected { flow }, Some(descriptor)) => {
                // A socket that cannot be watched would never be heard of again.
                if self.registrar.watch(descriptor.as_raw_fd(), flow).is_err() {
                    return self.give_back(flow);
                }
                drop(self.stack.connected(flow, Socket(descriptor), self.now));
            }
            // This process has no room for one more descriptor.
            (Reply::Connected { flow }, None) => self.give_back(flow),
            (Reply::Refused { flow, cause }, _) => self.stack.refused(flow, cause),
            (Reply::Ask { question, protocol, destination }, _) => {
                let asks = self.stack.asks(protocol, destination);
                self.stack.say(Request::Says { question, asks });
            }
        }
    }

    /// The guest cannot have a flow that the broker has connected.
    fn give_back(&mut self, flow: u32) {
        self.stack.refused(flow, Cause::Busy);
        self.stack.say(Request::Closed { flow });
    }

    /// Sees to it that the stack is looked at before long.
    fn wake_soon(&mut self) {
        if !self.soon {
            self.soon = true;
            arm(&self.timer, SOON);
        }
    }

    /// Has both directions looked at after `wait`, or as soon as the other one asks for.
    fn pause(&mut self, wait: Duration) {
        let due = self.now.saturating_add(wait);
        if self.paced.is_none_or(|other| due < other) {
            self.paced = Some(due);
            arm(&self.pace, wait);
        }
    }

    fn tick(&mut self) {
        self.stack.tick(self.now);
        let due = self.stack.due();
        self.soon = due.is_some_and(|due| due <= SOON);
        if let Some(due) = due {
            arm(&self.timer, due);
        }
    }
}

fn arm(timer: &TimerFd, after: Duration) {
    // Zero would disarm it. Fails for no value that fits.
    let after = TimeSpec::from_duration(after.max(Duration::from_nanos(1)));
    let _ = timer.set(Expiration::OneShot(after), TimerSetTimeFlags::empty());
}

/// Good to some milliseconds, and cheap: nothing here is measured.
fn now() -> Duration {
    clock_gettime(ClockId::CLOCK_MONOTONIC_COARSE).map_or(Duration::ZERO, Duration::from)
}

impl FrameBackend for Backend {
    fn start(&mut self, offloads: Offloads) {
        let Offloads { checksum, segmentation } = offloads;
        self.stack.start(Abilities { checksum, segmentation });
    }

    fn quota(&mut self) -> u16 {
        self.now = now();
        match self.from_guest.as_mut().map(|bucket| bucket.allows(self.now)) {
            None => UNLIMITED,
            Some(Ok(())) => 1,
            Some(Err(wait)) => {
                self.pause(wait);
                0
            }
        }
    }

    fn receive(&mut self, frame: &GuestFrame<'_>) {
        if let Some(bucket) = &mut self.from_guest {
            let length: usize = frame.parts.iter().map(VolatileSlice::len).sum();
            bucket.spend(length.saturating_sub(ETHERNET));
        }
        self.stack.receive(&frame.parts, self.now);
        self.tell();
        self.wake_soon();
    }

    fn next(&mut self) -> Option<FrameForGuest<'_>> {
        if let Some(Err(wait)) = self.for_guest.as_mut().map(|bucket| bucket.allows(self.now)) {
            self.pause(wait);
            return None;
        }
        let frame = self.stack.outgoing()?;
        self.shown = (frame.head.len() + frame.body.len()).saturating_sub(ETHERNET);
        let short = |value: usize| u16::try_from(value).unwrap_or(0);
        Some(FrameForGuest {
            head: frame.head,
            body: frame.body,
            checksum: frame.checksum.map(|(start, offset)| (short(start), short(offset))),
            segment: frame.segment.map(short),
        })
    }

    fn sent(&mut self) {
        if let Some(bucket) = &mut self.for_guest {
            bucket.spend(self.shown);
        }
        self.stack.sent(self.now);
        self.tell();
        self.wake_soon();
    }

    fn host_event(&mut self, token: u32, _events: EventSet) {
        self.now = now();
        match token {
            BROKER => self.hear(),
            TIMER => self.tick(),
            // Both directions are looked at after every event.
            PACE => self.paced = None,
            flow => self.stack.host_ready(flow),
        }
        self.tell();
    }
}

#[cfg(test)]
#[path = "backend_test.rs"]
mod tests;

#[cfg(test)]
#[path = "backend_numbers_test.rs"]
mod numbers;
