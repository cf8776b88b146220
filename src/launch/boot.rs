//! A guest that comes up: the monitor's reports and the agent's first words.

use super::console::Console;
use super::error::LaunchError;
use super::timings::{Phase, Timings};
use crate::control::{self, Receiver, Sender};
use crate::monitor::process::cpu_us as own_cpu_us;
use crate::monitor::spawn::Events;
use crate::monitor::{LauncherRequest, MonitorEvent, MonitorPhase, MonitorProcess};
use crate::vmm::stop::StopReason;
use bottle_protocol::{Hello, ToHost};
use nix::sys::resource::UsageWho;
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// How long the monitor may take to say why the guest hung up.
const EXPLANATION: Duration = Duration::from_secs(2);

/// The guest as the launcher sees it: the agent's messages, and the monitor's events in between.
pub(super) struct Guest {
    pub(super) sender: Sender,
    receiver: Receiver,
    events: Events,
    console: Console,
    statistics_due: bool,
    told_unwritable: bool,
    /// What people call the root's file, and what it goes by in the cache.
    root: (String, Option<String>),
}

/// The disk that holds the image.
const ROOT: usize = 0;

/// How long the monitor may take to answer a question.
const ANSWER: Duration = Duration::from_secs(2);

impl Guest {
    pub(super) fn new(
        monitor: &MonitorProcess,
        control: UnixStream,
        verbose: bool,
        root: (String, Option<String>),
    ) -> Result<Self, LaunchError> {
        let (sender, receiver) = control::open(control)?;
        let console = Console::new(verbose);
        Ok(Self {
            sender,
            receiver,
            events: monitor.events()?,
            console,
            statistics_due: false,
            told_unwritable: false,
            root,
        })
    }

    /// The agent's next message. The monitor's events are dealt with on the way. Cancel-safe.
    pub(super) async fn next(&mut self, timings: &mut Timings) -> Result<ToHost, LaunchError> {
        loop {
            tokio::select! {
                // What the agent said before the machine ended comes first: its exit, above all.
                biased;
                message = self.receiver.next() => match message? {
                    Some(message) => return Ok(message),
                    None => return Err(self.explain(timings).await),
                },
                event = self.events.next() => self.observe(event?, timings)?,
            }
        }
    }

    /// Has the VM exits up to now noted in `timings`, if the monitor answers in time.
    pub(super) async fn count_exits(
        &mut self,
        monitor: &MonitorProcess,
        timings: &mut Timings,
    ) -> Result<(), LaunchError> {
        monitor.ask(LauncherRequest::Statistics)?;
        self.statistics_due = true;
        let deadline = tokio::time::Instant::now() + ANSWER;
        while self.statistics_due {
            match tokio::time::timeout_at(deadline, self.events.next()).await {
                Ok(event) => self.observe(event?, timings)?,
                Err(_) => return Ok(()),
            }
        }
        Ok(())
    }

    /// Why the agent hung up: the monitor knows, if the machine ended.
    async fn explain(&mut self, timings: &mut Timings) -> LaunchError {
        let events = async {
            loop {
                match self.events.next().await {
                    Ok(event) => {
                        if let Err(error) = self.observe(event, timings) {
                            return error;
                        }
                    }
                    Err(error) => return error.into(),
                }
            }
        };
        match tokio::time::timeout(EXPLANATION, events).await {
            Ok(error) => error,
            Err(_) => LaunchError::AgentGone { console: self.console.text() },
        }
    }

    fn observe(&mut self, event: Option<MonitorEvent>, timings: &mut Timings) -> Result<(), LaunchError> {
        match event {
            Some(MonitorEvent::Phase { phase, at_ns, cpu_us }) => {
                timings.mark_at(launcher_phase(phase), at_ns);
                if phase == MonitorPhase::Entering {
                    timings.cpu_to_first_kvm_run_us = cpu_us.saturating_add(own_cpu_us(UsageWho::RUSAGE_SELF));
                }
                Ok(())
            }
            Some(MonitorEvent::Statistics { exits }) => {
                timings.vm_exits = exits;
                self.statistics_due = false;
                Ok(())
            }
            Some(MonitorEvent::Confined { layers }) => match layers.iter().find_map(|r| Some((r.layer, r.obstacle()?)))
            {
                Some((layer, why)) => Err(LaunchError::Sandbox { layer, why: why.to_owned() }),
                None => Ok(()),
            },
            Some(MonitorEvent::Violation { syscall }) => {
                Err(LaunchError::Violation { syscall: Some(syscall), console: self.console.text() })
            }
            Some(MonitorEvent::Unwritable { errno }) => {
                // Once, whatever the monitor has become.
                if !std::mem::replace(&mut self.told_unwritable, true) {
                    self.console.warn(&unwritable(errno));
                }
                Ok(())
            }
            Some(MonitorEvent::Console { line }) => {
                self.console.push(line);
                Ok(())
            }
            Some(MonitorEvent::Stopped(StopReason::Disk { index: ROOT, offset, fault })) => {
                let (file, cached_as) = self.root.clone();
                Err(LaunchError::Root { file, cached_as, offset, fault })
            }
            Some(MonitorEvent::Stopped(reason)) => {
                Err(LaunchError::GuestEnded { reason, console: self.console.text() })
            }
            Some(MonitorEvent::Failed { causes }) => Err(LaunchError::Monitor { causes }),
            None => Err(LaunchError::MonitorGone { console: self.console.text() }),
        }
    }

