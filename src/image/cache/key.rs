//! What tells that a source is still what it was, without reading it. Law: looks at metadata only.
//!
//! A source is remembered by its place, and with it what it was then: of a file that changes every day there is one recollection.

use std::fmt;
use std::fs::Metadata;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use crate::image::digest::{Digest, Digester};
use crate::image::reference::{DOCKER_MANIFEST, OCI_INDEX};
use crate::image::root_directory::Scan;

/// A time stamp is only as fine as the kernel's tick (at most 10 ms): a file that was changed this recently may change
/// again without another one. Then it is read once more the next time.
const SETTLED_AFTER: Duration = Duration::from_millis(50);
/// The same where a file system keeps whole seconds (ext4 with small inodes) or even ones (FAT).
const SETTLED_AFTER_WHOLE_SECONDS: Duration = Duration::from_millis(2100);

/// What the root for when no image is named is called.
const DEFAULT_ROOT: &str = "(default root)";

#[derive(Debug, Clone)]
pub(crate) struct Key {
    /// Which recollection is this source's.
    place: Digest,
    /// Changes when the source does.
    state: Digest,
    /// Would a change be seen in it? Judged by when it was made: what happened to the source since then is not in it.
    settled: bool,
    name: SourceName,
}

/// What people call a source: its path, or what another program calls it; and the image's own name, where several are there. Only to be shown
/// and typed: sources are told apart by their places.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SourceName {
    path: String,
    image: Option<String>,
}

impl SourceName {
    fn of(path: &Path) -> Self {
        Self { path: path.to_string_lossy().into_owned(), image: None }
    }

    /// Of a path the last part; `docker-daemon:team/app:1` is none.
    #[must_use]
    pub fn short(&self) -> String {
        Self { path: self.file().unwrap_or(&self.path).to_owned(), image: self.image.clone() }.to_string()
    }

    fn file(&self) -> Option<&str> {
        self.path.strip_prefix('/')?.rsplit('/').next()
    }

    pub(super) fn goes_by(&self, name: &str) -> bool {
        self.to_string() == name || self.short() == name || self.file() == Some(name)
    }
}

impl fmt::Display for SourceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.path)?;
        self.image.as_ref().map_or(Ok(()), |image| write!(f, ":{image}"))
    }
}

impl Key {
    /// Of the file at `path`, which is canonical, as it is now.
    pub(crate) fn of_file(path: &Path) -> io::Result<Self> {
        let now = SystemTime::now();
        let metadata = path.metadata()?;
        let settled = is_settled((metadata.ctime(), metadata.ctime_nsec()), now);
        Ok(Self { place: place(b"file", path), state: state(&metadata), settled, name: SourceName::of(path) })
    }

