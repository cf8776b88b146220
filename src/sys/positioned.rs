//! pread and pwrite between a file and guest memory, without a copy in between and without a shared file position.
#![expect(unsafe_code, reason = "the kernel is handed pointers into guest memory, of which no Rust slice may exist")]

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;
use vm_memory::VolatileSlice;

/// Fills the whole slice from `position` on.
///
/// # Errors
/// The kernel's error, or `UnexpectedEof` where the file ends early.
pub fn read_at(file: &File, slice: &VolatileSlice<'_>, position: u64) -> io::Result<()> {
    let guard = slice.ptr_guard_mut();
    all(slice.len(), position, |done, offset| {
        // SAFETY: `done` is at most the slice's length, so the pointer stays inside it or one past its end.
        let target = unsafe { guard.as_ptr().add(done) };
        // SAFETY: the guard keeps `len` bytes at its pointer mapped and writable; `slice.len() - done` are left of them.
        unsafe { libc::pread(file.as_raw_fd(), target.cast(), slice.len() - done, offset) }
    })
}

/// Writes the whole slice at `position`.
///
/// # Errors
/// The kernel's error; a full file system is one.
pub fn write_at(file: &File, slice: &VolatileSlice<'_>, position: u64) -> io::Result<()> {
    let guard = slice.ptr_guard();
    all(slice.len(), position, |done, offset| {
        // SAFETY: `done` is at most the slice's length, so the pointer stays inside it or one past its end.
        let source = unsafe { guard.as_ptr().add(done) };
        // SAFETY: the guard keeps `len` bytes at its pointer mapped and readable; `slice.len() - done` are left of them.
        unsafe { libc::pwrite(file.as_raw_fd(), source.cast(), slice.len() - done, offset) }
    })
}

/// Repeats a call that may move less than asked, or be interrupted, until `length` bytes are moved.
fn all(length: usize, position: u64, mut call: impl FnMut(usize, libc::off_t) -> isize) -> io::Result<()> {
    let mut done = 0;
    while done < length {
        let offset = position.checked_add(done as u64).and_then(|offset| libc::off_t::try_from(offset).ok());
        let offset = offset.ok_or(io::ErrorKind::InvalidInput)?;
        match call(done, offset) {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            moved if moved > 0 => done += moved.unsigned_abs(),
            _ => match io::Error::last_os_error() {
                error if error.kind() == io::ErrorKind::Interrupted => {}
                error => return Err(error),
            },
        }
    }
    Ok(())
}
