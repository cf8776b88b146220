//! Every number that bounds the channel, each with the cost or the attack it bounds.

/// The vsock port on the host (CID 2) that the agent connects to.
pub const CONTROL_PORT: u32 = 1024;

/// The version of everything in this crate. The agent travels inside bottle-vmm, so the two differ only when a
/// foreign agent is booted; then `Hello` says so at once.
pub const VERSION: u16 = 4;

/// The first bytes of `Hello`: what connects and is not our agent is told apart before anything else is read.
pub const MAGIC: [u8; 4] = *b"BTLA";

/// Payload of a data frame. Small enough that frames of other streams are not held up behind it for long, big enough
/// that the header (12 bytes) and a system call do not matter. It is also what the largest vsock packet carries.
pub const MAX_DATA: u32 = 64 * 1024;

/// Payload of `Start`: argv and environment up to the kernel's own limit (see [`crate::ArgumentLimits`]) with room to
/// spare for being over it, since the agent's refusal carries better words than a broken connection.
pub const MAX_START: u32 = 4 * 1024 * 1024;

/// Payload of everything else.
pub const MAX_CONTROL: u32 = 4 * 1024;

/// Free text inside a control frame, so that text and fixed fields together stay under [`MAX_CONTROL`].
pub const MAX_TEXT: usize = 2 * 1024;

/// A path of a file that is put into the guest, and what a link points to (`PATH_MAX` less its NUL).
pub const MAX_PATH: usize = 4095;

/// Bytes that a sender may have under way per stream of a process. Bounds the memory that a slow reader costs either
/// side; at 64 KiB frames it keeps four of them in flight, which hides the latency of a credit frame.
pub const INITIAL_WINDOW: u32 = 256 * 1024;

/// Processes that the agent runs at a time by order of the host. Bounds the agent's memory and its poll set.
pub const MAX_PROCESSES: usize = 64;
