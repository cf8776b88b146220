//! The control channel between bottle-vmm and its guest agent: frames, messages, limits and windows.
//!
//! Law: no I/O, no `unsafe`, no clock. Bytes in, typed values out, and back. Both sides use this crate, so a rule of
//! the wire stands in one place. Neither side trusts the other: every length is judged before memory is taken for it.
//!
//! One vsock stream, guest → host (CID 2, [`CONTROL_PORT`]), carries frames both ways, all numbers little-endian:
//!
//! ```text
//!   0        1          2            4            8            12
//!   +--------+----------+------------+------------+------------+------------------+
//!   | kind   | reserved | reserved   | process    | length     | payload          |
//!   | u8     | u8 = 0   | u16 = 0    | u32        | u32        | `length` bytes   |
//!   +--------+----------+------------+------------+------------+------------------+
//!
//!   agent                                    host
//!     | ── Hello (magic, version, limits) ──> |   first frame of all
//!     | <────────────────────────── Setup ─── |   may be followed by Start at once
//!     | ── Ready | SetupFailed ─────────────> |
//!     | <─────────────────── Start (id, …) ── |
//!     | ── EnvAcknowledged (count) ─────────> |
//!     | ── Started | StartFailed ───────────> |
//!     | <── Stdin, StdinEof, Resize, Signal ─ |   Credit for output the host has disposed of, CloseOutput for none wanted
//!     | ── Stdout, Stderr, Eof ─────────────> |   Credit for stdin that the command has taken
//!     | <────────────────── Put (id, user) ── |   before Start as well; its Stdin is a tree of files
//!     | ── Exited | PutFailed ──────────────> |
//!     | ── Exited ──────────────────────────> |   last frame of that process id
//!     | <─────────────────────── Shutdown ─── |
//! ```
//!
//! A process id is chosen by the host. Frames for an id that has already exited cross with its `Exited` and are ignored.

#![forbid(unsafe_code)]

pub mod arguments;
pub mod decoder;
pub mod error;
pub mod header;
pub mod limits;
pub mod message_to_agent;
pub mod message_to_host;
pub mod names;
pub mod network;
pub mod secret;
pub mod tree;
pub mod window;
mod wire;

pub use arguments::{ArgumentLimits, ArgumentsTooLong};
pub use decoder::{Decoder, Message};
pub use error::ProtocolError;
pub use header::{Data, DataKind, HEADER_LEN, Header, Kind, ProcessId, data_header};
pub use limits::{CONTROL_PORT, INITIAL_WINDOW, MAX_DATA, MAX_PATH, MAX_PROCESSES, VERSION};
pub use message_to_agent::{Put, Setup, Start, ToAgent, WindowSize};
pub use message_to_host::{ExitStatus, Hello, OutputStream, StartStage, ToHost};
pub use names::{DeviceName, Hostname, InvalidName, SignalNumber};
pub use network::Network;
pub use secret::{InvalidVariable, SecretBytes, SecretEnv};
pub use tree::{Entry, EntryKind, Piece, TreeDecoder};
pub use window::{ReceiveWindow, Window};
