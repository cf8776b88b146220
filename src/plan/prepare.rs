//! From what was asked for to the plan, in bot-bottle's order. Law: the order is the point: nothing is written before all that can be
//! wrong without it is found, the record comes before anything that may take its time, and nothing is started.

use std::path::{Path, PathBuf};

use ipnet::Ipv4Net;

use super::bottle_plan::BottlePlan;
use super::environment::GuestEnv;
use super::git_gate::{self, PlannedKey, PlannedRepo};
use super::identity::Slug;
use super::provider::{Provider, Provisioned};
use super::spec::{BottleSpec, Depth, Gateways, Host, Request};
use super::state::metadata::{METADATA, Metadata};
use super::state::origin::{ORIGIN, Origin};
use super::state::{State, StateError, StateRoot};
use super::workspace::WorkspacePlan;
use super::{GUEST_HOME, GUEST_USER, Notice, PlanError, Preflight, egress, environment, image, skills, supervise};
use crate::manifest::env::{Env, EnvEntry};
use crate::manifest::resolve::{ResolveError, ResolvedEnv, Values, resolve};
use crate::manifest::{Bottle, Catalogue, FoundAgent, Invalid, MergedBottle, Name, Source, Variable};
use crate::net::policy::Cidr;
use crate::net::subnet::Subnet;
use bottle_protocol::SecretBytes;
use std::collections::{BTreeMap, BTreeSet};

/// How many bottles may have one label.
const LABELLED_MAX: usize = 99;

/// A plan, and what is held for it. Dropping it gives all back: a bottle that is not kept was never there.
pub struct Prepared {
    pub plan: BottlePlan,
    pub secrets: Secrets,
    pub state: State,
    pub subnet: Subnet,
    /// Why a bottle could not run on this machine, for a look that does not mind.
    pub unfit: Option<Preflight>,
    pub notices: Vec<Notice>,
}

/// What must not be seen. No `Debug`.
pub struct Secrets {
    /// The agent's own.
    pub env: ResolvedEnv,
    /// The egress proxy's, and nobody else's.
    pub provisioned: BTreeMap<Variable, SecretBytes>,
}

