//! The configuration of an image: what to run in it, and how. Law: pure.
//!
//! Source: OCI image-spec, config.md; docker writes the same document.

use std::collections::BTreeMap;

use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};

use super::go_json::{caseless, named_texts, nullable, texts, words};
use super::platform::{ARCHITECTURE, OS, Platform};

/// What an image says about how to run it. Its values are defaults; the caller's have precedence.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageConfig {
    pub entrypoint: Vec<String>,
    pub cmd: Vec<String>,
    /// Literals of the image, `NAME=VALUE`.
    pub env: Vec<String>,
    /// `user`, `user:group` or numbers; empty means root.
    pub user: String,
    pub working_dir: String,
    pub labels: BTreeMap<String, String>,
    /// `8080/tcp`.
    pub exposed_ports: Vec<String>,
    pub stop_signal: Option<String>,
    pub architecture: String,
    pub os: String,
}

/// The document as stored. Absent, empty and `null` are the same everywhere in it.
#[derive(Debug, Deserialize)]
#[serde(remote = "Self")]
pub(crate) struct ConfigDocument {
    #[serde(default, deserialize_with = "nullable")]
    architecture: String,
    #[serde(default, deserialize_with = "nullable")]
    os: String,
    #[serde(default, deserialize_with = "nullable")]
    config: Execution,
    #[serde(default, deserialize_with = "nullable")]
    rootfs: RootFs,
}

#[derive(Debug, Default, Deserialize)]
#[serde(remote = "Self", default)]
struct Execution {
    #[serde(deserialize_with = "nullable")]
    user: String,
    #[serde(rename = "exposedports", deserialize_with = "nullable")]
    exposed_ports: BTreeMap<String, IgnoredAny>,
    #[serde(deserialize_with = "texts")]
    env: Vec<String>,
    #[serde(deserialize_with = "words")]
    entrypoint: Vec<String>,
    #[serde(deserialize_with = "words")]
    cmd: Vec<String>,
    #[serde(rename = "workingdir", deserialize_with = "nullable")]
    working_dir: String,
    #[serde(deserialize_with = "nullable")]
    volumes: BTreeMap<String, IgnoredAny>,
    #[serde(deserialize_with = "named_texts")]
    labels: BTreeMap<String, String>,
    #[serde(rename = "stopsignal")]
    stop_signal: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(remote = "Self", default)]
struct RootFs {
    #[serde(deserialize_with = "texts")]
    diff_ids: Vec<String>,
}

caseless!(ConfigDocument, Execution, RootFs);

impl ConfigDocument {
    /// The digests of the layers' tar streams, lowest first.
    pub(crate) fn diff_ids(&self) -> &[String] {
        &self.rootfs.diff_ids
    }

    pub(crate) fn platform(&self) -> Platform {
        Platform { os: self.os.clone(), architecture: self.architecture.clone(), variant: String::new() }
    }

    /// Directories that are there when the image runs, whether a layer has them or not.
    pub(crate) fn volumes(&self) -> Vec<String> {
        self.config.volumes.keys().cloned().collect()
    }

    /// Of an image that was found to be for [our machine](Platform::is_ours), by whatever name.
    pub(crate) fn into_config(self) -> ImageConfig {
        let Execution { user, exposed_ports, mut env, entrypoint, cmd, working_dir, labels, stop_signal, .. } =
            self.config;
        // A name without a value would be taken from the environment of a daemon, which we have not.
        env.retain(|variable| variable.contains('='));
        ImageConfig {
            entrypoint,
            cmd,
            env,
            user,
            working_dir,
            labels,
            exposed_ports: exposed_ports.into_keys().collect(),
            stop_signal: stop_signal.filter(|signal| !signal.is_empty()),
            architecture: ARCHITECTURE.to_owned(),
            os: OS.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::ConfigDocument;

    #[test]
    fn null_absent_and_empty_are_the_same() {
        for text in [
            r#"{"architecture":"amd64","os":"linux"}"#,
            r#"{"architecture":"amd64","os":"linux","config":null,"rootfs":null}"#,
            r#"{"architecture":"amd64","os":"linux","config":{"CMD":null,"env":null,"Labels":null,"ExposedPorts":null,"StopSignal":""},"rootfs":{"diff_ids":null}}"#,
        ] {
            let document: ConfigDocument = serde_json::from_str(text).unwrap();
            assert!(document.diff_ids().is_empty());
            let config = document.into_config();
            assert_eq!((config.cmd.len(), config.env.len(), config.stop_signal), (0, 0, None));
        }
    }

    #[test]
    fn a_real_one() {
        let text = r#"{"architecture":"amd64","os":"linux","created":"2026-01-01T00:00:00Z","history":[{}],
            "config":{"User":"node","ExposedPorts":{"80/tcp":{}},"Env":["PATH=/bin","NOVALUE"],"Entrypoint":["/e"],
            "Cmd":["a","b"],"WorkingDir":"/w","Labels":{"k":"v"},"StopSignal":"SIGINT","Shell":["/bin/sh"]},
            "rootfs":{"type":"layers","diff_ids":["sha256:00"]}}"#;
        let config = serde_json::from_str::<ConfigDocument>(text).unwrap().into_config();
        assert_eq!((config.user.as_str(), config.working_dir.as_str()), ("node", "/w"));
        assert_eq!((config.entrypoint, config.cmd), (vec!["/e".to_owned()], vec!["a".to_owned(), "b".to_owned()]));
        assert_eq!(config.env, ["PATH=/bin"]);
        assert_eq!((config.exposed_ports, config.stop_signal), (vec!["80/tcp".to_owned()], Some("SIGINT".to_owned())));
    }
}
