//! Images that a docker daemon or a container storage keeps, through skopeo. Law: asks for the id first, copies afterwards.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use super::error::BuilderError;
use super::job::{Job, Surroundings};
use super::tail::without_credentials;
use super::{Exportable, STDIN_AS_PATH, image_id};
use crate::image::{Digest, Held};
use crate::progress::Progress;

/// Manifests are kilobytes; this is docker's own limit.
const MANIFEST_MAX: u64 = 4 << 20;

const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// Where images are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Store {
    DockerDaemon,
    /// What podman, buildah and CRI-O share.
    ContainersStorage,
}

impl Store {
    fn prefix(self) -> &'static str {
        match self {
            Self::DockerDaemon => "docker-daemon:",
            Self::ContainersStorage => "containers-storage:",
        }
    }

    /// As it is typed, and as skopeo calls it.
    pub(super) fn prefixed(self, name: &str) -> String {
        format!("{}{name}", self.prefix())
    }
}

pub(super) fn parse(image: &str) -> Option<super::Origin> {
    let stores = [Store::DockerDaemon, Store::ContainersStorage];
    let kept = |store: Store| Some((store, image.strip_prefix(store.prefix())?));
    stores.into_iter().find_map(kept).map(|(store, name)| super::Origin::Kept { store, name: name.to_owned() })
}

pub(super) struct Kept<'s> {
    store: Store,
    surroundings: &'s Surroundings,
    /// What is copied: by the image's id where that is possible, so that it is the one that was asked about.
    reference: String,
    id: String,
    pinned: bool,
    shown: String,
}

pub(super) fn find<'s>(
    store: Store,
    name: &str,
    surroundings: &'s Surroundings,
    progress: &dyn Progress,
) -> Result<Kept<'s>, BuilderError> {
    if name.is_empty() {
        return Err(BuilderError::NoName { store });
    }
    let shown = without_credentials(&store.prefixed(name));
    if surroundings.find("skopeo").is_none() {
        return Err(BuilderError::NoSkopeo { store, name: name.to_owned() });
    }
    progress.step(&format!("looking for {shown}"));
    if store == Store::DockerDaemon
        && let Some(id) = ask_docker(name, surroundings, progress)?
    {
        return Ok(Kept { store, surroundings, reference: store.prefixed(&id), id, pinned: true, shown });
    }
    let reference = match store {
        Store::DockerDaemon => store.prefixed(&tagged(name)),
        Store::ContainersStorage => store.prefixed(name),
    };
    let job = skopeo(surroundings)?.args(["inspect", "--raw"]).args(daemon(store, "--daemon-host"));
    let (asked, manifest) = job.args([&reference]).output(MANIFEST_MAX, progress)?;
    asked.check(|| format!("looking for `{shown}`"))?;
    Ok(Kept { store, surroundings, reference, id: id_of(&manifest), pinned: false, shown })
}

impl Exportable for Kept<'_> {
    fn held(&self) -> Held<'_> {
        Held { id: &self.id, name: Path::new(&self.shown), pinned: self.pinned }
    }

    fn export(&self, file: &File, progress: &dyn Progress) -> Result<(), BuilderError> {
        progress.step(&format!("copying {}", self.shown));
        let job = skopeo(self.surroundings)?.args(policy(POLICIES)).args(["copy"]);
        let job =
            job.args(daemon(self.store, "--src-daemon-host")).args([&self.reference, STDIN_AS_PATH]).stdin(file)?;
        job.run(progress)?.check(|| format!("copying `{}`", self.shown))
    }
}

/// skopeo does not heed DOCKER_HOST by itself.
fn daemon(store: Store, option: &'static str) -> Vec<OsString> {
    let host = std::env::var_os("DOCKER_HOST").filter(|host| store == Store::DockerDaemon && !host.is_empty());
    host.map(|host| vec![option.into(), host]).unwrap_or_default()
}

