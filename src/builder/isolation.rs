//! What podman and buildah can run the commands of a Dockerfile in. Law: tried rather than guessed.
//!
//! By default that is a container: a runtime, fresh namespaces, a /proc of its own, a cgroup. A root inside a container or a
//! sandbox often may not make these, the runtime may refuse the machine's cgroups, and buildah is packaged without one.
//! `chroot` isolation needs none of it. The attempt is a container of nothing but `true`, made by the runtime that the
//! builder would use; it takes some 50 ms.

use std::fs;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use super::error::BuilderError;
use super::job::{Surroundings, host};
use crate::progress::Progress;

const ANSWER_WITHIN: Duration = Duration::from_secs(10);
const ANSWER_MAX: u64 = 64 << 10;

/// The isolation to ask `builder` for, where its own choice cannot work. BUILDAH_ISOLATION, which both heed, is not
/// overruled.
pub(super) fn needed(
    builder: &'static str,
    surroundings: &Surroundings,
    progress: &dyn Progress,
) -> Result<Option<&'static str>, BuilderError> {
    let question = match builder {
        "buildah" => "{{.host.OCIRuntime}}",
        "podman" => "{{.Host.OCIRuntime.Path}}",
        _ => return Ok(None),
    };
    if std::env::var_os("BUILDAH_ISOLATION").is_some_and(|value| !value.is_empty()) {
        return Ok(None);
    }
    let Some(job) = surroundings.job(builder) else { return Ok(None) };
    let (asked, answer) = job.args(["info", "--format", question]).limit(ANSWER_WITHIN).output(ANSWER_MAX, progress)?;
    // What is wrong with it, the build itself tells better.
    if !asked.succeeded() {
        return Ok(None);
    }
    let runtime = String::from_utf8_lossy(&answer);
    let contained = match Runtime::named(runtime.trim()) {
        Some(runtime) => runtime.works(surroundings, progress)?,
        // One that we cannot ask is the builder's own business; without one there is no container.
        None => !runtime.trim().is_empty(),
    };
    Ok((!contained).then_some("chroot"))
}

/// A runtime whose command line is known (runc's, which crun shares).
struct Runtime(&'static str);

impl Runtime {
    fn named(path: &str) -> Option<Self> {
        let name = Path::new(path).file_name()?;
        ["crun", "runc"].into_iter().find(|known| name == *known).map(Self)
    }

    fn works(&self, surroundings: &Surroundings, progress: &dyn Progress) -> Result<bool, BuilderError> {
        let failed = host("try a container");
        let bundle = tempfile::Builder::new().prefix("bottle-vmm-try-").tempdir().map_err(&failed)?;
        let directory = bundle.path();
        let Some(job) = surroundings.job(self.0) else { return Ok(false) };
        let rootless: &[&str] = if nix::unistd::geteuid().is_root() { &[] } else { &["--rootless"] };
        let job = job.args(["spec", "--bundle"]).args([directory]).args(rootless).limit(ANSWER_WITHIN);
        let file = directory.join("config.json");
        if !job.run(progress)?.succeeded() {
            return Ok(false);
        }
        let Some(text) = fs::read(&file).ok().and_then(|text| only_true(&text)) else { return Ok(false) };
        fs::write(&file, text).map_err(failed)?;
        let Some(job) = surroundings.job(self.0) else { return Ok(false) };
        // The directory's name is as unique as a container's has to be.
        let name = directory.file_name().unwrap_or_default();
        let job = job.args(["run", "--bundle"]).args([directory.as_os_str(), name]).limit(ANSWER_WITHIN);
        Ok(job.run(progress)?.succeeded())
    }
}

/// The runtime's own example (OCI runtime-spec, config.md), made to run `true` in this machine's root, read-only.
fn only_true(config: &[u8]) -> Option<Vec<u8>> {
    let mut config: Value = serde_json::from_slice(config).ok()?;
    let process = config.get_mut("process")?.as_object_mut()?;
    process.insert("terminal".to_owned(), json!(false));
    process.insert("args".to_owned(), json!(["true"]));
    config.as_object_mut()?.insert("root".to_owned(), json!({ "path": "/", "readonly": true }));
    // Builders do without a view of the cgroups, which not every machine can give.
    config.get_mut("mounts")?.as_array_mut()?.retain(|mount| mount["type"] != "cgroup");
    serde_json::to_vec(&config).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_runs_true_and_nothing_else() {
        let example = br#"{"process":{"terminal":true,"args":["sh"],"cwd":"/"},"root":{"path":"rootfs"},
                           "mounts":[{"type":"proc"},{"type":"cgroup"}],"linux":{}}"#;
        let config: Value = serde_json::from_slice(&only_true(example).unwrap()).unwrap();
        assert_eq!(config["process"], json!({ "terminal": false, "args": ["true"], "cwd": "/" }));
        assert_eq!(config["root"]["path"], "/");
        assert_eq!(config["mounts"], json!([{ "type": "proc" }]));
        for other in [&b"{}"[..], b"[]", b"no json", br#"{"process":{},"mounts":7}"#] {
            assert_eq!(only_true(other), None);
        }
    }
}
