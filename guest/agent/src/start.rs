//! From `Start` to a running process, or to words about why not.

use std::ffi::{CString, OsStr};
use std::fs::{self, DirBuilder};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use bottle_protocol::{ArgumentLimits, OutputStream, SecretEnv, Start, StartStage};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl, open};
use nix::sys::stat::Mode;
use nix::unistd::{Uid, pipe2};
use zeroize::Zeroize;

use crate::process::Process;
use crate::pty;
use crate::spawn::{self, Command, Stdio};
use crate::streams::{Input, Output};
use crate::user::{self, Identity};

/// Why a command does not run.
pub(crate) struct Refusal {
    pub(crate) stage: StartStage,
    pub(crate) errno: i32,
    pub(crate) detail: String,
}

impl Refusal {
    fn new(stage: StartStage, errno: Errno, detail: String) -> Self {
        Self { stage, errno: errno as i32, detail }
    }
}

/// Where docker looks for commands if the environment has no `PATH`.
const DEFAULT_PATH: &[u8] = b"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The agent's side of the standard streams.
struct OurEnds {
    terminal: Option<OwnedFd>,
    input: Input,
    outputs: Vec<Output>,
}

/// Starts it. The environment is wiped when this returns, either way.
pub(crate) fn start(start: Start) -> Result<Process, Refusal> {
    ArgumentLimits::GUEST
        .check(&start.argv, &start.env)
        .map_err(|error| Refusal::new(StartStage::Limits, Errno::E2BIG, error.to_string()))?;
    let identity = identity(start.user.to_bytes())?;
    let cwd = working_directory(start.cwd, start.create_cwd)?;
    let candidates = candidates(&start.argv, &start.env);
    let home = home(&start.env, &identity);
    let (stdio, ours) = match start.tty {
        Some(size) => {
            let pty = pty::open(size, identity.uid).map_err(|errno| streams_failed("a terminal", errno))?;
            terminal(pty, start.stdin).map_err(|errno| streams_failed("a terminal", errno))?
        }
        None => pipes(start.stdin, identity.uid).map_err(|errno| streams_failed("pipes", errno))?,
    };
    let mut command = Command { argv: start.argv, env: start.env, home, candidates, cwd, identity, stdio };
    let spawned = spawn::spawn(&command);
    let result = match spawned {
        Ok(pid) => Ok(Process::new(start.process, pid, ours.terminal, ours.input, ours.outputs)),
        Err((stage, errno)) => Err(explain(&command, stage, errno)),
    };
    for path in command.candidates.drain(..) {
        path.into_bytes().zeroize(); // made from a value of the environment, all of which is wiped
    }
    result
}

fn identity(user: &[u8]) -> Result<Identity, Refusal> {
    user::look_up(user).map_err(|error| {
        let errno = match &error {
            user::UserError::Read { source, .. } => Errno::from_raw(source.raw_os_error().unwrap_or(0)),
            _ => Errno::ENOENT,
        };
        Refusal::new(StartStage::User, errno, error.to_string())
    })
}

/// Made by root and before anything else of the command, as docker does.
fn working_directory(cwd: CString, create: bool) -> Result<CString, Refusal> {
    let cwd = if cwd.is_empty() { c"/".to_owned() } else { cwd };
    let path = Path::new(OsStr::from_bytes(cwd.to_bytes()));
    if !path.is_absolute() {
        let detail = format!("working directory `{}` is not an absolute path", path.display());
        return Err(Refusal::new(StartStage::Cwd, Errno::EINVAL, detail));
    }
    if create && let Err(error) = DirBuilder::new().recursive(true).mode(0o755).create(path) {
        let detail = format!("cannot make the working directory `{}`", path.display());
        return Err(Refusal { stage: StartStage::Cwd, errno: error.raw_os_error().unwrap_or(0), detail });
    }
    Ok(cwd)
}

/// The paths to try, in order: the command itself if it has a slash, else it in each directory of `PATH`
/// (`execvp(3)`; an empty element is the working directory).
fn candidates(argv: &[CString], env: &SecretEnv) -> Vec<CString> {
    let name = argv.first().map(|name| name.to_bytes()).unwrap_or_default();
    if name.contains(&b'/') || name.is_empty() {
        return CString::new(name).into_iter().collect();
    }
    let path = env.get(b"PATH").unwrap_or(DEFAULT_PATH);
    let join = |directory: &[u8]| {
        let directory = if directory.is_empty() { b"." } else { directory };
        CString::new([directory, b"/", name].concat()).ok()
    };
    path.split(|&byte| byte == b':').filter_map(join).collect()
}

/// `HOME=…` from the image's user, if the environment has none or an empty one.
fn home(env: &SecretEnv, identity: &Identity) -> Option<CString> {
    match env.get(b"HOME") {
        Some(home) if !home.is_empty() => None,
        _ => CString::new([b"HOME=", identity.home.as_os_str().as_bytes()].concat()).ok(),
    }
}

