//! `bottle-vmm doctor`: can this machine run a bottle, and if not, what has to be done? The same checks that a `start` begins with.

use super::out;
use super::report::Failure;
use crate::debian::busybox;
use crate::monitor::sandbox::Confinement;
use crate::paths;
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
    let checks: Vec<_> = checks(kernel, &Confinement::default()).chain([default_image()]).collect();
    let usable = checks.iter().all(|check| check.status != Status::Failure);
    let report = Report { usable, checks };
    print(&report, json)?;
    Ok(if usable { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Of `run` without an image only, so that nothing fails for it.
fn default_image() -> Check {
    let there = paths::cache().ok().and_then(|cache| busybox::there(&cache));
    let (status, detail, hint) = match there {
        Some(path) => (Status::Ok, format!("the root of `run` without `--image` is made of {}", path.display()), None),
        None => (
            Status::Warning,
            "no static busybox is here: `run` without `--image` fetches Debian's first, over the network".to_owned(),
            Some("install busybox-static, or give an image with `--image`".to_owned()),
        ),
    };
    Check { name: "image", status, detail, hint }
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
