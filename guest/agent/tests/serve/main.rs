//! The agent's serving half, driven through a socket by a host that is kind, slow or hostile. The commands are real and
//! run on the machine that tests; nothing is mounted and no root is needed.

#![expect(clippy::unwrap_used, reason = "what a test needs and does not get is its failure")]

mod commands;
mod host;
mod hostile;
mod placing;
mod streams;
mod terminal;
