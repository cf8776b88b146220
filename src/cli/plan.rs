//! `bottle-vmm plan`: what a bottle would be. Nobody is asked, and nothing is left of it.

use super::args::PlanArgs;
use super::report::Failure;
use super::start::{self, Chosen};
use super::tty::HostValues;
use super::{boot, interrupt, out, run, summary};
use crate::monitor::sandbox::Confinement;
use crate::plan::{Depth, Prepared, Request, preflight, prepare};
use std::process::ExitCode;

pub fn run(args: PlanArgs) -> Result<ExitCode, Failure> {
    let Chosen { host, catalogue, spec, agent_of_home } = start::choose(args.agent, args.bottle)?;
    let (depth, gateways) = (Depth::Look, boot::gateways(args.bundle.as_ref()));
    let machine = preflight::check(None, &Confinement::default());
    let request = Request { spec, task: None, depth, gateways, machine, agent_of_home };
    // It is taken back whatever comes.
    let signals = interrupt::hold()?;
    run::forbid_dumps();
    let prepared = prepare(&catalogue, &host, request, &mut HostValues::default())?;
    start::warn(&catalogue, &prepared);
    let Prepared { plan, state, subnet, .. } = prepared;
    drop((state, subnet));
    drop(signals);
    if args.json {
        out::json(&plan)?;
    } else {
        out::bytes(summary::whole(&plan).as_bytes())?;
    }
    Ok(ExitCode::SUCCESS)
}
