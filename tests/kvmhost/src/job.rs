//! One job, in the words the emulated host's first process understands (inside/init.sh and inside/agent.sh).
//!
//! ```text
//! inside → here   READY                                                    waiting for a job; the snapshot is taken here
//! here → inside   JOB seconds shares bytes endmark screen modules          one line
//!                 path                                                     one line for each share
//!                 shell script                                             `bytes` bytes: environment, directory, command
//!                 SIZE rows columns                                        any time, if `screen` is a size
//! inside → here   EXIT code  |  FAILED what
//! ```

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use nix::unistd::{AccessFlags, access};

use crate::streams::EndMark;
use crate::terminal::Size;

/// What differs inside from the caller's environment. HOME and the other XDG directories are the machine's, read through
/// 9p; what is written there vanishes with the host. These four are on the emulated host's own tmpfs, because they are
/// for sockets, locks and files of one run, which 9p serves slowly or not at all; and because the state of the machine's
/// own bottles must not look like the state of dead ones inside.
const INSIDE: [(&str, &str); 4] = [
    (crate::need::OVERRIDE, "direct"),
    ("TMPDIR", "/run/tmp"),
    ("XDG_RUNTIME_DIR", "/run/user/0"),
    ("XDG_STATE_HOME", "/run/state"),
];

/// Where programs are looked for when the caller has no PATH.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A shell owns these; set from outside they change how it reads the rest.
const OWNED_BY_SHELL: [&str; 5] = ["_", "IFS", "LINENO", "OPTIND", "PPID"];

#[derive(Debug, thiserror::Error)]
pub enum JobError {
    #[error("no command")]
    NoCommand,
    #[error("a NUL byte in the argument {0:?}")]
    Nul(OsString),
    #[error("a line break in the directory name {0:?}")]
    LineBreak(PathBuf),
}

/// What the job's standard streams are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Screen {
    /// No standard input.
    None,
    /// Pipes.
    Pipe,
    /// A pseudo-terminal for all three.
    Terminal(Size),
}

impl Screen {
    fn word(self) -> String {
        match self {
            Screen::None => "none".into(),
            Screen::Pipe => "pipe".into(),
            Screen::Terminal(size) => format!("{}x{}", size.rows, size.columns),
        }
    }
}

#[derive(Debug)]
pub(crate) struct Job<'a> {
    pub(crate) argv: &'a [OsString],
    pub(crate) env: Vec<(OsString, OsString)>,
    pub(crate) cwd: &'a Path,
    pub(crate) shares: &'a [PathBuf],
    pub(crate) screen: Screen,
    /// The kernel modules of the emulated host, for its modprobe.
    pub(crate) modules: &'a Path,
}

impl Job<'_> {
    /// The job as it goes through the control port.
    pub(crate) fn encode(&self, end: &EndMark) -> Result<Vec<u8>, JobError> {
        let script = self.script()?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let (shares, bytes, screen) = (self.shares.len(), script.len(), self.screen.word());
        let mut message = format!("JOB {now} {shares} {bytes} {end} {screen} ").into_bytes();
        for path in std::iter::once(self.modules).chain(self.shares.iter().map(PathBuf::as_path)) {
            let path_bytes = path.as_os_str().as_bytes();
            if path_bytes.contains(&b'\n') {
                return Err(JobError::LineBreak(path.into()));
            }
            message.extend_from_slice(path_bytes);
            message.push(b'\n');
        }
        message.extend_from_slice(&script);
        Ok(message)
    }

    fn script(&self) -> Result<Vec<u8>, JobError> {
        let (name, arguments) = self.argv.split_first().ok_or(JobError::NoCommand)?;
        let mut script = Vec::new();
        let inherited = self.env.iter().map(|(name, value)| (name.as_os_str(), value.as_os_str()));
        let own = INSIDE.iter().map(|&(name, value)| (OsStr::new(name), OsStr::new(value)));
        for (variable, value) in inherited.chain(own).filter(|(variable, _)| is_shell_name(variable)) {
            script.extend_from_slice(b"export ");
            script.extend_from_slice(variable.as_bytes());
            script.push(b'=');
            quote(value, &mut script)?;
            script.push(b'\n');
        }
        script.extend_from_slice(b"cd -- ");
        quote(self.cwd.as_os_str(), &mut script)?;
        script.extend_from_slice(b" || exit 125\n");
        match self.program(name)? {
            Some(path) => {
                script.extend_from_slice(b"exec ");
                quote(path.as_os_str(), &mut script)?;
                for argument in arguments {
                    script.push(b' ');
                    quote(argument, &mut script)?;
                }
            }
            None => {
                script.extend_from_slice(b"echo kvmhost: no program ");
                quote(name, &mut script)?;
                script.extend_from_slice(b" in PATH >&2; exit 127");
            }
        }
        script.push(b'\n');
        Ok(script)
    }

    /// The program as `execvp` would find it. The files are the same inside; the shell there is busybox's, which would
    /// prefer its own `ls` to the machine's.
    fn program(&self, name: &OsStr) -> Result<Option<PathBuf>, JobError> {
        if name.as_bytes().contains(&0) {
            return Err(JobError::Nul(name.into()));
        }
        if name.as_bytes().contains(&b'/') {
            return Ok(Some(name.into()));
        }
        let path = self.env.iter().rfind(|(name, _)| name == "PATH").map(|(_, value)| value);
        let dirs = std::env::split_paths(path.map_or(OsStr::new(DEFAULT_PATH), OsString::as_os_str));
        let mut files = dirs.filter(|dir| dir.is_absolute()).map(|dir| dir.join(name));
        Ok(files.find(|file| file.is_file() && access(file, AccessFlags::X_OK).is_ok()))
    }
}

/// The line that tells the emulated host its terminal's new size.
pub(crate) fn resize(mut control: impl std::io::Write, size: Size) -> std::io::Result<()> {
    control.write_all(format!("SIZE {} {}\n", size.rows, size.columns).as_bytes())
}

/// Whether a shell can carry the variable. Others (`BASH_FUNC_x%%`) stay outside.
fn is_shell_name(name: &OsStr) -> bool {
    let bytes = name.as_bytes();
    let word = bytes.iter().all(|&byte| byte == b'_' || byte.is_ascii_alphanumeric());
    let starts = bytes.first().is_some_and(|byte| !byte.is_ascii_digit());
    word && starts && !OWNED_BY_SHELL.iter().any(|owned| name == *owned)
}

/// One shell word (POSIX 2.2.2): in single quotes everything but the quote stands for itself.
fn quote(word: &OsStr, script: &mut Vec<u8>) -> Result<(), JobError> {
    if word.as_bytes().contains(&0) {
        return Err(JobError::Nul(word.into()));
    }
    script.push(b'\'');
    for &byte in word.as_bytes() {
        match byte {
            b'\'' => script.extend_from_slice(br"'\''"),
            byte => script.push(byte),
        }
    }
    script.push(b'\'');
    Ok(())
}

#[cfg(test)]
#[path = "job_test.rs"]
mod tests;
