//! A pseudo-terminal for a command (`pty(7)`).

use std::os::fd::{AsFd, OwnedFd};

use bottle_protocol::WindowSize;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::pty::{Winsize, openpty};
use nix::sys::termios::{InputFlags, LocalFlags, SetArg, SpecialCharacterIndices, tcgetattr, tcsetattr};
use nix::unistd::{Uid, fchown};

pub(crate) struct Pty {
    pub(crate) master: OwnedFd,
    pub(crate) slave: OwnedFd,
}

/// Makes one that has its size before anybody can ask for it, and that `owner` may open again by name.
pub(crate) fn open(size: WindowSize, owner: Uid) -> Result<Pty, Errno> {
    let size = Winsize { ws_row: size.rows, ws_col: size.cols, ws_xpixel: 0, ws_ypixel: 0 };
    let pair = openpty(Some(&size), None)?;
    let pty = Pty { master: pair.master, slave: pair.slave };
    // openpty cannot set it at once; nobody forks in between, since this process has one thread.
    fcntl(&pty.master, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
    fcntl(&pty.slave, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
    fchown(&pty.slave, Some(owner), None)?;
    let mut modes = tcgetattr(&pty.slave)?;
    modes.input_flags |= InputFlags::IUTF8; // else erasing a character in cooked mode leaves half of it
    tcsetattr(&pty.slave, SetArg::TCSANOW, &modes)?;
    Ok(pty)
}

/// The character that ends the input of a program that reads lines; `None` in raw mode, where there is none.
pub(crate) fn end_of_file(master: impl AsFd) -> Option<u8> {
    let modes = tcgetattr(master).ok()?;
    let end = modes.control_chars.get(SpecialCharacterIndices::VEOF as usize).copied();
    end.filter(|_| modes.local_flags.contains(LocalFlags::ICANON))
}
