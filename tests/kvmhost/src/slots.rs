//! How many emulated hosts tests run at once on this machine, whatever number of test processes and threads there is: each
//! one keeps a processor busy, and more of them only make all of them late.

use std::fs::{self, File};
use std::io;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

/// Between two looks for a free slot. A wait for one of several locks has no system call; a run takes seconds.
const PAUSE: Duration = Duration::from_millis(25);

/// A place among the hosts that run; given back when dropped, or by the system when its process dies.
#[derive(Debug)]
pub(crate) struct Slot {
    _lock: Flock<File>,
}

/// Waits for one of the machine's places: one per processor.
pub(crate) fn take() -> io::Result<Slot> {
    let dir = std::env::temp_dir().join(format!("bottle-vmm-kvmhost-slots-{}", nix::unistd::geteuid()));
    take_of(&dir, thread::available_parallelism().map_or(1, NonZero::get))
}

/// Waits until no other test of this kind runs on the machine.
pub(crate) fn take_alone() -> io::Result<Slot> {
    take_of(&std::env::temp_dir().join(format!("bottle-vmm-guest-turn-{}", nix::unistd::geteuid())), 1)
}

fn take_of(dir: &Path, count: usize) -> io::Result<Slot> {
    fs::create_dir_all(dir)?;
    let paths: Vec<PathBuf> = (0..count.max(1)).map(|number| dir.join(number.to_string())).collect();
    loop {
        for path in &paths {
            let file = File::options().read(true).write(true).create(true).truncate(false).open(path)?;
            match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                Ok(lock) => return Ok(Slot { _lock: lock }),
                Err((_, Errno::EWOULDBLOCK | Errno::EINTR)) => {}
                Err((_, errno)) => return Err(errno.into()),
            }
        }
        thread::sleep(PAUSE);
    }
}

#[cfg(test)]
#[path = "slots_test.rs"]
mod tests;
