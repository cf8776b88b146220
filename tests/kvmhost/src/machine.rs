//! The emulated machine at rest: what it boots, how it is made up, and the snapshot of its memory after booting.
//!
//! The snapshot is QEMU's migration with `x-ignore-shared`: RAM is a file that the saved machine shares and each restored
//! one maps privately, so that a restore reads only the devices' state and takes some 60 ms.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, BufWriter};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bottle_vmm::kernel::KernelError;
use bottle_vmm::kernel::cpio::Archive;
use bottle_vmm::kernel::modules::{Module, Tree};
use bottle_vmm::progress::Progress;
use sha2::{Digest, Sha256};

use crate::cache::{Cache, CacheError, Held, io_error};
use crate::parts::{Parts, PartsError};
use crate::qemu::{self, Memory, Qemu, QemuError};

const INIT: &[u8] = include_bytes!("inside/init.sh");
const AGENT: &[u8] = include_bytes!("inside/agent.sh");

/// What is loaded at boot, by its purpose; what these depend on comes with them.
#[rustfmt::skip]
const MODULES: [&str; 14] = [
    "kvm_amd", // the point of it all
    "virtio_pci", "virtio_console", "9p", "9pnet_virtio", "overlay", // the job's way in and its root directory
    "tun", "vhost_net", "vhost_vsock", "vsock_loopback", // what other monitors, which ours is compared with, need
    "loop", "virtio_blk", "ext4", "erofs", // disks and images, mounted to be looked at
];

/// Booting takes 3 s on an idle machine.
const BOOT_PATIENCE: Duration = Duration::from_secs(180);

/// A firmware clock is trusted and interrupts are not probed, since both are emulated and right; mitigations and
/// randomisation protect nothing here; a panic ends the machine.
const KERNEL_ARGUMENTS: &str =
    "console=ttyS0 quiet loglevel=4 mitigations=off panic=-1 tsc=reliable no_timer_check audit=0 nokaslr";

