//! The lock that a bottle's launcher holds: an open file description's (fcntl(2)), as one can ask for it without taking it. A lock that is taken
//! to see whether it is free keeps a `start` from it that comes at that moment.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};

/// Held as long as this lives, and no longer than the process.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
}

/// Of the whole file.
fn request() -> libc::flock {
    let narrow = |value: libc::c_int| libc::c_short::try_from(value).unwrap_or_default();
    libc::flock { l_type: narrow(libc::F_WRLCK), l_whence: narrow(libc::SEEK_SET), l_start: 0, l_len: 0, l_pid: 0 }
}

impl Lock {
    /// None if somebody holds it.
    pub(super) fn take(path: &Path) -> io::Result<Option<Self>> {
        let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path)?;
        match fcntl(&file, FcntlArg::F_OFD_SETLK(&request())) {
            Ok(_) => Ok(Some(Self { _file: file })),
            Err(Errno::EAGAIN | Errno::EACCES) => Ok(None),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Whether somebody holds it. What is not there, or not ours to open, nobody does.
    pub(super) fn is_held(path: &Path) -> bool {
        let mut asked = request();
        let answered = OpenOptions::new()
            .write(true)
            .open(path)
            .is_ok_and(|file| fcntl(&file, FcntlArg::F_OFD_GETLK(&mut asked)).is_ok());
        answered && libc::c_int::from(asked.l_type) != libc::F_UNLCK
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicBool, Ordering};

    #[test]
    fn who_asks_for_it_keeps_nobody_from_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        assert!(!Lock::is_held(&path) && !path.exists());
        let lock = Lock::take(&path).unwrap();
        assert!(lock.is_some() && Lock::is_held(&path) && Lock::take(&path).unwrap().is_none());
        drop(lock);
        assert!(!Lock::is_held(&path));

        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    while !over.load(Ordering::Relaxed) {
                        Lock::is_held(&path);
                    }
                });
            }
            let refused = (0..5000).filter(|_| Lock::take(&path).unwrap().is_none()).count();
            over.store(true, Ordering::Relaxed);
            assert_eq!(refused, 0, "of 5000");
        });
    }
}
