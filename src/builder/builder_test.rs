use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use super::error::{DockerState, Ended};
use super::job::Surroundings;
use super::{BuilderError, Gate, Origin, Store, find};
use crate::image::{self, Artifact, Cache};
use crate::progress::{Progress, Silent};

/// A search path of programs made for a test and of what shell scripts need, a Dockerfile, and an archive of one empty layer.
struct Tools {
    directory: tempfile::TempDir,
    cache: Cache,
}

impl Tools {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("bin")).unwrap();
        for program in ["sh", "cat", "sleep", "head", "env", "ls", "touch", "tr", "yes"] {
            let real = ["/bin", "/usr/bin"].iter().map(|bin| Path::new(bin).join(program)).find(|path| path.exists());
            std::os::unix::fs::symlink(real.unwrap(), directory.path().join("bin").join(program)).unwrap();
        }
        let cache = Cache::at(&directory.path().join("cache"));
        let tools = Self { directory, cache };
        fs::write(tools.path("archive.tar"), image::testing::docker_archive(&[b"\0".repeat(1024)])).unwrap();
        fs::write(tools.path("Dockerfile"), "FROM scratch\n").unwrap();
        tools
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// A program: a shell script, `$HERE` being the test's directory and `$ID` the archive's image id.
    fn with(self, name: &str, script: &str) -> Self {
        let id = self.id();
        let text = format!(
            "#!/bin/sh\nHERE='{}'\nID={id}\necho \"$0 $*\" >>$HERE/calls\n{script}\n",
            self.directory.path().display()
        );
        let path = self.path("bin").join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        self
    }

    fn id(&self) -> String {
        let cache = Cache::at(&self.path("another"));
        let source = image::Source::Path(self.path("archive.tar"));
        id_of(&image::open(&source, &cache, &Silent).unwrap())
    }

    fn surroundings(&self) -> Surroundings {
        Surroundings::new(self.path("bin").into(), &["SECRET".into()])
    }

    fn open_with(&self, origin: &Origin, progress: &dyn Progress) -> Result<Artifact, BuilderError> {
        let surroundings = self.surroundings();
        let found = find(origin, &surroundings, progress)?;
        image::open_held(&found.held(), &self.cache, progress, |file| found.export(file, progress))
    }

    fn build(&self) -> Result<Artifact, BuilderError> {
        self.open_with(&Origin::Dockerfile { path: self.path("Dockerfile"), context: None }, &Silent)
    }

    fn open(&self, image: &str) -> Result<Artifact, BuilderError> {
        self.open_with(&Origin::parse(image.as_ref()).unwrap(), &Silent)
    }

    /// What was called, without the directory.
    fn calls(&self) -> String {
        let here = format!("{}/", self.directory.path().display());
        fs::read_to_string(self.path("calls")).unwrap_or_default().replace(&here, "")
    }
}

/// Finds the argument after `--iidfile`, which these builders write the id to.
const WRITE_ID: &str = "while [ $# -gt 0 ]; do [ \"$1\" = --iidfile ] && echo $ID >$2; shift; done";

fn podman(build: &str) -> String {
    format!("case $1 in build) {build}; {WRITE_ID};; save) cat $HERE/archive.tar;; esac")
}

fn buildah(build: &str) -> String {
    format!("case $1 in build*) {build}; {WRITE_ID};; push) cat $HERE/archive.tar >/proc/self/fd/0;; esac")
}

/// The image's id.
fn id_of(image: &Artifact) -> String {
    image.manifest().source.id.to_string()
}

fn failed(result: Result<Artifact, BuilderError>) -> (String, Ended, Vec<String>) {
    match result.unwrap_err() {
        BuilderError::Failed { what, ended, last_lines, .. } => (what, ended, last_lines.0),
        other => panic!("{other:?}"),
    }
}

#[test]
fn docker_comes_first_if_its_daemon_answers() {
    let docker = format!(
        "case $1 in version) echo 27;; buildx) [ $2 = version ] && exit 1;; build) {WRITE_ID};; save) cat $HERE/archive.tar;; esac"
    );
    let tools = Tools::new().with("docker", &docker).with("podman", "exit 1").with("buildah", "exit 1");
    assert_eq!(id_of(&tools.build().unwrap()), tools.id());
    let calls = tools.calls();
    assert!(calls.contains("bin/docker save sha256:"), "{calls}");
    assert!(!calls.contains("podman") && !calls.contains("buildah"), "{calls}");
}

