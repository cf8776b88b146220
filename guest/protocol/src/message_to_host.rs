//! What the agent says to the host.

use crate::arguments::ArgumentLimits;
use crate::decoder::Message;
use crate::error::ProtocolError;
use crate::header::{Data, Header, Kind, ProcessId};
use crate::limits::{MAGIC, VERSION};
use crate::message_to_agent::data;
use crate::secret::SecretBytes;
use crate::wire::{Reader, Sink, frame};

/// A frame from the agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ToHost {
    /// The first frame of all.
    Hello(Hello),
    /// The root is mounted and the machine is set up.
    Ready,
    /// It could not be set up; the machine is of no use.
    SetupFailed { what: String, errno: i32 },
    /// `Start` arrived whole; `count` is the number of its variables. Whether the command runs is told next.
    EnvAcknowledged { process: ProcessId, count: u32 },
    /// The command runs.
    Started { process: ProcessId, pid: u32 },
    /// It does not, and this process id is free again. `detail` names the user, path or limit in question.
    StartFailed { process: ProcessId, stage: StartStage, errno: i32, detail: String },
    /// The files of a `Put` are not all there, and no more are taken; this process id is free again. `detail` names the path.
    PutFailed { process: ProcessId, errno: i32, detail: String },
    /// Bytes of its standard output, or of its terminal; 1 to [`crate::MAX_DATA`].
    Stdout { process: ProcessId, bytes: Data },
    /// Bytes of its standard error.
    Stderr { process: ProcessId, bytes: Data },
    /// No more bytes of that stream will come.
    Eof { process: ProcessId, stream: OutputStream },
    /// The command has taken (or will never take) `bytes` of its standard input.
    Credit { process: ProcessId, bytes: u32 },
    /// It ended, and all that it had written before has been sent. The process id is free again.
    Exited { process: ProcessId, status: ExitStatus },
}

/// Who the agent is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// The agent's own version, for reports.
    pub agent: String,
    /// `uname -r` of the guest.
    pub kernel: String,
    /// What a command line and environment may take in this guest.
    pub limits: ArgumentLimits,
}

/// An output of a process. With a terminal there is only [`Self::Stdout`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum OutputStream {
    Stdout = 1,
    Stderr = 2,
}

/// How far a start came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum StartStage {
    /// The user or group is not known to the image.
    User = 1,
    /// The working directory is missing or cannot be entered.
    Cwd = 2,
    /// No such command (127).
    NotFound = 3,
    /// The command is there and cannot be executed (126).
    NotExecutable = 4,
    /// `execve` failed for another reason.
    Exec = 5,
    /// No process could be made.
    Fork = 6,
    /// The command line and environment, or the number of processes, are over a limit of the guest.
    Limits = 7,
    /// No terminal or pipes could be made.
    Streams = 8,
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitStatus {
    Code(u8),
    Signal(u8),
}

impl ExitStatus {
    /// As a shell and docker report it: a death by signal N is 128 + N.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Code(code) => code,
            Self::Signal(signal) => signal.saturating_add(128),
        }
    }
}

impl ToHost {
    /// Appends the frame to `out`. For `Stdout` and `Stderr`, [`crate::data_header`] saves a copy.
    pub fn encode(&self, out: &mut Vec<u8>) -> Result<(), ProtocolError> {
        let (kind, process) = self.kind_and_process();
        match self {
            Self::Hello(hello) => frame(out, kind, process, |out| hello.put(out)),
            Self::Ready => frame(out, kind, process, |_| ()),
            Self::SetupFailed { what, errno } => frame(out, kind, process, |out| {
                out.put(&errno.to_le_bytes());
                out.put_text(what);
            }),
            Self::EnvAcknowledged { count: number, .. } | Self::Started { pid: number, .. } => {
                frame(out, kind, process, |out| out.put_u32(*number))
            }
            Self::StartFailed { stage, errno, detail, .. } => frame(out, kind, process, |out| {
                out.put(&[*stage as u8]);
                out.put(&errno.to_le_bytes());
                out.put_text(detail);
            }),
            Self::PutFailed { errno, detail, .. } => frame(out, kind, process, |out| {
                out.put(&errno.to_le_bytes());
                out.put_text(detail);
            }),
            Self::Stdout { bytes, .. } | Self::Stderr { bytes, .. } if bytes.is_empty() => {
                Err(ProtocolError::Empty { kind })
            }
            Self::Stdout { bytes, .. } | Self::Stderr { bytes, .. } => frame(out, kind, process, |out| out.put(bytes)),
            Self::Eof { stream, .. } => frame(out, kind, process, |out| out.put(&[stream.number()])),
            Self::Credit { bytes, .. } => frame(out, kind, process, |out| out.put_u32(*bytes)),
            Self::Exited { status, .. } => frame(out, kind, process, |out| {
                out.put(&match *status {
                    ExitStatus::Code(code) => [0, code],
                    ExitStatus::Signal(signal) => [1, signal],
                });
            }),
        }
    }

