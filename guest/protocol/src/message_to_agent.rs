//! What the host says to the agent.

use std::ffi::CString;

use crate::decoder::Message;
use crate::error::ProtocolError;
use crate::header::{Data, Header, Kind, ProcessId};
use crate::message_to_host::OutputStream;
use crate::names::{DeviceName, Hostname, SignalNumber};
use crate::network::Network;
use crate::secret::{SecretBytes, SecretEnv};
use crate::wire::{Reader, Sink, frame};

/// A frame from the host. No `Debug`: `Start` holds secrets, and the rest is not worth an exception.
pub enum ToAgent {
    /// Make the machine ready. Exactly one, the first.
    Setup(Setup),
    /// Start a command. Answered by `EnvAcknowledged`, then `Started` or `StartFailed`.
    Start(Start),
    /// Put files into the guest. Answered by `Exited` once all are there, or by `PutFailed`.
    Put(Put),
    /// Bytes for the standard input; 1 to [`crate::MAX_DATA`].
    Stdin { process: ProcessId, bytes: Data },
    /// No more `Stdin` will come.
    StdinEof { process: ProcessId },
    /// The terminal has a new size.
    Resize { process: ProcessId, size: WindowSize },
    /// Send a signal to the command.
    Signal { process: ProcessId, signal: SignalNumber },
    /// `bytes` of that stream are disposed of.
    Credit { process: ProcessId, stream: OutputStream, bytes: u32 },
    /// Nobody will read that stream any more: the command is to find its other end closed, as in a pipeline.
    CloseOutput { process: ProcessId, stream: OutputStream },
    /// Power off at once.
    Shutdown,
}

/// What the machine is to be. The loopback interface comes up without being asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setup {
    pub hostname: Hostname,
    /// The disk with the read-only root file system (EROFS).
    pub root: DeviceName,
    /// An ext4 disk for what is written; without one it stays in memory.
    pub scratch: Option<DeviceName>,
    /// Without one, no interface but the loopback is touched.
    pub network: Option<Network>,
}

/// A command to start.
pub struct Start {
    pub process: ProcessId,
    /// Not empty. Without a slash in it, `argv[0]` is looked up in `PATH` of `env`.
    pub argv: Vec<CString>,
    pub env: SecretEnv,
    /// Empty means `/`.
    pub cwd: CString,
    /// Make `cwd` if it is missing, owned by root.
    pub create_cwd: bool,
    /// As in an image's config: empty, `name`, `uid`, `name:group`, `uid:gid`.
    pub user: CString,
    /// Give it a terminal of this size.
    pub tty: Option<WindowSize>,
    /// Whether `Stdin` frames will come; otherwise it reads from `/dev/null` or a silent terminal.
    pub stdin: bool,
}

/// Files to put: they come as `Stdin` of this id, in the form of [`crate::tree`], until `StdinEof`.
pub struct Put {
    pub process: ProcessId,
    /// Whose they will be; as in [`Start`].
    pub user: CString,
}

/// The size of a terminal in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WindowSize {
    pub rows: u16,
    pub cols: u16,
}

impl ToAgent {
    /// Appends the frame to `out`, which wipes what it held when it is dropped or cleared. For `Stdin`,
    /// [`crate::data_header`] saves a copy.
    pub fn encode(&self, out: &mut SecretBytes) -> Result<(), ProtocolError> {
        match self {
            Self::Setup(setup) => frame(out, Kind::Setup, None, |out| setup.put(out)),
            Self::Start(start) => start.encode(out),
            Self::Put(put) => frame(out, Kind::Put, Some(put.process), |out| out.put_counted(put.user.to_bytes())),
            Self::Stdin { bytes, .. } if bytes.is_empty() => Err(ProtocolError::Empty { kind: Kind::Stdin }),
            Self::Stdin { process, bytes } => frame(out, Kind::Stdin, Some(*process), |out| out.put(bytes)),
            Self::StdinEof { process } => frame(out, Kind::StdinEof, Some(*process), |_| ()),
            Self::Resize { process, size } => frame(out, Kind::Resize, Some(*process), |out| size.put(out)),
            Self::Signal { process, signal } => {
                frame(out, Kind::Signal, Some(*process), |out| out.put(&[signal.get()]))
            }
            Self::Credit { process, stream, bytes } => frame(out, Kind::OutputCredit, Some(*process), |out| {
                out.put(&[stream.number()]);
                out.put_u32(*bytes);
            }),
            Self::CloseOutput { process, stream } => {
                frame(out, Kind::CloseOutput, Some(*process), |out| out.put(&[stream.number()]))
            }
            Self::Shutdown => frame(out, Kind::Shutdown, None, |_| ()),
        }
    }
}

impl Message for ToAgent {
    fn carries(header: &Header) -> bool {
        header.kind().to_agent()
    }