/// # Errors
/// [`PlanError`]; nothing is left of a new bottle then.
pub fn prepare(
    catalogue: &Catalogue,
    host: &Host,
    request: Request,
    values: &mut dyn Values,
) -> Result<Prepared, PlanError> {
    let Request { spec, task, depth, gateways, machine, agent_of_home } = request;
    host.check()?;
    let agent = catalogue.agent(&spec.agent_name)?;
    if agent_of_home && agent.source != Source::Home {
        return Err(PlanError::OtherAgent { slug: spec.identity, agent: agent.name.to_string() });
    }
    let MergedBottle { lineage, settings } = bottle_of(catalogue, &agent, &spec)?;
    let skills = skills::find(&agent, host)?;
    let repos = git_gate::check(&settings.git_gate, host)?;
    let unfit = match (machine, depth) {
        (Err(error), Depth::Start) => return Err(error.into()),
        (checked, _) => checked.err(),
    };
    let agent_provider = settings.agent_provider.clone().unwrap_or_default();
    let provider = Provider::find(&agent_provider, host)?;
    let no_image = no_image(image::check(&agent_provider, &provider.runtime, host), depth)?;
    let needed = missing_gateways(&settings, &provider, gateways);
    if depth == Depth::Start && !needed.is_empty() {
        return Err(PlanError::NoGateways { agent: agent.name.to_string(), needed });
    }
    let workspace = WorkspacePlan::new(&spec);
    let state = recorded_state(host, &agent, &spec)?;
    let (subnet, bundle_subnet, moved) = network(&state, host, &agent, gateways)?;
    let mut env = resolved(&settings.env, depth, values).map_err(|error| placed(error, catalogue, &lineage))?;
    let bundle_ip = match gateways {
        Gateways::External(address) => address,
        Gateways::None | Gateways::Sockets => subnet.bundle().into(),
    };
    let git_gate_plan = git_gate::prepare(&settings.git_gate, repos, bundle_ip, &state)?;
    let prompt = agent.file.prompt.as_str();
    let prompt_file = state.write("agent", "prompt.txt", prompt.as_bytes())?;
    let image = image::choose(&agent_provider, &provider.runtime, host, &state)?;
    let Provisioned { plan: agent_provision, routes, secrets: provisioned } =
        provider.provision(prompt, task.as_deref(), &workspace, &state)?;
    let guest_env = GuestEnv::new(&settings.env, &agent_provision.env_vars);
    guest_env.forget_ours(&mut env);
    let elsewhere = workspace.git_elsewhere().map(|path| Notice::GitElsewhere { path });
    let of_settings = noticed(&settings, gateways, needed);
    let notices = [no_image, moved, elsewhere].into_iter().flatten().chain(of_settings).collect();
    let egress_plan = egress::prepare(settings.egress.unwrap_or_default(), routes, &state)?;
    let slots = egress_plan.token_slots.values().filter(|name| !provisioned.contains_key(*name));
    let unset = take_tokens(slots.chain(git_gate_plan.repos.iter().filter_map(token_of)), values);
    // Now, and not when the first request is refused for want of one. A bundle of somebody else's has its own.
    if gateways == Gateways::None && !unset.is_empty() {
        return Err(placed(PlanError::NoToken { names: unset, place: None }, catalogue, &lineage));
    }
    let supervise_plan = supervise::prepare(settings.supervise.unwrap_or_default(), &state)?;
    let plan = BottlePlan {
        spec,
        agent_source: agent.source,
        bottle_lineage: lineage,
        slug: state.slug().clone(),
        stage_dir: state.directory(),
        machine_name: state.slug().machine_name(),
        bundle_subnet,
        bundle_gateway: subnet.gateway(),
        bundle_ip,
        guest_home: GUEST_HOME,
        guest_user: GUEST_USER,
        workspace_plan: workspace,
        guest_env,
        prompt_file,
        skills,
        agent_image_ref: image.reference,
        agent_dockerfile: image.dockerfile,
        agent_provision,
        git_gate_plan,
        egress_plan,
        supervise_plan,
    };
    Ok(Prepared { plan, secrets: Secrets { env, provisioned }, state, subnet, unfit, notices })
}

/// A bottle that was kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// What to ask [`prepare`] for, so that it goes on under its identity.
    pub spec: BottleSpec,
    /// Where it was started; not where it is resumed: a repository there has no part in it.
    pub current: PathBuf,
    /// Its agent was the user's own, and is to be that again.
    pub agent_of_home: bool,
}

/// # Errors
/// There is none of that name, it is running, it is bot-bottle's, or the directory that it has a copy of, or its agent from, has gone.
pub fn resume(host: &Host, identity: &Slug) -> Result<Kept, PlanError> {
    let root = StateRoot::new(&host.own);
    let (_, metadata) = root.reopen(identity)?;
    let copied = metadata.copied();
    let relative = |path: &PathBuf, file: &str| {
        let (path, why) = (root.directory(identity).join(file), format!("`{}` is no absolute path", path.display()));
        StateError::Metadata { path, why }
    };
    if let Some(path) = copied.as_ref().filter(|path| !path.is_absolute()) {
        return Err(relative(path, METADATA).into());
    }
    if let Some(path) = copied.as_ref().filter(|path| !path.is_dir()) {
        return Err(PlanError::NoDirectory { slug: identity.to_string(), path: path.clone() });
    }
    let origin = Origin::read(&root.directory(identity))?;
    if let Some(Origin { directory, .. }) = origin.as_ref().filter(|origin| !origin.directory.is_absolute()) {
        return Err(relative(directory, ORIGIN).into());
    }
    if let Some(Origin { directory, agent_source: Source::Repository, .. }) = &origin
        && !directory.is_dir()
    {
        return Err(PlanError::NoRepository { slug: identity.to_string(), path: directory.clone() });
    }
    let agent_of_home = match &origin {
        Some(origin) => origin.agent_source == Source::Home,
        None => copied.is_none(), // of an earlier version: whose it was, nobody knows
    };
    let current =
        origin.map(|origin| origin.directory).or_else(|| copied.clone()).unwrap_or_else(|| host.current.clone());
    let bottle_names = metadata.bottle_names.iter().map(|name| Name::new(name)).collect::<Result<_, _>>();
    let broken =
        |error: Invalid| StateError::Metadata { path: root.directory(identity).join(METADATA), why: error.to_string() };
    let spec = BottleSpec {
        agent_name: metadata.agent_name,
        bottle_names: bottle_names.map_err(broken)?,
        copy_cwd: copied.is_some(),
        user_cwd: copied.unwrap_or_else(|| current.clone()),
        identity: identity.to_string(),
        label: metadata.label,
    };
    Ok(Kept { spec, current, agent_of_home })
}

