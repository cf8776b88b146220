//! The packet header as the guest sends it (virtio 1.3 §5.10.6), copied once and only then looked at.
//!
//! Packets to the guest are written with the `virtio-vsock` crate. Those from the guest are taken apart here, since drivers from
//! Linux 6.17 on spread a large payload over many descriptors, which the crate refuses.

use super::QUEUE_SIZE;
use crate::vmm::memory::GuestRam;
use virtio_queue::DescriptorChain;
use virtio_queue::desc::split::Descriptor;
use virtio_vsock::packet::PKT_HEADER_SIZE;
use vm_memory::{GuestMemoryBackend, VolatileSlice};

/// VIRTIO_VSOCK_TYPE_STREAM.
pub const TYPE_STREAM: u16 = 1;
/// Bits of `flags` in a shutdown packet (§5.10.6.5).
pub const SHUTDOWN_RECEIVE: u32 = 1;
pub const SHUTDOWN_SEND: u32 = 2;

/// Operations (§5.10.6), as plain numbers: one that we do not know is a value to answer, not a cast to trust.
pub mod op {
    pub const REQUEST: u16 = 1;
    pub const RESPONSE: u16 = 2;
    pub const RST: u16 = 3;
    pub const SHUTDOWN: u16 = 4;
    pub const RW: u16 = 5;
    pub const CREDIT_UPDATE: u16 = 6;
    pub const CREDIT_REQUEST: u16 = 7;
}

/// A header from the guest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Header {
    pub src_cid: u64,
    pub dst_cid: u64,
    pub src_port: u32,
    pub dst_port: u32,
    /// Payload bytes.
    pub len: u32,
    pub socket_type: u16,
    pub op: u16,
    pub flags: u32,
    pub buf_alloc: u32,
    pub fwd_cnt: u32,
}

impl Header {
    fn parse(bytes: &[u8; PKT_HEADER_SIZE]) -> Self {
        let mut rest = bytes.as_slice();
        Self {
            src_cid: u64::from_le_bytes(take(&mut rest)),
            dst_cid: u64::from_le_bytes(take(&mut rest)),
            src_port: u32::from_le_bytes(take(&mut rest)),
            dst_port: u32::from_le_bytes(take(&mut rest)),
            len: u32::from_le_bytes(take(&mut rest)),
            socket_type: u16::from_le_bytes(take(&mut rest)),
            op: u16::from_le_bytes(take(&mut rest)),
            flags: u32::from_le_bytes(take(&mut rest)),
            buf_alloc: u32::from_le_bytes(take(&mut rest)),
            fwd_cnt: u32::from_le_bytes(take(&mut rest)),
        }
    }
}

/// The fields' sizes add up to the header's, so there is always enough left; were there not, the field would be zero.
fn take<const N: usize>(rest: &mut &[u8]) -> [u8; N] {
    match rest.split_first_chunk::<N>() {
        Some((field, tail)) => {
            *rest = tail;
            *field
        }
        None => [0; N],
    }
}

/// A packet from the guest: the header's copy, and its payload where the guest put it.
pub struct GuestPacket<'a> {
    pub header: Header,
    /// `None` if it is not what the header says: fewer bytes, or more than a packet may have.
    pub payload: Option<Vec<VolatileSlice<'a>>>,
}

/// Takes a transmitted chain apart. `None` if it holds no whole header: too short, writable, or outside RAM. A payload over
/// `payload_max` bytes is no payload.
pub fn parse<'a>(ram: &'a GuestRam, chain: DescriptorChain<&GuestRam>, payload_max: u32) -> Option<GuestPacket<'a>> {
    let mut slices = readable_slices(ram, chain)?.into_iter();
    let mut bytes = [0u8; PKT_HEADER_SIZE];
    let mut filled = 0;
    let mut rest = None;
    while filled < PKT_HEADER_SIZE {
        let slice = slices.next()?;
        let part = slice.len().min(PKT_HEADER_SIZE - filled);
        slice.subslice(0, part).ok()?.copy_to(bytes.get_mut(filled..filled + part)?);
        filled += part;
        rest = slice.offset(part).ok().filter(|rest| !rest.is_empty());
    }
    let header = Header::parse(&bytes);
    let payload =
        if header.len > payload_max { None } else { cut(rest.into_iter().chain(slices), header.len as usize) };
    Some(GuestPacket { header, payload })
}

fn readable_slices<'a>(ram: &'a GuestRam, chain: DescriptorChain<&GuestRam>) -> Option<Vec<VolatileSlice<'a>>> {
    let mut slices = Vec::with_capacity(2);
    // An indirect table, which was not offered, could hold 64 Ki descriptors; a chain of the queue's own cannot be longer than it.
    for descriptor in chain.take(QUEUE_SIZE.into()) {
        let descriptor: Descriptor = descriptor;
        if descriptor.is_write_only() {
            return None;
        }
        for slice in ram.get_slices(descriptor.addr(), descriptor.len() as usize) {
            slices.push(slice.ok()?);
        }
    }
    Some(slices)
}

/// The first `length` bytes of the slices; `None` if they are fewer.
fn cut<'a>(slices: impl Iterator<Item = VolatileSlice<'a>>, length: usize) -> Option<Vec<VolatileSlice<'a>>> {
    let mut left = length;
    let mut payload = Vec::with_capacity(1);
    for slice in slices {
        if left == 0 {
            break;
        }
        let part = slice.len().min(left);
        payload.push(slice.subslice(0, part).ok()?);
        left -= part;
    }
    (left == 0).then_some(payload)
}
