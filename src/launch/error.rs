//! Everything that can go wrong between a resolved bottle and its command's exit, with the exit code that docker users expect.

use super::boot::one_line;
use super::claim::ClaimError;
use super::egress::EgressError;
use crate::control::ControlError;
use crate::host::kvm::KvmUnusable;
use crate::monitor::SpawnError;
use crate::monitor::sandbox::{Layer, syscall_name};
use crate::vmm::stop::{DiskFault, StopReason};
use bottle_protocol::{ArgumentsTooLong, StartStage};
use std::io;
use std::time::Duration;

/// Ours: nothing of the command's ran, or we lost it.
pub const EXIT_OURS: u8 = 125;
const EXIT_NOT_EXECUTABLE: u8 = 126;
const EXIT_NOT_FOUND: u8 = 127;

#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    #[error(transparent)]
    Kvm(#[from] KvmUnusable),
    #[error(transparent)]
    Claim(#[from] ClaimError),
    #[error(transparent)]
    Egress(#[from] EgressError),
    #[error(transparent)]
    Spawn(#[from] SpawnError),
    #[error("cannot {what}")]
    Host {
        what: &'static str,
        #[source]
        source: io::Error,
    },
    #[error("{}", one_line(&causes.join(": ")))]
    Monitor { causes: Vec<String> },
    #[error("the monitor's sandbox cannot be closed: {}", one_line(why))]
    Sandbox { layer: Layer, why: String },
    #[error("the monitor tried {}, which its sandbox forbids; the bottle was ended{}", violated(*syscall), words(console))]
    Violation { syscall: Option<u32>, console: String },
    #[error("the monitor process was killed{}", tail(console))]
    MonitorGone { console: String },
    #[error("the monitor gave up, as it does when it gets no more memory{}", tail(console))]
    MonitorAborted { console: String },
    #[error("the guest did not {due} within {} s{}", limit.as_secs_f32(), tail(console))]
    Silent { due: &'static str, limit: Duration, console: String },
    #[error("the guest ended ({}) before it came up{}", ended_by(reason), tail(console))]
    NeverUp { reason: StopReason, console: String },
    #[error("the guest ended ({}) before the command did{}", ended_by(reason), tail(console))]
    GuestEnded { reason: StopReason, console: String },
    #[error("{}", root_fault(file, *offset, *fault))]
    Root { file: String, cached_as: Option<String>, offset: u64, fault: DiskFault },
    #[error("the guest agent hung up{}", tail(console))]
    AgentGone { console: String },
    #[error(transparent)]
    Control(#[from] ControlError),
    #[error("the guest agent sent `{message}` where {expected} was due")]
    Unexpected { message: &'static str, expected: &'static str },
    #[error("the guest agent acknowledged {got} environment variables of {sent}")]
    Environment { got: u32, sent: usize },
    #[error("the guest {}: {}", one_line(what), errno(*errno_value))]
    Setup { what: String, errno_value: i32 },
    #[error("the guest {}: {}", one_line(detail), errno(*errno_value))]
    Put { detail: String, errno_value: i32 },
    #[error("cannot read `{}` for the bottle", path.display())]
    Read {
        path: std::path::PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{}", start_failed(*stage, *errno_value, detail, command))]
    Start { stage: StartStage, errno_value: i32, detail: String, command: String },
    #[error(transparent)]
    TooLong(#[from] ArgumentsTooLong),
}

impl LaunchError {
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Start { stage: StartStage::NotFound, .. } => EXIT_NOT_FOUND,
            Self::Start { stage: StartStage::NotExecutable | StartStage::Exec, .. } => EXIT_NOT_EXECUTABLE,
            _ => EXIT_OURS,
        }
    }

    /// The way out.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        let look = "`--console` shows the kernel's log; `bottle-vmm doctor` checks this machine";
        match self {
            Self::Kvm(error) => Some(error.hint()),
            Self::Claim(error) => error.hint(),
            Self::Egress(error) => error.hint(),
            Self::TooLong(error) => error.hint(),
            Self::MonitorGone { .. } => Some(format!(
                "if nobody killed it, the host ran out of memory: give the bottle less with `--mem`. {look}"
            )),
            Self::MonitorAborted { .. } => Some(
                "it may have 512 MiB beside the guest's, which no guest should bring it to: where the host's memory is not out, this may be \
                 an attack from inside the guest. With a command that you trust it is a bug of bottle-vmm, and worth a report"
                    .to_owned(),
            ),
            Self::Silent { .. } | Self::NeverUp { .. } | Self::GuestEnded { .. } | Self::AgentGone { .. } => {
                Some(look.to_owned())
            }
            Self::Root { fault: DiskFault::Changed, cached_as: Some(name), .. } => {
                Some(format!("`bottle-vmm images rm {name}` removes it from the cache; the next run makes it anew"))
            }
            Self::Root { fault: DiskFault::Changed, .. } => Some(
                "`bottle-vmm inspect --verify FILE` tells what else is damaged; copy or pack it again".to_owned(),
            ),
            Self::Root { fault: DiskFault::Unreadable { .. }, .. } => {
                Some("copy the image to a disk that works, or pack it again".to_owned())
            }
            Self::Sandbox { layer, .. } => Some(format!(
                "{}; to go on without this layer, and at your own risk: `--no-sandbox={}`",
                layer.way_out(),
                layer.name()
            )),
            Self::Violation { .. } => Some(
                "this may be an attack from inside the guest: trust nothing that it produced. With a command that you trust it is a bug \
                 of bottle-vmm, and worth a report"
                    .to_owned(),
            ),
            Self::Monitor { causes } if causes.iter().any(|cause| cause.contains("too small")) => {
                Some("give the bottle more with `--mem`".to_owned())
            }
            Self::Put { detail, .. } if detail.contains("no user") => {
                Some("an agent's image has a user `node`, uid 1000, with the home `/home/node`".to_owned())
            }
            Self::Put { errno_value: libc::ENOSPC, .. } => Some("give the bottle more with `--mem` or `--disk`".to_owned()),
            Self::Start { stage: StartStage::User, .. } => {
                Some("`--user` takes names of the image's /etc/passwd and /etc/group, or numbers".to_owned())
            }
            Self::Start { stage: StartStage::NotFound, command, .. } if !command.contains('/') => {
                Some("it was looked for in the PATH of the image; give the path, or another `--entrypoint`".to_owned())
            }
            _ => None,
        }
    }
}

fn tail(console: &str) -> String {
    match words(console) {
        none if none.is_empty() => "; its console is empty".to_owned(),
        some => some,
    }
}

fn words(console: &str) -> String {
    match console.trim_end() {
        "" => String::new(),
        lines => format!(
            "; its console ends with\n{}",
            lines.lines().map(|line| format!("  | {line}")).collect::<Vec<_>>().join("\n")
        ),
    }
}

fn violated(syscall: Option<u32>) -> String {
    let Some(number) = syscall else { return "a system call".to_owned() };
    match syscall_name(number) {
        Some(name) => format!("`{name}` (system call {number})"),
        None => format!("system call {number:#x}"),
    }
}

fn ended_by(reason: &StopReason) -> String {
    match reason {
        StopReason::PowerOff => "power-off".to_owned(),
        StopReason::Reset => "reset".to_owned(),
        StopReason::Shutdown => "triple fault".to_owned(),
        StopReason::Vcpu { index, detail } => format!("vCPU {index}: {}", one_line(detail)),
        StopReason::Disk { index, offset, fault } => format!("disk {index}: {fault:?} at byte {offset}"),
        StopReason::LauncherGone => "launcher gone".to_owned(),
    }
}

fn root_fault(file: &str, offset: u64, fault: DiskFault) -> String {
    match fault {
        DiskFault::Changed => {
            format!("`{file}` is damaged: at byte {offset} it does not hold the block that its manifest vouches for")
        }
        DiskFault::Unreadable { errno: value } => format!("cannot read `{file}` at byte {offset}: {}", errno(value)),
        DiskFault::Unwritable { errno: value } => format!("cannot write `{file}` at byte {offset}: {}", errno(value)),
    }
}

fn errno(value: i32) -> String {
    io::Error::from_raw_os_error(value).to_string()
}

/// The agent's own words, which name what could not be done, and the system's where they add something.
fn start_failed(stage: StartStage, value: i32, detail: &str, command: &str) -> String {
    let (detail, why) = (one_line(detail), errno(value));
    match stage {
        StartStage::NotFound => format!("`{command}` is not in the image"),
        StartStage::User if value == libc::ENOENT => detail,
        StartStage::Limits => format!("the guest cannot start `{command}`: {detail}"),
        StartStage::NotExecutable | StartStage::Exec | StartStage::User | StartStage::Cwd => format!("{detail}: {why}"),
        StartStage::Fork | StartStage::Streams => format!("the guest cannot start `{command}`: {detail}: {why}"),
    }
}