#[derive(Debug, thiserror::Error)]
pub enum MachineError {
    #[error(transparent)]
    Cache(#[from] CacheError),
    #[error(transparent)]
    Parts(#[from] PartsError),
    #[error("cannot use the emulated host's kernel")]
    Kernel(#[from] KernelError),
    #[error("cannot boot the emulated host")]
    Boot(#[from] QemuError),
}

impl MachineError {
    pub fn hint(&self) -> Option<String> {
        match self {
            MachineError::Cache(error) => error.hint(),
            MachineError::Parts(error) => error.hint(),
            MachineError::Kernel(error) => error.hint(),
            MachineError::Boot(error) => error.hint(),
        }
    }
}

/// How large the emulated host is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(crate) smp: u32,
    pub(crate) mem_mib: u32,
}

/// The snapshot, ready to be restored any number of times at once.
#[derive(Debug)]
pub(crate) struct Snapshot {
    pub(crate) machine: Machine,
    pub(crate) ram: PathBuf,
    pub(crate) state: PathBuf,
}

/// What QEMU is told about the machine itself; the same when saving and when restoring.
#[derive(Clone, Debug)]
pub(crate) struct Machine {
    pub(crate) parts: Parts,
    pub(crate) shape: Shape,
    pub(crate) vmlinux: PathBuf,
    pub(crate) initrd: PathBuf,
}

impl Snapshot {
    /// The snapshot for a machine of this shape, and whatever it takes to make it; kept as long as the lock.
    pub(crate) fn ensure(
        cache: &Cache,
        shape: Shape,
        progress: &dyn Progress,
    ) -> Result<(Snapshot, Held), MachineError> {
        // The next step may need the lock for itself. What is found here is safe meanwhile: it has just been used.
        let (parts, held) = Parts::ensure(cache, progress)?;
        drop(held);
        let boot_key = key(&[INIT, AGENT, MODULES.join(" ").as_bytes(), &identity(&parts.kernel())?]);
        let (boot, held) = cache.ensure(&format!("boot-{boot_key}"), |dir| make_boot_files(&parts, dir, progress))?;
        drop(held);
        let machine = Machine { parts, shape, vmlinux: boot.join("vmlinux"), initrd: boot.join("initrd") };
        let arguments = [machine.arguments(), qemu::devices()].concat().join(OsStr::new("\0"));
        let key = key(&[arguments.as_encoded_bytes(), &identity(&machine.parts.qemu())?]);
        let name = format!("snapshot-{key}-{}x{}", shape.smp, shape.mem_mib);
        let (dir, held) = cache.ensure(&name, |dir| boot_and_save(&machine, dir, progress))?;
        Ok((Snapshot { machine, ram: dir.join("ram"), state: dir.join("state") }, held))
    }
}

impl Machine {
    /// The machine without its connections to the outside, which differ in every run.
    pub(crate) fn arguments(&self) -> Vec<OsString> {
        let mut arguments: Vec<OsString> = Vec::new();
        for dir in self.parts.firmware_dirs() {
            arguments.extend(["-L".into(), dir.into()]);
        }
        let words = "-nodefaults -no-user-config -display none -no-reboot -accel tcg,thread=multi \
                     -machine q35,memory-backend=ram,hpet=off -cpu EPYC,+svm,+npt";
        arguments.extend(words.split_ascii_whitespace().map(OsString::from));
        arguments.extend(["-smp".into(), self.shape.smp.to_string().into()]);
        arguments.extend(["-m".into(), format!("{}M", self.shape.mem_mib).into()]);
        arguments.extend(["-kernel".into(), self.vmlinux.clone().into()]);
        arguments.extend(["-initrd".into(), self.initrd.clone().into()]);
        arguments.extend(["-append".into(), KERNEL_ARGUMENTS.into()]);
        arguments
    }
}

fn make_boot_files(parts: &Parts, dir: &Path, progress: &dyn Progress) -> Result<(), MachineError> {
    progress.step("unpacking the emulated host's kernel");
    let vmlinux = dir.join("vmlinux");
    let kernel = bottle_vmm::kernel::image::open(&parts.kernel())?;
    fs::copy(&kernel.path, &vmlinux).map_err(io_error("write", &vmlinux))?;
    let modules = Tree::scan(&parts.modules())?.load_order(&MODULES)?;
    let busybox = fs::read(parts.busybox()).map_err(io_error("read", &parts.busybox()))?;
    let initrd = dir.join("initrd");
    let file = File::create(&initrd).map_err(io_error("write", &initrd))?;
    initramfs(file, &busybox, &modules, &initrd)
}

/// /dev/console, which PID 1 is started with, is in the archive that every kernel has built in (usr/default_cpio_list).
fn initramfs(file: File, busybox: &[u8], modules: &[Module], path: &Path) -> Result<(), MachineError> {
    let failed = |error| io_error("write", path)(error);
    let mut archive = Archive::new(BufWriter::new(file));
    for dir in ["bin", "dev", "proc", "sys", "run", "lib", "lib/order"] {
        archive.directory(dir, 0o755).map_err(failed)?;
    }
    for (name, program) in [("bin/busybox", busybox), ("init", INIT), ("agent", AGENT)] {
        archive.file(name, 0o755, program).map_err(failed)?;
    }
    for (position, module) in modules.iter().enumerate() {
        let name = format!("lib/order/{position:03}-{}.ko", module.name);
        archive.file(&name, 0o644, &module.read()?).map_err(failed)?;
    }
    archive.finish().map_err(failed)?;
    Ok(())
}

fn boot_and_save(machine: &Machine, dir: &Path, progress: &dyn Progress) -> Result<(), MachineError> {
    progress.step("booting the emulated host once");
    let (ram, state) = (dir.join("ram"), dir.join("state"));
    // Sockets and shares are there while it boots, so that the restored machine has them; nothing is said through them.
    let mut qemu = Qemu::start(machine, &Memory::Save { ram: &ram }, &[], None)?;
    qemu.await_ready(BOOT_PATIENCE)?;
    progress.step("saving its memory");
    qemu.save(&state)?;
    Ok(())
}

/// What tells one version of an immutable file from another.
fn identity(path: &Path) -> Result<[u8; 32], CacheError> {
    let data: Result<_, io::Error> = fs::metadata(path);
    let data = data.map_err(io_error("read", path))?;
    let numbers = [data.ino(), data.size(), data.mtime().cast_unsigned(), data.mtime_nsec().cast_unsigned()];
    Ok(Sha256::digest(numbers.map(u64::to_le_bytes).concat()).into())
}

fn key(inputs: &[&[u8]]) -> String {
    let mut hash = Sha256::new();
    for input in inputs {
        hash.update(Sha256::digest(input));
    }
    hash.finalize().iter().take(6).map(|byte| format!("{byte:02x}")).collect()
}
