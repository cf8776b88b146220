//! Is there a KVM here that can run a Linux kernel, and if not, which of four reasons is it?

use kvm_ioctls::Kvm;
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::fd::{FromRawFd as _, IntoRawFd as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

const DEVICE: &str = "/dev/kvm";
/// The only version there has been since Linux 2.6.22; the kernel's documentation says to refuse any other
/// (Documentation/virt/kvm/api.rst, KVM_GET_API_VERSION).
const API_VERSION: i32 = 12;

#[derive(Debug, thiserror::Error)]
pub enum KvmUnusable {
    #[error("there is no {DEVICE}")]
    Missing,
    #[error("{DEVICE} is there, but this user may not open it")]
    NotPermitted,
    #[error("{DEVICE} cannot be opened")]
    Open(#[source] io::Error),
    #[error("{DEVICE} speaks KVM API version {0}, not {API_VERSION}")]
    ApiVersion(i32),
    #[error(
        "{DEVICE} is there, but the CPU has neither VMX nor SVM: this KVM is a software one that cannot run a Linux kernel"
    )]
    NoVirtualisation,
}

impl KvmUnusable {
    /// The way out.
    #[must_use]
    pub fn hint(&self) -> String {
        let anywhere = "`cargo bottle …` in a checkout of bottle-vmm runs the same command inside an emulated KVM host";
        match self {
            Self::Missing => format!(
                "load the module (`modprobe kvm_intel` or `modprobe kvm_amd`) and switch virtualisation on in the firmware; in a \
                 virtual machine, its host must allow nested virtualisation; {anywhere}"
            ),
            Self::NotPermitted => {
                "join the group that owns it (`sudo usermod -aG kvm $USER`, then log in again)".to_owned()
            }
            Self::Open(_) => format!("see what `ls -l {DEVICE}` says; {anywhere}"),
            Self::ApiVersion(_) => "use a kernel of this century".to_owned(),
            Self::NoVirtualisation => {
                format!("use a machine (or an instance type) with nested virtualisation or bare metal; {anywhere}")
            }
        }
    }
}

/// Opens the device after making sure that it can run a Linux kernel.
///
/// # Errors
/// [`KvmUnusable`], which tells the reasons apart.
pub fn open() -> Result<File, KvmUnusable> {
    open_at(Path::new(DEVICE), cpu_virtualises())
}

fn open_at(device: &Path, virtualises: bool) -> Result<File, KvmUnusable> {
    let opened = OpenOptions::new().read(true).write(true).custom_flags(libc::O_CLOEXEC).open(device);
    let file = opened.map_err(|error| match error.kind() {
        ErrorKind::NotFound => KvmUnusable::Missing,
        ErrorKind::PermissionDenied => KvmUnusable::NotPermitted,
        // ENODEV and ENXIO: the node is there, its module is not.
        _ if matches!(error.raw_os_error(), Some(libc::ENODEV | libc::ENXIO)) => KvmUnusable::Missing,
        _ => KvmUnusable::Open(error),
    })?;
    match api_version(&file)? {
        API_VERSION if virtualises => Ok(file),
        API_VERSION => Err(KvmUnusable::NoVirtualisation),
        other => Err(KvmUnusable::ApiVersion(other)),
    }
}

#[expect(unsafe_code, reason = "kvm-ioctls takes over a descriptor in no other way")]
fn api_version(file: &File) -> Result<i32, KvmUnusable> {
    let duplicate = file.try_clone().map_err(KvmUnusable::Open)?;
    // SAFETY: a descriptor of our own, given away here.
    let kvm = unsafe { Kvm::from_raw_fd(duplicate.into_raw_fd()) };
    Ok(kvm.get_api_version())
}

/// VMX (leaf 1, ECX bit 5) or SVM (leaf 0x80000001, ECX bit 2), as the CPU tells itself: faster than reading /proc/cpuinfo,
/// which grows with the machine.
#[must_use]
pub fn cpu_virtualises() -> bool {
    const EXTENDED: u32 = 0x8000_0001;
    let leaf = core::arch::x86_64::__cpuid;
    let vmx = leaf(1).ecx & (1 << 5) != 0;
    let svm = leaf(0x8000_0000).eax >= EXTENDED && leaf(EXTENDED).ecx & (1 << 2) != 0;
    vmx || svm
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_is_told_apart_and_has_a_way_out() {
        assert!(matches!(open_at(Path::new("/dev/kvm-that-is-not-there"), true), Err(KvmUnusable::Missing)));
        // No KVM answers behind it: the version is the ioctl's error.
        assert!(matches!(open_at(Path::new("/dev/null"), true), Err(KvmUnusable::ApiVersion(version)) if version < 0));
        for reason in
            [KvmUnusable::Missing, KvmUnusable::NotPermitted, KvmUnusable::NoVirtualisation, KvmUnusable::ApiVersion(1)]
        {
            assert!(!reason.hint().is_empty());
        }
    }

    #[test]
    fn a_kvm_without_hardware_behind_it_is_refused_even_if_it_answers() {
        if Path::new(DEVICE).exists() {
            assert!(matches!(
                open_at(Path::new(DEVICE), false),
                Err(KvmUnusable::NoVirtualisation | KvmUnusable::NotPermitted)
            ));
        }
    }
}
