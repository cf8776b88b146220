//! From a resolved bottle to its command's exit code: the only place that sees both bottles and machines.

pub mod claim;
pub mod egress;
pub mod error;
pub mod placing;
pub mod session;
pub mod signals;
pub mod streams;
pub mod terminal;
pub mod timings;

mod boot;
mod console;

pub(crate) use boot::{harmless, one_line};
pub use error::{EXIT_OURS, LaunchError};

use crate::host;
use crate::monitor::process::cpu_us;
use crate::monitor::sandbox::{Confinement, Probe};
use crate::monitor::{Ending, LauncherRequest, MonitorProcess, MonitorSpec};
use crate::net::spec::NetSpec;
use crate::sys::held_signals::HeldSignals;
use crate::verity::HashTree;
use crate::vmm::DiskAccess;
use boot::Guest;
use bottle_protocol::{
    ArgumentLimits, CONTROL_PORT, DeviceName, Hostname, ProcessId, SecretEnv, Setup, Start, ToAgent, ToHost,
};
use claim::Claim;
use egress::{Egress, Network};
use nix::sys::resource::UsageWho;
use placing::Placing;
use session::{Outcome, Session};
use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::time::Duration;
use timings::{Phase, Timings};

/// A bottle with everything looked up: open files and values.
pub struct Bottle {
    /// Its name, held.
    pub claim: Claim,
    pub kvm: File,
    pub hostname: Hostname,
    pub vcpus: u8,
    pub memory_mib: u64,
    pub kernel: File,
    pub modules: Option<File>,
    /// Words for the kernel command line.
    pub kernel_args: String,
    pub root: RootDisk,
    /// A formatted disk for what the bottle writes; without one it stays in memory.
    pub scratch: Option<File>,
    pub command: Command,
    /// The guest kernel's log goes to standard error.
    pub console: bool,
    /// How long the guest may take until its agent says hello, and again until the command runs.
    pub boot_limit: Duration,
    /// How long the command may take.
    pub time_limit: Option<Duration>,
    /// Whether the monitor is asked for its statistics at the end.
    pub measure: bool,
    /// Which layers of the monitor's sandbox the person does without.
    pub confinement: Confinement,
    /// An escape attempt that the monitor is to make, for tests.
    pub probe: Option<Probe>,
    /// What it may reach; without it there is no network.
    pub egress: Option<Egress>,
    /// Files that it gets before the command starts.
    pub placing: Option<Placing>,
    /// Told the monitor's process before that is given anything, so that it can be found whatever becomes of us.
    pub on_monitor: Option<OnMonitor>,
    /// Signals that the caller has held so far, as it has something to undo; from some point on they are dealt with here.
    pub held_signals: Option<Rc<HeldSignals>>,
}

/// What is done with the number of a monitor's process.
pub type OnMonitor = Box<dyn FnOnce(u32) -> io::Result<()>>;

/// EROFS, read-only, shared with any number of other bottles, and checked as it is read.
pub struct RootDisk {
    pub file: File,
    /// Over the part of the file that is the disk.
    pub tree: HashTree,
    /// What people call the file.
    pub name: String,
    /// What it goes by in the cache, if it is there.
    pub cached_as: Option<String>,
}

/// What runs in the guest.
pub struct Command {
    pub argv: Vec<CString>,
    pub env: SecretEnv,
    pub cwd: CString,
    pub user: CString,
    pub tty: bool,
    pub stdin: bool,
}

/// Runs a bottle to its end. Whatever the way out, nothing of it is left when this returns.
///
/// # Errors
/// [`LaunchError`]; the command's own failure is no error but an [`Outcome`].
pub fn launch(mut bottle: Bottle, timings: &mut Timings) -> Result<Outcome, LaunchError> {
    ArgumentLimits::GUEST.check(&bottle.command.argv, &bottle.command.env)?;
    let (control, guest_end) =
        UnixStream::pair().map_err(|source| LaunchError::Host { what: "make a socket pair", source })?;
    let network = bottle.egress.take().map(|egress| Network::plan(egress, bottle.claim.name())).transpose()?;
    let mut monitor = MonitorProcess::start(&bottle.confinement)?;
    if let Some(told) = bottle.on_monitor.take() {
        told(monitor.pid()).map_err(|source| LaunchError::Host { what: "record the monitor's process", source })?;
    }
    let (network, net, broker_end) = match network {
        Some((network, net, broker_end)) => (Some(network), Some(net), Some(broker_end)),
        None => (None, None, None),
    };
    build_machine(&monitor, &bottle, &guest_end, net.as_ref().zip(broker_end.as_ref()))?;
    drop((guest_end, broker_end));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|source| LaunchError::Host { what: "start the event loop", source })?;
    let outcome = runtime.block_on(run(&monitor, bottle, control, network.zip(net), timings));
    // A report that was lost on the way leaves the exit code.
    let outcome = match outcome {
        Err(LaunchError::MonitorGone { console }) => Err(match monitor.ending() {
            Ending::Sandbox => LaunchError::Violation { syscall: None, console },
            Ending::Aborted => LaunchError::MonitorAborted { console },
            Ending::Otherwise => LaunchError::MonitorGone { console },
        }),
        other => other,
    };
    drop(monitor);
    timings.mark(Phase::AllGone);
    timings.cpu_us = cpu_us(UsageWho::RUSAGE_SELF) + cpu_us(UsageWho::RUSAGE_CHILDREN);
    outcome
}

