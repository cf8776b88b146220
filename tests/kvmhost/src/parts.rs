//! What the emulated host is made of: QEMU, a kernel and busybox, taken from Debian packages and not installed.
//!
//! QEMU is 10 or newer, from backports where the release has an older one: 7.2 corrupts guests of the emulated SVM. Its
//! shared libraries are installed by apt, being the only thing a library path cannot give cleanly; QEMU itself is not, since
//! the release's packages of it refuse to be installed beside parts of a newer one. The kernel is the generic one, since the
//! cloud kernel has no 9p.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use bottle_vmm::debian::deb::{self, DebError};
use bottle_vmm::debian::{Apt, DebianError, Suite};
use bottle_vmm::progress::Progress;

use crate::cache::{Cache, CacheError, Held, io_error};

/// Changes whenever what is unpacked, or from where, changes.
const NAME: &str = "parts-1";

/// The first QEMU whose emulated SVM runs Linux guests without corrupting them.
const QEMU_MAJOR: u32 = 10;

const QEMU_PACKAGES: [&str; 4] = ["qemu-system-x86", "qemu-system-common", "qemu-system-data", "seabios"];

/// Folders of the kernel's modules that a host of virtual machines may load from; the rest is 300 MB of other hardware.
const MODULE_FOLDERS: [&str; 15] = [
    "arch",
    "block",
    "crypto",
    "fs",
    "lib",
    "mm",
    "net",
    "virt",
    "drivers/block",
    "drivers/char",
    "drivers/crypto",
    "drivers/md",
    "drivers/vdpa",
    "drivers/vhost",
    "drivers/virtio",
];

