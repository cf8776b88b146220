//! Takes a variable's value out of this process's environment for good.
//!
//! `std::env::remove_var` only unlinks the pointer: the bytes stay on the initial stack, where `/proc/PID/environ` shows them to
//! the end of the process. A value that was handed over by `-e NAME` is overwritten there once it has been read.
#![expect(unsafe_code, reason = "the initial environment block is only reachable through raw pointers")]

use std::ffi::{CStr, c_char};
use std::os::unix::ffi::OsStrExt as _;

unsafe extern "C" {
    static mut environ: *mut *mut c_char;
}

/// Whether there is a variable of that name. Unlike `std::env::var_os` it makes no copy of the value.
///
/// As for [`take`], nobody else may be changing the environment.
#[must_use]
pub fn has(name: &[u8]) -> bool {
    let mut found = false;
    each_entry(|entry| {
        // SAFETY: every entry of environ is a NUL-terminated string.
        let bytes = unsafe { CStr::from_ptr(entry) }.to_bytes();
        found |= bytes.strip_prefix(name).is_some_and(|rest| rest.starts_with(b"="));
    });
    found
}

/// Reads the value of `name` and overwrites it in place with zeros. `None` if there is no such variable.
///
/// Call it before any other thread exists: nobody else may be reading the environment.
#[must_use]
pub fn take(name: &[u8]) -> Option<zeroize::Zeroizing<Vec<u8>>> {
    let value = std::env::var_os(std::ffi::OsStr::from_bytes(name))?;
    let value = zeroize::Zeroizing::new(value.into_encoded_bytes());
    each_entry(|entry| wipe_if_named(entry, name));
    Some(value)
}

fn each_entry(mut look: impl FnMut(*mut c_char)) {
    // SAFETY: libc's own array of pointers; no other thread runs that could change it.
    let mut cursor = unsafe { environ };
    if cursor.is_null() {
        return;
    }
    loop {
        // SAFETY: the array ends with a null pointer, at which the loop stops.
        let entry = unsafe { *cursor };
        if entry.is_null() {
            return;
        }
        look(entry);
        // SAFETY: the entry was not the terminating null, so the next one is inside the array.
        cursor = unsafe { cursor.add(1) };
    }
}

fn wipe_if_named(entry: *mut c_char, name: &[u8]) {
    // SAFETY: every entry of environ is a NUL-terminated string.
    let length = unsafe { CStr::from_ptr(entry) }.to_bytes().len();
    // SAFETY: these are the string's own bytes, writable (the initial stack, or libc's heap), and nobody else uses them now.
    let bytes = unsafe { std::slice::from_raw_parts_mut(entry.cast::<u8>(), length) };
    if let Some(value) = bytes.strip_prefix_mut_by_name(name) {
        zeroize::Zeroize::zeroize(value);
    }
}

/// `NAME=value` → the value's bytes, if the name is this one.
trait NamedValue {
    fn strip_prefix_mut_by_name(&mut self, name: &[u8]) -> Option<&mut [u8]>;
}

impl NamedValue for [u8] {
    fn strip_prefix_mut_by_name(&mut self, name: &[u8]) -> Option<&mut [u8]> {
        let (head, value) = self.split_at_mut_checked(name.len() + 1)?;
        (head.strip_suffix(b"=")? == name).then_some(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_value_of_exactly_that_name_is_found() {
        let find = |entry: &str, name: &str| {
            let mut bytes = entry.as_bytes().to_vec();
            bytes.strip_prefix_mut_by_name(name.as_bytes()).map(|value| value.to_vec())
        };
        assert_eq!(find("A=b=c", "A"), Some(b"b=c".to_vec()));
        assert_eq!(find("A=", "A"), Some(vec![]));
        assert_eq!(find("AB=c", "A"), None);
        assert_eq!(find("A", "A"), None);
        assert_eq!(find("", "A"), None);
    }

    #[test]
    fn a_variable_is_found_by_its_whole_name() {
        let (name, _) = std::env::vars_os().next().unwrap();
        let name = name.as_encoded_bytes();
        assert!(has(name));
        assert!(!has(&[name, b"="].concat()) && !has(b"") && !has(b"NO_SUCH_VARIABLE_HERE"));
    }
}
