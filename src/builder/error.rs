//! What can be wrong with building or fetching an image. Law: facts in the variants, the way out by `hint`.

use std::fmt;
use std::io;
use std::path::PathBuf;

use super::kept::Store;
use crate::image::ImageError;

#[derive(Debug, thiserror::Error)]
pub enum BuilderError {
    #[error("cannot read the Dockerfile `{}`", path.display())]
    Dockerfile {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("the Dockerfile `{}` is no file", path.display())]
    DockerfileIsNoFile { path: PathBuf },
    #[error("cannot use `{}` as the context of the build", path.display())]
    Context {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("no program to build a Dockerfile with: {docker}, and neither podman nor buildah is on PATH")]
    NoBuilder { docker: DockerState },
    #[error("`{}` needs skopeo, which is not on PATH", store.prefixed(name))]
    NoSkopeo { store: Store, name: String },
    #[error("`{}` names no image", store.prefixed(""))]
    NoName { store: Store },
    #[error("cannot start {program}")]
    Start {
        program: &'static str,
        #[source]
        source: io::Error,
    },
    #[error("{what} failed: {program} {ended}{last_lines}")]
    Failed { what: String, program: &'static str, ended: Ended, last_lines: LastLines },
    #[error("{program} did not say which image it made")]
    NoId { program: &'static str },
    #[error("cannot {action}")]
    Host {
        action: &'static str,
        #[source]
        source: io::Error,
    },
    #[error("ended by a signal while {program} was at work")]
    Interrupted { program: &'static str, signal: u8 },
    #[error(transparent)]
    Image(#[from] ImageError),
}

/// Why docker was passed over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DockerState {
    Absent,
    /// With the last line of what it said.
    NoDaemon(String),
}

impl fmt::Display for DockerState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent => f.write_str("docker is not on PATH"),
            Self::NoDaemon(said) if said.is_empty() => f.write_str("docker's daemon cannot be reached"),
            Self::NoDaemon(said) => write!(f, "docker's daemon cannot be reached ({said})"),
        }
    }
}

/// How a program came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    Code(i32),
    Signal(i32),
    TooSlow { seconds: u64 },
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "ended with exit code {code}"),
            Self::Signal(signal) => write!(f, "was ended by signal {signal}"),
            Self::TooSlow { seconds } => write!(f, "did not answer within {seconds} s"),
        }
    }
}

/// The end of a program's output, each line indented below the message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LastLines(pub Vec<String>);

impl fmt::Display for LastLines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|line| write!(f, "\n    {line}"))
    }
}

impl BuilderError {
    /// What the user can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Dockerfile { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                "`--dockerfile` takes the path of the file itself".to_owned()
            }
            Self::DockerfileIsNoFile { path } => format!("name the file: `{}`", path.join("Dockerfile").display()),
            Self::NoBuilder { docker } => {
                let install = "install one of them: `apt-get install buildah` on Debian and Ubuntu, \
                               `dnf install podman` on Fedora";
                match docker {
                    DockerState::Absent => install.to_owned(),
                    DockerState::NoDaemon(_) => format!("start docker's daemon, or {install}"),
                }
            }
            Self::NoSkopeo { store, name } => format!(
                "`apt-get install skopeo`, or save the image to a file and use that: `{}`",
                match store {
                    Store::DockerDaemon => format!("docker save -o image.tar {name}"),
                    Store::ContainersStorage => format!("podman save -o image.tar {name}"),
                }
            ),
            Self::NoName { store } => {
                format!("for instance `{}`; a file of that name is `./{0}`", store.prefixed("debian:12"))
            }
            Self::Failed { what, program: "skopeo", .. } if what.starts_with("looking for `containers-storage:") => {
                "`podman images` and `buildah images` list what your own storage has, by whole names (`localhost/NAME`); that of another driver is \
                 `containers-storage:[vfs@/var/lib/containers/storage]NAME`, with the driver's name and the storage's directory"
                    .to_owned()
            }
            Self::Failed { what, program: "skopeo", .. } if what.starts_with("looking for `docker-daemon:") => {
                "does `docker images` list it, as this user? DOCKER_HOST names another daemon".to_owned()
            }
            Self::Image(error) => return error.hint(),
            _ => return None,
        })
    }

    /// 128+N after a signal, as a shell has it; else docker's code for a failure that is not the command's.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Interrupted { signal, .. } => 128_u8.saturating_add(*signal),
            _ => 125,
        }
    }
}
