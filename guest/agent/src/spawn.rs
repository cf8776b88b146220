//! fork, and what happens between it and exec.
//!
//! Law of the child: no allocation, no lock, nothing that could unwind; system calls only, on what was prepared before.
//! (This process has one thread, so even more would be sound; the law keeps it so if that changes.) What goes wrong is
//! told through a pipe that a successful exec closes.

#![expect(unsafe_code, reason = "fork, execve and signal dispositions have no safe face: nothing can take their place")]

use std::convert::Infallible;
use std::ffi::{CStr, CString};
use std::fs::File;
use std::io::Read;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::ptr;

use bottle_protocol::{ArgumentLimits, SecretEnv, StartStage};
use libc::c_char;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit, setrlimit};
use nix::sys::signal::{SigSet, SigmaskHow, sigprocmask};
use nix::sys::stat::{Mode, umask};
use nix::unistd::{
    ForkResult, Uid, chdir, dup2_stderr, dup2_stdin, dup2_stdout, fork, pipe2, setgid, setgroups, setsid, setuid, write,
};

use crate::sys;
use crate::user::Identity;

/// Everything about a process to be.
pub(crate) struct Command {
    pub(crate) argv: Vec<CString>,
    pub(crate) env: SecretEnv,
    /// `HOME=…`, in place of what `env` has.
    pub(crate) home: Option<CString>,
    /// Paths of the program, tried in order.
    pub(crate) candidates: Vec<CString>,
    pub(crate) cwd: CString,
    pub(crate) identity: Identity,
    pub(crate) stdio: Stdio,
}

/// The child's side of its standard streams.
pub(crate) struct Stdio {
    pub(crate) stdin: OwnedFd,
    pub(crate) stdout: OwnedFd,
    pub(crate) stderr: OwnedFd,
    /// All three are one terminal, which is to control the session.
    pub(crate) terminal: bool,
}

type Failure = (StartStage, Errno);

/// Open files that a command may have; docker's default, and the kernel's `fs.nr_open`.
const OPEN_FILES: u64 = 1_048_576;

/// Stage (1 byte) and errno (4 bytes).
const REPORT_LEN: usize = 5;

/// Pointers to strings that outlive it, ended by a null, as `execve` takes them.
struct Pointers(Vec<*const c_char>);

impl Pointers {
    fn to<'a>(strings: impl Iterator<Item = &'a CStr>) -> Self {
        Self(strings.map(CStr::as_ptr).chain([ptr::null()]).collect())
    }
}

/// Starts the command; returns when it runs, or failed to.
pub(crate) fn spawn(command: &Command) -> Result<u32, Failure> {
    let argv = Pointers::to(command.argv.iter().map(CString::as_c_str));
    let own_home = command.home.is_none();
    let env = command.env.entries().filter(|entry| own_home || !entry.to_bytes().starts_with(b"HOME="));
    let env = Pointers::to(env.chain(command.home.as_deref()));
    let (result, report) = pipe2(OFlag::O_CLOEXEC).map_err(|errno| (StartStage::Streams, errno))?;
    // SAFETY: the child calls only functions that are async-signal-safe, see the law above, and never returns.
    match unsafe { fork() }.map_err(|errno| (StartStage::Fork, errno))? {
        ForkResult::Child => {
            let Err((stage, errno)) = become_command(command, &argv, &env);
            let [e0, e1, e2, e3] = (errno as i32).to_le_bytes();
            let _ = write(report, &[stage.number(), e0, e1, e2, e3]);
            // SAFETY: _exit runs nothing of the parent's: no destructors, no buffers.
            unsafe { libc::_exit(127) }
        }
        ForkResult::Parent { child } => {
            drop(report);
            let pid = child.as_raw().unsigned_abs();
            match failure(result) {
                None => Ok(pid),
                Some(failure) => {
                    sys::wait_for(pid);
                    Err(failure)
                }
            }
        }
    }
}

/// What the child had to say. A child that is killed before exec says nothing, and is found ended later.
fn failure(result: OwnedFd) -> Option<Failure> {
    let mut report = [0; REPORT_LEN];
    File::from(result).read_exact(&mut report).ok()?;
    let [stage, e0, e1, e2, e3] = report;
    let errno = Errno::from_raw(i32::from_le_bytes([e0, e1, e2, e3]));
    Some((StartStage::from_number(stage).unwrap_or(StartStage::Exec), errno))
}

