//! The command's environment: the image's literals, then files, then variables passed on by name, the later winning.
//!
//! Values never stand on a command line of ours, and those taken from our own environment are wiped there.

use super::report::Failure;
use crate::sys::environ;
use bottle_protocol::SecretEnv;
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// What docker gives when the image says nothing.
const DEFAULT_PATH: &[u8] = b"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// An environment file longer than this is none: the guest's kernel takes 2 MiB of everything.
const FILE_MAX: u64 = 16 << 20;

#[derive(Debug, thiserror::Error)]
pub enum EnvError {
    #[error("`-e {name}=…` would show the value to every user of this machine (`ps`)")]
    ValueOnCommandLine { name: String },
    #[error("`-e` needs the name of a variable")]
    NoName,
    #[error("`-e {name}`: there is no variable `{name}` in this environment")]
    Unset { name: String },
    #[error("cannot read the environment file {path}")]
    Read {
        path: String,
        #[source]
        source: io::Error,
    },
    #[error("the environment file {path} is over {} MiB", FILE_MAX >> 20)]
    TooLong { path: String },
    #[error("{path}:{line}: a line is `NAME=VALUE`, `NAME`, or a comment beginning with `#`")]
    Line { path: String, line: usize },
    #[error("{path}:{line}: there is no variable `{name}` in this environment")]
    UnsetInFile { path: String, line: usize, name: String },
    #[error("the value of `{name}` holds a NUL byte, which no environment can")]
    Nul { name: String },
    #[error("the image's configuration sets `{name}` to something with a NUL byte, which no environment can hold")]
    NulOfImage { name: String },
    #[error(
        "standard input can be read once only, and it is asked for {times} times (`-i`, `--image -`, `--env-file -`)"
    )]
    StdinTwice { times: usize },
}

impl EnvError {
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::ValueOnCommandLine { name } => format!(
                "put the value into this environment and pass its name (`export {name}`, then `-e {name}`), or into a file: \
                 `--env-file PATH`, or `--env-file -` for standard input"
            ),
            Self::Unset { name } => format!("`export {name}` first, or use `--env-file`"),
            Self::Line { .. } => "values are taken as they stand, without quotes; they cannot span lines".to_owned(),
            Self::UnsetInFile { name, .. } => {
                format!("`export {name}` first, or give it a value in the file: `{name}=VALUE`")
            }
            Self::NoName => "as in `-e API_KEY`, with the value in this environment".to_owned(),
            Self::TooLong { .. } => "large data goes in by standard input: `-i`".to_owned(),
            Self::StdinTwice { .. } => "put all but one of them into files".to_owned(),
            Self::Read { .. } => "is the path right, and the file yours to read?".to_owned(),
            Self::NulOfImage { .. } => "the image is damaged or was made to do harm: build or save it again".to_owned(),
            Self::Nul { .. } => return None,
        })
    }
}

impl From<EnvError> for Failure {
    fn from(error: EnvError) -> Self {
        let hint = error.hint();
        Self::new(error, hint)
    }
}

/// A variable of an environment file. What it passes on by name is in our environment still.
pub struct Line {
    name: Vec<u8>,
    value: LineValue,
}

enum LineValue {
    Given(Zeroizing<Vec<u8>>),
    /// Where it stands, should the variable be gone when it is asked for.
    Passed {
        path: String,
        line: usize,
    },
}

impl Line {
    /// The name of what is passed on.
    pub fn passed(&self) -> Option<&OsStr> {
        matches!(self.value, LineValue::Passed { .. }).then(|| OsStr::from_bytes(&self.name))
    }
}

/// Reads environment files, `-` being standard input, each once: it may be a pipe. Nothing of them can be wrong after that.
///
/// # Errors
/// [`EnvError`], with the line.
pub fn read(files: &[PathBuf]) -> Result<Vec<Line>, EnvError> {
    let mut lines = vec![];
    for path in files {
        read_into(&mut lines, path)?;
    }
    Ok(lines)
}

fn read_into(lines: &mut Vec<Line>, path: &Path) -> Result<(), EnvError> {
    let shown = || if is_stdin(path) { "standard input".to_owned() } else { path.display().to_string() };
    let bytes = read_file(path).map_err(|source| EnvError::Read { path: shown(), source })?;
    if bytes.len() as u64 > FILE_MAX {
        return Err(EnvError::TooLong { path: shown() });
    }
    // Editors of other systems mark UTF-8 so; it is no part of the first name.
    let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
    for (number, line) in (1..).zip(text.split(|byte| *byte == b'\n')) {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let trimmed = line.trim_ascii_start();
        if trimmed.is_empty() || trimmed.starts_with(b"#") {
            continue;
        }
        let (name, value) = match trimmed.iter().position(|byte| *byte == b'=') {
            Some(at) => (&trimmed[..at], Some(&trimmed[at + 1..])),
            None => (trimmed.trim_ascii_end(), None),
        };
        if name.is_empty() || name.iter().any(|byte| byte.is_ascii_whitespace() || *byte == 0) {
            return Err(EnvError::Line { path: shown(), line: number });
        }
        let value = match value {
            Some(value) if value.contains(&0) => return Err(EnvError::Nul { name: lossy(name) }),
            Some(value) => LineValue::Given(Zeroizing::new(value.to_vec())),
            None if environ::has(name) => LineValue::Passed { path: shown(), line: number },
            None => return Err(EnvError::UnsetInFile { path: shown(), line: number, name: lossy(name) }),
        };
        lines.push(Line { name: name.to_vec(), value });
    }
    Ok(())
}

