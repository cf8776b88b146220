//! `PATH:NAME`: one image of those that an archive or a layout holds. Law: what is there under the whole path is what is meant.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use super::reference::is_layout;

/// The path, and the name of an image in what lies there. The path as given, and no name, unless nothing is there and something is under its
/// beginning before a colon, the longest one.
pub(super) fn split(given: &Path) -> (&Path, Option<&str>) {
    let bytes = given.as_os_str().as_bytes();
    let colons = bytes.iter().enumerate().filter(|(_, byte)| **byte == b':').map(|(at, _)| at);
    let named = |at: usize| {
        let (path, name) = bytes.split_at_checked(at)?;
        let (path, name) = (Path::new(OsStr::from_bytes(path)), std::str::from_utf8(name.strip_prefix(b":")?).ok()?);
        (!name.is_empty() && (path.is_file() || is_layout(path))).then_some((path, Some(name)))
    };
    let whole = (given, None);
    if given.symlink_metadata().is_ok() { whole } else { colons.rev().find_map(named).unwrap_or(whole) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn what_is_there_goes_before_what_could_be_meant() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        fs::write(path("a"), "").unwrap();
        fs::write(path("a:b"), "").unwrap();
        fs::create_dir(path("node")).unwrap();
        let split_of = |given: &str| {
            let given = path(given);
            let (path, name) = split(&given);
            (path.file_name().unwrap().to_str().unwrap().to_owned(), name.map(str::to_owned))
        };
        let named = |path: &str, name: &str| (path.to_owned(), Some(name.to_owned()));
        let whole = |path: &str| (path.to_owned(), None);
        assert_eq!(split_of("a:b"), whole("a:b"));
        assert_eq!(split_of("a:c"), named("a", "c"));
        assert_eq!(split_of("a:b:c"), named("a:b", "c"));
        assert_eq!(split_of("a:r.example/x:1"), named("a", "r.example/x:1"));
        // A directory that is no layout holds no images, and what is no file no names.
        for nothing in ["node:20", "debian:12", "a:"] {
            assert_eq!(split_of(nothing), whole(nothing));
        }
    }
}
