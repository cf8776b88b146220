//! Everything the guest can reach by port or memory-mapped I/O.
//!
//! The guest is hostile: nothing here panics, allocates or logs without a bound because of what it sends.

pub mod reset;
pub mod serial;
pub mod virtio;
