//! The monitor's side: from a socket to a running machine.

use super::sandbox::{self, Confinement, Extent, SandboxError, Threads};
use super::wire::{self, LauncherRequest, MonitorEvent, MonitorPhase, MonitorSpec, WireError};
use crate::net::backend::Backend;
use crate::net::spec::NetSpec;
use crate::net::stack;
use crate::sys::descriptors;
use crate::vmm::devices::virtio::net::{FrameBackend, NetConfig};
use crate::vmm::machine::{Guards, Heard, Observer};
use crate::vmm::{DiskAccess, DiskSpec, Machine, MachineError, MachineSpec, NetworkSpec};
use nix::sys::prctl;
use nix::sys::resource::{Resource, UsageWho, getrusage, setrlimit};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::time::TimeValLike as _;
use nix::time::{ClockId, clock_gettime};
use std::error::Error;
use std::fs::File;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::sync::Arc;

/// The one argument that makes the program a monitor. Not a command: people never type it.
pub const MONITOR_WORD: &str = "__monitor";

#[derive(Debug, thiserror::Error)]
pub enum MonitorError {
    #[error("the monitor cannot harden itself")]
    Harden(#[source] nix::Error),
    #[error("the monitor does not understand the launcher")]
    Wire(#[from] WireError),
    #[error("the launcher hung up before it said what to run")]
    NoSpec,
    #[error("the launcher has ended")]
    Orphaned,
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
    #[error("the machine cannot be made")]
    Machine(#[from] MachineError),
}

/// Runs a machine as told over the socket that is this process's descriptor 0. `agent` is the guest's PID 1.
///
/// Returns when the machine has ended; the process must end then, since vCPU threads may still be inside the guest.
pub fn main(agent: &'static [u8]) -> ExitCode {
    // A launcher that holds its signals has passed that on, and nobody looks for them here.
    let _released = SigSet::all().thread_unblock();
    // Whatever the launcher's own parents left open is not for a process that a guest may take over.
    if descriptors::close_from(3).is_err() {
        return ExitCode::FAILURE;
    }
    // A duplicate, so that it is an owned descriptor like any other; 0 itself stays open and is never read as input.
    let Ok(control) = std::io::stdin().as_fd().try_clone_to_owned() else { return ExitCode::FAILURE };
    let control = Arc::new(control);
    report_panics(&control);
    let event = match run(&control, agent) {
        Ok(reason) => MonitorEvent::Stopped(reason),
        Err(error) => MonitorEvent::Failed { causes: causes(&error) },
    };
    match (wire::send_message(control.as_fd(), &event, true), event) {
        (Ok(()), MonitorEvent::Stopped(_)) => ExitCode::SUCCESS,
        // Either it went wrong, or there is nobody who could be told: a launcher that has gone, or a person who typed our word.
        _ => ExitCode::FAILURE,
    }
}

fn run(control: &Arc<OwnedFd>, agent: &'static [u8]) -> Result<crate::vmm::stop::StopReason, MonitorError> {
    harden().map_err(MonitorError::Harden)?;
    tell_phase(control, MonitorPhase::Started);
    let (confinement, _) = wire::receive::<Confinement>(control.as_fd())?.ok_or(MonitorError::NoSpec)?;
    confine(control, &confinement)?;
    let (spec, descriptors) = wire::receive::<MonitorSpec>(control.as_fd())?.ok_or(MonitorError::NoSpec)?;
    let probe = spec.probe;
    let spec = machine_spec(spec, descriptors, agent)?;
    let extent = Extent { guest_bytes: spec.memory_mib << 20, file_bytes: largest_writable(&spec.disks) };
    let threads = Threads::new(&confinement, extent, probe)?;
    let machine = Machine::build(spec, observer(control))?;
    // Everything that needs a descriptor or memory exists now: each thread closes the rest of the sandbox before the guest runs.
    Ok(machine.run(control.as_raw_fd(), guards(control, threads), |exits| answer(control, exits))?)
}

/// Gives up what no part of the monitor needs, before anything that a stranger made is looked at.
fn confine(control: &Arc<OwnedFd>, confinement: &Confinement) -> Result<(), MonitorError> {
    let launcher = std::os::unix::process::parent_id();
    let layers = sandbox::confine(confinement, control.as_raw_fd());
    // A change of the user undoes both (prctl(2), PR_SET_DUMPABLE and PR_SET_PDEATHSIG).
    harden().map_err(MonitorError::Harden)?;
    if std::os::unix::process::parent_id() != launcher {
        return Err(MonitorError::Orphaned);
    }
    let missing = layers.iter().find_map(|report| Some((report.layer, report.obstacle()?.to_owned())));
    let _ = wire::send_message(control.as_fd(), &MonitorEvent::Confined { layers }, true);
    match missing {
        Some((layer, why)) => Err(SandboxError::Missing { layer, why }.into()),
        None => Ok(()),
    }
}

/// Bytes; a disk whose size cannot be read is not written to either.
fn largest_writable(disks: &[DiskSpec]) -> u64 {
    let writable = disks.iter().filter(|disk| matches!(disk.access, DiskAccess::Writable));
    writable.filter_map(|disk| Some(disk.file.metadata().ok()?.len())).max().unwrap_or(0)
}

fn guards(control: &Arc<OwnedFd>, threads: Threads) -> Guards {
    let threads = Arc::new(threads);
    let report = |control: &Arc<OwnedFd>| {
        let control = Arc::clone(control);
        move |line| {
            let _ = wire::send_message(control.as_fd(), &MonitorEvent::Console { line }, false);
        }
    };
    let (vcpu, vcpu_report) = (Arc::clone(&threads), report(control));
    let devices_report = report(control);
    Guards {
        vcpu: Box::new(move |index| Ok(vcpu.close_vcpu(index, &vcpu_report)?)),
        devices: Box::new(move || Ok(threads.close_devices(devices_report)?)),
    }
}

/// Takes one request of the launcher's. What is none is dropped: the launcher is this very program.
fn answer(control: &Arc<OwnedFd>, exits: Option<u64>) -> Heard {
    match wire::receive(control.as_fd()) {
        Ok(Some((LauncherRequest::Enter, _))) => return Heard::Enter,
        Ok(Some((LauncherRequest::Statistics, _))) => {
            let _ = wire::send_message(control.as_fd(), &MonitorEvent::Statistics { exits }, false);
        }
        Ok(None) | Err(_) => {}
    }
    Heard::Nothing
}

/// What needs no sandbox: dies with the launcher, leaves no core dump, cannot be traced by others of the same user.
fn harden() -> nix::Result<()> {
    prctl::set_pdeathsig(Signal::SIGKILL)?;
    prctl::set_dumpable(false)?;
    // The caller's directory is none of a bottle's business, and its mount should not be kept busy.
    nix::unistd::chdir("/")?;
    setrlimit(Resource::RLIMIT_CORE, 0, 0)
}

fn observer(control: &Arc<OwnedFd>) -> Observer {
    let phase = |phase| {
        let control = Arc::clone(control);
        move || tell_phase(&control, phase)
    };
    let (console, disks) = (Arc::clone(control), Arc::clone(control));
    Observer {
        memory_ready: Box::new(phase(MonitorPhase::MemoryReady)),
        entering: Box::new(phase(MonitorPhase::Entering)),
        guest_alive: Box::new(phase(MonitorPhase::GuestAlive)),
        console: Box::new(move |line| {
            let line = String::from_utf8_lossy(line).into_owned();
            // A launcher that falls behind loses lines; the guest must not be able to stop its vCPU, or us, with output.
            let _ = wire::send_message(console.as_fd(), &MonitorEvent::Console { line }, false);
        }),
        unwritable: Arc::new(move |errno| {
            let _ = wire::send_message(disks.as_fd(), &MonitorEvent::Unwritable { errno }, false);
        }),
    }
}

fn tell_phase(control: &Arc<OwnedFd>, phase: MonitorPhase) {
    let _ = wire::send_message(
        control.as_fd(),
        &MonitorEvent::Phase { phase, at_ns: now_ns(), cpu_us: cpu_us(UsageWho::RUSAGE_SELF) },
        false,
    );
}

/// CLOCK_MONOTONIC in nanoseconds: the same clock in launcher and monitor.
#[must_use]
pub fn now_ns() -> u64 {
    clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(0, |time| {
        let (seconds, nanos) = (u64::try_from(time.tv_sec()), u64::try_from(time.tv_nsec()));
        seconds.unwrap_or(0).saturating_mul(1_000_000_000).saturating_add(nanos.unwrap_or(0))
    })
}

/// CPU time so far, user and system, in microseconds.
#[must_use]
pub fn cpu_us(who: UsageWho) -> u64 {
    getrusage(who).map_or(0, |usage| {
        [usage.user_time(), usage.system_time()]
            .iter()
            .map(|time| u64::try_from(time.num_microseconds()).unwrap_or(0))
            .sum()
    })
}

/// Gives each descriptor its part, in the order that [`MonitorSpec::descriptors`] documents.
fn machine_spec(spec: MonitorSpec, descriptors: Vec<OwnedFd>, agent: &'static [u8]) -> Result<MachineSpec, WireError> {
    let mismatch = WireError::Descriptors { got: descriptors.len(), wanted: spec.descriptors() };
    if descriptors.len() != spec.descriptors() {
        return Err(mismatch);
    }
    let mut descriptors = descriptors.into_iter();
    let mut next = || descriptors.next();
    let (Some(kvm), Some(entropy), Some(kernel)) = (next(), next(), next()) else { return Err(mismatch) };
    let modules = if spec.modules { next().map(File::from) } else { None };
    let disks = spec.disks.into_iter().zip(descriptors.by_ref());
    let disks = disks.map(|(access, fd)| DiskSpec { file: fd.into(), access }).collect();
    let vsock_ports = spec.vsock_ports.into_iter().zip(descriptors.by_ref().map(UnixStream::from)).collect();
    let net = spec.net.zip(descriptors.next()).map(|(spec, broker)| network(spec, broker));
    Ok(MachineSpec {
        kvm: kvm.into(),
        entropy: entropy.into(),
        vcpus: spec.vcpus,
        memory_mib: spec.memory_mib,
        advise_huge_pages: spec.advise_huge_pages,
        kernel: kernel.into(),
        modules,
        agent,
        cmdline: spec.cmdline,
        verbose_console: spec.verbose_console,
        disks,
        vsock_ports,
        net,
    })
}

fn network(spec: NetSpec, broker: OwnedFd) -> NetworkSpec {
    let config = NetConfig { mac: stack::GUEST_MAC, mtu: stack::MTU };
    let backend = |registrar| {
        let backend: Box<dyn FrameBackend> = Box::new(Backend::new(spec, broker, registrar)?);
        Ok(backend)
    };
    NetworkSpec { config, backend: Box::new(backend) }
}

fn causes(error: &dyn Error) -> Vec<String> {
    let mut causes = vec![error.to_string()];
    let mut next = error.source();
    while let Some(cause) = next {
        causes.push(cause.to_string());
        next = cause.source();
    }
    causes
}

/// The monitor's standard error leads nowhere: a panic is told to the launcher instead, then the process aborts.
fn report_panics(control: &Arc<OwnedFd>) {
    let control = Arc::clone(control);
    std::panic::set_hook(Box::new(move |panic| {
        let causes = vec!["the monitor has a bug".to_owned(), panic.to_string()];
        let _ = wire::send_message(control.as_fd(), &MonitorEvent::Failed { causes }, false);
    }));
}