#[derive(Debug, thiserror::Error)]
pub enum PartsError {
    #[error(transparent)]
    Cache(#[from] CacheError),
    #[error("cannot get the emulated host's packages")]
    Debian(#[from] DebianError),
    #[error("cannot unpack the emulated host's packages")]
    Deb(#[from] DebError),
    #[error("no kernel with 9p and KVM in the package {package}")]
    NoKernel { package: String },
    #[error("{} does not start: {answer}", qemu.display())]
    QemuBroken { qemu: PathBuf, answer: String },
    #[error("busybox cannot index the kernel modules: {answer}")]
    Depmod { answer: String },
    #[error("QEMU {version} is too old: before {QEMU_MAJOR}, guests of its emulated SVM crash")]
    QemuOld { version: String },
}

impl PartsError {
    pub fn hint(&self) -> Option<String> {
        match self {
            PartsError::Cache(error) => error.hint(),
            PartsError::Debian(error) => error.hint(),
            PartsError::Deb(error) => error.hint(),
            PartsError::QemuBroken { .. } => {
                Some("`cargo kvmhost --setup` as root installs the libraries it lacks".into())
            }
            PartsError::QemuOld { .. } => {
                Some("a Debian release with backports of QEMU 10 is needed (12 or newer)".into())
            }
            PartsError::NoKernel { .. } | PartsError::Depmod { .. } => None,
        }
    }
}

/// The unpacked parts.
#[derive(Clone, Debug)]
pub(crate) struct Parts {
    dir: PathBuf,
    release: String,
}

impl Parts {
    /// The parts, fetched if they are not there.
    pub(crate) fn ensure(cache: &Cache, progress: &dyn Progress) -> Result<(Parts, Held), PartsError> {
        let (dir, held) = cache.ensure(NAME, |partial| fetch(cache, partial, progress))?;
        let release = release_in(&dir).ok_or(PartsError::NoKernel { package: NAME.into() })?;
        Ok((Parts { dir, release }, held))
    }

    pub(crate) fn qemu(&self) -> PathBuf {
        qemu_in(&self.dir)
    }

    /// Where QEMU finds firmware and option ROMs.
    pub(crate) fn firmware_dirs(&self) -> [PathBuf; 2] {
        [self.dir.join("qemu/usr/share/seabios"), self.dir.join("qemu/usr/share/qemu")]
    }

    pub(crate) fn kernel(&self) -> PathBuf {
        self.dir.join("kernel/boot").join(format!("vmlinuz-{}", self.release))
    }

    pub(crate) fn modules(&self) -> PathBuf {
        modules_dir(&self.dir).join(&self.release)
    }

    pub(crate) fn busybox(&self) -> PathBuf {
        self.dir.join("busybox/bin/busybox")
    }

    /// Runs QEMU once, and installs its libraries if it does not start: a cache may have come to this machine without
    /// them.
    pub(crate) fn check(&self, cache: &Cache, progress: &dyn Progress) -> Result<(), PartsError> {
        if qemu_version(&self.qemu()).is_err() {
            let apt = Apt::open(&cache.dir().join("apt"))?;
            install_libraries(&apt, qemu_suite(&apt)?, progress)?;
        }
        qemu_version(&self.qemu()).map(drop)
    }
}

fn fetch(cache: &Cache, dir: &Path, progress: &dyn Progress) -> Result<(), PartsError> {
    progress.step("reading Debian's package lists");
    let apt = Apt::open(&cache.dir().join("apt"))?;
    apt.update()?;
    let suite = qemu_suite(&apt)?;
    install_libraries(&apt, suite, progress)?;
    for package in QEMU_PACKAGES {
        unpack(&apt, package, suite, &dir.join("qemu"), progress, |_| true)?;
    }
    qemu_version(&qemu_in(dir))?;
    unpack(&apt, "busybox-static", Suite::Stable, &dir.join("busybox"), progress, |path| path.starts_with("bin"))?;
    let kernel = apt.dependency_like("linux-image-amd64", "linux-image-", Suite::Stable)?;
    unpack(&apt, &kernel, Suite::Stable, &dir.join("kernel"), progress, |path| {
        path.starts_with("boot") || is_wanted_module(path)
    })?;
    let release = release_in(dir).ok_or(PartsError::NoKernel { package: kernel })?;
    index_modules(dir, &release)
}

/// Everything that QEMU's package depends on, other parts of QEMU and firmware left out.
fn install_libraries(apt: &Apt, suite: Suite, progress: &dyn Progress) -> Result<(), PartsError> {
    let dependencies = apt.dependencies("qemu-system-x86", suite)?;
    let libraries: Vec<_> = dependencies.iter().map(String::as_str).filter(|name| is_library(name)).collect();
    if !apt.missing(&libraries)?.is_empty() {
        progress.step("installing the shared libraries of QEMU (apt-get install)");
        apt.install(&libraries)?;
    }
    Ok(())
}

fn is_library(package: &str) -> bool {
    !package.contains("qemu") && !QEMU_PACKAGES.contains(&package)
}

/// The release's own QEMU where it is new enough, else that of backports.
fn qemu_suite(apt: &Apt) -> Result<Suite, PartsError> {
    let own = apt.newest("qemu-system-x86", Suite::Stable)?;
    let is_new = major(own.upstream()).is_some_and(|major| major >= QEMU_MAJOR);
    Ok(if is_new { Suite::Stable } else { Suite::Backports })
}

fn major(version: &str) -> Option<u32> {
    version.split('.').next()?.parse().ok()
}

fn unpack(
    apt: &Apt,
    package: &str,
    suite: Suite,
    dir: &Path,
    progress: &dyn Progress,
    wanted: impl Fn(&Path) -> bool,
) -> Result<(), PartsError> {
    progress.step(&format!("{package} {}", apt.newest(package, suite)?));
    let package = apt.download(package, suite)?;
    fs::create_dir_all(dir).map_err(io_error("create", dir))?;
    deb::unpack(&package, dir, wanted)?;
    // Unpacked it is not needed again, and a cache that is carried between machines should be small.
    fs::remove_file(&package).map_err(io_error("remove", &package))?;
    Ok(())
}

/// Whether `path` in the kernel's package is metadata of the modules or a module of a wanted folder.
fn is_wanted_module(path: &Path) -> bool {
    let Some((_, below)) = path.to_str().and_then(|path| path.split_once("lib/modules/")) else { return false };
    // Past the release's name.
    let Some((_, below)) = below.split_once('/') else { return true };
    let Some(module) = below.strip_prefix("kernel/") else { return true };
    // tun, veth, dummy and their like are drivers/net's own; its folders are hardware.
    let virtual_net = module.strip_prefix("drivers/net/").is_some_and(|file| !file.contains('/'));
    virtual_net || MODULE_FOLDERS.iter().any(|folder| Path::new(module).starts_with(folder))
}

fn qemu_in(dir: &Path) -> PathBuf {
    dir.join("qemu/usr/bin/qemu-system-x86_64")
}

fn modules_dir(dir: &Path) -> PathBuf {
    let merged = dir.join("kernel/usr/lib/modules");
    if merged.exists() { merged } else { dir.join("kernel/lib/modules") }
}

/// The release of the kernel that has what the emulated host needs.
fn release_in(dir: &Path) -> Option<String> {
    let entries = fs::read_dir(modules_dir(dir)).ok()?;
    entries.flatten().find(|entry| entry.path().join("kernel/fs/9p").is_dir())?.file_name().into_string().ok()
}

fn qemu_version(qemu: &Path) -> Result<String, PartsError> {
    let broken = |answer| PartsError::QemuBroken { qemu: qemu.into(), answer };
    let output =
        Command::new(qemu).arg("--version").stdin(Stdio::null()).output().map_err(|error| broken(error.to_string()))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let version = text.split_once("version ").and_then(|(_, rest)| rest.split_whitespace().next()).map(str::to_owned);
    match version {
        Some(version) if major(&version).is_some_and(|major| major >= QEMU_MAJOR) => Ok(version),
        Some(version) => Err(PartsError::QemuOld { version }),
        None => Err(broken(String::from_utf8_lossy(&output.stderr).trim().to_owned())),
    }
}

/// The package leaves modules.dep to its installation scripts.
fn index_modules(dir: &Path, release: &str) -> Result<(), PartsError> {
    let base = if dir.join("kernel/lib").exists() { dir.join("kernel") } else { dir.join("kernel/usr") };
    let output = Command::new(dir.join("busybox/bin/busybox"))
        .args(["depmod", "-b"])
        .arg(base)
        .arg(release)
        .stdin(Stdio::null())
        .output()
        .map_err(|error: io::Error| PartsError::Depmod { answer: error.to_string() })?;
    if output.status.success() {
        return Ok(());
    }
    Err(PartsError::Depmod { answer: String::from_utf8_lossy(&output.stderr).trim().to_owned() })
}

#[cfg(test)]
#[path = "parts_test.rs"]
mod tests;
