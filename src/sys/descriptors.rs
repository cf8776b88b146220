//! Closing what was inherited by accident.
#![expect(unsafe_code, reason = "close_range is in no safe wrapper")]

use std::io;

/// Closes every descriptor from `first` on (close_range(2), Linux 5.9). Call it before anything of ours is open there.
///
/// # Errors
/// On a kernel without the call.
pub fn close_from(first: u32) -> io::Result<()> {
    // SAFETY: at the start of the process nothing of ours owns a descriptor above the standard ones, which is the caller's promise; the
    // call takes integers only.
    match unsafe { libc::close_range(first, u32::MAX, 0) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
