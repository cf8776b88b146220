//! Sparse files: where the stored bytes of an entry belong. Law: pure.
//!
//! Source: the GNU tar manual, "Storing Sparse Files". All four formats end up as a `SparseMap`.

use super::header::segments;
use super::pax::decimal;

/// More pieces than this in one file is an attack on memory (16 bytes each, twice while they are read).
pub(super) const MAX_SEGMENTS: usize = 1 << 17;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Segment {
    pub(super) offset: u64,
    pub(super) length: u64,
}

/// Data in order, without overlap, inside the file; so reading front to back visits the stored bytes front to back.
#[derive(Debug, Clone)]
pub(super) struct SparseMap {
    segments: Vec<Segment>,
    size: u64,
    position: u64,
    current: usize,
}

pub(super) enum Run {
    Hole(usize),
    Data(usize),
}

impl SparseMap {
    /// `None` unless the map is in order and accounts for exactly the `stored` bytes.
    pub(super) fn new(mut segments: Vec<Segment>, size: u64, stored: u64) -> Option<Self> {
        // An empty segment at the end only states the size.
        segments.retain(|segment| segment.length > 0);
        let (mut end, mut total) = (0_u64, 0_u64);
        for segment in &segments {
            if segment.offset < end {
                return None;
            }
            end = segment.offset.checked_add(segment.length)?;
            total += segment.length;
        }
        (end <= size && total == stored).then_some(Self { segments, size, position: 0, current: 0 })
    }

    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// What comes next, at most `most` bytes of it. Nothing at the end of the file.
    pub(super) fn next_run(&self, most: usize) -> Run {
        let bounded = |length: u64| usize::try_from(length).map_or(most, |length| length.min(most));
        match self.segments.get(self.current) {
            None => Run::Hole(bounded(self.size - self.position)),
            Some(data) if self.position < data.offset => Run::Hole(bounded(data.offset - self.position)),
            Some(data) => Run::Data(bounded(data.offset + data.length - self.position)),
        }
    }

    /// Past `count` bytes of what `next_run` told.
    pub(super) fn advance(&mut self, count: usize) {
        self.position += count as u64;
        if self.segments.get(self.current).is_some_and(|data| self.position >= data.offset + data.length) {
            self.current += 1;
        }
    }
}

/// The old GNU format: four segments in the header, more in blocks after it.
#[derive(Debug)]
pub(super) struct GnuSparse {
    pub(super) segments: Vec<Segment>,
    pub(super) continues: bool,
    pub(super) size: u64,
}

impl GnuSparse {
    pub(super) fn extend(&mut self, block: &[u8; 512]) -> Option<()> {
        self.segments.extend(segments(&block[..504])?);
        self.continues = block[504] != 0;
        (self.segments.len() <= MAX_SEGMENTS).then_some(())
    }
}

/// PAX 1.0: decimal lines in front of the data (count, then offset and length of each), filled up to a block.
#[derive(Debug, Default)]
pub(super) struct TextMap {
    numbers: Vec<u64>,
    partial: Vec<u8>,
}

impl TextMap {
    pub(super) fn is_complete(&self) -> bool {
        self.numbers.first().is_some_and(|&count| (self.numbers.len() as u64 - 1) / 2 >= count)
    }

    pub(super) fn extend(&mut self, block: &[u8; 512]) -> Option<()> {
        for &byte in block {
            if self.is_complete() {
                break;
            }
            if byte != b'\n' {
                self.partial.push(byte);
                // 20 digits hold every 64-bit number.
                if self.partial.len() > 20 {
                    return None;
                }
                continue;
            }
            let number = decimal(&self.partial)?;
            self.partial.clear();
            if self.numbers.is_empty() && number > MAX_SEGMENTS as u64 {
                return None;
            }
            self.numbers.push(number);
        }
        Some(())
    }

    pub(super) fn into_segments(self) -> Vec<Segment> {
        let (pairs, _) = self.numbers.get(1..).unwrap_or_default().as_chunks::<2>();
        pairs.iter().map(|&[offset, length]| Segment { offset, length }).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::{Segment, SparseMap};

    #[test]
    fn maps_that_overlap_or_do_not_add_up_are_refused() {
        let segment = |offset, length| Segment { offset, length };
        assert!(SparseMap::new(vec![segment(0, 2), segment(4, 2)], 8, 4).is_some());
        assert!(SparseMap::new(vec![segment(0, 2), segment(1, 2)], 8, 4).is_none());
        assert!(SparseMap::new(vec![segment(4, 2), segment(0, 2)], 8, 4).is_none());
        assert!(SparseMap::new(vec![segment(0, 2)], 8, 4).is_none());
        assert!(SparseMap::new(vec![segment(7, 2)], 8, 2).is_none());
        assert!(SparseMap::new(vec![segment(u64::MAX, 2)], u64::MAX, 2).is_none());
    }
}