fn build_machine(
    monitor: &MonitorProcess,
    bottle: &Bottle,
    guest_end: &UnixStream,
    net: Option<(&NetSpec, &OwnedFd)>,
) -> Result<(), LaunchError> {
    let entropy =
        File::open("/dev/urandom").map_err(|source| LaunchError::Host { what: "open /dev/urandom", source })?;
    let mut descriptors: Vec<RawFd> = vec![bottle.kvm.as_raw_fd(), entropy.as_raw_fd(), bottle.kernel.as_raw_fd()];
    descriptors.extend(bottle.modules.as_ref().map(AsRawFd::as_raw_fd));
    descriptors.push(bottle.root.file.as_raw_fd());
    descriptors.extend(bottle.scratch.as_ref().map(AsRawFd::as_raw_fd));
    descriptors.push(guest_end.as_raw_fd());
    descriptors.extend(net.map(|(_, broker_end)| broker_end.as_raw_fd()));
    let mut disks = vec![DiskAccess::Verified(bottle.root.tree.clone())];
    disks.extend(bottle.scratch.as_ref().map(|_| DiskAccess::Writable));
    let spec = MonitorSpec {
        vcpus: bottle.vcpus,
        memory_mib: bottle.memory_mib,
        advise_huge_pages: host::resources::huge_pages_only_on_advice(),
        cmdline: bottle.kernel_args.clone(),
        verbose_console: bottle.console,
        modules: bottle.modules.is_some(),
        disks,
        vsock_ports: vec![CONTROL_PORT],
        probe: bottle.probe,
        net: net.map(|(spec, _)| spec.clone()),
    };
    Ok(monitor.build(&spec, &descriptors)?)
}

/// Boots, sets the guest up, starts the command and stays with it.
async fn run(
    monitor: &MonitorProcess,
    bottle: Bottle,
    control: UnixStream,
    network: Option<(Network, NetSpec)>,
    timings: &mut Timings,
) -> Result<Outcome, LaunchError> {
    let mut signals =
        signals::Signals::watch().map_err(|source| LaunchError::Host { what: "watch for signals", source })?;
    if let Some(held) = &bottle.held_signals {
        held.release(); // one that has come by now is found by `signals`
    }
    let mut guest = Guest::new(monitor, control, bottle.console, (bottle.root.name, bottle.root.cached_as))?;
    let for_guest = network.as_ref().map(|(_, net)| net.for_guest());
    let mut serving = network.map(|(network, _)| network.serve(bottle.boot_limit)).transpose()?;
    if let Some(serving) = &mut serving {
        tokio::select! {
            // A monitor that ends tells why, which is more than that it did not answer.
            biased;
            word = guest.next(timings) => return Err(too_early(word)),
            verified = serving.verified() => verified?,
            signal = signals.termination() => return Ok(Outcome::Interrupted(signal)),
        }
    }
    monitor.ask(LauncherRequest::Enter)?;
    let hello = tokio::select! {
        hello = guest.hello(bottle.boot_limit, timings) => hello?,
        signal = signals.termination() => return Ok(Outcome::Interrupted(signal)),
    };
    hello.limits.check(&bottle.command.argv, &bottle.command.env)?;
    let scratch = bottle.scratch.is_some().then(|| device("vdb")).transpose()?;
    let setup = Setup { hostname: bottle.hostname, root: device("vda")?, scratch, network: for_guest };
    guest.sender.send(&ToAgent::Setup(setup))?;
    if let Some(placing) = &bottle.placing {
        tokio::select! {
            placed = placing::place(&mut guest, placing, bottle.boot_limit, timings) => placed?,
            error = egress::failed(&mut serving) => return Err(error.into()),
            signal = signals.termination() => return Ok(Outcome::Interrupted(signal)),
        }
    }
    let Command { argv, env, cwd, user, tty, stdin } = bottle.command;
    let name = argv.first().map(|word| word.to_string_lossy().into_owned()).unwrap_or_default();
    let sent = env.len();
    let size = tty.then(terminal::size);
    let start = Start { process: PROCESS, argv, env, cwd, create_cwd: true, user, tty: size, stdin };
    guest.sender.send(&ToAgent::Start(start))?;
    let started = tokio::select! {
        started = guest.started(&name, sent, bottle.boot_limit, timings) => started,
        error = egress::failed(&mut serving) => return Err(error.into()),
        signal = signals.termination() => return Ok(Outcome::Interrupted(signal)),
    };
    started?;
    let mut session = Session::begin(guest, signals, size, stdin)?;
    let outcome = tokio::select! {
        outcome = session.run(bottle.time_limit, monitor, bottle.measure, timings) => outcome?,
        error = egress::failed(&mut serving) => return Err(error.into()),
    };
    monitor.kill();
    egress::finish(serving).await;
    Ok(outcome)
}

/// No guest speaks before it runs.
fn too_early(word: Result<ToHost, LaunchError>) -> LaunchError {
    let expected = "nothing yet";
    word.map_or_else(|error| error, |message| LaunchError::Unexpected { message: boot::name(&message), expected })
}

/// The one command of a bottle.
const PROCESS: ProcessId = ProcessId::FIRST;

fn device(name: &str) -> Result<DeviceName, LaunchError> {
    DeviceName::new(name).map_err(|error| LaunchError::Control(bottle_protocol::ProtocolError::from(error).into()))
}
