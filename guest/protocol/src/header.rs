//! The 12 bytes before every payload, and what each kind of frame may carry.

use std::fmt;
use std::num::NonZeroU32;
use std::ops::Deref;

use crate::error::ProtocolError;
use crate::limits::{MAX_CONTROL, MAX_DATA, MAX_START};

/// Length of an encoded [`Header`].
pub const HEADER_LEN: usize = 12;

/// The kinds of frames. The host's are below 128, the agent's from 128 on; numbers are never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    Setup = 1,
    Start = 2,
    Stdin = 3,
    StdinEof = 4,
    Resize = 5,
    Signal = 6,
    OutputCredit = 7,
    Shutdown = 8,
    CloseOutput = 9,
    Put = 10,
    Hello = 128,
    Ready = 129,
    SetupFailed = 130,
    Started = 131,
    StartFailed = 132,
    Stdout = 133,
    Stderr = 134,
    Eof = 135,
    StdinCredit = 136,
    Exited = 137,
    EnvAcknowledged = 138,
    PutFailed = 139,
}

impl Kind {
    /// Every kind there is.
    pub const ALL: [Self; 22] = [
        Self::Setup,
        Self::Start,
        Self::Stdin,
        Self::StdinEof,
        Self::Resize,
        Self::Signal,
        Self::OutputCredit,
        Self::Shutdown,
        Self::CloseOutput,
        Self::Put,
        Self::Hello,
        Self::Ready,
        Self::SetupFailed,
        Self::Started,
        Self::StartFailed,
        Self::Stdout,
        Self::Stderr,
        Self::Eof,
        Self::StdinCredit,
        Self::Exited,
        Self::EnvAcknowledged,
        Self::PutFailed,
    ];

    /// The number on the wire.
    pub fn number(self) -> u8 {
        self as u8
    }

    fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.number() == number)
    }

    /// Whether the host sends it; everything else is the agent's.
    pub fn to_agent(self) -> bool {
        self.number() < Self::Hello.number()
    }

    /// The longest payload.
    pub fn limit(self) -> u32 {
        match self {
            Self::Stdin | Self::Stdout | Self::Stderr => MAX_DATA,
            Self::Start => MAX_START,
            _ => MAX_CONTROL,
        }
    }

    /// Whether it concerns the machine and not one of its processes.
    pub fn is_of_machine(self) -> bool {
        matches!(self, Self::Setup | Self::Shutdown | Self::Hello | Self::Ready | Self::SetupFailed)
    }
}

/// A process as the host numbers it; 0 on the wire is the machine itself and no process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProcessId(NonZeroU32);

impl ProcessId {
    /// The id that `run` gives to its only process.
    pub const FIRST: Self = Self(NonZeroU32::MIN);

    /// `None` for 0.
    pub fn new(number: u32) -> Option<Self> {
        NonZeroU32::new(number).map(Self)
    }

    pub fn get(self) -> u32 {
        self.0.get()
    }
}

impl fmt::Display for ProcessId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A header that has been judged: a known kind, its length within the limit of the kind, a process where one is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    kind: Kind,
    process: Option<ProcessId>,
    length: u32,
}

impl Header {
    pub fn new(kind: Kind, process: Option<ProcessId>, length: usize) -> Result<Self, ProtocolError> {
        let process = process.map_or(0, ProcessId::get);
        match u32::try_from(length) {
            Ok(length) => Self::judge(kind, process, length),
            Err(_) => Err(ProtocolError::TooLong { kind, length: length as u64, limit: kind.limit() }),
        }
    }

    /// Reads a header; nothing of the payload has to be there yet, and none is worth buffering if this fails.
    pub fn decode(bytes: &[u8; HEADER_LEN]) -> Result<Self, ProtocolError> {
        let [kind, r0, r1, r2, p0, p1, p2, p3, l0, l1, l2, l3] = *bytes;
        let kind = Kind::from_number(kind).ok_or(ProtocolError::UnknownKind { kind })?;
        let bits = u32::from_le_bytes([r0, r1, r2, 0]);
        if bits != 0 {
            return Err(ProtocolError::Reserved { kind, bits });
        }
        Self::judge(kind, u32::from_le_bytes([p0, p1, p2, p3]), u32::from_le_bytes([l0, l1, l2, l3]))
    }

    pub fn encode(&self) -> [u8; HEADER_LEN] {
        let [p0, p1, p2, p3] = self.process.map_or(0, ProcessId::get).to_le_bytes();
        let [l0, l1, l2, l3] = self.length.to_le_bytes();
        [self.kind.number(), 0, 0, 0, p0, p1, p2, p3, l0, l1, l2, l3]
    }

    pub fn kind(&self) -> Kind {
        self.kind
    }

    pub fn process(&self) -> Option<ProcessId> {
        self.process
    }

    /// Bytes of payload that follow.
    pub fn length(&self) -> usize {
        self.length as usize // u32 → usize: this crate is for 64-bit machines, where it cannot lose bits
    }

    fn judge(kind: Kind, process: u32, length: u32) -> Result<Self, ProtocolError> {
        let id = ProcessId::new(process);
        if id.is_none() != kind.is_of_machine() {
            return Err(ProtocolError::WrongProcess { kind, process });
        }
        if length > kind.limit() {
            return Err(ProtocolError::TooLong { kind, length: u64::from(length), limit: kind.limit() });
        }
        Ok(Self { kind, process: id, length })
    }

    /// The process of a kind that has one.
    pub(crate) fn owner(&self) -> Result<ProcessId, ProtocolError> {
        self.process.ok_or(ProtocolError::WrongProcess { kind: self.kind, process: 0 })
    }
}

/// The kinds whose payload is bytes of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DataKind {
    Stdin,
    Stdout,
    Stderr,
}

impl From<DataKind> for Kind {
    fn from(kind: DataKind) -> Self {
        match kind {
            DataKind::Stdin => Self::Stdin,
            DataKind::Stdout => Self::Stdout,
            DataKind::Stderr => Self::Stderr,
        }
    }
}

/// The header for `length` bytes of data, which the caller writes behind it from wherever they are: no copy into a
/// frame. `length` is 1 to [`MAX_DATA`].
pub fn data_header(kind: DataKind, process: ProcessId, length: usize) -> Result<[u8; HEADER_LEN], ProtocolError> {
    if length == 0 {
        return Err(ProtocolError::Empty { kind: kind.into() });
    }
    Ok(Header::new(kind.into(), Some(process), length)?.encode())
}

/// Bytes of a stream. `Debug` shows their number only: what a command prints may be a secret, and messages get logged.
#[derive(Clone, PartialEq, Eq)]
pub struct Data(Vec<u8>);

impl Data {
    pub fn into_vec(self) -> Vec<u8> {
        self.0
    }
}

impl From<Vec<u8>> for Data {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }
}

impl Deref for Data {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Data {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

#[cfg(test)]
#[path = "header_test.rs"]
mod tests;
