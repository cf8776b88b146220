//! From a Dockerfile to an image, by the first builder that works here. Law: what the builders differ in stands in `Builder`.
//!
//! Nothing is tagged: the image goes by its id, so two builds never mix, and what the builder keeps is its layer cache
//! (`docker image prune` and its like clear it).

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::error::{BuilderError, DockerState};
use super::job::{Job, Surroundings, hold_signals, host};
use super::{Exportable, STDIN_AS_PATH, display, image_id, isolation};
use crate::image::Held;
use crate::progress::Progress;

/// A daemon that has not answered by then will not.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Builder {
    /// `buildx` is its own newer front end, which alone can be told to hand the image over to the daemon.
    Docker {
        buildx: bool,
    },
    Podman,
    Buildah,
}

impl Builder {
    fn program(self) -> &'static str {
        match self {
            Self::Docker { .. } => "docker",
            Self::Podman => "podman",
            Self::Buildah => "buildah",
        }
    }

    /// The words before the isolation, the files and the context.
    fn build(self) -> &'static [&'static str] {
        match self {
            Self::Docker { buildx: false } => &["build"],
            Self::Docker { buildx: true } => &["buildx", "build", "--load"],
            // Docker's own format keeps what a Dockerfile may say and OCI has no place for; exported, it keeps its id.
            Self::Podman => &["build", "--layers", "--format", "docker"],
            // Without `--layers`, buildah builds everything again every time.
            Self::Buildah => &["build-using-dockerfile", "--layers", "--format", "docker"],
        }
    }
}

/// An image that a builder has made.
pub(super) struct Built<'s> {
    builder: Builder,
    surroundings: &'s Surroundings,
    id: String,
    dockerfile: PathBuf,
}

pub(super) fn build<'s>(
    dockerfile: &Path,
    context: Option<&Path>,
    surroundings: &'s Surroundings,
    progress: &dyn Progress,
) -> Result<Built<'s>, BuilderError> {
    let (dockerfile, context) = check(dockerfile, context)?;
    // Held until the file with the id is gone.
    let _signals = hold_signals("a builder")?;
    let builder = choose(surroundings, progress)?;
    let program = builder.program();
    let directory = tempfile::Builder::new().prefix("bottle-vmm-build-").tempdir();
    let directory = directory.map_err(host("make a temporary directory"))?;
    let id_file = directory.path().join("id");
    progress.step(&format!("building {} with {program}", display(&dockerfile)));
    let mut words: Vec<OsString> = builder.build().iter().map(OsString::from).collect();
    words.extend(
        isolation::needed(program, surroundings, progress)?
            .into_iter()
            .flat_map(|name| ["--isolation", name])
            .map(OsString::from),
    );
    words.extend([
        "--iidfile".into(),
        id_file.clone().into(),
        "--file".into(),
        dockerfile.clone().into(),
        context.into(),
    ]);
    let shown = display(&dockerfile);
    job(surroundings, program)?.args(words).run(progress)?.check(|| format!("the build of `{shown}`"))?;
    let id = fs::read(&id_file).ok().and_then(|text| image_id(&text)).ok_or(BuilderError::NoId { program })?;
    Ok(Built { builder, surroundings, id, dockerfile })
}

impl Exportable for Built<'_> {
    fn held(&self) -> Held<'_> {
        Held { id: &self.id, name: &self.dockerfile, pinned: true }
    }

    fn export(&self, file: &File, progress: &dyn Progress) -> Result<(), BuilderError> {
        let program = self.builder.program();
        progress.step(&format!("exporting the image from {program}"));
        let job = job(self.surroundings, program)?;
        let job = match self.builder {
            Builder::Docker { .. } => job.args(["save", &self.id]).stdout(file)?,
            Builder::Podman => job.args(["save", "--quiet", "--format", "docker-archive", &self.id]).stdout(file)?,
            // It has no way to write to standard output.
            Builder::Buildah => job.args(["push", &self.id, STDIN_AS_PATH]).stdin(file)?,
        };
        job.run(progress)?.check(|| format!("the export of the image built from `{}`", display(&self.dockerfile)))
    }
}

/// What can be wrong before a builder is even looked for. Gives full paths: none is taken for an option, or for an address.
fn check(dockerfile: &Path, context: Option<&Path>) -> Result<(PathBuf, PathBuf), BuilderError> {
    let unreadable = |source| BuilderError::Dockerfile { path: dockerfile.to_owned(), source };
    let path = std::path::absolute(dockerfile).map_err(unreadable)?;
    if path.metadata().map_err(unreadable)?.is_dir() {
        return Err(BuilderError::DockerfileIsNoFile { path: dockerfile.to_owned() });
    }
    File::open(&path).map_err(unreadable)?;
    // The directory that the name is in, not the one that a link leads to.
    let context = context.or(path.parent()).unwrap_or(Path::new("/"));
    let unusable = |source| BuilderError::Context { path: context.to_owned(), source };
    let context = context.canonicalize().map_err(unusable)?;
    fs::read_dir(&context).map_err(unusable)?;
    Ok((path, context))
}

/// Docker if its daemon answers, else podman, else buildah.
fn choose(surroundings: &Surroundings, progress: &dyn Progress) -> Result<Builder, BuilderError> {
    let docker = match surroundings.job("docker") {
        None => DockerState::Absent,
        Some(job) => {
            let asked = job.args(["version", "--format", "{{.Server.Version}}"]).limit(ANSWER_WITHIN).run(progress)?;
            if asked.succeeded() {
                return Ok(Builder::Docker { buildx: has_buildx(surroundings, progress)? });
            }
            DockerState::NoDaemon(asked.last_line().to_owned())
        }
    };
    let others = [Builder::Podman, Builder::Buildah];
    let found = others.into_iter().find(|other| surroundings.find(other.program()).is_some());
    found.ok_or(BuilderError::NoBuilder { docker })
}

fn has_buildx(surroundings: &Surroundings, progress: &dyn Progress) -> Result<bool, BuilderError> {
    let asked = job(surroundings, "docker")?.args(["buildx", "version"]).limit(ANSWER_WITHIN).run(progress)?;
    Ok(asked.succeeded())
}

/// A run of a program that was found before.
fn job(surroundings: &Surroundings, program: &'static str) -> Result<Job, BuilderError> {
    surroundings.job(program).ok_or(BuilderError::Start { program, source: io::ErrorKind::NotFound.into() })
}
