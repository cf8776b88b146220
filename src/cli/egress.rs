//! What a bottle may reach, as it is typed; and `bottle-vmm egress`: what it did reach.

use super::args::{EgressArgs, MachineArgs, RunArgs};
use super::report::Failure;
use crate::launch::LaunchError;
use crate::launch::egress::{self, BundlePlan, Egress};
use crate::net::broker::BundleDirectory;
use crate::net::inquiry;
use crate::net::ledger::{EgressLog, Ledger, Report, Tally};
use crate::net::policy::{Rule, parse_entries};
use crate::net::subnet::Subnet;
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};

/// `--bundle`, in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BundleWord {
    External(IpAddr),
    Sockets(PathBuf),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BundleWordError {
    #[error("a bundle is `external=ADDRESS`, or `sockets=DIR`")]
    Form,
    #[error("the address of a bundle is an IPv4 or IPv6 address, without a port")]
    Address,
}

impl FromStr for BundleWord {
    type Err = BundleWordError;

    fn from_str(text: &str) -> Result<Self, BundleWordError> {
        match text.split_once('=') {
            Some(("external", address)) => {
                let address = address.strip_prefix('[').and_then(|inner| inner.strip_suffix(']')).unwrap_or(address);
                address.parse().map(Self::External).map_err(|_| BundleWordError::Address)
            }
            Some(("sockets", directory)) if !directory.is_empty() => Ok(Self::Sockets(directory.into())),
            _ => Err(BundleWordError::Form),
        }
    }
}

#[derive(Debug, thiserror::Error)]
#[error("{option} means nothing to a bottle without a network")]
struct NoNetwork {
    option: &'static str,
}

/// The plan for the bottle's network, if it is to have one.
pub fn plan(args: &RunArgs) -> Result<Option<Egress>, Failure> {
    let rules = parse_entries("--allow", &args.allow)?;
    if rules.is_empty() && args.bundle.is_none() {
        return nothing_given(&args.limits, "say what it may reach with `--allow` or `--bundle`").map(|()| None);
    }
    let bundle = args.bundle.as_ref().map_or(Ok(BundlePlan::None), bundle_plan)?;
    egress::check(&rules, &bundle).map_err(LaunchError::from)?;
    limited(rules, bundle, None, &args.limits).map(Some)
}

/// What can be wrong with the network of an agent's bottle before anything is made.
pub fn check(machine: &MachineArgs) -> Result<(), Failure> {
    match &machine.bundle {
        Some(word) => Ok(egress::check(&[], &bundle_plan(word)?).map_err(LaunchError::from)?),
        None => nothing_given(&machine.limits, "say where its bundle is with `--bundle`"),
    }
}

/// The network of an agent's bottle: its bundle.
pub fn of_agent(machine: &MachineArgs, subnet: Subnet) -> Result<Option<Egress>, Failure> {
    let Some(word) = &machine.bundle else { return Ok(None) };
    limited(vec![], bundle_plan(word)?, Some(subnet), &machine.limits).map(Some)
}

fn nothing_given(limits: &EgressArgs, instead: &str) -> Result<(), Failure> {
    let given = [
        ("--egress-log", limits.egress_log.is_some()),
        ("--egress-rate", limits.egress_rate.is_some()),
        ("--egress-bandwidth", limits.egress_bandwidth.is_some()),
    ];
    match given.into_iter().find(|(_, given)| *given) {
        Some((option, _)) => {
            Err(Failure::new(NoNetwork { option }, Some(format!("{instead}, or leave the option out"))))
        }
        None => Ok(()),
    }
}

fn limited(
    rules: Vec<Rule>,
    bundle: BundlePlan,
    subnet: Option<Subnet>,
    limits: &EgressArgs,
) -> Result<Egress, Failure> {
    let log = limits.egress_log.as_deref().map(EgressLog::open).transpose()?;
    Ok(Egress {
        rules,
        bundle,
        subnet,
        rate: limits.egress_rate,
        bandwidth: limits.egress_bandwidth.map(|bytes| bytes.0),
        ledger: Arc::new(Mutex::new(Ledger::new(log))),
    })
}

fn bundle_plan(word: &BundleWord) -> Result<BundlePlan, Failure> {
    Ok(match word {
        BundleWord::External(address) => BundlePlan::External(*address),
        BundleWord::Sockets(directory) => BundlePlan::Sockets(BundleDirectory::open(directory)?),
    })
}

/// Ends the log; what there is to say at the end.
pub fn summary(ledger: &Mutex<Ledger>) -> Option<String> {
    let mut ledger = ledger.lock().unwrap_or_else(PoisonError::into_inner);
    ledger.finish();
    ledger.summary()
}

pub fn run(bottle: &str, json: bool) -> Result<ExitCode, Failure> {
    let report = inquiry::ask(bottle)?;
    let text = if json {
        serde_json::to_string_pretty(&report).map_err(|error| Failure::new(error, None))? + "\n"
    } else {
        render(&report)
    };
    print(&text);
    Ok(ExitCode::SUCCESS)
}

#[expect(clippy::print_stdout, reason = "data that was asked for")]
fn print(text: &str) {
    print!("{text}");
}

fn render(report: &Report) -> String {
    let counts = &report.counts;
    let mut lines = vec![format!("bottle {} in {}", report.bottle, report.network)];
    lines.extend(report.rules.iter().map(|rule| format!("allowed  {rule}")));
    lines.extend(report.bundle.iter().map(|address| format!("bundle   {address}")));
    lines.push(format!(
        "connections: {} made, {} under way, {} refused, {} failed, {} put off; {} packets refused",
        counts.connected, counts.flows, counts.denied, counts.failed, counts.busy, counts.unasked
    ));
    let table = |title: &str, tallies: &[Tally], elsewhere: u64| {
        let title = (!tallies.is_empty()).then(|| title.to_owned());
        let rows = tallies.iter().map(|tally| format!("  {tally}  ({})", tally.detail));
        let more = (elsewhere > 0).then(|| format!("  {elsewhere} more elsewhere"));
        title.into_iter().chain(rows).chain(more).collect::<Vec<_>>()
    };
    lines.extend(table("connected", &report.connected_to, report.connected_elsewhere));
    lines.extend(table("refused", &report.refused_to, report.refused_elsewhere));
    lines.join("\n") + "\n"
}

#[cfg(test)]
#[path = "egress_test.rs"]
mod tests;
