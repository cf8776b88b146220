//! What can be wrong with a stream of frames. Any of these ends the connection: the position in the stream is lost.

use crate::header::Kind;
use crate::names::InvalidName;
use crate::secret::InvalidVariable;

/// A breach of the protocol by the peer, or (when encoding) a message of ours that cannot be sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolError {
    #[error("frame of unknown kind {kind}")]
    UnknownKind { kind: u8 },
    #[error("frame of kind {kind:?} travels in the wrong direction")]
    WrongDirection { kind: Kind },
    #[error("frame of kind {kind:?} has reserved bits set: {bits:#08x}")]
    Reserved { kind: Kind, bits: u32 },
    #[error("frame of kind {kind:?} names process {process}, which this kind cannot")]
    WrongProcess { kind: Kind, process: u32 },
    #[error("frame of kind {kind:?} has {length} bytes, the limit is {limit}")]
    TooLong { kind: Kind, length: u64, limit: u32 },
    #[error("frame of kind {kind:?} carries nothing")]
    Empty { kind: Kind },
    #[error("frame ends before its field {field}")]
    Truncated { field: &'static str },
    #[error("frame has {bytes} bytes after its last field")]
    Trailing { bytes: usize },
    #[error("field {field} counts {count} entries, the frame has room for {room}")]
    Count { field: &'static str, count: u32, room: usize },
    #[error("field {field} holds a NUL byte")]
    Nul { field: &'static str },
    #[error("field {field} is not UTF-8")]
    NotText { field: &'static str },
    #[error("field {field} has the unknown value {value}")]
    UnknownValue { field: &'static str, value: u32 },
    #[error("a path is not absolute, too long, or has an empty, `.` or `..` component")]
    Path,
    #[error("the command line is empty")]
    NoCommand,
    #[error("the peer is not a guest agent: it begins with {found:02x?}")]
    Magic { found: [u8; 4] },
    #[error("the agent speaks version {found} of the protocol, not {ours}")]
    Version { found: u16, ours: u16 },
    #[error("{bytes} bytes were sent into a window of {available}")]
    Overrun { bytes: u32, available: u32 },
    #[error("{bytes} bytes of credit were given, only {outstanding} were outstanding")]
    Overcredit { bytes: u32, outstanding: u32 },
    #[error("the stream ended inside a frame")]
    Cut,
    #[error(transparent)]
    Name(#[from] InvalidName),
    #[error(transparent)]
    Variable(#[from] InvalidVariable),
}

impl ProtocolError {
    /// What the user can do about it, where there is something.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Magic { .. } | Self::Version { .. } => {
                Some("boot the agent that this bottle-vmm carries; it never mixes versions by itself".to_owned())
            }
            Self::TooLong { kind: Kind::Start, .. } => {
                Some("shorten the command line or the environment, or put large values into a file".to_owned())
            }
            _ => None,
        }
    }
}
