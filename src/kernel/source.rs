//! Unpacks as much of a kernel source package as an x86-64 build reads.
//!
//! The package holds one `linux-source-VERSION.tar.xz`; it is read as a stream out of the package's own archive, so neither
//! is ever on disk whole. Three quarters of the tree are drivers and machines that are not ours: of those only Kconfig and
//! Makefiles are kept, which the build reads whatever is configured.

use std::fs;
use std::io;
use std::ops::ControlFlow;
use std::path::{Component, Path, PathBuf};

use liblzma::stream::{CONCATENATED, Stream};

use super::KernelError;
use crate::debian::deb;
use crate::progress::Progress;

/// The archive is compressed with a dictionary of 64 MiB at the most (xz -9).
const XZ_MEMORY_LIMIT: u64 = 256 << 20;

/// Entries between two signs of progress.
const TELL_EVERY: u64 = 512;

/// Entries of a 6.12 tree, wanted or not; an estimate.
const ENTRIES: u64 = 93_000;

/// Unpacks into `tree`, which exists, without the archive's top directory.
pub(super) fn unpack(package: &Path, tree: &Path, progress: &dyn Progress) -> Result<(), KernelError> {
    let mut found = false;
    deb::for_each_entry(package, |path, entry| {
        if !is_source(path) {
            return Ok(ControlFlow::Continue(()));
        }
        found = true;
        let failed = |source| deb::DebError::Entry { deb: package.to_owned(), entry: path.to_owned(), source };
        let stream = Stream::new_stream_decoder(XZ_MEMORY_LIMIT, CONCATENATED).map_err(|e| failed(e.into()))?;
        let plain = liblzma::read::XzDecoder::new_stream(entry, stream);
        unpack_tar(plain, tree, progress).map_err(failed)?;
        Ok::<_, KernelError>(ControlFlow::Break(()))
    })?;
    if found { Ok(()) } else { Err(KernelError::NoSourceInPackage { deb: package.to_owned() }) }
}

fn is_source(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    path.starts_with("usr/src") && name.starts_with("linux-source-") && name.ends_with(".tar.xz")
}

fn unpack_tar(plain: impl io::Read, tree: &Path, progress: &dyn Progress) -> io::Result<()> {
    let mut archive = tar::Archive::new(plain);
    for (done, entry) in (0..).zip(archive.entries()?) {
        let mut entry = entry?;
        if done % TELL_EVERY == 0 {
            progress.advance(done, ENTRIES.max(done));
        }
        let path = entry.path()?.into_owned();
        let Some(path) = below_top(&path) else { continue };
        if !is_wanted(&path) {
            continue;
        }
        let to = tree.join(&path);
        if let Some(parent) = to.parent() {
            fs::create_dir_all(parent)?;
        }
        entry.unpack(&to)?;
    }
    Ok(())
}

/// The path without the top directory; None for that directory itself, and for what would leave it.
fn below_top(path: &Path) -> Option<PathBuf> {
    let mut components = path.components().filter(|component| *component != Component::CurDir);
    components.next()?;
    let below: PathBuf = components
        .map(|component| match component {
            Component::Normal(name) => Some(name),
            _ => None,
        })
        .collect::<Option<_>>()?;
    (!below.as_os_str().is_empty()).then_some(below)
}

/// The drivers that our configuration compiles, with what they include of each other. One that is missing here ends the
/// build at once with its name.
const DRIVERS: [&str; 13] =
    ["acpi", "base", "block", "char", "clocksource", "cpuidle", "net", "of", "pnp", "ptp", "rtc", "tty", "virtio"];

/// The tools that the build itself runs (objtool), and what they are made of.
const TOOLS: [&str; 6] = ["arch", "build", "include", "lib", "objtool", "scripts"];

/// A tree is read and written file by file, and later removed again: on a slow disk, files are what a build waits for.
fn is_wanted(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().as_encoded_bytes();
    let steers = name.starts_with(b"Kconfig") || name.starts_with(b"Makefile") || name.starts_with(b"Kbuild");
    let components: Vec<_> = path.iter().map(|component| component.to_str().unwrap_or_default()).collect();
    let foreign = match components.as_slice() {
        ["Documentation" | "samples" | "sound", ..] | ["drivers", "net", _, _, ..] => true,
        ["arch", machine, _, ..] => *machine != "x86",
        ["drivers", kind, _, ..] => !DRIVERS.contains(kind),
        ["tools", tool, _, ..] => !TOOLS.contains(tool),
        _ => false,
    };
    steers || !foreign
}

#[cfg(test)]
#[path = "source_test.rs"]
mod tests;
