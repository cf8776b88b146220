//! Our own kernel: `firmware/microvm.config` on Debian's kernel source, built here.
//!
//! What was built is kept by a digest of all that went into it: the configuration, the source's version, this recipe. The
//! source tree, a gigabyte, is removed after the build. Downloads and digests are apt's (`src/debian`).

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::thread::available_parallelism;

use nix::fcntl::{Flock, FlockArg};
use sha2::{Digest, Sha256};

use super::error::io_error;
use super::store::{hex, remove_tree};
use super::{Installed, KernelError, Kind, Store, image, make, options, source};
use crate::debian::{Apt, Suite, Version};
use crate::paths;
use crate::progress::Progress;

/// Data, with its reasons beside it in `firmware/README.md`.
const CONFIG: &str = include_str!("../../firmware/microvm.config");

/// A kernel with long-term support that both suites of Debian 12 and 13 have.
const SOURCE_PACKAGE: &str = "linux-source-6.12";

/// What the build calls, as Debian packages.
const BUILD_PACKAGES: [&str; 9] =
    ["bc", "binutils", "bison", "flex", "gcc", "libc6-dev", "libelf-dev", "make", "xz-utils"];

/// Under the directory of builds: the tree that is being built, a gigabyte once compiled.
const WORK: &str = "work";

/// Raised when the steps below change what comes out of them.
const RECIPE: u32 = 1;

/// Builds the firmware kernel, or takes the one that was built of the same things, and installs it.
pub fn firmware(
    store: &Store,
    apt: &Apt,
    jobs: Option<usize>,
    progress: &dyn Progress,
) -> Result<Installed, KernelError> {
    progress.step(&format!("looking for {SOURCE_PACKAGE}"));
    let version = apt.newest(SOURCE_PACKAGE, Suite::Any)?;
    let builds = paths::cache()?.join("kernel-build");
    fs::create_dir_all(&builds).map_err(io_error("create", &builds))?;
    let _turn = lock(&builds.join("lock"))?;
    let built = builds.join(key(&version)).join("vmlinux");
    if built.exists() {
        progress.step("taking the kernel that was built before");
        return place(store, &built, &version);
    }
    apt.install(&BUILD_PACKAGES)?;
    progress.step(&format!("fetching {SOURCE_PACKAGE} {version}"));
    let package = apt.download(SOURCE_PACKAGE, Suite::Any)?;
    build(&package, &builds, &built, jobs, progress)?;
    let installed = place(store, &built, &version)?;
    tidy(&package, &builds, progress);
    Ok(installed)
}

/// From the package to `built`. Always from the beginning: what an interrupted build left is not to be trusted.
fn build(
    package: &Path,
    builds: &Path,
    built: &Path,
    jobs: Option<usize>,
    progress: &dyn Progress,
) -> Result<(), KernelError> {
    let work = builds.join(WORK);
    remove_tree(&work)?;
    let tree = work.join("linux");
    fs::create_dir_all(&tree).map_err(io_error("create", &tree))?;
    progress.step("unpacking the source");
    source::unpack(package, &tree, progress)?;
    progress.step("configuring");
    let config = work.join("microvm.config");
    fs::write(&config, CONFIG).map_err(io_error("write", &config))?;
    let make = make::Make::new(&tree);
    make.configure(&config)?;
    check_configuration(CONFIG, &tree.join(".config"))?;
    progress.step("compiling");
    let jobs = jobs.unwrap_or_else(|| available_parallelism().map_or(1, usize::from));
    make.vmlinux(jobs, progress)?;
    let stripped = work.join("vmlinux");
    make.strip(&tree.join("vmlinux"), &stripped)?;
    image::open(&stripped)?;
    let dir = built.parent().unwrap_or(builds);
    fs::create_dir_all(dir).map_err(io_error("create", dir))?;
    fs::rename(&stripped, built).map_err(io_error("place", built))
}

/// What only another version's build would need, which fetches and unpacks its own. The kernel is in place: that its source
/// cannot be removed is no reason to fail, and the next build tries again.
fn tidy(package: &Path, builds: &Path, progress: &dyn Progress) {
    progress.step("removing the source");
    let _ = fs::remove_file(package);
    let _ = remove_tree(&builds.join(WORK));
}

fn place(store: &Store, built: &Path, version: &Version) -> Result<Installed, KernelError> {
    let stage = store.stage()?;
    fs::copy(built, stage.vmlinux()).map_err(io_error("copy", built))?;
    let source = format!("{SOURCE_PACKAGE} {version}, build {}", key(version));
    // No line of the configuration was lost, or it would not have been built.
    stage.commit(Kind::Firmware, version.upstream(), &source, options::of(CONFIG))
}

/// Names a build by what goes into it.
fn key(version: &Version) -> String {
    let mut digest = Sha256::new();
    for part in [CONFIG, SOURCE_PACKAGE, version.as_str(), &RECIPE.to_string()] {
        // With its length, so that no two lists of parts read the same.
        digest.update((part.len() as u64).to_le_bytes());
        digest.update(part);
    }
    hex(&digest.finalize()[..8])
}

/// Kconfig drops what it does not know, or what depends on something that is off, without a word.
fn check_configuration(wanted: &str, path: &Path) -> Result<(), KernelError> {
    let result = fs::read_to_string(path).map_err(io_error("read", path))?;
    let lines = lost_lines(wanted, &result);
    if lines.is_empty() { Ok(()) } else { Err(KernelError::ConfigurationLost { lines }) }
}

fn lost_lines(wanted: &str, result: &str) -> Vec<String> {
    let result: Vec<_> = result.lines().collect();
    let kept = |line: &str| match line.strip_prefix("# ").and_then(|line| line.strip_suffix(" is not set")) {
        // A symbol whose menu is off does not appear at all.
        Some(symbol) => !result.iter().any(|line| line.strip_prefix(symbol).is_some_and(|rest| rest.starts_with('='))),
        None => !line.starts_with("CONFIG_") || result.contains(&line),
    };
    wanted.lines().map(str::trim).filter(|line| !kept(line)).map(str::to_owned).collect()
}

fn lock(path: &PathBuf) -> Result<Flock<File>, KernelError> {
    let file = File::create(path).map_err(io_error("open", path))?;
    Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, errno)| io_error("lock", path)(io::Error::from(errno)))
}

#[cfg(test)]
#[path = "build_test.rs"]
mod tests;
