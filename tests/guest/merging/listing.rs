//! A file tree as a list: everything that a process in it could find out, but for inode numbers.

use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File, Metadata};
use std::io::Read as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

/// By path, escaped; the root is "".
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Listing {
    pub entries: BTreeMap<String, Entry>,
    /// Since when it was being made, in seconds since 1970.
    pub made: i64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    pub kind: String,
    /// Permission bits with setuid, setgid and sticky, in octal.
    mode: String,
    owner: (u32, u32),
    pub mtime: (i64, i64),
    /// Of files, that of their bytes; of links, their targets; of devices, their numbers.
    content: String,
    pub xattrs: BTreeMap<String, String>,
    /// The first path that is the same file.
    same_as: Option<String>,
}

impl Listing {
    pub fn of(root: &Path) -> Self {
        let mut paths = Vec::new();
        walk(root, &mut paths);
        paths.sort();
        let mut first: HashMap<u64, String> = HashMap::new();
        let mut listing = Self::default();
        for path in paths {
            let name = escaped(path.strip_prefix(root).unwrap().as_os_str().as_bytes());
            let metadata = fs::symlink_metadata(&path).unwrap();
            let same_as = first.get(&metadata.ino()).cloned().filter(|_| !metadata.is_dir());
            let mut entry = Entry::of(&path, &metadata);
            if same_as.is_none() {
                first.insert(metadata.ino(), name.clone());
            }
            entry.same_as = same_as;
            listing.entries.insert(name, entry);
        }
        listing
    }
}

impl Entry {
    fn of(path: &Path, metadata: &Metadata) -> Self {
        let file_type = metadata.file_type();
        let device = || format!("{}:{}", libc::major(metadata.rdev()), libc::minor(metadata.rdev()));
        let (kind, content) = if file_type.is_file() {
            ("file", checksum(path))
        } else if file_type.is_dir() {
            ("directory", String::new())
        } else if file_type.is_symlink() {
            ("symlink", escaped(fs::read_link(path).unwrap().as_os_str().as_bytes()))
        } else if file_type.is_char_device() {
            ("char", device())
        } else if file_type.is_block_device() {
            ("block", device())
        } else {
            ("fifo", String::new())
        };
        Self {
            kind: kind.to_owned(),
            mode: format!("{:04o}", metadata.mode() & 0o7777),
            owner: (metadata.uid(), metadata.gid()),
            mtime: (metadata.mtime(), metadata.mtime_nsec()),
            content,
            xattrs: xattr::list(path)
                .unwrap()
                .map(|name| {
                    let value = xattr::get(path, &name).unwrap().unwrap_or_default();
                    (escaped(name.as_bytes()), escaped(&value))
                })
                .collect(),
            same_as: None,
        }
    }
}

fn walk(directory: &Path, into: &mut Vec<PathBuf>) {
    into.push(directory.to_owned());
    for entry in fs::read_dir(directory).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() { walk(&entry.path(), into) } else { into.push(entry.path()) }
    }
}

/// Length and CRC: against mistakes, not against attacks.
fn checksum(path: &Path) -> String {
    let mut file = File::open(path).unwrap();
    let mut crc = flate2::Crc::new();
    let mut buffer = vec![0; 1 << 20];
    let mut length = 0_u64;
    loop {
        let count = file.read(&mut buffer).unwrap();
        if count == 0 {
            return format!("{length} bytes, {:08x}", crc.sum());
        }
        crc.update(&buffer[..count]);
        length += count as u64;
    }
}

fn escaped(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}
