//! One KVM virtual machine. It knows nothing of bottles, images, policies or the launcher: it is given descriptors and numbers.
//!
//! The boot story is [`machine::Machine::build`]; what the guest can reach is in [`devices`]; numbers of the address map are
//! in [`x86_64::layout`]. Threads: one per vCPU, and one (the caller's) that serves every device.

pub mod boot;
pub mod bus;
pub mod devices;
pub mod event_loop;
pub mod irq;
pub mod machine;
pub mod memory;
pub mod spec;
pub mod stop;
pub mod vcpu;
pub mod x86_64;

pub use machine::{Machine, MachineError};
pub use spec::{DiskAccess, DiskSpec, MachineSpec, NetworkSpec};
