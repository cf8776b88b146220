//! The terminal as a place where secrets are typed and where a signal is an answer: whoever leaves by Ctrl-C gets the terminal back as it
//! was, and what was begun is taken back.

use crate::builder;
use crate::manifest::Variable;
use crate::manifest::resolve::Values;
use crate::sys::environ;
use crate::sys::held_signals::HeldSignals;
use bottle_protocol::SecretBytes;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::termios::{LocalFlags, SetArg, SpecialCharacterIndices, Termios, tcgetattr, tcsetattr};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write as _};
use std::os::fd::AsFd as _;
use zeroize::Zeroizing;

/// The signal by which the person left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("interrupted; nothing was started")]
pub struct Caught(pub u8);

impl Caught {
    /// The signal that an error stands for.
    pub fn of(error: &io::Error) -> Option<Self> {
        error.get_ref()?.downcast_ref().copied()
    }
}

/// The process's own terminal. As long as it lives, signals do not end us but end what is read.
pub struct Tty {
    device: File,
    signals: HeldSignals,
}

impl Tty {
    /// # Errors
    /// There is no terminal.
    pub fn open() -> io::Result<Self> {
        let device = OpenOptions::new().read(true).write(true).open("/dev/tty")?;
        Ok(Self { device, signals: HeldSignals::hold()? })
    }

    pub fn device(&self) -> io::Result<File> {
        self.device.try_clone()
    }

    /// Until there is something to read.
    fn wait(&self) -> io::Result<()> {
        loop {
            let mut watched = [self.signals.as_fd(), self.device.as_fd()].map(|it| PollFd::new(it, PollFlags::POLLIN));
            match poll(&mut watched, PollTimeout::NONE) {
                Ok(_) | Err(nix::Error::EINTR) => {}
                Err(errno) => return Err(errno.into()),
            }
            if let Some(signal) = self.signals.caught() {
                return Err(io::Error::other(Caught(signal)));
            }
            if watched.last().and_then(PollFd::any).unwrap_or_default() {
                return Ok(());
            }
        }
    }

    /// Asks for a line without showing it.
    ///
    /// # Errors
    /// The person leaves, by the end of input or a signal.
    pub fn secret(&mut self, question: &str) -> io::Result<SecretBytes> {
        // In this order: who types as soon as there is a question is not to be shown either.
        let silence = Silence::of(&self.device)?;
        write!(self.device, "{question}: ")?;
        let typed = self.typed();
        drop(silence);
        // The one that was typed was not shown either.
        writeln!(self.device)?;
        typed
    }

    /// A line as the terminal's own editing has it: that one ends at 4,095 bytes, and tokens can be longer.
    fn typed(&mut self) -> io::Result<SecretBytes> {
        const MAX: usize = 64 << 10;
        let mut line = SecretBytes::with_capacity(MAX);
        loop {
            let mut byte = [0];
            if self.read(&mut byte)? == 0 {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the terminal has gone"));
            }
            match byte {
                [b'\n' | b'\r'] => return Ok(line),
                [END] if line.is_empty() => return Err(io::Error::other("no answer")),
                [END | 0] => {}
                [KILL] => line.clear(),
                [ERASE | BACKSPACE] => {
                    let rest = last_character(line.expose());
                    line.truncate(rest);
                }
                _ if line.len() >= MAX => return Err(io::Error::other("the answer is over 64 KiB")),
                byte => line.extend_from_slice(&byte),
            }
        }
    }
}

const END: u8 = 0x04; // Ctrl-D
const KILL: u8 = 0x15; // Ctrl-U
const ERASE: u8 = 0x7f;
const BACKSPACE: u8 = 0x08;

/// Where the last character of a text begins; UTF-8 goes on with bytes of the form 10xxxxxx.
fn last_character(line: &[u8]) -> usize {
    line.iter().rposition(|byte| byte & 0xc0 != 0x80).unwrap_or(0)
}

impl Read for Tty {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.wait()?;
        self.device.read(buffer)
    }
}