#[test]
fn buildx_hands_the_image_to_the_daemon() {
    let docker = format!(
        "case $1 in version) echo 27;; buildx) {WRITE_ID};; build) exit 1;; save) cat $HERE/archive.tar;; esac"
    );
    let tools = Tools::new().with("docker", &docker);
    tools.build().unwrap();
    assert!(tools.calls().contains("docker buildx build --load --iidfile"), "{}", tools.calls());
}

#[test]
fn without_a_daemon_podman_builds_and_without_podman_buildah() {
    let tools = Tools::new()
        .with("docker", "echo Cannot connect to the Docker daemon >&2; exit 1")
        .with("podman", &podman("echo building"))
        .with("buildah", "exit 1");
    assert_eq!(id_of(&tools.build().unwrap()), tools.id());
    let tools = Tools::new().with("buildah", &buildah("echo building"));
    assert_eq!(id_of(&tools.build().unwrap()), tools.id());
    // It knows no runtime.
    let calls = tools.calls();
    assert!(calls.contains("build-using-dockerfile --layers --format docker --isolation chroot --iidfile"), "{calls}");
}

#[test]
fn what_is_built_when_a_signal_comes_is_not_exported_after_it() {
    let tools = Tools::new().with("podman", &podman("echo building"));
    let gate = Arc::new(Gate::default());
    gate.stand_before_this_thread();
    let (surroundings, file) = (tools.surroundings(), tempfile::tempfile().unwrap());
    let origin = Origin::Dockerfile { path: tools.path("Dockerfile"), context: None };
    let built = find(&origin, &surroundings, &Silent).unwrap();
    assert!(gate.close(), "no program is at work between two of them");
    for error in [built.export(&file, &Silent).unwrap_err(), tools.build().unwrap_err()] {
        assert!(matches!(error, BuilderError::Interrupted { .. }), "{error:?}");
    }
    let calls = tools.calls();
    assert_eq!((calls.matches("podman build").count(), calls.contains("podman save")), (1, false), "{calls}");
    gate.open();
    built.export(&file, &Silent).unwrap();
    assert!(tools.calls().contains("podman save"));
}

/// Writes an example that can be run.
const SPEC: &str = "[ $1 = spec ] && echo '{\"process\":{},\"mounts\":[]}' >$3/config.json";

#[test]
fn a_runtime_that_works_leaves_the_isolation_to_the_builder() {
    let builder = buildah(":").replace("case $1 in", "case $1 in info) echo crun;;");
    for (runtime, chroot) in
        [(format!("{SPEC}; exit 0"), false), (format!("{SPEC} || exit 1"), true), ("exit 0".into(), true)]
    {
        let tools = Tools::new().with("buildah", &builder).with("crun", &runtime);
        tools.build().unwrap();
        assert_eq!(tools.calls().contains("--isolation chroot"), chroot, "{runtime}: {}", tools.calls());
    }
    // One that is not known is not judged.
    let builder = podman(":").replace("case $1 in", "case $1 in info) echo /usr/bin/kata;;");
    let tools = Tools::new().with("podman", &builder);
    tools.build().unwrap();
    assert!(!tools.calls().contains("--isolation"), "{}", tools.calls());
}

#[test]
fn an_image_that_is_known_is_not_exported_again() {
    let tools = Tools::new().with("podman", &podman(":"));
    let first = tools.build().unwrap();
    let second = tools.build().unwrap();
    assert_eq!(first.digest(), second.digest());
    assert_eq!(tools.calls().matches("podman build").count(), 2);
    assert_eq!(tools.calls().matches("podman save").count(), 1);
}

#[test]
fn an_id_that_is_not_the_configurations_is_remembered() {
    let id = "5".repeat(64);
    let script = podman(":").replace("$ID", &format!("sha256:{id}"));
    let tools = Tools::new().with("podman", &script);
    assert_eq!(id_of(&tools.build().unwrap()), tools.id());
    assert_eq!(id_of(&tools.build().unwrap()), tools.id());
    assert_eq!(tools.calls().matches("podman save").count(), 1);
}

