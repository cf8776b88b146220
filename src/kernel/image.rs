//! Any file that is said to be a kernel, opened as the ELF that the monitor loads.
//!
//! A `vmlinux` is taken as it is. A bzImage is unpacked once; the result is cached by the identity of the file (device,
//! inode, size, times), so that finding it again reads nothing. What is neither is named for what it is.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use super::KernelError;
use super::bzimage::{self, Header, Payload, UnpackError};
use super::elf::{self, Verdict};
use super::error::io_error;
use crate::draft::{Draft, Existing, drafts};
use crate::paths;

/// No compressed kernel is near this; the payload is read into memory.
const MAX_PAYLOAD: u64 = bzimage::MAX_VMLINUX;

/// An ELF x86-64 kernel, all of whose segments are in the file.
#[derive(Debug)]
pub struct KernelImage {
    /// Where the ELF is: the file that was asked for, or its unpacked form in the cache.
    pub path: PathBuf,
    /// The ELF, opened for reading, at its start.
    pub file: File,
}

/// A file that is a kernel, by its head and its length.
#[derive(Debug)]
pub struct KernelFile {
    path: PathBuf,
    found: Found,
}

/// Looks at `path`, and writes nothing.
///
/// # Errors
/// It is no kernel that the monitor could load, as far as its head tells.
pub fn recognise(path: &Path) -> Result<KernelFile, KernelError> {
    Ok(KernelFile { path: path.to_owned(), found: kernel_in(path)? })
}

impl KernelFile {
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Opens it, unpacking it into the user's cache if it is a bzImage.
    ///
    /// # Errors
    /// There is no cache, or what was packed is damaged or no kernel.
    pub fn open(self) -> Result<KernelImage, KernelError> {
        let Self { path, found } = self;
        match found {
            Found::Elf(file) => Ok(KernelImage { path, file }),
            Found::BzImage(file, payload) => cached(&path, file, payload, &paths::cache()?.join("kernels")),
        }
    }
}

/// Opens `path`, unpacking it into the user's cache if it is a bzImage.
pub fn open(path: &Path) -> Result<KernelImage, KernelError> {
    recognise(path)?.open()
}

/// As [`open`], but a bzImage is unpacked to `to`; an ELF is copied there.
pub(super) fn unpack_to(path: &Path, to: &Path) -> Result<(), KernelError> {
    match kernel_in(path)? {
        Found::Elf(_) => fs::copy(path, to).map(drop).map_err(io_error("write", to)),
        Found::BzImage(file, payload) => {
            let out = File::create(to).map_err(io_error("write", to))?;
            unpack(path, file, payload, &out, to)?;
            elf_of(path, to).map(drop)
        }
    }
}

#[derive(Debug)]
enum Found {
    Elf(File),
    BzImage(File, Payload),
}

fn kernel_in(path: &Path) -> Result<Found, KernelError> {
    // A fifo is not waited for, it is no kernel.
    let opened = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path);
    let mut file = opened.map_err(io_error("open the kernel", path))?;
    let meta = file.metadata().map_err(io_error("read the kernel", path))?;
    let not_a_kernel = || KernelError::NotAKernel { path: path.to_owned() };
    if !meta.is_file() {
        return Err(not_a_kernel());
    }
    let mut head = Vec::with_capacity(elf::HEAD);
    file.by_ref().take(elf::HEAD as u64).read_to_end(&mut head).map_err(io_error("read the kernel", path))?;
    file.seek(SeekFrom::Start(0)).map_err(io_error("read the kernel", path))?;
    let complete = |needed| match meta.len() {
        present if present < needed => Err(KernelError::Truncated { path: path.to_owned(), needed, present }),
        _ => Ok(()),
    };
    if elf::is_elf(&head) {
        return match elf::kernel(&head) {
            Some(Verdict::Kernel { end }) => complete(end).map(|()| Found::Elf(file)),
            Some(Verdict::Machine(machine)) => Err(KernelError::WrongMachine { path: path.to_owned(), machine }),
            Some(Verdict::Other) => Err(not_a_kernel()),
            None => complete(elf::HEAD as u64).and_then(|()| Err(not_a_kernel())),
        };
    }
    match bzimage::header(&head) {
        Some(Header::Payload(payload)) => {
            complete(payload.offset + payload.length)?;
            Ok(Found::BzImage(file, payload))
        }
        Some(Header::OldProtocol(version)) => Err(KernelError::OldProtocol { path: path.to_owned(), version }),
        None => Err(foreign(&head).map_or_else(not_a_kernel, |machine| KernelError::WrongMachine {
            path: path.to_owned(),
            machine: machine.to_owned(),
        })),
    }
}

