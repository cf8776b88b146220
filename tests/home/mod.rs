//! Files of a home directory that is a test's own: for the tests of the library and for those of the program.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

/// Writes a file below `home`, with the directories that it is in.
pub fn write(home: &Path, path: &str, text: &str) {
    let path = home.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

/// Everything below the home: path, mode, and bytes.
pub fn listing(home: &Path) -> BTreeMap<PathBuf, (u32, Vec<u8>)> {
    let mut listing = BTreeMap::new();
    let mut left = vec![home.to_owned()];
    while let Some(path) = left.pop() {
        let metadata = path.symlink_metadata().unwrap();
        let bytes = if metadata.is_file() { fs::read(&path).unwrap() } else { vec![] };
        if metadata.is_dir() {
            left.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
        let path = path.strip_prefix(home).unwrap().to_owned();
        listing.insert(path, (metadata.permissions().mode() & 0o7777, bytes));
    }
    listing
}
