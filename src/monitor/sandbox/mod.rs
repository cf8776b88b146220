//! What a guest that takes over the monitor finds: a process that may compute, use the descriptors it holds, and nothing else.
//!
//! Layers, so that a hole in one is not a hole in all. They close in two steps. [`confine`] takes away what the whole process does not
//! need, before the monitor has read a byte of a kernel or an image: network, user, capabilities, paths. [`Threads`] takes away
//! system calls, thread by thread, when the machine is built and before its guest runs.
//!
//! Law: a layer that the kernel lacks ends the bottle, unless the person left it out by name. What closed is reported, never assumed.

mod filter;
mod layer;
mod paths;
mod privileges;
mod probe;
mod threads;
mod violation;

pub use layer::{Confinement, Layer, LayerReport, LayerState};
pub use privileges::Extent;
pub use probe::{Call, Probe, ProbeThread, UnknownProbe};
pub use threads::{SandboxError, Threads};
pub use violation::{EXIT_VIOLATION, syscall_name};

use std::os::fd::RawFd;

/// Closes every layer that belongs to the process. Call it while there is one thread; violations will be told over `control`.
#[must_use]
pub fn confine(confinement: &Confinement, control: RawFd) -> Vec<LayerReport> {
    // In this order: each step needs what the next one takes away.
    let steps: [(Layer, Step<'_>); 4] = [
        (Layer::Network, &privileges::leave_network),
        (Layer::User, &privileges::drop_all),
        (Layer::Landlock, &paths::forbid_all),
        (Layer::Seccomp, &|| violation::report_to(control)),
    ];
    let close = |(layer, step): (Layer, Step<'_>)| LayerReport {
        layer,
        state: if confinement.leaves_out(layer) {
            LayerState::LeftOut
        } else {
            match step() {
                Ok(detail) => LayerState::Closed { detail },
                Err(why) => LayerState::Missing { why },
            }
        },
    };
    steps.into_iter().map(close).collect()
}

/// Says what it did, or why this kernel does not let it.
type Step<'a> = &'a dyn Fn() -> Result<String, String>;
