//! What tells that a source is still what it was, without reading it. Law: looks at metadata only.

use std::fs::Metadata;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use crate::image::digest::{Digest, Digester};

/// A time stamp is only as fine as the kernel's tick (at most 10 ms): a file that was changed this recently may change
/// again without another one. Then it is read once more the next time.
const SETTLED_AFTER: Duration = Duration::from_millis(50);

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Key {
    digest: Digest,
    changed: SystemTime,
}

impl Key {
    /// Of a file at `path`, which is canonical. Contents cannot change without `ctime`.
    pub(crate) fn of_file(path: &Path, metadata: &Metadata) -> Self {
        let mut digester = Digester::default();
        digester.part(b"file");
        digester.part(path.as_os_str().as_bytes());
        for number in [metadata.dev(), metadata.ino(), metadata.size()] {
            digester.number(number);
        }
        for number in [metadata.mtime(), metadata.mtime_nsec(), metadata.ctime(), metadata.ctime_nsec()] {
            digester.number(number.cast_unsigned());
        }
        Self { digest: digester.finish(), changed: system_time((metadata.ctime(), metadata.ctime_nsec())) }
    }

    /// Of a directory that stands for itself.
    pub(crate) fn of_directory(fingerprint: &Digest, latest_change: (i64, i64)) -> Self {
        let mut digester = Digester::default();
        digester.part(b"directory");
        digester.part(fingerprint.bytes());
        Self { digest: digester.finish(), changed: system_time(latest_change) }
    }

    /// Of the default root made from the file that this is the key of.
    pub(crate) fn for_default_root(&self) -> Self {
        let mut digester = Digester::default();
        digester.part(b"default root");
        digester.part(self.digest.bytes());
        Self { digest: digester.finish(), changed: self.changed }
    }

    /// May it be remembered?
    pub(crate) fn is_settled(&self) -> bool {
        SystemTime::now().duration_since(self.changed).is_ok_and(|age| age >= SETTLED_AFTER)
    }

    pub(super) fn file_name(&self) -> String {
        self.digest.hex()
    }
}

/// Times before 1970 are as good as 1970 here: long past.
fn system_time((seconds, nanoseconds): (i64, i64)) -> SystemTime {
    let seconds = Duration::from_secs(u64::try_from(seconds).unwrap_or_default());
    let nanoseconds = Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or_default());
    SystemTime::UNIX_EPOCH + seconds + nanoseconds
}