    /// Of a layout, which is what its tables of contents say: OCI's index, docker's or skopeo's manifest, or two of them.
    pub(crate) fn of_layout(path: &Path) -> io::Result<Self> {
        let (mut states, mut settled) = (Digester::default(), true);
        for table in [OCI_INDEX, DOCKER_MANIFEST] {
            match Self::of_file(&path.join(table)) {
                Ok(key) => {
                    states.part(key.state.bytes());
                    settled &= key.settled;
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => states.part(b""),
                Err(error) => return Err(error),
            }
        }
        Ok(Self { place: place(b"layout", path), state: states.finish(), settled, name: SourceName::of(path) })
    }

    /// Of one image of several that the source holds.
    pub(crate) fn of_image(self, name: Option<&str>) -> Self {
        let Some(name) = name else { return self };
        let place = self.place_of(name.as_bytes());
        Self { place, name: SourceName { image: Some(name.to_owned()), ..self.name }, ..self }
    }

    /// Of a directory that stands for itself.
    pub(crate) fn of_directory(path: &Path, scan: &Scan) -> Self {
        let settled = is_settled(scan.latest_change(), scan.began());
        Self { place: place(b"directory", path), state: scan.fingerprint(), settled, name: SourceName::of(path) }
    }

    /// Of a directory of which nobody has looked at what is in it: good for asking what was last known of it.
    pub(crate) fn of_unseen_directory(path: &Path) -> Self {
        let (place, name) = (place(b"directory", path), SourceName::of(path));
        Self { place, state: Digest::of(b""), settled: false, name }
    }

    /// Of an image that another program has under the digest `id`, which is of contents and never means others.
    pub(crate) fn of_held(name: &Path, id: &Digest) -> Self {
        Self { place: place(b"held", name), state: *id, settled: true, name: SourceName::of(name) }
    }

    /// Of the default root made from the file that this is the key of.
    pub(crate) fn for_default_root(&self) -> Self {
        let place = self.place_of(DEFAULT_ROOT.as_bytes());
        Self { place, name: SourceName::of(Path::new(DEFAULT_ROOT)), ..self.clone() }
    }

    /// That of something that is made of the source.
    fn place_of(&self, what: &[u8]) -> Digest {
        let mut digester = Digester::default();
        digester.part(self.place.bytes());
        digester.part(what);
        digester.finish()
    }

    /// Is it of the same source, and is that still what it was?
    pub(crate) fn is_of_the_same(&self, other: &Self) -> bool {
        (self.place, self.state) == (other.place, other.state)
    }

    pub(super) fn file_name(&self) -> String {
        self.place.hex()
    }

    pub(super) fn state(&self) -> Digest {
        self.state
    }

    /// The state, if what is seen of it later tells whether it is still that one.
    pub(super) fn settled_state(&self) -> Option<Digest> {
        self.settled.then_some(self.state)
    }

    pub(super) fn name(&self) -> &SourceName {
        &self.name
    }
}

fn place(kind: &[u8], path: &Path) -> Digest {
    let mut digester = Digester::default();
    digester.part(kind);
    digester.part(path.as_os_str().as_bytes());
    digester.finish()
}

/// What a change of a file changes: contents cannot change without `ctime`.
pub(crate) fn state(metadata: &Metadata) -> Digest {
    let mut state = Digester::default();
    for number in [metadata.dev(), metadata.ino(), metadata.size()] {
        state.number(number);
    }
    for number in [metadata.mtime(), metadata.mtime_nsec(), metadata.ctime(), metadata.ctime_nsec()] {
        state.number(number.cast_unsigned());
    }
    state.finish()
}

fn is_settled(changed: (i64, i64), now: SystemTime) -> bool {
    let needed = if changed.1 == 0 { SETTLED_AFTER_WHOLE_SECONDS } else { SETTLED_AFTER };
    now.duration_since(system_time(changed)).is_ok_and(|age| age >= needed)
}

/// Times before 1970 are as good as 1970 here: long past.
fn system_time((seconds, nanoseconds): (i64, i64)) -> SystemTime {
    let seconds = Duration::from_secs(u64::try_from(seconds).unwrap_or_default());
    let nanoseconds = Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or_default());
    SystemTime::UNIX_EPOCH + seconds + nanoseconds
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_of_several_goes_by_the_file_and_its_own_name() {
        let of =
            |path: &str, image: Option<&str>| SourceName { path: path.to_owned(), image: image.map(str::to_owned) };
        for (source, name) in [
            (of("/x/root", None), "root"),
            (of("/x/one:2.tar", None), "one:2.tar"),
            (of("/x/several.tar", Some("r.example/agent:2")), "several.tar:r.example/agent:2"),
            (of("docker-daemon:team/app:1", None), "docker-daemon:team/app:1"),
            (of("(default root)", None), "(default root)"),
        ] {
            assert_eq!(source.short(), name);
            assert!(source.goes_by(name) && source.goes_by(&source.to_string()));
        }
        let several = of("/x/several.tar", Some("r.example/agent:2"));
        assert!(several.goes_by("several.tar") && !several.goes_by("agent:2"));
        assert!(!of("docker-daemon:team/app:1", None).goes_by("app:1"));
    }

    #[test]
    fn a_change_may_hide_for_as_long_as_a_time_stamp_is_coarse() {
        let at = |milliseconds| SystemTime::UNIX_EPOCH + Duration::from_millis(milliseconds);
        let fine = (10, 5_000_000);
        assert!(!is_settled(fine, at(10_040)) && is_settled(fine, at(10_060)));
        let coarse = (10, 0);
        assert!(!is_settled(coarse, at(12_000)) && is_settled(coarse, at(12_200)));
        assert!(!is_settled(fine, at(9_000)), "of the future");
    }
}
