//! What an image may cost this machine, whatever it claims. Law: numbers, each with what it stops.

/// Bounds on everything that an image makes us store or remember.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// All layers unpacked, replaced files and the holes of sparse ones included: stops a gzip bomb before it fills the disk, and a
    /// sparse one before it fills the time.
    pub unpacked_bytes: u64,
    /// Entries of all layers.
    pub entries: u32,
    /// Memory for the names, links, attributes and the like of all layers: about 300 bytes an entry. The window of a layer compressed with
    /// Zstandard comes out of it.
    pub memory_bytes: u64,
    /// Names that are looked up on the ways of all entries, symbolic links followed.
    pub steps: u64,
}

impl Default for Limits {
    /// The memory is what leaves packing below 150 MiB in all.
    fn default() -> Self {
        Self { unpacked_bytes: 64 << 30, entries: 4_000_000, memory_bytes: 128 << 20, steps: 1 << 25 }
    }
}
