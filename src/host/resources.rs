//! How much memory and disk there is.

use std::io;
use std::path::Path;

/// Bytes of memory that can be had without swapping (`MemAvailable`, proc_meminfo(5)).
#[must_use]
pub fn available_memory() -> Option<u64> {
    parse_meminfo(&std::fs::read_to_string("/proc/meminfo").ok()?, "MemAvailable:")
}

/// Bytes of memory and swap together, used or not.
#[must_use]
pub fn all_memory() -> Option<u64> {
    let meminfo = std::fs::read_to_string("/proc/meminfo").ok()?;
    parse_meminfo(&meminfo, "MemTotal:")?.checked_add(parse_meminfo(&meminfo, "SwapTotal:")?)
}

fn parse_meminfo(meminfo: &str, name: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix(name))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

/// Bytes free for this user in the file system of `directory`, or of the nearest parent that exists.
///
/// # Errors
/// When that directory cannot be written to.
pub fn free_disk(directory: &Path) -> io::Result<u64> {
    use nix::unistd::{AccessFlags, access};
    let existing = directory.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"));
    access(existing, AccessFlags::W_OK)?;
    let space = nix::sys::statvfs::statvfs(existing)?;
    Ok(space.blocks_available().saturating_mul(space.fragment_size()))
}

/// Whether this host gives transparent huge pages to programs that ask for them, and to nobody else
/// (Documentation/admin-guide/mm/transhuge.rst).
#[must_use]
pub fn huge_pages_only_on_advice() -> bool {
    std::fs::read_to_string("/sys/kernel/mm/transparent_hugepage/enabled")
        .is_ok_and(|modes| modes.contains("[madvise]"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_in_bytes_or_not_at_all() {
        assert_eq!(parse_meminfo("MemTotal: 9 kB\nMemAvailable:    2048 kB\n", "MemAvailable:"), Some(2 << 20));
        assert_eq!(parse_meminfo("MemTotal: 9 kB\n", "MemAvailable:"), None);
        assert_eq!(parse_meminfo("MemAvailable: many kB\n", "MemAvailable:"), None);
    }

    #[test]
    fn a_directory_that_does_not_exist_yet_is_judged_by_its_parent() {
        let dir = tempfile::tempdir().unwrap();
        assert!(free_disk(&dir.path().join("a/b/c")).unwrap() > 0);
    }
}