/// A terminal that shows nothing and gives each byte as it comes. Dropping it restores the terminal.
struct Silence {
    device: File,
    before: Termios,
}

impl Silence {
    fn of(device: &File) -> io::Result<Self> {
        let before = tcgetattr(device)?;
        let mut silent = before.clone();
        silent.local_flags &= !(LocalFlags::ECHO | LocalFlags::ECHONL | LocalFlags::ICANON);
        // Ctrl-Z is switched off: after `fg` the terminal would show what is typed.
        for (index, value) in [
            (SpecialCharacterIndices::VMIN, 1),
            (SpecialCharacterIndices::VTIME, 0),
            (SpecialCharacterIndices::VSUSP, libc::_POSIX_VDISABLE),
        ] {
            if let Some(character) = silent.control_chars.get_mut(index as usize) {
                *character = value;
            }
        }
        tcsetattr(device, SetArg::TCSADRAIN, &silent)?;
        Ok(Self { device: device.try_clone()?, before })
    }
}

impl Drop for Silence {
    fn drop(&mut self) {
        // A terminal that has gone away needs no restoring.
        let _ = tcsetattr(&self.device, SetArg::TCSANOW, &self.before);
    }
}

/// Values of this process's environment, and of whoever sits at the terminal. What was taken out of the environment is here and no longer
/// there: `/proc/PID/environ` shows it to nobody.
#[derive(Default)]
pub struct HostValues {
    pub tty: Option<Tty>,
    headless: bool,
    taken: BTreeMap<Variable, Zeroizing<Vec<u8>>>,
}

impl HostValues {
    /// With `headless`, nobody is there to ask, whatever terminal there is.
    pub fn new(headless: bool) -> Self {
        Self { headless, ..Self::default() }
    }
}

impl Values for HostValues {
    fn variable(&mut self, name: &Variable) -> Option<SecretBytes> {
        if !self.taken.contains_key(name) {
            let value = if builder::configures_programs(OsStr::new(name.as_str())) {
                std::env::var_os(name.as_str())?.into_encoded_bytes().into() // builders are still to see it
            } else {
                environ::take(name.as_str().as_bytes())?
            };
            self.taken.insert(name.clone(), value);
        }
        let value = self.taken.get(name)?;
        let mut bytes = SecretBytes::with_capacity(value.len());
        bytes.extend_from_slice(value);
        Some(bytes)
    }

    fn ask(&mut self, variable: &Variable, prompt: &str) -> io::Result<SecretBytes> {
        // A question would wait for ever.
        if self.headless {
            return Err(io::Error::other("with `--headless` nobody is there to ask"));
        }
        let tty = match &mut self.tty {
            Some(tty) => tty,
            none => none.insert(Tty::open().map_err(|_| io::Error::other("there is no terminal to ask on"))?),
        };
        tty.secret(&format!("{prompt} ({variable})"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_character_is_taken_back_as_a_whole() {
        for (line, rest) in [("", 0), ("a", 0), ("ab", 1), ("aö", 1), ("a€", 1), ("€b", 3)] {
            assert_eq!(last_character(line.as_bytes()), rest, "{line}");
        }
        assert_eq!(last_character(&[0x80, 0x80]), 0, "whatever was pasted");
    }

    /// Also where the test has a terminal.
    #[test]
    fn where_nobody_is_there_no_terminal_is_opened() {
        let mut values = HostValues::new(true);
        let error = values.ask(&Variable::new("WORD").unwrap(), "Your word").err().unwrap();
        assert_eq!(
            (error.to_string().as_str(), values.tty.is_none()),
            ("with `--headless` nobody is there to ask", true)
        );
    }

    #[test]
    fn a_signal_is_told_from_other_errors() {
        assert_eq!(Caught::of(&io::Error::other(Caught(2))), Some(Caught(2)));
        assert_eq!(Caught::of(&io::Error::other("no answer")), None);
        assert_eq!(Caught::of(&io::Error::from_raw_os_error(5)), None);
    }
}
