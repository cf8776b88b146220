//! `bottle-vmm doctor`: can this machine run a bottle, and if not, what has to be done? The same checks that a `start` begins with.

use super::out;
use super::report::Failure;
use crate::monitor::sandbox::Confinement;
use crate::plan::preflight::{Check, Status, checks};
use serde::Serialize;
use std::path::Path;
use std::process::ExitCode;

#[derive(Debug, Serialize)]
struct Report {
    usable: bool,
    checks: Vec<Check>,
}

pub fn run(kernel: Option<&Path>, json: bool) -> Result<ExitCode, Failure> {
    let checks: Vec<_> = checks(kernel, &Confinement::default()).collect();
    let usable = checks.iter().all(|check| check.status != Status::Failure);
    let report = Report { usable, checks };
    print(&report, json)?;
    Ok(if usable { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn print(report: &Report, json: bool) -> Result<(), Failure> {
    if json {
        return out::json(report);
    }
    for check in &report.checks {
        let mark = match check.status {
            Status::Ok => "ok     ",
            Status::Warning => "warning",
            Status::Failure => "FAILURE",
        };
        out::line(format_args!("{mark}  {:<8} {}", check.name, check.detail))?;
        if let Some(hint) = &check.hint {
            out::line(format_args!("         hint: {hint}"))?;
        }
    }
    out::line(format_args!("`bottle-vmm run` {} work here", if report.usable { "can" } else { "cannot" }))
}