    /// It has been waited for long enough.
    pub(super) fn silent(&self, due: &'static str, limit: Duration) -> LaunchError {
        LaunchError::Silent { due, limit, console: self.console.text() }
    }

    pub(super) async fn hello(&mut self, limit: Duration, timings: &mut Timings) -> Result<Hello, LaunchError> {
        match tokio::time::timeout(limit, self.next(timings)).await {
            Ok(Ok(ToHost::Hello(hello))) => {
                timings.mark(Phase::AgentHello);
                Ok(hello)
            }
            Ok(Ok(other)) => Err(LaunchError::Unexpected { message: name(&other), expected: "its hello" }),
            Ok(Err(LaunchError::GuestEnded { reason, console })) => Err(LaunchError::NeverUp { reason, console }),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(LaunchError::Silent { due: "come up", limit, console: self.console.text() }),
        }
    }

    /// Waits until the guest is set up and the command runs. `sent` environment variables are to be acknowledged.
    pub(super) async fn started(
        &mut self,
        command: &str,
        sent: usize,
        limit: Duration,
        timings: &mut Timings,
    ) -> Result<(), LaunchError> {
        match tokio::time::timeout(limit, self.answers(command, sent, timings)).await {
            Ok(result) => result,
            Err(_) => Err(LaunchError::Silent { due: "start the command", limit, console: self.console.text() }),
        }
    }

    /// Ready, the environment acknowledged, and the command started; in this order, or a reason why not.
    async fn answers(&mut self, command: &str, sent: usize, timings: &mut Timings) -> Result<(), LaunchError> {
        let mut acknowledged = false;
        loop {
            match self.next(timings).await? {
                ToHost::Ready if !acknowledged => {}
                ToHost::EnvAcknowledged { count, .. } if usize::try_from(count) != Ok(sent) => {
                    return Err(LaunchError::Environment { got: count, sent });
                }
                ToHost::EnvAcknowledged { .. } if !acknowledged => {
                    timings.mark(Phase::EnvAcknowledged);
                    acknowledged = true;
                }
                ToHost::Started { .. } if acknowledged => {
                    timings.mark(Phase::CommandStarted);
                    return Ok(());
                }
                ToHost::SetupFailed { what, errno } => return Err(LaunchError::Setup { what, errno_value: errno }),
                ToHost::StartFailed { stage, errno, detail, .. } => {
                    return Err(LaunchError::Start { stage, errno_value: errno, detail, command: command.to_owned() });
                }
                other => {
                    return Err(LaunchError::Unexpected { message: name(&other), expected: "the command's start" });
                }
            }
        }
    }
}

fn launcher_phase(phase: MonitorPhase) -> Phase {
    match phase {
        MonitorPhase::Started => Phase::MonitorStarted,
        MonitorPhase::MemoryReady => Phase::MemoryMapped,
        MonitorPhase::Entering => Phase::FirstKvmRun,
        MonitorPhase::GuestAlive => Phase::GuestAlive,
    }
}

/// The variant's name, for errors.
pub(super) fn name(message: &ToHost) -> &'static str {
    match message {
        ToHost::Hello(_) => "Hello",
        ToHost::Ready => "Ready",
        ToHost::SetupFailed { .. } => "SetupFailed",
        ToHost::EnvAcknowledged { .. } => "EnvAcknowledged",
        ToHost::Started { .. } => "Started",
        ToHost::StartFailed { .. } => "StartFailed",
        ToHost::PutFailed { .. } => "PutFailed",
        ToHost::Stdout { .. } => "Stdout",
        ToHost::Stderr { .. } => "Stderr",
        ToHost::Eof { .. } => "Eof",
        ToHost::Credit { .. } => "Credit",
        ToHost::Exited { .. } => "Exited",
    }
}

/// Text of somebody else's, of which nothing reaches the caller's terminal that moves, colours or reorders.
pub(crate) fn harmless(text: &str) -> String {
    let replace = |c: char| if matches!(c, '\n' | '\t') || !commands(c) { c } else { '\u{fffd}' };
    text.chars().map(replace).collect()
}

/// The same in one line: a second one could pass for ours.
pub(crate) fn one_line(text: &str) -> String {
    harmless(text).replace('\n', "\u{fffd}")
}

/// Control characters, and those that turn the direction of what follows (Unicode's UAX #9, §2).
fn commands(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn unwritable(errno: i32) -> String {
    let why = std::io::Error::from_raw_os_error(errno);
    format!(
        "the scratch disk cannot be written ({why}): the guest has I/O errors, and what it wrote last may be lost; \
         hint: make room in the cache directory, or set XDG_CACHE_HOME to a larger disk"
    )
}
