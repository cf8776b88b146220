//! The seam between the launcher and the monitor, which are two processes of the same program.
//!
//! The monitor is started with a socket as its descriptor 0 and nothing else: no environment, no arguments beyond the word that
//! selects it, no path to open. What it works on arrives over that socket as descriptors ([`wire`]). It ends when the
//! machine ends, when the launcher hangs up, and when the launcher dies. Before it looks at any of it, [`sandbox`] closes.

pub mod process;
pub mod sandbox;
pub mod spawn;
pub mod wire;

pub use process::{MONITOR_WORD, main};
pub use spawn::{Ending, MonitorProcess, SpawnError};
pub use wire::{LauncherRequest, MonitorEvent, MonitorPhase, MonitorSpec};
