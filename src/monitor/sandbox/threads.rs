//! The second step: each thread's system calls, when the machine is built and nothing of the guest has run.

use super::filter::{self, Kind};
use super::privileges::{self, Extent};
use super::probe::{Prepared, Probe, ProbeThread};
use super::{Confinement, Layer};
use seccompiler::{BpfProgram, apply_filter};

#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    #[error("the monitor's filter of system calls cannot be made")]
    Compile(#[from] seccompiler::BackendError),
    #[error("the kernel does not take the monitor's filter of system calls")]
    Apply(#[from] seccompiler::Error),
    #[error("cannot limit the monitor")]
    Limit(#[source] nix::Error),
    #[error("cannot prepare the probe of the sandbox")]
    Probe(#[source] nix::Error),
    #[error("the layer `{}` of the monitor's sandbox cannot be closed: {why}", layer.name())]
    Missing { layer: Layer, why: String },
}

/// Filters ready to be applied, each by its thread to itself.
pub struct Threads {
    filters: Option<Filters>,
    extent: Extent,
    probe: Option<Prepared>,
}

struct Filters {
    vcpu: BpfProgram,
    devices: BpfProgram,
}

impl Threads {
    /// `probe` is tried by its thread right after it closed.
    ///
    /// # Errors
    /// When a filter does not compile, which a test rules out.
    pub fn new(confinement: &Confinement, extent: Extent, probe: Option<Probe>) -> Result<Self, SandboxError> {
        let filters = if confinement.leaves_out(Layer::Seccomp) {
            None
        } else {
            let compile = |kind| filter::compile(kind, std::process::id());
            Some(Filters { vcpu: compile(Kind::Vcpu)?, devices: compile(Kind::Devices)? })
        };
        let probe = probe.map(Prepared::new).transpose().map_err(SandboxError::Probe)?;
        Ok(Self { filters, extent, probe })
    }

    /// In a vCPU thread, before it enters the guest. `report` hears what the test's probe, if there is one, came to.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn close_vcpu(&self, index: u8, report: impl Fn(String)) -> Result<(), SandboxError> {
        if let Some(filters) = &self.filters {
            apply_filter(&filters.vcpu)?;
        }
        if index == 0 {
            self.try_probe(ProbeThread::Vcpu, report);
        }
        Ok(())
    }

    /// In the thread that serves devices, when all vCPU threads have started.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn close_devices(&self, report: impl Fn(String)) -> Result<(), SandboxError> {
        if let Some(filters) = &self.filters {
            privileges::limit_running(self.extent).map_err(SandboxError::Limit)?;
            apply_filter(&filters.devices)?;
        }
        self.try_probe(ProbeThread::Devices, report);
        Ok(())
    }

    fn try_probe(&self, thread: ProbeThread, report: impl Fn(String)) {
        if let Some(outcome) = self.probe.as_ref().and_then(|probe| probe.attempt(thread)) {
            report(outcome);
        }
    }
}
