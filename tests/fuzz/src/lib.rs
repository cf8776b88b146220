//! What the targets share: a hostile guest in front of any virtio device, image archives with hostile parts, and images of hostile
//! documents.

pub mod archive;
pub mod documents;
pub mod guest;
