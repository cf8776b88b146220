//! The caller's terminal: its size, and what a guest does to it, which is undone on every way out.

use super::streams::Gate;
use bottle_protocol::WindowSize;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::termios::{FlushArg, SetArg, cfmakeraw, tcflush, tcgetattr, tcsetattr};
use nix::unistd::{getpgrp, tcgetpgrp};
use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal as _, Write as _};
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

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

/// Whether this process has no controlling terminal (tty(4)), which is where its caller sits. What is not known counts as having one.
#[must_use]
pub fn none_controls() -> bool {
    // Without waiting for a line that has no carrier.
    let flags = OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
    let opened = OpenOptions::new().read(true).custom_flags(flags.bits()).open("/dev/tty");
    opened.is_err_and(|error| error.raw_os_error() == Some(Errno::ENXIO as i32))
}

/// The caller's terminal while a guest has it. Dropping it takes it back; so does a panic, which in release builds drops nothing.
pub struct Lent {
    /// What standard input was before raw mode, if it is a terminal and the guest's.
    input: Option<libc::termios>,
    /// What the guest's output goes through to a terminal, which it can tell to do other things than show text.
    output: Option<Gate>,
}

impl Lent {
    /// With `input`, standard input is in raw mode from now on, if it is a terminal. Standard output goes through `output`.
    ///
    /// # Errors
    /// When the terminal refuses.
    pub fn to_guest(input: bool, output: Gate) -> io::Result<Self> {
        let stdin = io::stdin();
        let before = if input && stdin.is_terminal() { Some(tcgetattr(stdin.as_fd())?) } else { None };
        if let Some(before) = &before {
            let mut raw = before.clone();
            cfmakeraw(&mut raw);
            tcsetattr(stdin.as_fd(), SetArg::TCSADRAIN, &raw)?;
        }
        let (input, output) = (before.map(Into::into), io::stdout().is_terminal().then_some(output));
        let for_panic = output.clone();
        let earlier = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            take_back(input, for_panic.as_ref());
            earlier(panic);
        }));
        Ok(Self { input, output })
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        take_back(self.input, self.output.as_ref());
    }
}

/// A terminal that has gone away needs nothing of this, and says so.
fn take_back(input: Option<libc::termios>, output: Option<&Gate>) {
    if let Some(output) = output {
        if obeys_sequences() {
            reset_screen(output);
        }
        forget_answers();
    }
    if let Some(before) = input {
        let _ = tcsetattr(io::stdin().as_fd(), SetArg::TCSANOW, &before.into());
    }
}

/// How long a terminal may take for [`RESET`], and one that is near for the answers to a guest's last questions.
const LAST_WRITE: Duration = Duration::from_millis(500);
const LAST_ANSWER: Duration = Duration::from_millis(50);

/// Whether the terminal is one to which [`RESET`] says something.
fn obeys_sequences() -> bool {
    std::env::var_os("TERM").is_some_and(|term| !term.is_empty() && term != "dumb")
}

/// On a thread of its own: a terminal that was stopped (^S) takes nothing, and the bottle has to end.
fn reset_screen(output: &Gate) {
    let (report, written) = mpsc::channel::<()>();
    let output = output.clone();
    let write = move || {
        let terminal = io::stdout().as_fd().try_clone_to_owned().map(File::from);
        let reset = || terminal.and_then(|mut terminal| terminal.write_all(RESET.as_bytes()));
        let _ = output.shut(reset); // a terminal that is gone needs none
        drop(report);
    };
    if thread::Builder::new().name("reset".into()).spawn(write).is_ok() {
        let _ = written.recv_timeout(LAST_WRITE); // it hangs up when it is done
    }
}

/// A guest can have a terminal say things, as if they were typed (where the cursor is, for one): the shell that comes next must not hear
/// them. Nor what was typed for the guest.
fn forget_answers() {
    let stdout = io::stdout();
    // In the background this would stop us, and the input is somebody else's.
    if tcgetpgrp(stdout.as_fd()).is_ok_and(|foreground| foreground == getpgrp()) {
        thread::sleep(LAST_ANSWER);
        let _ = tcflush(stdout.as_fd(), FlushArg::TCIFLUSH);
    }
}

/// Undoes what a program that was cut short leaves a terminal in (xterm's ctlseqs, ECMA-48; the keyboard protocol of kitty). Where
/// nothing is to be undone, nothing moves and nothing is lost. A terminal passes over what it does not know.
const RESET: &str = concat!(
    "\x18\x1b\\",                                               // the end of a sequence or string that was begun
    "\x1b7\x1b[?1049l\x1b8",                                    // the usual screen; the cursor stays where it is
    "\x1b[!p",                                                  // soft reset, where there is one
    "\x1b7\x1b[?69l\x1b[?6l\x1b[r\x1b8",                        // no margins, lines count from the top
    "\x1b[?9l\x1b[?1000l\x1b[?1001l\x1b[?1002l\x1b[?1003l",     // the mouse is the terminal's own
    "\x1b[?1005l\x1b[?1006l\x1b[?1015l\x1b[?1016l",             // and speaks no other form
    "\x1b[?1004l\x1b[?2004l\x1b[?2026l\x1b[?2031l\x1b[?2048l", // no word of focus, pasting, colours or size; drawing goes on
    "\x1b[?1l\x1b>\x1b[<99u\x1b[=0u\x1b[>4m",                  // keys send what they usually do
    "\x1b[4l\x1b[20l\x1b[?5l\x1b[?7h", // overwrite, no new line for a line feed, not inverted, wrap
    "\x1b(B\x1b)B\x0f\x1b]8;;\x1b\\\x1b[m", // letters are letters, no link, no colour
    "\x1b]104\x1b\\\x1b]110\x1b\\\x1b]111\x1b\\\x1b]112\x1b\\", // and colours are what they were
    "\x1b[?25h\x1b[0 q",               // a cursor, of the usual form
);

#[cfg(test)]
mod tests {
    use super::*;

    /// Anything else would be shown at the end of every bottle.
    #[test]
    fn nothing_but_whole_sequences_is_in_the_reset() {
        let mut rest = RESET.trim_start_matches('\x18');
        while let Some(sequence) = rest.strip_prefix('\x1b') {
            let end = match sequence.chars().next().unwrap() {
                '[' => sequence[1..].find(|c| matches!(c, '@'..='~')).unwrap() + 2,
                ']' => sequence.find("\x1b\\").unwrap() + 2,
                '(' | ')' => 2,
                _ => 1,
            };
            rest = sequence[end..].trim_start_matches('\x0f');
        }
        assert!(rest.is_empty(), "{rest:?}");
    }
}
