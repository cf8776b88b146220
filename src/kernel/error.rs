//! What can be wrong with a kernel, and with getting one.

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;

use crate::debian::DebianError;
use crate::debian::deb::DebError;
use crate::draft::is_full;
use crate::paths::NoHome;

#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KernelError {
    #[error("cannot {what} `{}`", path.display())]
    Io { what: &'static str, path: PathBuf, source: io::Error },

    #[error(transparent)]
    NoHome(#[from] NoHome),

    #[error("no kernel is installed in `{}`", store.display())]
    NoneInstalled { store: PathBuf },

    #[error("no kernel `{name}` in `{}`", store.display())]
    NotInstalled { name: String, store: PathBuf, installed: Vec<String> },

    #[error("`{}` is not a Linux kernel", path.display())]
    NotAKernel { path: PathBuf },

    #[error("kernel `{}` is for {machine}, this machine is x86-64", path.display())]
    WrongMachine { path: PathBuf, machine: String },

    #[error("kernel `{}` is cut short: {present} bytes of {needed}", path.display())]
    Truncated { path: PathBuf, needed: u64, present: u64 },

    #[error(
        "kernel `{}` has boot protocol {}.{:02}, which does not say where its vmlinux is (2.08 does)",
        path.display(), version >> 8, version & 0xff
    )]
    OldProtocol { path: PathBuf, version: u16 },

    #[error("kernel `{}` is compressed with {method}, which is not supported", path.display())]
    Compression { path: PathBuf, method: &'static str },

    #[error("kernel `{}` does not unpack", path.display())]
    Payload { path: PathBuf, source: io::Error },

    #[error("`{}` is not a kernel module", path.display())]
    NotAModule { path: PathBuf },

    #[error("kernel {release} has no module `{module}`, neither as a file nor built in")]
    NoModule { module: String, release: String },

    #[error("package `{}` has no kernel: no `boot/vmlinuz-*` with its `lib/modules`", deb.display())]
    NoKernelInPackage { deb: PathBuf },

    #[error("package `{}` cannot be used", deb.display())]
    InPackage { deb: PathBuf, source: Box<Self> },

    #[error("package `{}` has no kernel source", deb.display())]
    NoSourceInPackage { deb: PathBuf },

    #[error("this kernel source does not take from firmware/microvm.config: {}", lines.join(", "))]
    ConfigurationLost { lines: Vec<String> },

    #[error("`{command}` failed ({status}){}", indented(last_lines))]
    Build { command: String, status: ExitStatus, last_lines: Vec<String> },

    #[error("the packages cannot be had")]
    Debian(#[from] DebianError),

    #[error("the package cannot be used")]
    Deb(#[from] DebError),
}

impl KernelError {
    /// The way out, if there is one that a person can take.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NoHome(error) => error.hint(),
            Self::NoneInstalled { .. } => Some(
                "`bottle-vmm kernel install` gets Debian's cloud kernel in seconds; \
                 `bottle-vmm kernel build` makes one that boots faster in minutes"
                    .to_owned(),
            ),
            Self::NotInstalled { name, .. } if Path::new(name).exists() => {
                Some(format!("for the file of that name: `./{name}`"))
            }
            Self::NotInstalled { installed, .. } if installed.is_empty() => {
                Some("`bottle-vmm kernel install`".to_owned())
            }
            Self::NotInstalled { installed, .. } => Some(format!("installed: {}", installed.join(", "))),
            Self::NotAKernel { .. } => Some("an x86-64 `vmlinux` or `bzImage` is wanted".to_owned()),
            Self::OldProtocol { .. } | Self::Compression { .. } => {
                Some("give the uncompressed `vmlinux` instead".to_owned())
            }
            Self::Io { source, .. } | Self::Payload { source, .. } if is_full(source) => Some(
                "make room, or name a directory on a larger disk: XDG_CACHE_HOME for what is unpacked, XDG_DATA_HOME for what is installed"
                    .to_owned(),
            ),
            Self::InPackage { source, .. } => match &**source {
                Self::Io { source: error, .. } | Self::Payload { source: error, .. } if is_full(error) => source.hint(),
                Self::Io { .. } => None,
                _ => Some("a package `linux-image-…-amd64` of Debian's is wanted; if it is one, fetch it again".to_owned()),
            },
            Self::Truncated { .. } | Self::Payload { .. } => Some("copy the kernel again".to_owned()),
            Self::Debian(error) => error.hint(),
            Self::Deb(error) => error.hint(),
            _ => None,
        }
    }
}

impl KernelError {
    /// Of something in the package `deb`, which was unpacked into `root` for the while: it gets the path that people know, or that of the
    /// store if it is of what is being put together there.
    pub(super) fn in_package(mut self, deb: &Path, root: &Path) -> Self {
        let (Self::Io { path, .. }
        | Self::NotAKernel { path }
        | Self::WrongMachine { path, .. }
        | Self::Truncated { path, .. }
        | Self::OldProtocol { path, .. }
        | Self::Compression { path, .. }
        | Self::Payload { path, .. }
        | Self::NotAModule { path }) = &mut self
        else {
            return self;
        };
        match path.strip_prefix(root).map(Path::to_owned) {
            Ok(inside) => {
                *path = inside;
                Self::InPackage { deb: deb.to_owned(), source: Box::new(self) }
            }
            Err(_) => {
                if let (Some(staging), Some(store)) = (root.parent(), root.ancestors().nth(2))
                    && path.starts_with(staging)
                {
                    store.clone_into(path);
                }
                self
            }
        }
    }
}

/// For `map_err`: what was tried, on which path.
pub(super) fn io_error(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> KernelError {
    let path = path.to_owned();
    move |source| KernelError::Io { what, path, source }
}

/// The build's own words, each on a line of its own under ours.
fn indented(lines: &[String]) -> String {
    lines.iter().map(|line| format!("\n  {line}")).collect()
}
