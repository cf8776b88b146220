//! `bottle-vmm start` and `resume`: what was typed becomes a plan, is shown, and is started if the answer is yes.

use super::args::{BottleArgs, MachineArgs, ResumeArgs, StartArgs, Unattended, bottles};
use super::ask::Asker;
use super::report::{Failure, note};
use super::tty::{HostValues, Tty};
use super::{boot, egress, info, interrupt, manifests, run, sandbox, summary};
use crate::manifest::{Catalogue, CatalogueError, Places, there_are};
use crate::paths;
use crate::plan::{
    BottleSpec, Depth, Host, Kept, PlanError, Prepared, Request, Slug, StateRoot, preflight, prepare, resume as resumed,
};
use std::process::ExitCode;

/// What was said no to is not there; a script is not to go on.
const NOT_STARTED: u8 = 1;

/// An agent, and all that its plan is made from.
pub(super) struct Chosen {
    pub host: Host,
    pub catalogue: Catalogue,
    pub spec: BottleSpec,
    pub agent_of_home: bool,
}

pub fn start(args: StartArgs) -> Result<ExitCode, Failure> {
    let chosen = choose(args.agent, args.bottle)?;
    go(chosen, args.unattended, &args.machine)
}

pub fn resume(args: ResumeArgs) -> Result<ExitCode, Failure> {
    let host = host()?;
    let Some(identity) = args.identity else { return Err(which_bottle(&host)) };
    let Kept { spec, current, agent_of_home } = resumed(&host, &Slug::of_label(&identity)?)?;
    // Agents of the repository that it was started in, and paths that begin there.
    let host = Host { current, ..host };
    let places = Places { current: host.current.clone(), ..manifests::places()? };
    let catalogue = Catalogue::open(&places)?;
    catalogue.agent(&spec.agent_name)?;
    go(Chosen { host, catalogue, spec, agent_of_home }, args.unattended, &args.machine)
}

pub(super) fn choose(agent: Option<String>, bottle: BottleArgs) -> Result<Chosen, Failure> {
    let host = host()?;
    let catalogue = manifests::open()?;
    let Some(agent_name) = agent else { return Err(info::which(&catalogue)) };
    // Whoever is mistaken in the name is not to hear first that there is nobody to ask.
    catalogue.agent(&agent_name).map_err(|error| unknown(error, &host))?;
    let spec = BottleSpec {
        agent_name,
        bottle_names: bottle.bottle,
        copy_cwd: bottle.cwd,
        user_cwd: host.current.clone(),
        identity: String::new(),
        label: bottle.label.unwrap_or_default(),
    };
    Ok(Chosen { host, catalogue, spec, agent_of_home: false })
}

/// Who has typed an image in the place of an agent is used to docker.
fn unknown(error: CatalogueError, host: &Host) -> Failure {
    let image = match &error {
        CatalogueError::NoAgent { name, .. } => {
            name.contains([':', '/']) || (!name.is_empty() && host.current.join(name).exists())
        }
        _ => false,
    };
    let hint = error.hint();
    let of_image = "if it is an image: `bottle-vmm run --image IMAGE -- COMMAND`";
    Failure::new(error, Some(if image { format!("{hint}; {of_image}") } else { hint }))
}

pub(super) fn host() -> Result<Host, Failure> {
    let Places { own, home, current } = manifests::places()?;
    let codex_home = paths::codex_home();
    let host = Host { own, home, current, image: None, codex_home };
    let written = std::env::var_os("BOT_BOTTLE_IMAGE").filter(|image| !image.is_empty());
    let written =
        written.map(|image| image.into_string().map_err(|image| PlanError::NotUnicode { path: image.into() }));
    let image = written.transpose()?.map(|written| host.image(&written, &host.current)).transpose()?;
    Ok(Host { image, ..host })
}

fn which_bottle(host: &Host) -> Failure {
    let kept = StateRoot::new(&host.own).all().unwrap_or_default();
    let kept: Vec<_> = kept.iter().filter(|found| found.is_kept()).map(|found| found.slug.as_str()).collect();
    let hint = match kept.as_slice() {
        [] => "none was kept: `start` makes a new one".to_owned(),
        kept => there_are(kept),
    };
    Failure::new("which bottle?", Some(hint))
}

fn go(chosen: Chosen, how: Unattended, machine: &MachineArgs) -> Result<ExitCode, Failure> {
    let Chosen { host, catalogue, spec, agent_of_home } = chosen;
    run::check_memory(machine.mem, bottles::USUAL_MEMORY)?;
    run::check_cpus(machine.cpus)?;
    egress::check(machine)?;
    let asks = !(how.dry_run || how.yes || how.headless);
    // Whoever leaves, at whatever moment, leaves nothing behind: what has been made is taken back first.
    let signals = interrupt::hold()?;
    run::forbid_dumps(); // before the first secret is read; whoever is started may be dumped, as exec(2) has it
    let mut values = HostValues::new(how.headless);
    if asks {
        let tty = Tty::open().map_err(|_| {
            let hint =
                "`--yes` starts without asking, `--headless --prompt TEXT` also gives the agent its task".to_owned();
            Failure::new("`start` asks before it starts, and there is no terminal", Some(hint))
        })?;
        values.tty = Some(tty);
    }
    let depth = if how.dry_run { Depth::Look } else { Depth::Start };
    let gateways = boot::gateways(machine.bundle.as_ref());
    let fit = preflight::check(machine.kernel.as_deref(), &sandbox::confinement(&machine.no_sandbox));
    let request = Request { spec, task: how.prompt, depth, gateways, machine: fit, agent_of_home };
    let mut prepared = prepare(&catalogue, &host, request, &mut values)?;
    interrupt::check(&signals)?;
    warn(&catalogue, &prepared);
    show(&summary::preflight(&prepared.plan));
    if how.dry_run {
        prepared.state.keep();
        note(&format!(
            "dry run: nothing was started; `resume {0}` starts it, `cleanup` removes what was written",
            prepared.plan.slug
        ));
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(warning) = sandbox::warning(&sandbox::confinement(&machine.no_sandbox)) {
        note(&warning);
    }
    if asks && !confirmed(values.tty.take())? {
        note("not started");
        return Ok(ExitCode::from(NOT_STARTED));
    }
    // What the bottle gets of them it has by now.
    drop(values);
    boot::boot(signals, prepared, machine, how.headless)
}

fn confirmed(tty: Option<Tty>) -> Result<bool, Failure> {
    let Some(tty) = tty else { return Ok(false) };
    let mut asker = Asker::on(tty).map_err(|error| Failure::new(error, None))?;
    asker.yes("Start it?", false)
}

/// What was seen and not used, why the bottle could not run here, and what it will not come to.
pub(super) fn warn(catalogue: &Catalogue, prepared: &Prepared) {
    manifests::warn(catalogue);
    if let Some(unfit) = &prepared.unfit {
        note(&format!("warning: it could not run on this machine: {unfit}"));
    }
    for notice in &prepared.notices {
        note(&format!("warning: {notice}"));
    }
}

#[expect(clippy::print_stderr, reason = "for the person who is about to say yes")]
fn show(text: &str) {
    eprint!("{text}");
}
