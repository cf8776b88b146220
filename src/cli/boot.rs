//! A plan that was said yes to becomes a bottle, and the bottle the agent's exit code.
//!
//! One story: image, kernel, environment, files, network, boot; then what was held for the bottle is given back, in reverse, by dropping it:
//! machine, network, name, state. Whatever the way out, a signal at any moment included, that is what happens; only a state that
//! something has marked is kept.

use super::args::MachineArgs;
use super::egress::{self, BundleWord};
use super::env::{EnvError, Variables};
use super::report::{Failure, note};
use super::run::{self, Kernel, MIB};
use super::{fit, images, interrupt, sandbox};
use crate::builder::{self, BuilderError, Origin};
use crate::host::kvm;
use crate::image::{self, Artifact, Cache};
use crate::launch::claim::{Claim, ClaimError};
use crate::launch::placing::{Placed, Placing};
use crate::launch::session::Outcome;
use crate::launch::timings::Timings;
use crate::launch::{self, Bottle, Command, LaunchError};
use crate::plan::environment::{Origin as ValueOrigin, USER, endpoints};
use crate::plan::git_gate::GUEST_GITCONFIG;
use crate::plan::provider::GUEST_PROMPT;
use crate::plan::{BottlePlan, Gateways, Prepared, Secrets};
use crate::sys::held_signals::HeldSignals;
use bottle_protocol::{Hostname, StartStage};
use std::ffi::{OsStr, OsString};
use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::Arc;

pub(super) fn gateways(bundle: Option<&BundleWord>) -> Gateways {
    match bundle {
        None => Gateways::None,
        Some(BundleWord::External(address)) => Gateways::External(*address),
        Some(BundleWord::Sockets(_)) => Gateways::Sockets,
    }
}

/// `signals` are those that the caller holds; they are the last that is given back.
pub(super) fn boot(
    signals: HeldSignals,
    prepared: Prepared,
    machine: &MachineArgs,
    headless: bool,
) -> Result<ExitCode, Failure> {
    let signals = Rc::new(signals);
    let Prepared { plan, secrets, mut state, subnet, .. } = prepared;
    let claim = Claim::new(&plan.machine_name).map_err(|error| not_ours(error, &plan))?;
    let kvm = kvm::open().map_err(LaunchError::from)?;
    let egress = egress::of_agent(machine, subnet)?;
    let ledger = egress.as_ref().map(|egress| Arc::clone(&egress.ledger));
    let Kernel { vmlinux: kernel, modules, installed } = run::open_kernel(machine.kernel.as_deref())?;
    let image = open_image(&plan, &signals)?;
    fit::check(installed.as_ref(), image.manifest().root.compression)?;
    let scratch = machine.disk.map(run::open_scratch).transpose()?;
    let tty = !headless && std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
    let hostname = Hostname::new(&plan.machine_name).map_err(|error| Failure::new(error, None))?;
    let env = environment(&plan, secrets, &image.manifest().config.env, machine.bundle.is_some(), tty)?;
    let processes = state.processes();
    let bottle = Bottle {
        claim,
        kvm,
        hostname,
        vcpus: machine.cpus,
        memory_mib: machine.mem.0 / MIB,
        kernel,
        modules,
        kernel_args: String::new(),
        root: run::root_disk(image),
        scratch,
        command: command(&plan, env, tty, !headless)?,
        console: machine.console,
        boot_limit: machine.boot_timeout.0,
        time_limit: None,
        measure: false,
        confinement: sandbox::confinement(&machine.no_sandbox),
        probe: None,
        egress,
        placing: Some(Placing { user: run::c_string(OsStr::new(plan.guest_user), "the user")?, files: files(&plan) }),
        on_monitor: Some(Box::new(move |pid| processes.add("monitor", pid).map_err(std::io::Error::other))),
        held_signals: Some(Rc::clone(&signals)),
    };
    interrupt::check(&signals)?;
    state.take_mark();
    let outcome = launch::launch(bottle, &mut Timings::default());
    if let Some(summary) = ledger.and_then(|ledger| egress::summary(&ledger)) {
        note(&summary);
    }
    if !matches!(outcome, Ok(Outcome::Exited(_))) {
        state.give_mark_back();
    }
    let stays = match outcome {
        Ok(Outcome::Exited(_) | Outcome::TimedOut(_)) => state.ended(),
        Ok(Outcome::Interrupted(_)) | Err(_) => state.interrupted(),
    };
    if stays {
        note(&format!("the bottle was kept: `bottle-vmm resume {}`", state.slug()));
    }
    Ok(ExitCode::from(outcome.map_err(|error| ended(error, &plan, machine.kernel.as_deref()))?.exit_code()))
}

/// Nobody has a bottle of that identity among those of this home.
fn not_ours(error: ClaimError, plan: &BottlePlan) -> Failure {
    match error {
        ClaimError::Taken { .. } => Failure::from(LaunchError::from(error)).with_hint(format!(
            "it is of another BOT_BOTTLE_HOME: end that `{}` first, or `start` with another `--label`",
            plan.slug
        )),
        other => LaunchError::from(other).into(),
    }
}

