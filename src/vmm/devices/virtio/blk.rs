//! virtio-blk (virtio 1.3 §5.2): a host file as a disk.
//!
//! At worst a guest reads what its own disk holds and, on a writable one, fills it. The file is read by position, so that any
//! number of monitors share one. Requests are served in order on the event loop's thread, between guest memory and the page cache;
//! a verified disk ([`verified`]) is checked on the way.

mod verified;

use super::{Active, DeviceKind, F_EVENT_IDX, F_VERSION_1, Served, VirtioDevice, copy_config};
use crate::sys::positioned::{read_at, write_at};
use crate::vmm::memory::GuestRam;
use crate::vmm::spec::{DiskAccess, DiskSpec};
use crate::vmm::stop::DiskFault;
use std::fs::File;
use std::io;
use verified::{Fault, VerifiedFile};
use virtio_queue::DescriptorChain;
use virtio_queue::desc::split::Descriptor;
use vm_memory::{Address as _, Bytes, GuestAddress, GuestMemoryBackend, VolatileSlice};

/// Unit of every offset and capacity, whatever the block size (§5.2.6).
const SECTOR: u64 = 512;
const QUEUE_SIZE: u16 = 128;
/// Data buffers per request: all that fit the queue beside the header and the status byte.
const SEGMENTS_MAX: u32 = QUEUE_SIZE as u32 - 2;

/// Bytes of one data buffer.
const SIZE_MAX: u32 = 64 << 10;
/// Bytes of a request: without this bound, 126 descriptors of 4 GiB could name the same memory again and again.
const REQUEST_MAX: u64 = SEGMENTS_MAX as u64 * SIZE_MAX as u64;
/// Bytes moved before other devices, the control channel among them, have their turn; the last request of a turn may exceed it.
const TURN: u32 = 4 << 20;
/// A request of none costs something, too: there are 16 to a turn at most.
const LEAST: u32 = TURN / 16;

const F_SIZE_MAX: u64 = 1 << 1;
const F_SEG_MAX: u64 = 1 << 2;
const F_READ_ONLY: u64 = 1 << 5;

/// Request types (§5.2.6).
mod request {
    pub(super) const IN: u32 = 0;
    pub(super) const OUT: u32 = 1;
    pub(super) const FLUSH: u32 = 4;
    pub(super) const GET_ID: u32 = 8;
}

/// Status bytes.
mod status {
    pub(super) const OK: u8 = 0;
    pub(super) const IO_ERROR: u8 = 1;
    pub(super) const UNSUPPORTED: u8 = 2;
}

/// What GET_ID answers, padded with zeros to 20 bytes.
const SERIAL: &[u8; 20] = b"bottle-vmm\0\0\0\0\0\0\0\0\0\0";

/// Told when the host cannot serve what the guest may ask for: the byte of the file, and why. Must not block. A guest may bring it
/// about as often as it likes that a write fails; that is told once.
pub type Alarm = Box<dyn Fn(u64, DiskFault) + Send>;

pub struct Block {
    disk: Disk,
    features: u64,
    config: [u8; 16],
    active: Option<Active>,
}

struct Disk {
    backing: Backing,
    /// Bytes, whole sectors.
    capacity: u64,
    alarm: Alarm,
    told_unwritable: bool,
}

enum Backing {
    ReadOnly(File),
    Writable(File),
    Verified(Box<VerifiedFile>),
}

impl Block {
    /// # Errors
    /// When the file's size cannot be found out, or there is no hash tree of the size that is told.
    pub fn new(spec: DiskSpec, alarm: Alarm) -> io::Result<Self> {
        let DiskSpec { file, access } = spec;
        let (bytes, backing) = match access {
            DiskAccess::ReadOnly => (file.metadata()?.len(), Backing::ReadOnly(file)),
            DiskAccess::Writable => (file.metadata()?.len(), Backing::Writable(file)),
            DiskAccess::Verified(tree) => {
                let file = VerifiedFile::new(file, tree)?;
                (file.len(), Backing::Verified(Box::new(file)))
            }
        };
        // A trailing part of a sector is not reachable, as on any disk.
        let sectors = bytes / SECTOR;
        // No flushing is offered: what a bottle writes is thrown away at its end, so nothing has to reach a disk, ever.
        let access = if matches!(backing, Backing::Writable(_)) { 0 } else { F_READ_ONLY };
        let mut config = [0; 16];
        config[..8].copy_from_slice(&sectors.to_le_bytes());
        config[8..12].copy_from_slice(&SIZE_MAX.to_le_bytes());
        config[12..].copy_from_slice(&SEGMENTS_MAX.to_le_bytes());
        let disk = Disk { backing, capacity: sectors * SECTOR, alarm, told_unwritable: false };
        Ok(Self { disk, features: F_VERSION_1 | F_EVENT_IDX | F_SIZE_MAX | F_SEG_MAX | access, config, active: None })
    }
}