#[test]
fn a_failed_build_shows_its_last_lines_and_its_exit_code() {
    let script = podman(
        "for n in 1 2 3; do for m in 0 1 2 3 4 5 6 7 8 9; do echo line $n$m; done; done; printf '\\033[31mno such file\\n' >&2; exit 3",
    );
    let tools = Tools::new().with("podman", &script);
    let (what, ended, lines) = failed(tools.build());
    assert!(what.contains("Dockerfile"), "{what}");
    assert_eq!(ended, Ended::Code(3));
    assert_eq!((lines.len(), lines[0].as_str(), lines[19].as_str()), (20, "line 21", "no such file"));
}

#[test]
fn a_builder_that_is_killed_or_says_no_id_is_an_error() {
    let tools = Tools::new().with("podman", &podman("echo at work; kill -9 $$"));
    let (_, ended, lines) = failed(tools.build());
    assert_eq!((ended, lines), (Ended::Signal(9), vec!["at work".to_owned()]));
    let tools = Tools::new().with("podman", "exit 0");
    assert!(matches!(tools.build(), Err(BuilderError::NoId { program: "podman" })));
    let tools = Tools::new().with("podman", &podman(":").replace("echo $ID", "echo ../../etc/passwd"));
    assert!(matches!(tools.build(), Err(BuilderError::NoId { program: "podman" })));
}

#[test]
fn an_export_that_fails_or_is_cut_leaves_nothing_in_the_cache() {
    for export in ["head -c 3000 $HERE/archive.tar", "head -c 3000 $HERE/archive.tar; exit 1", ":"] {
        let tools = Tools::new().with("podman", &podman(":").replace("cat $HERE/archive.tar", export));
        tools.build().unwrap_err();
        let left = std::process::Command::new("find").arg(tools.path("cache")).args(["-type", "f"]).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&left.stdout), "", "{export}");
    }
}

#[test]
fn a_child_that_keeps_the_output_open_does_not_keep_us() {
    let tools = Tools::new().with("podman", &podman("sleep 1000 & echo $! >$HERE/child"));
    let begin = std::time::Instant::now();
    tools.build().unwrap();
    assert!(begin.elapsed() < std::time::Duration::from_secs(60));
    let child: i32 = fs::read_to_string(tools.path("child")).unwrap().trim().parse().unwrap();
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(child), nix::sys::signal::SIGKILL).unwrap();
}

#[test]
fn nothing_to_build_with_names_the_three() {
    let error = Tools::new().build().unwrap_err();
    assert!(matches!(&error, BuilderError::NoBuilder { docker: DockerState::Absent }));
    let text = format!("{error} {}", error.hint().unwrap());
    for word in ["docker", "podman", "buildah", "apt-get install"] {
        assert!(text.contains(word), "{text}");
    }
    let tools = Tools::new().with("docker", "echo Cannot connect >&2; exit 1");
    let text = tools.build().unwrap_err().to_string();
    assert!(text.contains("cannot be reached (Cannot connect)"), "{text}");
}

#[test]
fn a_missing_dockerfile_or_context_is_told_before_anything_is_run() {
    let tools = Tools::new().with("docker", "exit 0").with("podman", "exit 0");
    let open = |path: PathBuf, context: Option<PathBuf>| {
        tools.open_with(&Origin::Dockerfile { path, context }, &Silent).unwrap_err()
    };
    let missing = open(tools.path("Nofile"), None);
    assert!(missing.to_string().contains("Nofile"), "{missing}");
    let directory = open(tools.path(""), None);
    assert!(directory.hint().unwrap().contains("Dockerfile"), "{directory}");
    let file = tools.path("Dockerfile");
    for context in [tools.path("nowhere"), file.clone()] {
        let error = open(file.clone(), Some(context.clone()));
        assert!(error.to_string().contains(&context.display().to_string()), "{error}");
    }
    assert_eq!(tools.calls(), "");
}

#[test]
fn what_is_meant_for_the_guest_is_kept_from_builders() {
    // cargo sets CARGO_PKG_NAME for tests; a variable cannot be set here.
    let tools = Tools::new().with("podman", &podman("env >$HERE/env"));
    let surroundings = Surroundings::new(tools.path("bin").into(), &["CARGO_PKG_NAME".into(), "HOME".into()]);
    let origin = Origin::Dockerfile { path: tools.path("Dockerfile"), context: None };
    find(&origin, &surroundings, &Silent).unwrap();
    let env = fs::read_to_string(tools.path("env")).unwrap();
    assert!(env.contains("\nHOME=") || env.starts_with("HOME="), "{env}");
    assert!(std::env::var_os("CARGO_PKG_NAME").is_some() && !env.contains("CARGO_PKG_NAME="), "{env}");
}