    fn parse(header: &Header, payload: &mut SecretBytes) -> Result<Self, ProtocolError> {
        if header.kind() == Kind::Stdin {
            let bytes = data(header, payload)?;
            return Ok(Self::Stdin { process: header.owner()?, bytes });
        }
        let mut fields = Reader::new(payload.expose());
        let message = match header.kind() {
            Kind::Setup => Self::Setup(Setup::take(&mut fields)?),
            Kind::Start => Self::Start(Start::take(header.owner()?, &mut fields)?),
            Kind::Put => Self::Put(Put { process: header.owner()?, user: fields.c_string("user")? }),
            Kind::StdinEof => Self::StdinEof { process: header.owner()? },
            Kind::Resize => Self::Resize { process: header.owner()?, size: WindowSize::take(&mut fields)? },
            Kind::Signal => {
                let signal = SignalNumber::new(fields.u8("signal")?.into())?;
                Self::Signal { process: header.owner()?, signal }
            }
            Kind::OutputCredit => {
                let stream = OutputStream::take(&mut fields)?;
                Self::Credit { process: header.owner()?, stream, bytes: fields.u32("credit")? }
            }
            Kind::CloseOutput => {
                Self::CloseOutput { process: header.owner()?, stream: OutputStream::take(&mut fields)? }
            }
            Kind::Shutdown => Self::Shutdown,
            kind => return Err(ProtocolError::WrongDirection { kind }),
        };
        fields.end()?;
        Ok(message)
    }
}

/// The payload of a data frame: the buffer itself, not a copy.
pub(crate) fn data(header: &Header, payload: &mut SecretBytes) -> Result<Data, ProtocolError> {
    if payload.is_empty() { Err(ProtocolError::Empty { kind: header.kind() }) } else { Ok(payload.take().into()) }
}

impl Setup {
    fn put(&self, out: &mut SecretBytes) {
        out.put_counted(self.hostname.as_str().as_bytes());
        out.put_counted(self.root.as_str().as_bytes());
        out.put_counted(self.scratch.as_ref().map_or("", DeviceName::as_str).as_bytes());
        Network::put(self.network.as_ref(), out);
    }

    fn take(fields: &mut Reader<'_>) -> Result<Self, ProtocolError> {
        Ok(Self {
            hostname: Hostname::new(fields.text("hostname")?)?,
            root: DeviceName::new(fields.text("root device")?)?,
            scratch: match fields.text("scratch device")? {
                "" => None,
                name => Some(DeviceName::new(name)?),
            },
            network: Network::take(fields)?,
        })
    }
}

impl Start {
    /// Fixed fields, and the lengths and counts of the others: no less than they take, so that one reservation is enough.
    const FIXED: usize = 64;

    fn encode(&self, out: &mut SecretBytes) -> Result<(), ProtocolError> {
        if self.argv.is_empty() {
            return Err(ProtocolError::NoCommand);
        }
        let argv: usize = self.argv.iter().map(|arg| arg.count_bytes().saturating_add(4)).sum();
        let texts = self.cwd.count_bytes().saturating_add(self.user.count_bytes());
        out.reserve(Self::FIXED.saturating_add(argv).saturating_add(texts).saturating_add(self.env.byte_len()));
        frame(out, Kind::Start, Some(self.process), |out| self.put(out))
    }

    fn put(&self, out: &mut SecretBytes) {
        out.put(&[u8::from(self.create_cwd), u8::from(self.stdin), u8::from(self.tty.is_some())]);
        self.tty.unwrap_or(WindowSize { rows: 0, cols: 0 }).put(out);
        out.put_counted(self.user.to_bytes());
        out.put_counted(self.cwd.to_bytes());
        out.put_count(self.argv.len());
        for arg in &self.argv {
            out.put_counted(arg.to_bytes());
        }
        out.put_count(self.env.len());
        out.put_counted(self.env.packed().expose());
    }

    fn take(process: ProcessId, fields: &mut Reader<'_>) -> Result<Self, ProtocolError> {
        let create_cwd = fields.flag("create_cwd")?;
        let stdin = fields.flag("stdin")?;
        let has_tty = fields.flag("tty")?;
        let size = WindowSize::take(fields)?;
        let user = fields.c_string("user")?;
        let cwd = fields.c_string("cwd")?;
        let count = fields.count(4, "argv")?;
        let argv: Vec<CString> = (0..count).map(|_| fields.c_string("argv")).collect::<Result<_, _>>()?;
        if argv.is_empty() {
            return Err(ProtocolError::NoCommand);
        }
        let variables = fields.count(3, "env")?; // the shortest is `N=` and its NUL
        let env = SecretEnv::from_packed(fields.counted("env")?, variables)?;
        Ok(Self { process, argv, env, cwd, create_cwd, user, tty: has_tty.then_some(size), stdin })
    }
}

impl WindowSize {
    fn put(self, out: &mut SecretBytes) {
        out.put(&self.rows.to_le_bytes());
        out.put(&self.cols.to_le_bytes());
    }

    fn take(fields: &mut Reader<'_>) -> Result<Self, ProtocolError> {
        Ok(Self { rows: fields.u16("rows")?, cols: fields.u16("cols")? })
    }
}

#[cfg(test)]
#[path = "message_to_agent_test.rs"]
mod tests;