    fn kind_and_process(&self) -> (Kind, Option<ProcessId>) {
        match *self {
            Self::Hello(_) => (Kind::Hello, None),
            Self::Ready => (Kind::Ready, None),
            Self::SetupFailed { .. } => (Kind::SetupFailed, None),
            Self::EnvAcknowledged { process, .. } => (Kind::EnvAcknowledged, Some(process)),
            Self::Started { process, .. } => (Kind::Started, Some(process)),
            Self::StartFailed { process, .. } => (Kind::StartFailed, Some(process)),
            Self::PutFailed { process, .. } => (Kind::PutFailed, Some(process)),
            Self::Stdout { process, .. } => (Kind::Stdout, Some(process)),
            Self::Stderr { process, .. } => (Kind::Stderr, Some(process)),
            Self::Eof { process, .. } => (Kind::Eof, Some(process)),
            Self::Credit { process, .. } => (Kind::StdinCredit, Some(process)),
            Self::Exited { process, .. } => (Kind::Exited, Some(process)),
        }
    }

    fn of_process(header: &Header, fields: &mut Reader<'_>) -> Result<Self, ProtocolError> {
        let process = header.owner()?;
        Ok(match header.kind() {
            Kind::EnvAcknowledged => Self::EnvAcknowledged { process, count: fields.u32("count")? },
            Kind::Started => Self::Started { process, pid: fields.u32("pid")? },
            Kind::StartFailed => {
                let stage = StartStage::take(fields)?;
                Self::StartFailed {
                    process,
                    stage,
                    errno: fields.i32("errno")?,
                    detail: fields.text("detail")?.to_owned(),
                }
            }
            Kind::PutFailed => {
                let errno = fields.i32("errno")?;
                Self::PutFailed { process, errno, detail: fields.text("detail")?.to_owned() }
            }
            Kind::Eof => Self::Eof { process, stream: OutputStream::take(fields)? },
            Kind::StdinCredit => Self::Credit { process, bytes: fields.u32("credit")? },
            Kind::Exited => Self::Exited { process, status: ExitStatus::take(fields)? },
            kind => return Err(ProtocolError::WrongDirection { kind }),
        })
    }
}

impl Message for ToHost {
    fn carries(header: &Header) -> bool {
        !header.kind().to_agent()
    }

    fn parse(header: &Header, payload: &mut SecretBytes) -> Result<Self, ProtocolError> {
        match header.kind() {
            Kind::Stdout => return Ok(Self::Stdout { process: header.owner()?, bytes: data(header, payload)? }),
            Kind::Stderr => return Ok(Self::Stderr { process: header.owner()?, bytes: data(header, payload)? }),
            _ => (),
        }
        let mut fields = Reader::new(payload.expose());
        let message = match header.kind() {
            Kind::Hello => Self::Hello(Hello::take(&mut fields)?),
            Kind::Ready => Self::Ready,
            Kind::SetupFailed => {
                let errno = fields.i32("errno")?;
                Self::SetupFailed { what: fields.text("what")?.to_owned(), errno }
            }
            _ => Self::of_process(header, &mut fields)?,
        };
        fields.end()?;
        Ok(message)
    }
}

impl Hello {
    fn put(&self, out: &mut Vec<u8>) {
        out.put(&MAGIC);
        out.put(&VERSION.to_le_bytes());
        out.put(&self.limits.total_bytes.to_le_bytes());
        out.put(&self.limits.string_bytes.to_le_bytes());
        out.put_text(&self.agent);
        out.put_text(&self.kernel);
    }

    /// Magic and version come first and are judged first: behind them another version may have put anything.
    fn take(fields: &mut Reader<'_>) -> Result<Self, ProtocolError> {
        let found = fields.magic()?;
        if found != MAGIC {
            return Err(ProtocolError::Magic { found });
        }
        let found = fields.u16("version")?;
        if found != VERSION {
            return Err(ProtocolError::Version { found, ours: VERSION });
        }
        let limits =
            ArgumentLimits { total_bytes: fields.u64("total_bytes")?, string_bytes: fields.u64("string_bytes")? };
        Ok(Self { limits, agent: fields.text("agent")?.to_owned(), kernel: fields.text("kernel")?.to_owned() })
    }
}

impl OutputStream {
    pub(crate) fn number(self) -> u8 {
        self as u8
    }

    pub(crate) fn take(fields: &mut Reader<'_>) -> Result<Self, ProtocolError> {
        match fields.u8("stream")? {
            1 => Ok(Self::Stdout),
            2 => Ok(Self::Stderr),
            value => Err(ProtocolError::UnknownValue { field: "stream", value: value.into() }),
        }
    }
}

impl StartStage {
    const ALL: [Self; 8] = [
        Self::User,
        Self::Cwd,
        Self::NotFound,
        Self::NotExecutable,
        Self::Exec,
        Self::Fork,
        Self::Limits,
        Self::Streams,
    ];

    /// The number on the wire and on the agent's pipe between fork and exec.
    pub fn number(self) -> u8 {
        self as u8
    }

    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|stage| stage.number() == number)
    }

    fn take(fields: &mut Reader<'_>) -> Result<Self, ProtocolError> {
        let value = fields.u8("stage")?;
        Self::from_number(value).ok_or(ProtocolError::UnknownValue { field: "stage", value: value.into() })
    }
}

impl ExitStatus {
    fn take(fields: &mut Reader<'_>) -> Result<Self, ProtocolError> {
        let (how, value) = (fields.u8("how it ended")?, fields.u8("status")?);
        match how {
            0 => Ok(Self::Code(value)),
            1 => Ok(Self::Signal(value)),
            value => Err(ProtocolError::UnknownValue { field: "how it ended", value: value.into() }),
        }
    }
}

#[cfg(test)]
#[path = "message_to_host_test.rs"]
mod tests;