/// Kernel images of other machines that are no ELF: Documentation/arch/{arm64/booting,riscv/boot-image-header}.rst.
fn foreign(head: &[u8]) -> Option<&'static str> {
    match head.get(0x38..0x3c)? {
        b"ARM\x64" => Some("aarch64"),
        b"RSC\x05" => Some("riscv64"),
        _ => None,
    }
}

fn cached(path: &Path, file: File, payload: Payload, cache: &Path) -> Result<KernelImage, KernelError> {
    let meta = file.metadata().map_err(io_error("read the kernel", path))?;
    let dir = cache.join(identity(&meta));
    let vmlinux = dir.join("vmlinux");
    if !vmlinux.exists() {
        fs::create_dir_all(&dir).map_err(io_error("create", &dir))?;
        // Two starts at once do the work twice, and each sees a whole file.
        let placed = place(path, file, payload, &dir, &vmlinux);
        if placed.is_err() {
            // The error that matters is the first one.
            let _ = fs::remove_dir(&dir);
        }
        placed?;
    }
    let file = elf_of(path, &vmlinux)?;
    Ok(KernelImage { path: vmlinux, file })
}

fn place(path: &Path, file: File, payload: Payload, dir: &Path, vmlinux: &Path) -> Result<(), KernelError> {
    let draft = Draft::new(dir, &drafts(), 0o644).map_err(io_error("write", vmlinux))?;
    unpack(path, file, payload, draft.file(), vmlinux)?;
    elf_of(path, &draft.own_name())?;
    draft.publish(vmlinux, &Existing::Replace).map(drop).map_err(io_error("place", vmlinux))
}

/// The unpacked form of `original`, which must be a kernel in turn.
fn elf_of(original: &Path, unpacked: &Path) -> Result<File, KernelError> {
    let named = |error| match error {
        KernelError::NotAKernel { .. } => KernelError::NotAKernel { path: original.to_owned() },
        KernelError::WrongMachine { machine, .. } => KernelError::WrongMachine { path: original.to_owned(), machine },
        other => other,
    };
    match kernel_in(unpacked).map_err(named)? {
        Found::Elf(file) => Ok(file),
        Found::BzImage(..) => Err(KernelError::NotAKernel { path: original.to_owned() }),
    }
}

fn identity(meta: &fs::Metadata) -> String {
    let (dev, ino, size) = (meta.dev(), meta.ino(), meta.size());
    format!("{dev:x}-{ino:x}-{size:x}-{}.{}-{}.{}", meta.mtime(), meta.mtime_nsec(), meta.ctime(), meta.ctime_nsec())
}

fn unpack(path: &Path, mut file: File, payload: Payload, out: &File, to: &Path) -> Result<(), KernelError> {
    let truncated = |error: io::Error| KernelError::Payload { path: path.to_owned(), source: error };
    if payload.length > MAX_PAYLOAD {
        return Err(truncated(io::ErrorKind::FileTooLarge.into()));
    }
    file.seek(SeekFrom::Start(payload.offset)).map_err(io_error("read the kernel", path))?;
    let mut packed = Vec::new();
    file.take(payload.length).read_to_end(&mut packed).map_err(io_error("read the kernel", path))?;
    bzimage::unpack(&packed, out).map_err(|error| match error {
        UnpackError::Unsupported(method) => KernelError::Compression { path: path.to_owned(), method },
        UnpackError::Io(source) => truncated(source),
    })?;
    out.sync_all().map_err(io_error("flush", to))
}

#[cfg(test)]
#[path = "image_test.rs"]
mod tests;
