//! Tests with real Linux guests. Each runs on this machine where /dev/kvm can, and else inside the emulated KVM host.
//!
//! A test reads like three lines: [`bottle::Bottle`] says what to run, its result says what came out.

#![expect(clippy::unwrap_used, clippy::print_stderr, reason = "a test that cannot go on says where")]

mod bottle;
#[path = "programs/attack/disguises.rs"]
mod disguises;
#[path = "../home/mod.rs"]
mod files;
mod processes;
mod setup;
mod terminal;
#[path = "../mutants/weaknesses.rs"]
mod weaknesses;
mod world;

mod agents;
mod artifacts;
mod attacks;
mod bad_input;
mod canaries;
mod commands;
mod compression;
mod disks;
mod dockerfiles;
mod egress;
mod images;
mod lifetime;
mod measuring;
mod merging;
mod plans;
mod refusals;
mod sandbox;
mod secrets;
mod signals;
mod starts;
mod streams;
mod terminals;
mod traffic;
mod weakened;
