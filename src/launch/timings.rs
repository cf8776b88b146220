//! When each phase of a run was reached: CLOCK_MONOTONIC, in the launcher and the monitor alike.

use crate::monitor::process::now_ns;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io;

/// The phases, in the order in which a run goes through them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// `main` began.
    Begin,
    Parsed,
    ImageReady,
    MonitorStarted,
    MemoryMapped,
    FirstKvmRun,
    /// The guest reached the monitor for the first time: the kernel's sign of life that needs no console.
    GuestAlive,
    AgentHello,
    /// The agent acknowledged the environment by count.
    EnvAcknowledged,
    CommandStarted,
    CommandExited,
    /// Monitor, guest and their memory are gone.
    AllGone,
}

impl Phase {
    pub const ALL: [Self; 12] = [
        Self::Begin,
        Self::Parsed,
        Self::ImageReady,
        Self::MonitorStarted,
        Self::MemoryMapped,
        Self::FirstKvmRun,
        Self::GuestAlive,
        Self::AgentHello,
        Self::EnvAcknowledged,
        Self::CommandStarted,
        Self::CommandExited,
        Self::AllGone,
    ];
}

/// A phase and when it was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    pub phase: Phase,
    /// Nanoseconds of CLOCK_MONOTONIC.
    pub at_ns: u64,
}

/// The marks of one run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Timings {
    pub marks: Vec<Mark>,
    /// CPU time of launcher and monitor (the guest's included) at the end, in microseconds.
    pub cpu_us: u64,
    /// CPU time of launcher and monitor up to the first KVM_RUN, in microseconds.
    pub cpu_to_first_kvm_run_us: u64,
    /// VM exits up to the command's exit, over all vCPUs, as KVM counts them.
    pub vm_exits: Option<u64>,
}

impl Timings {
    pub fn mark(&mut self, phase: Phase) {
        self.mark_at(phase, now_ns());
    }

    pub fn mark_at(&mut self, phase: Phase, at_ns: u64) {
        // Each phase once: a monitor that tells one again and again must not grow us.
        if self.at(phase).is_none() {
            self.marks.push(Mark { phase, at_ns });
        }
    }

    #[must_use]
    pub fn at(&self, phase: Phase) -> Option<u64> {
        self.marks.iter().find(|mark| mark.phase == phase).map(|mark| mark.at_ns)
    }

    /// # Errors
    /// When the file cannot be written.
    pub fn write(&self, file: File) -> io::Result<()> {
        serde_json::to_writer_pretty(file, self).map_err(io::Error::from)
    }
}
