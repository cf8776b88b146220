//! virtio-blk (virtio 1.3 §5.2): a host file as a disk.
//!
//! At worst a guest reads what its own disk holds and, on a writable one, fills it. The file is read by position, so that any
//! number of monitors share one. Requests are served in order on the event loop's thread, between guest memory and the page cache.

use super::{Active, DeviceKind, F_EVENT_IDX, F_VERSION_1, VirtioDevice, copy_config};
use crate::sys::positioned::{read_at, write_at};
use crate::vmm::memory::GuestRam;
use crate::vmm::spec::DiskSpec;
use std::fs::File;
use std::io;
use virtio_queue::DescriptorChain;
use virtio_queue::desc::split::Descriptor;
use vm_memory::{Bytes, GuestMemoryBackend, VolatileSlice};

/// Unit of every offset and capacity, whatever the block size (§5.2.6).
const SECTOR: u64 = 512;
const QUEUE_SIZE: u16 = 128;
/// Data buffers per request: all that fit the queue beside the header and the status byte.
const SEGMENTS_MAX: u32 = QUEUE_SIZE as u32 - 2;

const F_SEG_MAX: u64 = 1 << 2;
const F_READ_ONLY: u64 = 1 << 5;
const F_FLUSH: u64 = 1 << 9;

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

pub struct Block {
    disk: Disk,
    features: u64,
    config: [u8; 16],
    active: Option<Active>,
}

struct Disk {
    file: File,
    read_only: bool,
    /// Bytes, whole sectors.
    capacity: u64,
}

impl Block {
    /// # Errors
    /// When the file's size cannot be found out.
    pub fn new(spec: DiskSpec) -> io::Result<Self> {
        // A trailing part of a sector is not reachable, as on any disk.
        let sectors = spec.file.metadata()?.len() / SECTOR;
        let access = if spec.read_only { F_READ_ONLY } else { F_FLUSH };
        let mut config = [0; 16];
        config[..8].copy_from_slice(&sectors.to_le_bytes());
        config[12..].copy_from_slice(&SEGMENTS_MAX.to_le_bytes());
        let disk = Disk { file: spec.file, read_only: spec.read_only, capacity: sectors * SECTOR };
        Ok(Self { disk, features: F_VERSION_1 | F_EVENT_IDX | F_SEG_MAX | access, config, active: None })
    }
}

/// A chain, taken apart: what kind of request, and its data buffers. The status byte is the last writable byte.
struct Request {
    kind: u32,
    sector: u64,
    data: Vec<Descriptor>,
    status: Descriptor,
}

impl Request {
    /// `None` for a chain that is no request: without a readable header or without a place for the status.
    fn parse(ram: &GuestRam, chain: DescriptorChain<&GuestRam>) -> Option<Self> {
        // The chain itself is bounded by the queue's size.
        let mut descriptors: Vec<Descriptor> = chain.collect();
        let status = descriptors.pop()?;
        if !status.is_write_only() || status.len() == 0 || descriptors.is_empty() {
            return None;
        }
        let header = descriptors.remove(0);
        if header.is_write_only() || header.len() < 16 {
            return None;
        }
        let mut bytes = [0u8; 16];
        ram.read_slice(&mut bytes, header.addr()).ok()?;
        let [k0, k1, k2, k3, _, _, _, _, sector @ ..] = bytes;
        Some(Self { kind: u32::from_le_bytes([k0, k1, k2, k3]), sector: u64::from_le_bytes(sector), data: descriptors, status })
    }
}

/// Serves one request; returns the number of bytes written to guest memory, the status included.
fn serve(disk: &Disk, ram: &GuestRam, chain: DescriptorChain<&GuestRam>) -> u32 {
    let Some(request) = Request::parse(ram, chain) else { return 0 };
    let (code, written) = match disk.execute(ram, &request) {
        Ok(written) => (status::OK, written),
        Err(Refusal::Io) => (status::IO_ERROR, 0),
        Err(Refusal::Unsupported) => (status::UNSUPPORTED, 0),
    };
    // The status stands in the last byte of the last buffer (§5.2.6).
    let address = request.status.addr().0.checked_add(u64::from(request.status.len()) - 1);
    match address.map(|address| ram.write_obj(code, vm_memory::GuestAddress(address))) {
        Some(Ok(())) => written.saturating_add(1),
        _ => 0,
    }
}

enum Refusal {
    Io,
    Unsupported,
}

impl Disk {
    fn execute(&self, ram: &GuestRam, request: &Request) -> Result<u32, Refusal> {
        match request.kind {
            request::IN => self.transfer(ram, request, true),
            request::OUT if !self.read_only => self.transfer(ram, request, false),
            request::OUT => Err(Refusal::Io),
            request::FLUSH => self.file.sync_data().map(|()| 0).map_err(|_| Refusal::Io),
            request::GET_ID => identify(ram, request),
            _ => Err(Refusal::Unsupported),
        }
    }

    /// Moves all data buffers to or from the file, one after another from the request's sector on.
    fn transfer(&self, ram: &GuestRam, request: &Request, to_guest: bool) -> Result<u32, Refusal> {
        let start = request.sector.checked_mul(SECTOR).ok_or(Refusal::Io)?;
        let length: u64 = request.data.iter().map(|descriptor| u64::from(descriptor.len())).sum();
        let end = start.checked_add(length).ok_or(Refusal::Io)?;
        if end > self.capacity || length % SECTOR != 0 {
            return Err(Refusal::Io);
        }
        let mut position = start;
        for descriptor in &request.data {
            if descriptor.is_write_only() != to_guest {
                return Err(Refusal::Io);
            }
            let length = usize::try_from(descriptor.len()).map_err(|_| Refusal::Io)?;
            for slice in ram.get_slices(descriptor.addr(), length) {
                let slice: VolatileSlice<'_> = slice.map_err(|_| Refusal::Io)?;
                let moved = if to_guest { read_at(&self.file, &slice, position) } else { write_at(&self.file, &slice, position) };
                moved.map_err(|_| Refusal::Io)?;
                position += slice.len() as u64;
            }
        }
        u32::try_from(if to_guest { length } else { 0 }).map_err(|_| Refusal::Io)
    }
}

fn identify(ram: &GuestRam, request: &Request) -> Result<u32, Refusal> {
    match request.data.as_slice() {
        [buffer] if buffer.is_write_only() && buffer.len() as usize >= SERIAL.len() => {
            ram.write_slice(SERIAL, buffer.addr()).map_err(|_| Refusal::Io)?;
            u32::try_from(SERIAL.len()).map_err(|_| Refusal::Io)
        }
        _ => Err(Refusal::Io),
    }
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
            active.drain(REQUEST_QUEUE.into(), |ram, chain| serve(&self.disk, ram, chain));
        }
    }
}

#[cfg(test)]
#[path = "blk_test.rs"]
mod tests;