/// Variables by name; setting one again replaces (and wipes) what was there.
#[derive(Default)]
pub struct Variables {
    values: BTreeMap<Vec<u8>, Zeroizing<Vec<u8>>>,
    /// What was taken out of our own environment, where it can be found once only: a variable may be named twice.
    taken: BTreeMap<Vec<u8>, Zeroizing<Vec<u8>>>,
}

impl Variables {
    /// What every command gets, and the literals of the image (`NAME=VALUE`), which are no secrets. What has no name no program can ask for.
    pub fn of_image(literals: &[String], hostname: &str, tty: bool) -> Result<Self, EnvError> {
        let mut variables = Self::default();
        variables.set(b"PATH", DEFAULT_PATH.to_vec().into());
        variables.set(b"HOSTNAME", hostname.as_bytes().to_vec().into());
        if tty {
            variables.set(b"TERM", b"xterm".to_vec().into());
        }
        for literal in literals {
            let Some((name, value)) = literal.split_once('=').filter(|(name, _)| !name.is_empty()) else { continue };
            if literal.contains('\0') {
                return Err(EnvError::NulOfImage { name: lossy(name.as_bytes()) });
            }
            variables.set(name.as_bytes(), value.as_bytes().to_vec().into());
        }
        Ok(variables)
    }

    pub fn set(&mut self, name: &[u8], value: Zeroizing<Vec<u8>>) {
        self.values.insert(name.to_vec(), value);
    }

    /// Adds all of `later`, which win.
    pub fn extend(&mut self, later: Self) {
        self.values.extend(later.values);
    }

    /// Adds the variables of files; those that they pass on are wiped in this process's environment.
    pub fn add_lines(&mut self, lines: Vec<Line>) -> Result<(), EnvError> {
        for Line { name, value } in lines {
            let value = match value {
                LineValue::Given(value) => value,
                LineValue::Passed { path, line } => {
                    let unset = || EnvError::UnsetInFile { path, line, name: lossy(&name) };
                    self.take(&name).ok_or_else(unset)?
                }
            };
            self.set(&name, value);
        }
        Ok(())
    }

    /// Adds a variable of this process's environment, and wipes it there.
    pub fn add_passed(&mut self, name: &OsStr) -> Result<(), EnvError> {
        let bytes = name.as_bytes();
        if let Some(at) = bytes.iter().position(|byte| *byte == b'=') {
            return Err(EnvError::ValueOnCommandLine { name: lossy(&bytes[..at]) });
        }
        if bytes.is_empty() {
            return Err(EnvError::NoName);
        }
        let value = self.take(bytes).ok_or_else(|| EnvError::Unset { name: lossy(bytes) })?;
        self.set(bytes, value);
        Ok(())
    }

    fn take(&mut self, name: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        if !self.taken.contains_key(name) {
            self.taken.insert(name.to_vec(), environ::take(name)?);
        }
        self.taken.get(name).cloned()
    }

    /// Sets what we know ourselves.
    pub fn set_known(&mut self, name: &str, value: &[u8]) {
        self.set(name.as_bytes(), value.to_vec().into());
    }

    pub fn into_secret(self) -> Result<SecretEnv, EnvError> {
        let total: usize = self.values.iter().map(|(name, value)| name.len() + value.len() + 2).sum();
        let mut env = SecretEnv::with_capacity(self.values.len(), total);
        for (name, value) in &self.values {
            env.push(name, value).map_err(|_| EnvError::Nul { name: lossy(name) })?;
        }
        Ok(env)
    }
}

/// Refuses what can be refused before anything else is done: values on the command line, names of nothing, and a standard input that is
/// to be read twice.
pub fn check(passed: &[OsString], files: &[PathBuf], others_of_stdin: usize) -> Result<(), EnvError> {
    for name in passed {
        if let Some(at) = name.as_bytes().iter().position(|byte| *byte == b'=') {
            return Err(EnvError::ValueOnCommandLine { name: lossy(&name.as_bytes()[..at]) });
        }
        if name.is_empty() {
            return Err(EnvError::NoName);
        }
        if !environ::has(name.as_bytes()) {
            return Err(EnvError::Unset { name: lossy(name.as_bytes()) });
        }
    }
    let times = others_of_stdin + files.iter().filter(|path| is_stdin(path)).count();
    if times > 1 { Err(EnvError::StdinTwice { times }) } else { Ok(()) }
}

fn read_file(path: &Path) -> io::Result<Zeroizing<Vec<u8>>> {
    let reader: Box<dyn io::Read> =
        if is_stdin(path) { Box::new(io::stdin().lock()) } else { Box::new(File::open(path)?) };
    // Room for everything at once: a vector that grows leaves copies behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(size_hint(path)));
    let mut limited = reader.take(FILE_MAX + 1);
    let mut chunk = Zeroizing::new(vec![0; 64 << 10]);
    loop {
        match limited.read(&mut chunk)? {
            0 => return Ok(bytes),
            read => grow(&mut bytes, &chunk[..read]),
        }
    }
}

fn is_stdin(path: &Path) -> bool {
    path.as_os_str() == "-"
}

fn size_hint(path: &Path) -> usize {
    let length = std::fs::metadata(path).map_or(0, |metadata| metadata.len().min(FILE_MAX));
    usize::try_from(length).unwrap_or(0) + 1
}

/// Appends; when the vector has to move, the old copy is wiped.
fn grow(bytes: &mut Zeroizing<Vec<u8>>, more: &[u8]) {
    if bytes.capacity() - bytes.len() < more.len() {
        let mut roomier = Zeroizing::new(Vec::with_capacity((bytes.len() + more.len()) * 2));
        roomier.extend_from_slice(bytes);
        *bytes = roomier;
    }
    bytes.extend_from_slice(more);
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).escape_debug().to_string()
}

#[cfg(test)]
#[path = "env_test.rs"]
mod tests;
