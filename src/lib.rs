//! bottle-vmm.
pub mod builder;
pub mod cli;
pub mod control;
pub mod debian;
mod draft;
pub mod host;
pub mod image;
pub mod kernel;
pub mod launch;
pub mod manifest;
pub mod monitor;
pub mod net;
pub mod paths;
pub mod progress;
pub mod scratch;
pub mod sys;
pub mod verity;
pub mod vmm;