/// A piece of guest memory.
struct Buffer {
    address: GuestAddress,
    length: usize,
}

/// A chain, taken apart. Drivers cut requests into descriptors as they like (§2.7.4.1): what counts is that the readable bytes begin
/// with the header and the writable ones end with the status.
struct Request {
    kind: u32,
    sector: u64,
    /// Readable bytes after the header.
    output: Vec<Buffer>,
    /// Writable bytes before the status.
    input: Vec<Buffer>,
    status: GuestAddress,
}

impl Request {
    /// `None` for a chain that is no request: without a readable header or without a place for the status.
    fn parse(ram: &GuestRam, chain: DescriptorChain<&GuestRam>) -> Option<Self> {
        let (mut input, mut output) = (Vec::new(), Vec::new());
        // An indirect table, which was not offered, could hold 64 Ki descriptors; a chain of the queue's own is never longer than it.
        for descriptor in chain.take(QUEUE_SIZE.into()) {
            let descriptor: Descriptor = descriptor;
            let buffer = Buffer { address: descriptor.addr(), length: usize::try_from(descriptor.len()).ok()? };
            if descriptor.is_write_only() { &mut input } else { &mut output }.push(buffer);
        }
        let status = split_off_status(&mut input)?;
        let [k0, k1, k2, k3, _, _, _, _, sector @ ..] = split_off_header(ram, &mut output)?;
        let (kind, sector) = (u32::from_le_bytes([k0, k1, k2, k3]), u64::from_le_bytes(sector));
        Some(Self { kind, sector, output, input, status })
    }
}

fn split_off_header(ram: &GuestRam, output: &mut Vec<Buffer>) -> Option<[u8; 16]> {
    let mut header = [0; 16];
    let mut missing = header.as_mut_slice();
    while !missing.is_empty() {
        let first = output.first_mut()?;
        let (part, rest) = missing.split_at_mut(first.length.min(missing.len()));
        ram.read_slice(part, first.address).ok()?;
        first.length -= part.len();
        first.address = first.address.checked_add(part.len() as u64)?;
        if first.length == 0 {
            output.remove(0);
        }
        missing = rest;
    }
    Some(header)
}

fn split_off_status(input: &mut Vec<Buffer>) -> Option<GuestAddress> {
    input.truncate(input.iter().rposition(|buffer| buffer.length > 0)? + 1);
    let last = input.last_mut()?;
    last.length -= 1;
    last.address.checked_add(last.length as u64)
}

/// Serves one request. The status counts among what is written; what is moved in either direction is the cost.
fn serve(disk: &mut Disk, ram: &GuestRam, chain: DescriptorChain<&GuestRam>) -> Served {
    let Some(request) = Request::parse(ram, chain) else { return Served { written: 0, cost: LEAST } };
    let bytes = request.input.iter().chain(&request.output).fold(0, |sum: usize, data| sum.saturating_add(data.length));
    let cost = u32::try_from(bytes).unwrap_or(u32::MAX).max(LEAST);
    let (code, written) = match disk.execute(ram, &request) {
        Ok(written) => (status::OK, written),
        Err(Refusal::Io) => (status::IO_ERROR, 0),
        Err(Refusal::Fault(fault)) => {
            disk.raise(fault);
            (status::IO_ERROR, 0)
        }
        Err(Refusal::Unsupported) => (status::UNSUPPORTED, 0),
    };
    let told = ram.write_obj(code, request.status).is_ok();
    Served { written: if told { written.saturating_add(1) } else { 0 }, cost }
}

enum Refusal {
    Io,
    /// Not the guest's fault.
    Fault(Fault),
    Unsupported,
}

impl Disk {
    fn raise(&mut self, Fault { offset, fault }: Fault) {
        let repeated =
            matches!(fault, DiskFault::Unwritable { .. }) && std::mem::replace(&mut self.told_unwritable, true);
        if !repeated {
            (self.alarm)(offset, fault);
        }
    }

