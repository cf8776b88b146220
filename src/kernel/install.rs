//! A stock kernel out of Debian's package, without root: the ELF out of its bzImage, the needed drivers as an archive.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, BufWriter};
use std::path::{Component, Path, PathBuf};

use super::error::io_error;
use super::modules::{self, Tree};
use super::store::Stage;
use super::{Installed, KernelError, Kind, Store, image, options};
use crate::debian::{Apt, Suite, deb};
use crate::progress::Progress;

/// The kernel for virtual machines: no hardware drivers, so a third of the generic one.
const META_PACKAGE: &str = "linux-image-cloud-amd64";

/// Where the package comes from.
#[derive(Debug, Clone, Copy)]
pub enum Source<'a> {
    /// The newest cloud kernel of a suite.
    Debian(&'a Apt, Suite),
    /// A `linux-image-*.deb` that is here already.
    File(&'a Path),
}

/// Installs a stock kernel. One that is installed from the same package already is left as it is.
pub fn stock(store: &Store, source: Source<'_>, progress: &dyn Progress) -> Result<Installed, KernelError> {
    let deb = match source {
        Source::File(deb) => deb.to_owned(),
        Source::Debian(apt, suite) => {
            progress.step(&format!("looking for {META_PACKAGE} in {suite}"));
            let package = apt.dependency_like(META_PACKAGE, "linux-image-", suite)?;
            progress.step(&format!("fetching {package}"));
            apt.download(&package, suite)?
        }
    };
    let package = deb.file_name().unwrap_or(OsStr::new("package")).to_string_lossy().into_owned();
    // Only apt's names say what is inside; a person may call any file anything.
    let installed_before = |kernel: &Installed| matches!(source, Source::Debian(..)) && kernel.source == package;
    if let Some(installed) = store.list()?.into_iter().find(installed_before) {
        return Ok(installed);
    }
    progress.step(&format!("unpacking {package}"));
    from_package(store, &deb, &package, progress)
}

fn from_package(store: &Store, deb: &Path, package: &str, progress: &dyn Progress) -> Result<Installed, KernelError> {
    let stage = store.stage()?;
    let root = stage.scratch()?;
    deb::unpack(deb, &root, is_wanted)?;
    let (release, options) = prepare(&stage, deb, &root, progress).map_err(|error| error.in_package(deb, &root))?;
    stage.commit(Kind::Stock, &release, package, options)
}

/// The kernel of the package that is unpacked in `root`: its release, and what it was built with.
fn prepare(
    stage: &Stage,
    deb: &Path,
    root: &Path,
    progress: &dyn Progress,
) -> Result<(String, Vec<String>), KernelError> {
    let (vmlinuz, modules_dir) =
        find_kernel(root)?.ok_or_else(|| KernelError::NoKernelInPackage { deb: deb.to_owned() })?;
    let tree = Tree::scan(&modules_dir)?;
    progress.step(&format!("preparing {} for a bottle", tree.release()));
    image::unpack_to(&vmlinuz, &stage.vmlinux())?;
    let modules = tree.load_order(&modules::NEEDED)?;
    if !modules.is_empty() {
        let path = stage.modules();
        let out = File::create(&path).map_err(io_error("write", &path))?;
        modules::archive(&modules, BufWriter::new(out), &path)?;
    }
    let config = vmlinuz.with_file_name(format!("config-{}", tree.release()));
    let options = match fs::read_to_string(&config) {
        Ok(config) => options::of(&config),
        Err(error) if error.kind() == io::ErrorKind::NotFound => options::assumed(),
        Err(error) => return Err(io_error("read", &config)(error)),
    };
    Ok((tree.release().to_owned(), options))
}

/// Of several hundred MB, the kernel and what describes or is a module.
fn is_wanted(path: &Path) -> bool {
    let starts = |prefix: &str| path.strip_prefix("usr").unwrap_or(path).starts_with(prefix);
    let name = path.file_name().unwrap_or_default().as_encoded_bytes();
    let is_of_kernel = name.starts_with(b"vmlinuz-") || name.starts_with(b"config-");
    (starts("boot") && is_of_kernel) || starts("lib/modules")
}

/// `boot/vmlinuz-RELEASE` with its `lib/modules/RELEASE`, either of which may be under `usr`.
fn find_kernel(root: &Path) -> Result<Option<(PathBuf, PathBuf)>, KernelError> {
    for boot in [root.join("boot"), root.join("usr/boot")] {
        if !boot.is_dir() {
            continue;
        }
        for entry in fs::read_dir(&boot).map_err(io_error("read", &boot))? {
            let vmlinuz = entry.map_err(io_error("read", &boot))?.path();
            let name = vmlinuz.file_name().and_then(OsStr::to_str).unwrap_or_default();
            let Some(release) = name.strip_prefix("vmlinuz-").filter(|release| is_plain(release)) else { continue };
            let modules = ["lib/modules", "usr/lib/modules"].map(|dir| root.join(dir).join(release));
            if let Some(modules) = modules.into_iter().find(|dir| dir.is_dir()) {
                return Ok(Some((vmlinuz, modules)));
            }
        }
    }
    Ok(None)
}

/// The release becomes part of a path.
fn is_plain(release: &str) -> bool {
    let mut components = Path::new(release).components();
    matches!((components.next(), components.next()), (Some(Component::Normal(_)), None))
}

#[cfg(test)]
#[path = "install_test.rs"]
mod tests;
