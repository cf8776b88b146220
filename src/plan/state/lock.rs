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

    /// Whether somebody holds it. What is not there, or not ours to open, nobody does. Opened for reading, it could not be taken here.
    pub(super) fn is_held(path: &Path) -> bool {
        File::open(path).is_ok_and(|file| is_locked(&file))
    }
}

/// By another description than this one.
fn is_locked(file: &File) -> bool {
    let mut asked = request();
    let answered = fcntl(file, FcntlArg::F_OFD_GETLK(&mut asked)).is_ok();
    answered && libc::c_int::from(asked.l_type) != libc::F_UNLCK
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::Duration;

    /// A child that another test starts has our descriptors until it execs, and with them the lock: not for long.
    fn in_a_moment(what: impl Fn() -> bool) -> bool {
        (0..1000).any(|_| {
            let done = what();
            if !done {
                std::thread::sleep(Duration::from_millis(1));
            }
            done
        })
    }

    #[test]
    fn who_asks_for_it_keeps_nobody_from_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        assert!(!Lock::is_held(&path) && !path.exists());
        let lock = Lock::take(&path).unwrap();
        assert!(lock.is_some() && Lock::is_held(&path) && Lock::take(&path).unwrap().is_none());
        drop(lock);
        assert!(in_a_moment(|| !Lock::is_held(&path)));

        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    while !over.load(Ordering::Relaxed) {
                        Lock::is_held(&path);
                    }
                });
            }
            let refused = (0..5000).filter(|_| !in_a_moment(|| Lock::take(&path).unwrap().is_some())).count();
            over.store(true, Ordering::Relaxed);
            assert_eq!(refused, 0, "of 5000");
        });
    }

    /// A lock for writing needs a descriptor for writing (fcntl(2), EBADF): who can only read cannot have taken it to see.
    #[test]
    fn who_asks_has_nothing_to_take_it_with() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let lock = Lock::take(&path).unwrap();
        let reader = File::open(&path).unwrap();
        assert_eq!(fcntl(&reader, FcntlArg::F_OFD_SETLK(&request())), Err(Errno::EBADF));
        assert!(lock.is_some() && is_locked(&reader));
    }
}
