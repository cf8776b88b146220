//! The caller's terminal: its size, and raw mode that is undone on every way out.

use bottle_protocol::WindowSize;
use nix::sys::termios::{SetArg, Termios, cfmakeraw, tcgetattr, tcsetattr};
use std::io::{self, IsTerminal as _};
use std::os::fd::{AsFd as _, AsRawFd as _};

nix::ioctl_read_bad!(get_window_size, libc::TIOCGWINSZ, libc::winsize);

/// What a terminal has that does not tell its size.
const FALLBACK: WindowSize = WindowSize { rows: 24, cols: 80 };

/// The size of the first standard stream that is a terminal.
#[must_use]
pub fn size() -> WindowSize {
    let descriptors = [io::stdin().as_raw_fd(), io::stdout().as_raw_fd(), io::stderr().as_raw_fd()];
    descriptors.into_iter().find_map(size_of).unwrap_or(FALLBACK)
}

#[expect(unsafe_code, reason = "TIOCGWINSZ is an ioctl")]
fn size_of(descriptor: i32) -> Option<WindowSize> {
    let mut size = libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: TIOCGWINSZ writes one `winsize`, which this is; a descriptor that is no terminal only makes it fail.
    unsafe { get_window_size(descriptor, &raw mut size) }.ok()?;
    (size.ws_row > 0 && size.ws_col > 0).then_some(WindowSize { rows: size.ws_row, cols: size.ws_col })
}

/// Standard input in raw mode. Dropping it restores the terminal; so does a panic, which in release builds drops nothing.
pub struct RawMode {
    before: Termios,
}

impl RawMode {
    /// `None` if standard input is no terminal.
    ///
    /// # Errors
    /// When the terminal refuses.
    pub fn enter() -> io::Result<Option<Self>> {
        let stdin = io::stdin();
        if !stdin.is_terminal() {
            return Ok(None);
        }
        let before = tcgetattr(stdin.as_fd())?;
        let mut raw = before.clone();
        cfmakeraw(&mut raw);
        tcsetattr(stdin.as_fd(), SetArg::TCSADRAIN, &raw)?;
        let for_panic: libc::termios = before.clone().into();
        let earlier = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            restore(&for_panic.into());
            earlier(panic);
        }));
        Ok(Some(Self { before }))
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        restore(&self.before);
    }
}

fn restore(termios: &Termios) {
    // A terminal that has gone away needs no restoring.
    let _ = tcsetattr(io::stdin().as_fd(), SetArg::TCSANOW, termios);
}
