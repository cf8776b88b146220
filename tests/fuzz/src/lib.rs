//! What the targets share: a hostile guest in front of any virtio device, and image archives with hostile parts.

pub mod archive;
pub mod guest;