    fn execute(&mut self, ram: &GuestRam, request: &Request) -> Result<u32, Refusal> {
        match request.kind {
            request::IN => self.transfer(ram, request, true),
            request::OUT if matches!(self.backing, Backing::Writable(_)) => self.transfer(ram, request, false),
            request::OUT => Err(Refusal::Io),
            request::FLUSH => Ok(0),
            request::GET_ID => identify(ram, request),
            _ => Err(Refusal::Unsupported),
        }
    }

    /// Moves all data buffers to or from the file, one after another from the request's sector on.
    fn transfer(&mut self, ram: &GuestRam, request: &Request, to_guest: bool) -> Result<u32, Refusal> {
        let (data, other) =
            if to_guest { (&request.input, &request.output) } else { (&request.output, &request.input) };
        // Data in the wrong direction is a mistake to report, not to pass over.
        if other.iter().any(|buffer| buffer.length > 0) {
            return Err(Refusal::Io);
        }
        let start = request.sector.checked_mul(SECTOR).ok_or(Refusal::Io)?;
        let length: u64 = data.iter().map(|buffer| buffer.length as u64).sum();
        let end = start.checked_add(length).ok_or(Refusal::Io)?;
        if end > self.capacity || length > REQUEST_MAX || !length.is_multiple_of(SECTOR) {
            return Err(Refusal::Io);
        }
        let mut position = start;
        for buffer in data {
            for slice in ram.get_slices(buffer.address, buffer.length) {
                let slice: VolatileSlice<'_> = slice.map_err(|_| Refusal::Io)?;
                match &mut self.backing {
                    Backing::Verified(file) => copy_verified(file, &slice, position, end)?,
                    Backing::ReadOnly(file) | Backing::Writable(file) if to_guest => {
                        read_at(file, &slice, position).map_err(|_| Refusal::Io)?;
                    }
                    Backing::Writable(file) => {
                        write_at(file, &slice, position).map_err(|error| unwritable(position, &error))?;
                    }
                    Backing::ReadOnly(_) => return Err(Refusal::Io),
                }
                position += slice.len() as u64;
            }
        }
        u32::try_from(if to_guest { length } else { 0 }).map_err(|_| Refusal::Io)
    }
}

fn unwritable(offset: u64, error: &io::Error) -> Refusal {
    let errno = error.raw_os_error().unwrap_or(libc::EIO);
    Refusal::Fault(Fault { offset, fault: DiskFault::Unwritable { errno } })
}

/// Fills the whole slice from `position` on; the request ends at `end`.
fn copy_verified(file: &mut VerifiedFile, slice: &VolatileSlice<'_>, position: u64, end: u64) -> Result<(), Refusal> {
    let mut done = 0;
    while done < slice.len() {
        let bytes = file.at(position + done as u64, end).map_err(Refusal::Fault)?;
        let part = &bytes[..bytes.len().min(slice.len() - done)];
        slice.offset(done).map_err(|_| Refusal::Io)?.copy_from(part);
        done += part.len();
    }
    Ok(())
}

/// The driver has to have room for all of the serial (§5.2.6).
fn identify(ram: &GuestRam, request: &Request) -> Result<u32, Refusal> {
    let mut rest = SERIAL.as_slice();
    for buffer in &request.input {
        let (part, tail) = rest.split_at(buffer.length.min(rest.len()));
        ram.write_slice(part, buffer.address).map_err(|_| Refusal::Io)?;
        rest = tail;
    }
    if rest.is_empty() { u32::try_from(SERIAL.len()).map_err(|_| Refusal::Io) } else { Err(Refusal::Io) }
}

const REQUEST_QUEUE: u16 = 0;

impl VirtioDevice for Block {
    fn kind(&self) -> DeviceKind {
        DeviceKind::Block
    }

    fn features(&self) -> u64 {
        self.features
    }

    fn queue_sizes(&self) -> &'static [u16] {
        &[QUEUE_SIZE]
    }

    fn read_config(&self, offset: u64, data: &mut [u8]) {
        copy_config(&self.config, offset, data);
    }

    fn activate(&mut self, active: Active) {
        self.active = Some(active);
    }

    fn reset(&mut self) {
        self.active = None;
    }

    fn queue_notified(&mut self, queue: u16) {
        if let (Some(active), REQUEST_QUEUE) = (&mut self.active, queue) {
            let queue = usize::from(REQUEST_QUEUE);
            if active.drain_some(queue, TURN, |ram, chain| serve(&mut self.disk, ram, chain)) {
                active.signal_used([queue]);
            }
        }
    }
}

#[cfg(test)]
#[path = "blk_test.rs"]
mod tests;
