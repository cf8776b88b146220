//! Guest kernels: where they come from, where they are kept, and what a file that is said to be one really is.
//!
//! - [`Store`]: the kernels that are installed, and which one a bottle takes.
//! - [`install::stock`]: Debian's cloud kernel out of its package, its virtio drivers as an initramfs archive.
//! - [`build::firmware`]: our own configuration (`firmware/`) on Debian's kernel source.
//! - [`image::recognise`]: any kernel file, checked, and then opened as an ELF `vmlinux`.
//!
//! Law: writes files and starts `make`; knows nothing of machines or bottles. A kernel is put in place by one rename, so an
//! interrupted command leaves either the old one or the new one.

pub mod build;
mod bzimage;
mod choice;
pub mod cpio;
mod elf;
mod error;
pub mod image;
pub mod install;
mod make;
pub mod modules;
pub mod options;
mod source;
mod store;
#[cfg(test)]
mod testing;

pub use choice::{Chosen, choose, is_path};
pub use error::KernelError;
pub use image::{KernelFile, KernelImage};
pub use store::{Installed, Kind, Store};
