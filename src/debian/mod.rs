//! Debian packages as a supply of kernels, QEMU and busybox, without touching the machine.
//!
//! [`Apt`] drives the machine's own `apt` under a private configuration: its own package lists, its own cache, the
//! machine's Debian sources with the backports suite beside them. Mirror, proxy and archive keys stay the machine's, so
//! whatever made `apt-get update` work there works here, and every package is checked against the signed index by apt
//! itself. No root is needed but for [`Apt::install`]. [`deb`] reads the packages.
//!
//! Law: knows nothing of machines or bottles; the only module that starts `apt` or reads `/etc/apt`.
//!
//! Sources: apt.conf(5), sources.list(5), apt-get(8) `download`, deb(5).

mod apt;
pub mod busybox;
pub mod deb;
mod error;
mod sources;

pub use apt::{Apt, Suite, Version};
use deb::DebError;
pub use error::DebianError;