fn bottle_of(
    catalogue: &Catalogue,
    agent: &FoundAgent<'_>,
    spec: &BottleSpec,
) -> Result<MergedBottle, crate::manifest::CatalogueError> {
    match spec.bottle_names.as_slice() {
        [] => catalogue.bottle_for(agent),
        names => catalogue.bottles_for(agent, names),
    }
}

/// The state of the bottle that is resumed, or of a new one, with its record written.
fn recorded_state(host: &Host, agent: &FoundAgent<'_>, spec: &BottleSpec) -> Result<State, PlanError> {
    let root = StateRoot::new(&host.own);
    let record = |slug: Slug| Metadata {
        label: spec.label.clone(),
        bottle_names: spec.bottle_names.iter().map(Name::to_string).collect(),
        ..Metadata::new(slug, agent.name, spec.copied().and_then(Path::to_str))
    };
    if let Some(slug) = spec.resumed() {
        let (state, _) = root.reopen(&slug)?;
        state.record(&record(slug))?;
        return Ok(state);
    }
    if spec.label.is_empty() {
        return Ok(root.create(|| made_up(agent.name), record)?);
    }
    let label = Slug::of_label(&spec.label)?;
    let mut numbers = 1..=LABELLED_MAX;
    let next = || match numbers.next() {
        Some(number) => Ok(label.numbered(number)),
        None => Err(StateError::Label { label: label.clone(), most: LABELLED_MAX }),
    };
    Ok(root.create(next, record)?)
}

fn made_up(agent: &Name) -> Result<Slug, StateError> {
    Slug::made_up(agent).map_err(StateError::Random)
}

/// For a look it is no error that the image is not there.
fn no_image(checked: Result<(), PlanError>, depth: Depth) -> Result<Option<Notice>, PlanError> {
    match checked {
        Err(error @ (PlanError::NoImage { .. } | PlanError::NoDockerfile { .. })) if depth == Depth::Look => {
            Ok(Some(Notice::NoImage(error)))
        }
        checked => checked.map(|()| None),
    }
}

/// What its writer has to be told of the bottle's variables.
fn noticed(settings: &Bottle, gateways: Gateways, needed: Vec<&'static str>) -> impl Iterator<Item = Notice> {
    let waits = (!needed.is_empty()).then_some(Notice::Gateways { needed });
    [waits, replaced(settings, gateways), dollar(&settings.env)].into_iter().flatten()
}

fn replaced(settings: &Bottle, gateways: Gateways) -> Option<Notice> {
    let git = settings.git_gate.repos.as_ref().is_some_and(|repos| !repos.is_empty());
    let supervise = settings.supervise.unwrap_or_default();
    let names = environment::replaced(&settings.env, gateways != Gateways::None, git, supervise);
    (!names.is_empty()).then_some(Notice::Replaced { names })
}

/// `$NAME`, as in a shell's script.
fn dollar(env: &Env) -> Option<Notice> {
    let is_dollar = |value: &str| value.strip_prefix('$').is_some_and(|name| Variable::new(name).is_ok());
    let looked_up = env.iter().filter(|(_, entry)| matches!(entry, EnvEntry::Literal { value } if is_dollar(value)));
    let names: Vec<_> = looked_up.map(|(name, _)| name.to_string()).collect();
    (!names.is_empty()).then_some(Notice::Dollar { names })
}