fn terminal(pty: pty::Pty, stdin: bool) -> Result<(Stdio, OurEnds), Errno> {
    not_blocking(&pty.master)?;
    let (input, output) = (duplicate(&pty.master)?, duplicate(&pty.master)?);
    let stdio =
        Stdio { stdin: duplicate(&pty.slave)?, stdout: duplicate(&pty.slave)?, stderr: pty.slave, terminal: true };
    let ours = OurEnds {
        terminal: Some(pty.master),
        input: Input::new(stdin.then_some(input), true),
        outputs: vec![Output::new(OutputStream::Stdout, output)],
    };
    Ok((stdio, ours))
}

fn pipes(stdin: bool, owner: Uid) -> Result<(Stdio, OurEnds), Errno> {
    let (out_ours, out_theirs) = pipe2(OFlag::O_CLOEXEC)?;
    let (err_ours, err_theirs) = pipe2(OFlag::O_CLOEXEC)?;
    let (in_theirs, in_ours) = if stdin {
        let (theirs, ours) = pipe2(OFlag::O_CLOEXEC)?;
        not_blocking(&ours)?;
        (theirs, Some(ours))
    } else {
        (open(c"/dev/null", OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty())?, None)
    };
    for ours in [&out_ours, &err_ours] {
        not_blocking(ours)?;
    }
    for theirs in [&out_theirs, &err_theirs] {
        // Else a command that is not root could not open /dev/stdout: the pipe would be root's, mode 0600.
        nix::unistd::fchown(theirs, Some(owner), None)?;
    }
    let ours = OurEnds {
        terminal: None,
        input: Input::new(in_ours, false),
        outputs: vec![Output::new(OutputStream::Stdout, out_ours), Output::new(OutputStream::Stderr, err_ours)],
    };
    Ok((Stdio { stdin: in_theirs, stdout: out_theirs, stderr: err_theirs, terminal: false }, ours))
}

fn not_blocking(fd: &OwnedFd) -> Result<(), Errno> {
    let flags = OFlag::from_bits_retain(fcntl(fd, FcntlArg::F_GETFL)?);
    fcntl(fd, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK)).map(drop)
}

fn duplicate(fd: &OwnedFd) -> Result<OwnedFd, Errno> {
    fd.as_fd().try_clone_to_owned().map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or(0)))
}

fn streams_failed(what: &str, errno: Errno) -> Refusal {
    Refusal::new(StartStage::Streams, errno, format!("cannot make {what}"))
}

/// The child has only a stage and a number to give; what they are about is known here.
fn explain(command: &Command, stage: StartStage, errno: Errno) -> Refusal {
    let name = command.argv.first().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    let cwd = command.cwd.to_string_lossy();
    let there = || command.candidates.iter().find(|path| exists(path, &command.cwd));
    let (stage, detail) = match stage {
        StartStage::NotFound => match there() {
            // The kernel says "not found" of the interpreter too; people then look for the wrong file.
            Some(path) => (
                StartStage::NotExecutable,
                format!("`{}` is there, the interpreter it needs is not", path.to_string_lossy()),
            ),
            None if name.contains('/') => (stage, format!("`{name}` is not there")),
            None => (stage, format!("`{name}` is in no directory of PATH")),
        },
        StartStage::NotExecutable => {
            let path = there().map_or(name, |path| path.to_string_lossy().into_owned());
            (stage, format!("`{path}` cannot be executed"))
        }
        StartStage::Cwd => (stage, format!("cannot enter the working directory `{cwd}`")),
        StartStage::User => {
            let Identity { uid, gid, .. } = &command.identity;
            (stage, format!("cannot become user {uid} and group {gid}"))
        }
        StartStage::Limits => {
            let ArgumentLimits { total_bytes, .. } = ArgumentLimits::GUEST;
            let bytes = command.env.byte_len();
            (stage, format!("the environment has {bytes} bytes; with the command line it may have about {total_bytes}"))
        }
        StartStage::Fork => (stage, "cannot make a process".to_owned()),
        StartStage::Streams => (stage, "cannot attach the standard streams".to_owned()),
        StartStage::Exec => (stage, format!("cannot execute `{name}`")),
    };
    Refusal::new(stage, errno, detail)
}

fn exists(path: &CString, cwd: &CString) -> bool {
    let full = Path::new(OsStr::from_bytes(cwd.to_bytes())).join(OsStr::from_bytes(path.to_bytes()));
    fs::metadata(full).is_ok_and(|found| !found.is_dir() || path.to_bytes().contains(&b'/'))
}

#[cfg(test)]
#[path = "start_test.rs"]
mod tests;
