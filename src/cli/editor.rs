//! A person's editor, and signals that come while it runs.
//!
//! What is typed at the terminal (Ctrl-C, Ctrl-\) is meant for the editor, which has it as well as we; everything else that would end us
//! ends the editor first, so that nobody is left to write to a file that has gone.

use super::report::Failure;
use crate::launch::EXIT_OURS;
use crate::sys::held_signals::{HeldSignals, not_held_in};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::Pid;
use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io::{self, PipeReader};
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;

/// How long an editor has to save what it may before it is killed, in milliseconds.
const GRACE: u16 = 5000;

#[derive(Debug, thiserror::Error)]
pub enum EditorError {
    #[error("`edit` starts an editor, and there is no terminal")]
    NoTerminal { file: PathBuf },
    #[error("the editor `{}` failed ({status})", editor.display())]
    Failed { editor: OsString, status: ExitStatus, file: PathBuf },
    #[error("interrupted; nothing was changed")]
    Interrupted { signal: u8 },
    #[error("cannot run the editor")]
    Host(#[from] io::Error),
}

impl From<EditorError> for Failure {
    fn from(error: EditorError) -> Self {
        let (hint, code) = match &error {
            EditorError::NoTerminal { file } => (
                Some(format!(
                    "edit `{}` itself, and see with `bottle-vmm list` that it is valid; or set VISUAL or EDITOR to one that needs none",
                    file.display()
                )),
                EXIT_OURS,
            ),
            EditorError::Failed { file, .. } => (
                Some(format!("set VISUAL or EDITOR to one that works here, or edit `{}` itself", file.display())),
                EXIT_OURS,
            ),
            EditorError::Interrupted { signal } => (None, signal.saturating_add(128)),
            EditorError::Host(_) => {
                (Some("set VISUAL or EDITOR to a program that can be run here".to_owned()), EXIT_OURS)
            }
        };
        Self::new(error, hint).with_code(code)
    }
}

pub struct Editor {
    words: OsString,
    terminal: bool,
}

impl Editor {
    /// The one that the person has chosen, or vi, which is of no use without a terminal. One that was chosen may do without: it has a
    /// window of its own, or is a script.
    ///
    /// # Errors
    /// There is none for `file`.
    pub fn find(file: &Path) -> Result<Self, EditorError> {
        let set = |name| std::env::var_os(name).filter(|value| !value.is_empty());
        let terminal = OpenOptions::new().read(true).write(true).open("/dev/tty").is_ok();
        match set("VISUAL").or_else(|| set("EDITOR")) {
            Some(words) => Ok(Self { words, terminal }),
            None if terminal => Ok(Self { words: "vi".into(), terminal }),
            None => Err(EditorError::NoTerminal { file: file.to_owned() }),
        }
    }

    /// Has `copy` edited, which is to become `file`. The words may hold options, so they go through a shell, as with git.
    ///
    /// # Errors
    /// It failed, or a signal has come; in either case it has ended.
    pub fn edit(&self, copy: &Path, file: &Path, signals: &HeldSignals) -> Result<(), EditorError> {
        let mut script = OsString::from("exec ");
        script.push(&self.words);
        script.push(" \"$@\"");
        let mut command = Command::new("sh");
        command.arg("-c").arg(script).arg("sh").arg(copy);
        if !self.terminal {
            command.stdin(Stdio::null()); // it would wait for ever for somebody to type
        }
        not_held_in(&mut command);
        let (status, signal) = wait(&mut command.spawn()?, signals)?;
        match signal {
            Some(signal) => Err(EditorError::Interrupted { signal }),
            None if status.success() => Ok(()),
            None => Err(EditorError::Failed { editor: self.words.clone(), status, file: file.to_owned() }),
        }
    }
}

/// Until the editor has ended, with the signal that has ended it through us.
fn wait(editor: &mut Child, signals: &HeldSignals) -> io::Result<(ExitStatus, Option<u8>)> {
    let pid = Pid::from_raw(i32::try_from(editor.id()).map_err(io::Error::other)?);
    let ended = watch(pid)?;
    let mut caught = None;
    loop {
        let mut watched = [signals.as_fd(), ended.as_fd()].map(|it| PollFd::new(it, PollFlags::POLLIN));
        let limit = if caught.is_some() { PollTimeout::from(GRACE) } else { PollTimeout::NONE };
        let in_time = poll(&mut watched, limit) != Ok(0);
        let gone = watched.last().and_then(PollFd::any).unwrap_or_default();
        // It is not waited for yet, so the number is its own still; one that has ended has no use for a signal.
        while let Some(signal) = signals.caught() {
            if [Signal::SIGINT as i32, Signal::SIGQUIT as i32].contains(&signal.into()) {
                continue;
            }
            let again = caught.replace(signal).is_some();
            let _ended = kill(pid, if again { Signal::SIGKILL } else { Signal::SIGTERM });
        }
        if gone {
            return Ok((editor.wait()?, caught));
        }
        if !in_time {
            let _ended = kill(pid, Signal::SIGKILL);
        }
    }
}

/// At its end when the process has ended, whom somebody has still to wait for.
fn watch(pid: Pid) -> io::Result<PipeReader> {
    let (ended, until_then) = io::pipe()?;
    thread::Builder::new().name("editor".to_owned()).spawn(move || {
        let _until_then = until_then;
        while waitid(Id::Pid(pid), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT) == Err(nix::Error::EINTR) {}
    })?;
    Ok(ended)
}
