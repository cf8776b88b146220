//! An emulated KVM host: runs bottle-vmm, or anything else, with real Linux guests on a machine whose `/dev/kvm` cannot.
//!
//! QEMU's TCG emulates an AMD processor with SVM; Debian's own kvm-amd runs in it; its root directory is the machine's own,
//! read through 9p under an overlay that vanishes. So a program of this machine simply runs there, as root, beside a real
//! `/dev/kvm`. `README.md` has the numbers and the limits.
//!
//! From the outside in:
//!
//! - [`guest_test`] is a test's one line: the body runs where KVM works.
//! - [`Host`] runs commands; [`needed`] tells whether it takes this host at all.
//! - `machine` is the snapshot that each run is restored from, `parts` what it is made of, `cache` where that is kept.
//! - `qemu` and `qmp` are the process and its monitor; `job` and `streams` what goes in and comes out; `inside/` the two
//!   scripts that are the first process of the emulated host.

mod cache;
mod guest_test;
mod host;
mod job;
mod machine;
mod need;
mod parts;
mod qemu;
mod qmp;
pub mod report;
pub mod session;
mod slots;
mod streams;
mod sys;
pub mod terminal;

pub use cache::CacheError;
pub use guest_test::{GuestTest, guest_test};
pub use host::{Captured, DEFAULT_TIMEOUT, Ender, Host, HostError, Output, Resizer, Session, Source, Streams};
pub use job::JobError;
pub use machine::MachineError;
pub use need::{Need, OVERRIDE, Reason, needed};
pub use parts::PartsError;
pub use qemu::QemuError;
pub use qmp::QmpError;
pub use streams::Sink;
