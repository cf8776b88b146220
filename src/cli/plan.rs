//! `bottle-vmm plan`: what a bottle would be. Nobody is asked, and nothing is left of it.

use super::args::PlanArgs;
use super::report::Failure;
use super::start::{self, Chosen};
use super::tty::HostValues;
use super::{out, summary};
use crate::plan::{Depth, Gateways, Request, preflight, prepare};
use std::process::ExitCode;

pub fn run(args: PlanArgs) -> Result<ExitCode, Failure> {
    let Chosen { host, catalogue, spec } = start::choose(args.agent, args.bottle)?;
    let request =
        Request { spec, task: None, depth: Depth::Look, gateways: Gateways::None, machine: preflight::check() };
    let prepared = prepare(&catalogue, &host, request, &mut HostValues::default())?;
    if args.json {
        out::json(&prepared.plan)?;
    } else {
        start::warn(&catalogue, &prepared);
        out::bytes(summary::whole(&prepared.plan).as_bytes())?;
    }
    Ok(ExitCode::SUCCESS)
}
