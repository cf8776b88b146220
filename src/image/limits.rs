//! What an image may cost this machine, whatever it claims. Law: numbers, each with what it stops.

/// Bounds on everything that an image makes us store or remember.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// All layers unpacked, replaced files included: stops a gzip bomb before it fills the disk.
    pub unpacked_bytes: u64,
    /// Entries of all layers: each takes about 300 bytes of memory while the image is made.
    pub entries: u32,
    /// Names and extended attributes of one layer, which are held in memory.
    pub name_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { unpacked_bytes: 64 << 30, entries: 4_000_000, name_bytes: 512 << 20 }
    }
}
