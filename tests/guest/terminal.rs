//! A real pseudo-terminal with `bottle-vmm` on it, and fingers that type.

use crate::setup::PROGRAM;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::pty::{Winsize, openpty};
use nix::sys::signal::{Signal, kill};
use nix::sys::termios::{LocalFlags, Termios, tcgetattr};
use nix::unistd::Pid;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

nix::ioctl_write_ptr_bad!(set_window_size, libc::TIOCSWINSZ, Winsize);
// TIOCVHANGUP (asm-generic/ioctls.h).
nix::ioctl_none_bad!(virtual_hang_up, 0x5437);

/// Long enough for a boot on a busy emulated host; a test that needs it has failed.
const PATIENCE: Duration = Duration::from_secs(90);

pub struct Terminal {
    child: Child,
    master: File,
    /// Kept open, so that the terminal's state can be looked at after the child is gone.
    slave: OwnedFd,
    output: mpsc::Receiver<Vec<u8>>,
    seen: String,
    all: String,
}

impl Terminal {
    /// Runs `bottle-vmm ARGUMENTS` on a terminal of this size, as its controlling terminal.
    pub fn open(rows: u16, cols: u16, arguments: &[&str]) -> Self {
        Self::open_with(rows, cols, arguments, |_| {})
    }

    /// The same, with what `surround` sets: variables, the current directory.
    pub fn open_with(rows: u16, cols: u16, arguments: &[&str], surround: impl FnOnce(&mut Command)) -> Self {
        let pty = openpty(&size(rows, cols), None).unwrap();
        let master = File::from(pty.master);
        let stdio = || Stdio::from(pty.slave.try_clone().unwrap());
        // setsid(1) makes the terminal the controlling one, which std cannot.
        let mut command = Command::new("setsid");
        command.args(["--ctty", "--wait", PROGRAM]).args(arguments);
        command.stdin(stdio()).stdout(stdio()).stderr(stdio());
        surround(&mut command);
        let child = command.spawn().unwrap();
        let (sender, output) = mpsc::channel();
        let mut reader = master.try_clone().unwrap();
        std::thread::spawn(move || {
            let mut chunk = [0; 4096];
            while let Ok(read @ 1..) = reader.read(&mut chunk) {
                if sender.send(chunk[..read].to_vec()).is_err() {
                    return;
                }
            }
        });
        Self { child, master, slave: pty.slave, output, seen: String::new(), all: String::new() }
    }

    /// Everything that has appeared.
    pub fn shown(&self) -> &str {
        &self.all
    }

    pub fn types(&mut self, text: &str) -> &mut Self {
        self.master.write_all(text.as_bytes()).unwrap();
        self
    }

    /// Waits until `text` has appeared behind what earlier calls waited for.
    #[track_caller]
    pub fn shows(&mut self, text: &str) -> &mut Self {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(at) = self.seen.find(text) {
                self.seen.drain(..at + text.len());
                return self;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            match self.output.recv_timeout(left) {
                Ok(bytes) => {
                    let text = String::from_utf8_lossy(&bytes);
                    self.seen.push_str(&text);
                    self.all.push_str(&text);
                }
                Err(_) => panic!("`{text}` did not appear; there is: {:?}", self.seen),
            }
        }
    }

    #[expect(unsafe_code, reason = "TIOCSWINSZ is an ioctl")]
    pub fn resize(&mut self, rows: u16, cols: u16) -> &mut Self {
        // SAFETY: TIOCSWINSZ reads one `winsize`, which this is.
        unsafe { set_window_size(self.master.as_raw_fd(), &size(rows, cols)) }.unwrap();
        self
    }

    /// The terminal goes away, as when its window is closed.
    #[expect(unsafe_code, reason = "TIOCVHANGUP is an ioctl")]
    pub fn hang_up(&mut self) -> &mut Self {
        // SAFETY: TIOCVHANGUP takes no argument.
        unsafe { virtual_hang_up(self.slave.as_raw_fd()) }
            .expect("tests that hang a terminal up are to be run as root");
        self
    }

    pub fn signal(&mut self, signal: Signal) -> &mut Self {
        kill(Pid::from_raw(self.child.id().cast_signed()), signal).unwrap();
        self
    }

    /// Whether something lies there for whoever reads from the terminal next.
    pub fn has_input(&self) -> bool {
        let mut waiting = [PollFd::new(self.slave.as_fd(), PollFlags::POLLIN)];
        poll(&mut waiting, PollTimeout::ZERO).unwrap() > 0
    }

    pub fn settings(&self) -> Termios {
        tcgetattr(&self.slave).unwrap()
    }

    /// Line editing, echo and signals by keys, as a shell's user expects them.
    pub fn is_cooked(&self) -> bool {
        self.settings().local_flags.contains(LocalFlags::ICANON | LocalFlags::ECHO | LocalFlags::ISIG)
    }

    #[track_caller]
    pub fn exits(mut self, code: i32) -> Self {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait().unwrap() {
                assert_eq!(status.code(), Some(code), "{:?}", self.seen);
                return self;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = self.child.kill();
        self.seen.extend(self.output.try_iter().map(|bytes| String::from_utf8_lossy(&bytes).into_owned()));
        panic!("it did not end; there is: {:?}", self.seen);
    }
}

fn size(rows: u16, cols: u16) -> Winsize {
    Winsize { ws_row: rows, ws_col: cols, ws_xpixel: 0, ws_ypixel: 0 }
}
