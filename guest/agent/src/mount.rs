//! The file systems of the guest: the image read-only below, what is written above, and the kernel's own.
//!
//! Order and options follow what docker gives a container, as far as a machine of one's own has the question at all.
//! Paths inside the image are resolved only after the root has changed, so an image's symbolic link at `/proc` or
//! `/tmp` leads somewhere in the image.

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, chown, symlink};
use std::thread::sleep;
use std::time::Duration;

use bottle_protocol::{DeviceName, Setup};
use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::unistd::{chdir, chroot};

use crate::network::NetworkError;
use crate::report;

/// Why the machine could not be made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SetupError {
    #[error("cannot mount {what} on {target}")]
    Mount { what: String, target: &'static str, source: Errno },
    #[error("cannot make the directory {path}")]
    Directory { path: &'static str, source: io::Error },
    #[error("cannot make {path} the root")]
    Root { path: &'static str, source: Errno },
    #[error(transparent)]
    Network(#[from] NetworkError),
}

impl SetupError {
    /// The system's part of it.
    pub(crate) fn errno(&self) -> i32 {
        match self {
            Self::Mount { source, .. } | Self::Root { source, .. } => *source as i32,
            Self::Directory { source, .. } => source.raw_os_error().unwrap_or(0),
            Self::Network(error) => error.errno(),
        }
    }
}

const LOWER: &str = "/lower";
const UPPER: &str = "/upper";
const UPPER_DATA: &str = "/upper/data";
const UPPER_WORK: &str = "/upper/work";
const NEW_ROOT: &str = "/newroot";

const KERNELS_OWN: MsFlags = MsFlags::MS_NOSUID.union(MsFlags::MS_NODEV).union(MsFlags::MS_NOEXEC);
const SCRATCH: MsFlags = MsFlags::MS_NOSUID.union(MsFlags::MS_NODEV);

/// `/dev` of the initramfs, for the kernel's log and the disks.
pub(crate) fn devices() -> Result<(), SetupError> {
    make_directory("/dev", 0o755)?;
    attach("devtmpfs", "/dev", "devtmpfs", MsFlags::MS_NOSUID, Some("mode=0755"))
}

/// Puts the image under an overlay, makes that the root, and mounts the kernel's file systems in it.
pub(crate) fn root(setup: &Setup) -> Result<(), SetupError> {
    lower(&setup.root)?;
    upper(setup.scratch.as_ref())?;
    make_directory(NEW_ROOT, 0o755)?;
    // `volatile`: nothing is synced, since nothing outlives the machine (Documentation/filesystems/overlayfs.rst).
    let layers = format!("lowerdir={LOWER},upperdir={UPPER_DATA},workdir={UPPER_WORK},volatile");
    attach("overlay", NEW_ROOT, "overlay", MsFlags::empty(), Some(&layers))?;
    enter(NEW_ROOT)?;
    kernels_own()?;
    for_programs(setup.scratch.is_some())
}

fn lower(device: &DeviceName) -> Result<(), SetupError> {
    make_directory(LOWER, 0o755)?;
    let flags = MsFlags::MS_RDONLY | MsFlags::MS_NOATIME;
    attach_disk(device, LOWER, "erofs", flags)
}

fn upper(scratch: Option<&DeviceName>) -> Result<(), SetupError> {
    make_directory(UPPER, 0o755)?;
    match scratch {
        Some(device) => attach_disk(device, UPPER, "ext4", MsFlags::MS_NOATIME)?,
        None => attach("tmpfs", UPPER, "tmpfs", MsFlags::MS_NOATIME, Some("mode=0755"))?,
    }
    make_directory(UPPER_WORK, 0o755)?;
    make_directory(UPPER_DATA, 0o755)?;
    // The merged root shows owner and mode of the upper directory, so these must be the image's.
    let like_image = fs::metadata(LOWER).and_then(|image| {
        chown(UPPER_DATA, Some(image.uid()), Some(image.gid()))?;
        fs::set_permissions(UPPER_DATA, Permissions::from_mode(image.mode() & 0o7777))
    });
    like_image.map_err(|source| SetupError::Directory { path: UPPER_DATA, source })
}

/// The initramfs cannot be unmounted or pivoted away from (Documentation/filesystems/ramfs-rootfs-initramfs.rst): the
/// new root is moved over it.
fn enter(root: &'static str) -> Result<(), SetupError> {
    let none: Option<&str> = None;
    chdir(root)
        .and_then(|()| mount(Some("."), "/", none, MsFlags::MS_MOVE, none))
        .and_then(|()| chroot("."))
        .and_then(|()| chdir("/"))
        .map_err(|source| SetupError::Root { path: root, source })
}

fn kernels_own() -> Result<(), SetupError> {
    for (path, mode) in [("/proc", 0o555), ("/sys", 0o555), ("/dev", 0o755)] {
        make_directory(path, mode)?;
    }
    attach("proc", "/proc", "proc", KERNELS_OWN, None)?;
    attach("sysfs", "/sys", "sysfs", KERNELS_OWN, None)?;
    // The same instance as in the initramfs: there is only one (drivers/base/devtmpfs.c).
    attach("devtmpfs", "/dev", "devtmpfs", MsFlags::MS_NOSUID, Some("mode=0755"))?;
    let no_exec = MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC;
    make_directory("/dev/pts", 0o755)?;
    attach("devpts", "/dev/pts", "devpts", no_exec, Some("newinstance,ptmxmode=0666,mode=0620,gid=5"))?;
    make_directory("/dev/shm", 0o1777)?;
    attach("tmpfs", "/dev/shm", "tmpfs", KERNELS_OWN, Some("mode=1777"))?;
    for (link, target) in [("fd", ""), ("stdin", "/0"), ("stdout", "/1"), ("stderr", "/2")] {
        let _ = symlink(format!("/proc/self/fd{target}"), format!("/dev/{link}")); // a convenience of shells
    }
    // Not in every kernel, and no command is the worse for it but the one that asks for them.
    if make_directory("/dev/mqueue", 0o1777).is_ok() {
        let _ = attach("mqueue", "/dev/mqueue", "mqueue", KERNELS_OWN, None);
    }
    let _ = attach("cgroup2", "/sys/fs/cgroup", "cgroup2", KERNELS_OWN, None);
    Ok(())
}

/// `/run` and `/tmp`, in memory. What an image has there (directories of its packages, files that its build copied) is its command's, as in
/// a container. With a scratch disk `/tmp` stays on it: whoever asks for a disk wants room, and memory is less.
fn for_programs(has_disk: bool) -> Result<(), SetupError> {
    make_directory("/run", 0o755)?;
    make_directory("/tmp", 0o1777)?;
    in_memory("/run")?;
    if has_disk { Ok(()) } else { in_memory("/tmp") }
}

/// A directory that is empty, with the owner and the mode that it has.
fn in_memory(path: &'static str) -> Result<(), SetupError> {
    let entries = fs::read_dir(path).and_then(|mut entries| Ok((entries.next().is_none(), fs::metadata(path)?)));
    match entries {
        Ok((true, like)) => {
            let options = format!("mode={:o},uid={},gid={}", like.mode() & 0o7777, like.uid(), like.gid());
            attach("tmpfs", path, "tmpfs", SCRATCH, Some(&options))
        }
        // A link that leads nowhere, or to a file, is the image's own as well.
        Ok((false, _)) | Err(_) => Ok(()),
    }
}

fn attach(
    source: &str,
    target: &'static str,
    kind: &str,
    flags: MsFlags,
    options: Option<&str>,
) -> Result<(), SetupError> {
    mount(Some(source), target, Some(kind), flags, options).map_err(|errno| SetupError::Mount {
        what: if source == kind { kind.to_owned() } else { format!("{source} ({kind})") },
        target,
        source: errno,
    })
}

fn attach_disk(device: &DeviceName, target: &'static str, kind: &str, flags: MsFlags) -> Result<(), SetupError> {
    const PAUSE: Duration = Duration::from_millis(5);
    const ATTEMPTS: u32 = 200;
    let path = format!("/dev/{device}");
    // A driver that came as a module may still be probing its disk.
    for _ in 1..ATTEMPTS {
        match attach(&path, target, kind, flags, None) {
            Err(SetupError::Mount { source: Errno::ENOENT | Errno::ENXIO, .. }) => sleep(PAUSE),
            done => return done,
        }
    }
    report::critical(format_args!("{path} did not appear within {:?}", PAUSE * ATTEMPTS));
    attach(&path, target, kind, flags, None)
}

/// Makes a directory unless it is there, whatever its mode then is. The umask does not matter.
fn make_directory(path: &'static str, mode: u32) -> Result<(), SetupError> {
    match DirBuilder::new().mode(mode).create(path) {
        Ok(()) => fs::set_permissions(path, Permissions::from_mode(mode)),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
    .map_err(|source| SetupError::Directory { path, source })
}
