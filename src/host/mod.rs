//! What this machine can do: `/dev/kvm`, and the resources a bottle takes. Only asks; changes nothing.

pub mod kvm;
pub mod network;
pub mod resources;