fn become_command(command: &Command, argv: &Pointers, env: &Pointers) -> Result<Infallible, Failure> {
    setsid().map_err(|errno| (StartStage::Fork, errno))?;
    attach(&command.stdio).map_err(|errno| (StartStage::Streams, errno))?;
    limits();
    // As root: a command may start in a directory that it could not enter, as in a container.
    chdir(command.cwd.as_c_str()).map_err(|errno| (StartStage::Cwd, errno))?;
    become_user(&command.identity).map_err(|errno| (StartStage::User, errno))?;
    umask(Mode::from_bits_truncate(0o022));
    default_signals();
    close_others_on_exec();
    Err(execute(&command.candidates, argv, env))
}

fn attach(stdio: &Stdio) -> Result<(), Errno> {
    dup2_stdin(&stdio.stdin)?;
    dup2_stdout(&stdio.stdout)?;
    dup2_stderr(&stdio.stderr)?;
    if stdio.terminal { sys::take_terminal(standard_input()) } else { Ok(()) }
}

fn standard_input() -> BorrowedFd<'static> {
    // SAFETY: descriptor 0 was made by dup2 just before and is never closed in this process.
    unsafe { BorrowedFd::borrow_raw(libc::STDIN_FILENO) }
}

/// Limits of a command, before root is given up. What the kernel refuses stays as it is.
fn limits() {
    let _ = setrlimit(Resource::RLIMIT_NOFILE, OPEN_FILES, OPEN_FILES);
    // The kernel's default follows from the memory, and a small guest could then run but a few hundred threads.
    let _ = setrlimit(Resource::RLIMIT_NPROC, RLIM_INFINITY, RLIM_INFINITY);
    // What `ArgumentLimits::GUEST` is derived from.
    if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_STACK) {
        let _ = setrlimit(Resource::RLIMIT_STACK, ArgumentLimits::STACK_BYTES.min(hard), hard);
    }
}

fn become_user(identity: &Identity) -> Result<(), Errno> {
    if Uid::effective().is_root() {
        setgroups(&identity.groups)?; // others may not, and keep what they have
    }
    setgid(identity.gid)?;
    setuid(identity.uid)
}

/// Handlers do not survive exec, ignoring does: Rust's runtime ignores SIGPIPE, and who started us may ignore more.
fn default_signals() {
    for signal in 1..=64 {
        // SAFETY: SIG_DFL is no code of ours; signals that cannot be changed are refused and nothing happens.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
    let _ = sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None);
}

/// All of ours are made so, but what we were started with is not: the command gets its three and nothing else.
fn close_others_on_exec() {
    const FIRST: libc::c_uint = 3;
    const CLOEXEC: libc::c_int = libc::CLOSE_RANGE_CLOEXEC.cast_signed();
    // SAFETY: it closes nothing before exec, so no descriptor that somebody owns goes away under them.
    unsafe { libc::close_range(FIRST, libc::c_uint::MAX, CLOEXEC) };
}

/// `execvp(3)` without its allocation, and without its falling back to `/bin/sh`, which hides a broken program.
fn execute(candidates: &[CString], argv: &Pointers, env: &Pointers) -> Failure {
    let mut found = None;
    for path in candidates {
        // SAFETY: all three are pointers to strings ended by NUL, the lists are ended by null; all outlive the call.
        unsafe { libc::execve(path.as_ptr(), argv.0.as_ptr(), env.0.as_ptr()) };
        match Errno::last() {
            Errno::ENOENT | Errno::ENOTDIR | Errno::ENAMETOOLONG | Errno::ELOOP => (),
            Errno::EACCES => found = Some(Errno::EACCES),
            errno => return (stage_of(errno), errno),
        }
    }
    found.map_or((StartStage::NotFound, Errno::ENOENT), |errno| (StartStage::NotExecutable, errno))
}

fn stage_of(errno: Errno) -> StartStage {
    match errno {
        Errno::EPERM | Errno::ENOEXEC | Errno::EISDIR | Errno::ETXTBSY | Errno::EINVAL | Errno::ELIBBAD => {
            StartStage::NotExecutable
        }
        Errno::E2BIG => StartStage::Limits,
        _ => StartStage::Exec,
    }
}
