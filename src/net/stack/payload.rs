//! A range of a frame in guest memory.

use arrayvec::ArrayVec;
use vm_memory::VolatileSlice;

/// As many parts as a Linux driver makes of a frame at most: CONFIG_MAX_SKB_FRAGS is 17, or up to 45 since Linux 6.4, and two come on
/// top; one more is where guest memory has its gap. A frame of more is dropped.
const PARTS: usize = 48;

/// Bytes of the guest's, where they are: they are looked at once, when they are passed on.
#[derive(Debug, Default)]
pub(super) struct Payload<'a> {
    parts: ArrayVec<VolatileSlice<'a>, PARTS>,
    length: usize,
}

impl<'a> Payload<'a> {
    /// `length` bytes of `parts` from `start` on; `None` if they are spread over more than [`PARTS`].
    pub(super) fn of(parts: &[VolatileSlice<'a>], start: usize, length: usize) -> Option<Self> {
        let mut payload = Self::default();
        let (mut skip, mut left) = (start, length);
        for part in parts {
            let from = skip.min(part.len());
            skip -= from;
            let count = left.min(part.len() - from);
            if count > 0 {
                payload.parts.try_push(part.subslice(from, count).ok()?).ok()?;
                left -= count;
            }
        }
        payload.length = length - left;
        Some(payload)
    }

    pub(super) fn len(&self) -> usize {
        self.length
    }

    pub(super) fn parts(&self) -> &[VolatileSlice<'a>] {
        &self.parts
    }

    /// Without the first `count` bytes.
    pub(super) fn skip(&self, count: usize) -> Self {
        Self::of(&self.parts, count, self.length.saturating_sub(count)).unwrap_or_default()
    }

    /// The first `count` bytes at most.
    pub(super) fn truncate(&self, count: usize) -> Self {
        Self::of(&self.parts, 0, self.length.min(count)).unwrap_or_default()
    }

    pub(super) fn to_vec(&self) -> Vec<u8> {
        let mut bytes = vec![0; self.length];
        copy(&self.parts, &mut bytes);
        bytes
    }
}

/// Copies the beginning of a frame; how many bytes there were.
pub(super) fn copy(parts: &[VolatileSlice<'_>], bytes: &mut [u8]) -> usize {
    let mut done = 0;
    for part in parts {
        done += part.copy_to(&mut bytes[done..]);
    }
    done
}