/// What of the bottle goes through gateways, and has none.
fn missing_gateways(settings: &Bottle, provider: &Provider, gateways: Gateways) -> Vec<&'static str> {
    if gateways != Gateways::None {
        return vec![];
    }
    let egress = settings.egress.as_ref().is_some_and(|egress| !egress.routes.is_empty());
    let needed = [
        ("egress", egress || provider.needs_egress()),
        ("git-gate", settings.git_gate.repos.as_ref().is_some_and(|repos| !repos.is_empty())),
        ("supervise", settings.supervise.unwrap_or_default()),
    ];
    needed.into_iter().filter(|(_, needed)| *needed).map(|(name, _)| name).collect()
}

/// The bottle's network, which goes into its record, and what is to be said if it had another one before.
fn network(
    state: &State,
    host: &Host,
    agent: &FoundAgent<'_>,
    gateways: Gateways,
) -> Result<(Subnet, Ipv4Net, Option<Notice>), PlanError> {
    let before = state.origin()?.and_then(|origin| origin.bundle_subnet);
    let record = |bundle_subnet| {
        state.originate(&Origin { directory: host.current.clone(), agent_source: agent.source, bundle_subnet })
    };
    // At once: looking for a network takes its time, and who is killed then is to be gone on with.
    record(before)?;
    let subnet = subnet_of(state.slug(), before, gateways)?;
    let is = Ipv4Net::new_assert(subnet.gateway(), subnet.prefix_length()).trunc();
    if before.is_none() {
        record(Some(is))?;
    }
    let moved = before.filter(|before| *before != is).map(|was| Notice::Moved { was, is });
    Ok((subnet, is, moved))
}

/// The one that it had before, if it can be had. What the host routes elsewhere is passed over, and so is what other bottles have, and
/// where an external bundle is.
fn subnet_of(slug: &Slug, before: Option<Ipv4Net>, gateways: Gateways) -> Result<Subnet, PlanError> {
    let routes = crate::host::network::routes().map_err(PlanError::Routes)?;
    let mut taken: Vec<_> = routes.into_iter().map(|(address, length)| Cidr::around(address, length)).collect();
    if let Gateways::External(address) = gateways {
        taken.push(Cidr::single(address));
    }
    Ok(Subnet::allocate(&slug.machine_name(), before.map(|before| before.network()), &taken)?)
}

/// Says where in the bottle's files it is that something asks for what is not there.
fn placed(error: PlanError, catalogue: &Catalogue, lineage: &[Name]) -> PlanError {
    match error {
        PlanError::Resolve(ResolveError::Unset { names, .. }) => {
            let wanted = names.first().map(|name| format!("${{{name}}}"));
            let place = wanted.and_then(|wanted| catalogue.place_of(lineage, |line| line.contains(&wanted)));
            ResolveError::Unset { names, place }.into()
        }
        PlanError::NoToken { names, .. } => {
            let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
            let is_first = |line: &str| line.split(|c| !word(c)).any(|it| names.first().is_some_and(|name| name == it));
            let place = catalogue.place_of(lineage, is_first);
            PlanError::NoToken { names, place }
        }
        other => other,
    }
}

/// For a look nobody is asked, but what is not set is an error all the same.
fn resolved(env: &Env, depth: Depth, values: &mut dyn Values) -> Result<ResolvedEnv, PlanError> {
    if depth == Depth::Start {
        return Ok(resolve(env, values)?);
    }
    let asked = |entry: &EnvEntry| matches!(entry, EnvEntry::Secret { .. });
    let env = env.iter().filter(|(_, entry)| !asked(entry)).map(|(name, entry)| (name.clone(), entry.clone()));
    Ok(resolve(&env.collect(), values)?)
}

pub(super) fn token_of(repo: &PlannedRepo) -> Option<&Variable> {
    match &repo.key {
        PlannedKey::ProvisionedKey { token_env, .. } => Some(token_env),
        PlannedKey::Identity(_) => None,
    }
}

/// Takes the tokens out of this process's environment, which programs that build images inherit; those that are not there.
fn take_tokens<'a>(names: impl Iterator<Item = &'a Variable>, values: &mut dyn Values) -> Vec<String> {
    let unset: BTreeSet<_> = names.filter(|name| values.variable(name).is_none()).map(Variable::to_string).collect();
    unset.into_iter().collect()
}

#[cfg(test)]
#[path = "prepare_test.rs"]
mod tests;
