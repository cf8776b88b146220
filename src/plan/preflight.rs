//! What a machine needs to run a bottle at all, found out before anybody is asked anything: the checks of `doctor`, each as a value. Law:
//! leaves nothing; the monitor that tries its sandbox out has ended when its layers are told.

use std::iter;
use std::path::Path;

use serde::Serialize;

use crate::host::kvm::{self, KvmUnusable};
use crate::host::resources;
use crate::kernel::{Chosen, choose};
use crate::monitor::MonitorProcess;
use crate::monitor::sandbox::{Confinement, LayerReport, LayerState};
use crate::paths;

const MIB: u64 = 1 << 20;
/// Below this, the default guest does not fit; far below, none does.
const MEMORY_COMFORTABLE: u64 = 1536 * MIB;
const MEMORY_MIN: u64 = 128 * MIB;
const DISK_COMFORTABLE: u64 = 2048 * MIB;
const DISK_MIN: u64 = 64 * MIB;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    Ok,
    Warning,
    /// No bottle can run.
    Failure,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    pub name: &'static str,
    pub status: Status,
    pub detail: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

/// A check that failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.detail)]
pub struct Preflight(pub Check);

impl Preflight {
    /// The way out.
    #[must_use]
    pub fn hint(&self) -> String {
        self.0
            .hint
            .clone()
            .unwrap_or_else(|| "`bottle-vmm doctor` has all that a bottle needs of this machine".to_owned())
    }
}

impl From<&KvmUnusable> for Preflight {
    fn from(error: &KvmUnusable) -> Self {
        Self(failure("kvm", error.to_string(), Some(error.hint())))
    }
}

/// The first that fails, of those that `doctor` shows; what comes after it is not looked at.
///
/// # Errors
/// [`Preflight`], which says what is missing.
pub fn check(kernel: Option<&Path>, confinement: &Confinement) -> Result<(), Preflight> {
    match checks(kernel, confinement).find(|check| check.status == Status::Failure) {
        Some(check) => Err(Preflight(check)),
        None => Ok(()),
    }
}

/// Each as it is asked for: the last ones start a process.
pub fn checks<'a>(kernel: Option<&'a Path>, confinement: &'a Confinement) -> impl Iterator<Item = Check> + 'a {
    let kernel = iter::once_with(move || check_kernel(kernel));
    let sandbox = iter::once_with(move || check_sandbox(confinement)).flatten();
    let resources = iter::once_with(check_memory).chain(iter::once_with(check_disk));
    iter::once_with(check_kvm).chain(kernel).chain(resources).chain(sandbox)
}

fn ok(name: &'static str, detail: String) -> Check {
    Check { name, status: Status::Ok, detail, hint: None }
}

fn failure(name: &'static str, detail: String, hint: Option<String>) -> Check {
    Check { name, status: Status::Failure, detail, hint }
}

fn check_kvm() -> Check {
    match kvm::open() {
        Ok(_) => ok("kvm", "/dev/kvm can run Linux kernels".to_owned()),
        Err(error) => Preflight::from(&error).0,
    }
}

fn check_kernel(wanted: Option<&Path>) -> Check {
    match choose(wanted) {
        Ok(Chosen::Installed(kernel)) => ok("kernel", format!("`run` takes {} ({})", kernel.name, kernel.version)),
        Ok(Chosen::File(file)) => ok("kernel", format!("`run` takes {}", file.path().display())),
        Err(error) => failure("kernel", error.to_string(), error.hint()),
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
        Err(error) => return failure("disk", error.to_string(), error.hint()),
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
        Err(error) => failure(
            "disk",
            format!("{} cannot be written to: {error}", directory.display()),
            Some("point XDG_CACHE_HOME at a directory of yours".to_owned()),
        ),
    }
}

/// Not asked but tried, by a monitor that runs nothing.
fn check_sandbox(confinement: &Confinement) -> Vec<Check> {
    match MonitorProcess::try_sandbox(confinement) {
        Ok(layers) => layers.into_iter().map(check_layer).collect(),
        Err(error) => vec![failure("sandbox", error.to_string(), None)],
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

    #[test]
    fn the_kernel_that_was_asked_for_is_the_one_that_is_checked() {
        let check = check_kernel(Some(Path::new("/no/such/kernel")));
        assert_eq!(check.status, Status::Failure);
        assert!(check.detail.contains("/no/such/kernel"), "{}", check.detail);
    }
}