#[derive(Default)]
struct Heard(Mutex<Vec<String>>);

impl Progress for Heard {
    fn step(&self, what: &str) {
        self.0.lock().unwrap().push(format!("step {what}"));
    }

    fn advance(&self, _done: u64, _total: u64) {}

    fn detail(&self, line: &str) {
        self.0.lock().unwrap().push(line.to_owned());
    }
}

#[test]
fn progress_is_told_what_the_builder_says() {
    let tools = Tools::new().with("podman", &podman("echo STEP 1; sleep 0.3; echo STEP 2"));
    let heard = Heard::default();
    tools.open_with(&Origin::Dockerfile { path: tools.path("Dockerfile"), context: None }, &heard).unwrap();
    let heard = heard.0.lock().unwrap();
    let at =
        |text: &str| heard.iter().position(|line| line.contains(text)).unwrap_or_else(|| panic!("{text}: {heard:?}"));
    assert!(at("step building") < at("STEP 1") && at("STEP 1") < at("STEP 2") && at("STEP 2") < at("step exporting"));
}

fn skopeo() -> String {
    "case $* in inspect*) echo \"{\\\"config\\\":{\\\"digest\\\":\\\"$ID\\\"}}\";; *copy*) cat $HERE/archive.tar >/proc/self/fd/0;; esac"
        .to_owned()
}

#[test]
fn a_kept_image_is_copied_once() {
    let tools = Tools::new().with("skopeo", &skopeo());
    for _ in 0..2 {
        assert_eq!(id_of(&tools.open("containers-storage:agent").unwrap()), tools.id());
    }
    let calls = tools.calls();
    assert_eq!(calls.matches("inspect --raw containers-storage:agent").count(), 2, "{calls}");
    assert_eq!(calls.matches("copy containers-storage:agent docker-archive:/proc/self/fd/0").count(), 1, "{calls}");
    // The same image by another name and from elsewhere.
    assert_eq!(id_of(&tools.open("docker-daemon:agent").unwrap()), tools.id());
    assert!(tools.calls().contains("inspect --raw docker-daemon:agent:latest"), "{}", tools.calls());
    assert_eq!(tools.calls().matches("copy ").count(), 1);
}

#[test]
fn docker_itself_is_asked_for_the_id_where_it_is_there() {
    let tools = Tools::new().with("skopeo", &skopeo()).with("docker", "echo $ID");
    tools.open("docker-daemon:agent").unwrap();
    let calls = tools.calls();
    assert!(calls.contains("docker --context default image inspect --format {{.Id}} -- agent"), "{calls}");
    assert!(calls.contains(&format!("copy docker-daemon:{} docker-archive:", tools.id())), "{calls}");
    assert!(!calls.contains("skopeo inspect"), "{calls}");
}

#[test]
fn without_skopeo_or_a_name_the_error_says_what_to_do() {
    let tools = Tools::new();
    let error = tools.open("docker-daemon:debian:12").unwrap_err();
    assert!(error.to_string().contains("`docker-daemon:debian:12` needs skopeo"), "{error}");
    assert!(error.hint().unwrap().contains("docker save -o image.tar debian:12"));
    let error = tools.open("containers-storage:").unwrap_err();
    assert!(matches!(error, BuilderError::NoName { store: Store::ContainersStorage }));
}

#[test]
fn skopeos_complaint_is_shown_without_credentials() {
    let script = "echo 'level=fatal msg=\"pinging https://me:s3cret@host/v2 failed\"' >&2; exit 1";
    let tools = Tools::new().with("skopeo", script);
    let (what, ended, lines) = failed(tools.open("docker-daemon:agent"));
    assert_eq!((what.as_str(), ended), ("looking for `docker-daemon:agent`", Ended::Code(1)));
    assert_eq!(lines, ["level=fatal msg=\"pinging https://host/v2 failed\""]);
    assert!(tools.open("docker-daemon:agent").unwrap_err().hint().unwrap().contains("docker images"));
    assert!(tools.open("containers-storage:agent").unwrap_err().hint().unwrap().contains("buildah images"));
}

#[test]
fn a_flood_of_output_is_read_and_forgotten() {
    let tools = Tools::new().with("podman", &podman("yes | head -c 50000000; exit 9"));
    let (_, ended, lines) = failed(tools.build());
    assert_eq!((ended, lines.len()), (Ended::Code(9), 20));
}
