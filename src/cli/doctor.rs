//! `bottle-vmm doctor`: can this machine run a bottle, and if not, what has to be done?

use super::out;
use super::report::Failure;
use crate::host::{kvm, resources};
use crate::kernel::Store;
use crate::monitor::MonitorProcess;
use crate::monitor::sandbox::{LayerReport, LayerState};
use crate::paths;
use serde::Serialize;
use std::process::ExitCode;

const MIB: u64 = 1 << 20;
/// Below this, the default guest does not fit; far below, none does.
const MEMORY_COMFORTABLE: u64 = 1536 * MIB;
const MEMORY_MIN: u64 = 128 * MIB;
const DISK_COMFORTABLE: u64 = 2048 * MIB;
const DISK_MIN: u64 = 64 * MIB;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Status {
    Ok,
    Warning,
    /// `run` cannot work.
    Failure,
}

#[derive(Debug, Serialize)]
struct Check {
    name: &'static str,
    status: Status,
    detail: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
}

#[derive(Debug, Serialize)]
struct Report {
    usable: bool,
    checks: Vec<Check>,
}

pub fn run(json: bool) -> Result<ExitCode, Failure> {
    let mut checks = vec![check_kvm(), check_kernel(), check_memory(), check_disk()];
    checks.extend(check_sandbox());
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

fn ok(name: &'static str, detail: String) -> Check {
    Check { name, status: Status::Ok, detail, hint: None }
}

fn check_kvm() -> Check {
    match kvm::open() {
        Ok(_) => ok("kvm", "/dev/kvm can run Linux kernels".to_owned()),
        Err(error) => {
            Check { name: "kvm", status: Status::Failure, detail: error.to_string(), hint: Some(error.hint()) }
        }
    }
}

fn check_kernel() -> Check {
    match Store::open_default().and_then(|store| store.select(None)) {
        Ok(kernel) => ok("kernel", format!("`run` takes {} ({})", kernel.name, kernel.version)),
        Err(error) => {
            let hint = error.hint();
            Check { name: "kernel", status: Status::Failure, detail: error.to_string(), hint }
        }
    }
}

/// `have` against what is comfortable and what is needed at all.
fn judge(name: &'static str, have: u64, comfortable: u64, min: u64, what: &str, hint: &str) -> Check {
    let status = match have {
        have if have < min => Status::Failure,
        have if have < comfortable => Status::Warning,
        _ => Status::Ok,
    };
    let hint = (status != Status::Ok).then(|| hint.to_owned());
    Check { name, status, detail: format!("{} MiB {what}", have / MIB), hint }
}

fn check_memory() -> Check {
    match resources::available_memory() {
        Some(have) => judge(
            "memory",
            have,
            MEMORY_COMFORTABLE,
            MEMORY_MIN,
            "of memory available",
            "end other programs, or run smaller bottles (`--mem 256M`)",
        ),
        None => Check {
            name: "memory",
            status: Status::Warning,
            detail: "/proc/meminfo does not tell how much memory is available".to_owned(),
            hint: None,
        },
    }
}

fn check_disk() -> Check {
    let directory = match paths::cache() {
        Ok(directory) => directory,
        Err(error) => {
            return Check { name: "disk", status: Status::Failure, detail: error.to_string(), hint: error.hint() };
        }
    };
    match resources::free_disk(&directory) {
        Ok(free) => judge(
            "disk",
            free,
            DISK_COMFORTABLE,
            DISK_MIN,
            &format!("free for images under {}", directory.display()),
            "free some space, or point XDG_CACHE_HOME at a roomier disk",
        ),
        Err(error) => Check {
            name: "disk",
            status: Status::Failure,
            detail: format!("{} cannot be written to: {error}", directory.display()),
            hint: Some("point XDG_CACHE_HOME at a directory of yours".to_owned()),
        },
    }
}

/// Not asked but tried, by a monitor that runs nothing.
fn check_sandbox() -> Vec<Check> {
    match MonitorProcess::try_sandbox() {
        Ok(layers) => layers.into_iter().map(check_layer).collect(),
        Err(error) => vec![Check { name: "sandbox", status: Status::Failure, detail: error.to_string(), hint: None }],
    }
}

fn check_layer(report: LayerReport) -> Check {
    let layer = report.layer;
    match report.state {
        LayerState::Closed { detail } => ok(layer.name(), format!("the monitor's sandbox: {detail}")),
        LayerState::LeftOut => ok(layer.name(), "left out".to_owned()),
        LayerState::Missing { why } => Check {
            name: layer.name(),
            status: if layer.required() { Status::Failure } else { Status::Warning },
            detail: format!("the monitor's sandbox: {why}"),
            hint: Some(layer.way_out().to_owned()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::monitor::sandbox::Layer;

    #[test]
    fn each_limit_changes_the_verdict_and_only_bad_ones_have_a_way_out() {
        let judged = |have| judge("disk", have, 100, 10, "free", "make room");
        assert_eq!((judged(100).status, judged(100).hint), (Status::Ok, None));
        assert_eq!((judged(99).status, judged(99).hint.as_deref()), (Status::Warning, Some("make room")));
        assert_eq!(judged(9).status, Status::Failure);
    }

    #[test]
    fn a_missing_layer_is_a_failure_with_a_way_out_unless_it_is_the_one_that_is_not_required() {
        let missing =
            |layer| check_layer(LayerReport { layer, state: LayerState::Missing { why: "no such thing".to_owned() } });
        for layer in Layer::ALL {
            let check = missing(layer);
            let expected = if layer == Layer::Network { Status::Warning } else { Status::Failure };
            assert_eq!(check.status, expected, "{layer}");
            assert!(check.hint.is_some() && check.detail.contains("no such thing"));
        }
    }
}