fn ended(error: LaunchError, plan: &BottlePlan, kernel: Option<&Path>) -> Failure {
    let (user, home, image) = (plan.guest_user, plan.guest_home, &plan.agent_image_ref);
    if let Some(hint) = images::way_out_of_damage(&error) {
        return Failure::from(error).with_hint(hint);
    }
    let hint = match &error {
        LaunchError::Start { stage: StartStage::User, .. } => {
            format!("an agent's image has a user `{user}`, uid 1000, with the home `{home}`; `{image}` has not")
        }
        LaunchError::Start { stage: StartStage::NotFound, command, .. } => {
            format!("the image `{image}` is to have `{command}` in its PATH; BOT_BOTTLE_IMAGE names another image")
        }
        _ => return run::of_kernel(error, kernel),
    };
    Failure::from(error).with_hint(hint)
}

fn of_builder(error: BuilderError) -> Failure {
    match error {
        BuilderError::Dockerfile { .. } | BuilderError::DockerfileIsNoFile { .. } => Failure::new(
            error,
            Some("the bottle's `agent_provider.dockerfile` names the file itself: `~` is your home, a relative path begins where the command is run".to_owned()),
        ),
        other => other.into(),
    }
}

/// Built from its Dockerfile, or found under its name, and packed unless it is in the cache.
fn open_image(plan: &BottlePlan, signals: &HeldSignals) -> Result<Artifact, Failure> {
    let cache = Cache::open_default()?;
    let of_guest = plan.guest_env.iter().filter_map(|(_, origin)| host_variable(origin));
    let withheld: Vec<OsString> = of_guest.chain(plan.tokens().map(|name| name.as_str().into())).collect();
    let reference = PathBuf::from(&plan.agent_image_ref);
    let origin = match &plan.agent_dockerfile {
        Some(path) => Some(Origin::Dockerfile { path: path.clone(), context: None }),
        None => images::origin(Some(&reference), None, None),
    };
    interrupt::until_signal(signals, move |bar| match origin {
        Some(origin) => builder::open(&origin, &withheld, &cache, bar).map_err(of_builder),
        None => image::open(&images::source(&reference), &cache, bar).map_err(Failure::from),
    })?
}

fn host_variable(origin: &ValueOrigin) -> Option<OsString> {
    match origin {
        ValueOrigin::Host { from } => Some(from.as_str().into()),
        _ => None,
    }
}

/// The image's, then whose it is, then the bottle's and the provider's, then where the gateways are.
fn environment(
    plan: &BottlePlan,
    secrets: Secrets,
    image: &[String],
    gateways: bool,
    tty: bool,
) -> Result<Variables, EnvError> {
    let mut variables = Variables::of_image(image, &plan.machine_name, tty)?;
    for (name, value) in USER {
        variables.set_known(name, value.as_bytes());
    }
    for (name, origin) in plan.guest_env.iter() {
        match origin {
            ValueOrigin::Literal { value } | ValueOrigin::Fixed { value } | ValueOrigin::Provider { value } => {
                variables.set_known(name.as_str(), value.as_bytes());
            }
            ValueOrigin::Host { .. } | ValueOrigin::Secret { .. } => {}
        }
    }
    for (name, value) in secrets.env.forwarded {
        variables.set_known(name.as_str(), value.expose());
    }
    if gateways {
        let (git, supervise) = (!plan.git_gate_plan.repos.is_empty(), plan.supervise_plan.is_some());
        for (name, value) in endpoints(plan.bundle_ip, git, supervise) {
            variables.set_known(name, value.as_bytes());
        }
    }
    Ok(variables)
}

fn command(plan: &BottlePlan, variables: Variables, tty: bool, stdin: bool) -> Result<Command, Failure> {
    let words = plan.agent_provision.argv.iter();
    Ok(Command {
        argv: words.map(|word| run::c_string(OsStr::new(word), "the agent's command")).collect::<Result<_, _>>()?,
        env: variables.into_secret()?,
        cwd: run::c_string(OsStr::new(&plan.workspace_plan.workdir), "the working directory")?,
        user: run::c_string(OsStr::new(plan.guest_user), "the user")?,
        tty,
        stdin,
    })
}

/// Prompt, provider, git, skills, workspace.
fn files(plan: &BottlePlan) -> Vec<Placed> {
    const PRIVATE: Option<u16> = Some(0o600);
    let file =
        |host: &PathBuf, guest: &str| Placed { host: host.clone(), guest: guest.into(), mode: PRIVATE, replace: false };
    let mut files = vec![file(&plan.prompt_file, GUEST_PROMPT)];
    files.extend(plan.agent_provision.files.iter().map(|it| file(&it.host_path, &it.guest_path)));
    files.extend(plan.git_gate_plan.gitconfig.iter().map(|path| file(path, GUEST_GITCONFIG)));
    files.extend(plan.skills.iter().map(|skill| Placed {
        host: skill.host_path.clone(),
        guest: PathBuf::from(&skill.guest_path),
        mode: None,
        replace: true,
    }));
    let workspace = plan.workspace_plan.host_path.as_ref().zip(plan.workspace_plan.guest_path.as_ref());
    files.extend(workspace.map(|(host, guest)| Placed {
        host: host.clone(),
        guest: PathBuf::from(guest),
        mode: None,
        replace: true,
    }));
    files
}