/// The id of an image, by docker's own program. skopeo would have the daemon export the whole image to answer that.
///
/// `--context default`: the daemon that skopeo uses (DOCKER_HOST's, or the usual socket's), whichever docker's configuration
/// prefers. `None` if there is no docker,
/// or no such daemon or image: skopeo then says what is wrong.
fn ask_docker(
    name: &str,
    surroundings: &Surroundings,
    progress: &dyn Progress,
) -> Result<Option<String>, BuilderError> {
    let Some(job) = surroundings.job("docker") else { return Ok(None) };
    let words = ["--context", "default", "image", "inspect", "--format", "{{.Id}}", "--", name];
    let (asked, id) = job.args(words).limit(ANSWER_WITHIN).output(MANIFEST_MAX, progress)?;
    Ok(if asked.succeeded() { image_id(&id) } else { None })
}

/// With docker's default tag, which skopeo does not add for daemons.
fn tagged(name: &str) -> String {
    let last = name.rsplit('/').next().unwrap_or(name);
    if last.contains([':', '@']) { name.to_owned() } else { format!("{name}:latest") }
}

#[derive(Deserialize)]
struct Manifest {
    config: Option<Config>,
}

#[derive(Deserialize)]
struct Config {
    digest: String,
}

/// The digest of the configuration, which is the image's id everywhere; of a manifest that has none, its own.
fn id_of(manifest: &[u8]) -> String {
    let parsed: Option<Manifest> = serde_json::from_slice(manifest).ok();
    let config = parsed.and_then(|manifest| image_id(manifest.config?.digest.as_bytes()));
    config.unwrap_or_else(|| Digest::of(manifest).to_string())
}

/// Where skopeo looks for what signatures it shall ask for.
const POLICIES: [&str; 2] = ["~/.config/containers/policy.json", "/etc/containers/policy.json"];

/// Without a policy file skopeo copies nothing at all. What a local store keeps is no download: it was let in before.
fn policy(places: [&str; 2]) -> Option<OsString> {
    let home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
    let there = |place: &str| match place.strip_prefix("~/") {
        Some(rest) => home.join(rest).exists(),
        None => PathBuf::from(place).exists(),
    };
    (!places.into_iter().any(there)).then(|| "--insecure-policy".into())
}

fn skopeo(surroundings: &Surroundings) -> Result<Job, BuilderError> {
    let missing = || BuilderError::Start { program: "skopeo", source: io::ErrorKind::NotFound.into() };
    surroundings.job("skopeo").ok_or_else(missing)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::builder::Origin;

    #[test]
    fn only_the_two_prefixes_are_stores() {
        let kept = |store, name: &str| Some(Origin::Kept { store, name: name.to_owned() });
        assert_eq!(parse("docker-daemon:a/b:1"), kept(Store::DockerDaemon, "a/b:1"));
        assert_eq!(parse("containers-storage:x"), kept(Store::ContainersStorage, "x"));
        for path in ["./docker-daemon:x", "/docker-daemon:x", "docker:x", "image.tar", "-", ""] {
            assert_eq!(parse(path), None, "{path}");
        }
    }

    #[test]
    fn a_name_without_a_tag_gets_dockers() {
        let digest = format!("x@sha256:{}", "0".repeat(64));
        let cases = [("x", "x:latest"), ("h:5000/x", "h:5000/x:latest"), ("x:1", "x:1"), (&digest, &digest)];
        for (name, expected) in cases {
            assert_eq!(tagged(name), expected);
        }
    }

    #[test]
    fn an_image_is_called_by_its_configuration() {
        let digest = format!("sha256:{}", "ab".repeat(32));
        assert_eq!(id_of(format!(r#"{{"schemaVersion":2,"config":{{"digest":"{digest}"}}}}"#).as_bytes()), digest);
        for other in [r#"{"manifests":[]}"#, r#"{"config":{"digest":"../../x"}}"#, "no json"] {
            assert_eq!(id_of(other.as_bytes()), Digest::of(other.as_bytes()).to_string());
        }
    }
}
