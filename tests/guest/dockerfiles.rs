//! Dockerfiles are built, and images of other stores fetched, on the way into a bottle.

use crate::bottle::{Bottle, Finished, large_guest_test};
use crate::setup::{PROGRAM, busybox, install, kernels};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A directory with a Dockerfile that runs a command while it is built, and what it copies from.
fn context() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    fs::copy(busybox(), directory.path().join("busybox")).unwrap();
    fs::set_permissions(directory.path().join("busybox"), fs::Permissions::from_mode(0o755)).unwrap();
    let dockerfile = "FROM scratch\nCOPY busybox /bin/busybox\nRUN [\"/bin/busybox\", \"--install\", \"-s\", \"/bin\"]\n\
                      RUN mkdir /tmp && echo built >/file && echo told while building\nUSER 7:8\nCMD [\"cat\", \"/file\"]\n";
    fs::write(directory.path().join("Dockerfile"), dockerfile).unwrap();
    directory
}

fn dockerfile_of(directory: &Path) -> String {
    directory.join("Dockerfile").display().to_string()
}

/// A container storage of the test's own. The emulated host's root is an overlay, on which there cannot be another: no `overlay`.
fn storage() -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let (root, conf) = (directory.path().display(), directory.path().join("storage.conf"));
    fs::write(&conf, format!("[storage]\ndriver = \"vfs\"\ngraphroot = \"{root}/root\"\nrunroot = \"{root}/run\"\n"))
        .unwrap();
    (directory, conf)
}

const STORAGE: &str = "CONTAINERS_STORAGE_CONF";

#[test]
fn a_dockerfile_is_built_by_buildah_and_boots() {
    kernels();
    install("buildah");
    large_guest_test(|| {
        let context = context();
        let dockerfile = dockerfile_of(context.path());
        let (_storage, conf) = storage();
        let bottle = || Bottle::new().env(STORAGE, &conf).with(&["--dockerfile", &dockerfile]);
        bottle().run_default().exits(0).prints("built\n").quietly();
        bottle().run(&["id", "-u"]).exits(0).prints("7\n").quietly();
        // With the context elsewhere.
        let alone = tempfile::tempdir().unwrap();
        fs::rename(&dockerfile, alone.path().join("Dockerfile")).unwrap();
        let words = ["--dockerfile", &dockerfile_of(alone.path()), "--context", context.path().to_str().unwrap()];
        Bottle::new().env(STORAGE, &conf).with(&words).run_default().exits(0).prints("built\n").quietly();
    });
}

#[test]
fn a_dockerfile_is_packed_into_the_same_file_twice() {
    install("buildah");
    let context = context();
    let (storage, conf) = storage();
    let pack = |name: &str| {
        let output = storage.path().join(name);
        let mut command = Command::new(PROGRAM);
        command.args(["pack", "--dockerfile", &dockerfile_of(context.path()), "--output"]).arg(&output);
        command.env(STORAGE, &conf).env("XDG_CACHE_HOME", storage.path().join("cache"));
        // On the machine itself: crun, where buildah finds it, sets the mode of the machine's own /dev/null.
        command.env("BUILDAH_ISOLATION", "chroot");
        Finished::of(command.output().unwrap()).exits(0).quietly();
        fs::read(output).unwrap()
    };
    assert!(pack("first.bottle") == pack("second.bottle"), "the builder's cache gives the same image");
}

#[test]
fn an_image_of_a_container_storage_boots() {
    kernels();
    install("buildah");
    install("skopeo");
    large_guest_test(|| {
        let context = context();
        let (_storage, conf) = storage();
        let command = |program: &str, words: &[&str]| {
            let output = Command::new(program).args(words).env(STORAGE, &conf).output().unwrap();
            assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
        };
        let path = context.path().to_str().unwrap();
        command("buildah", &["build-using-dockerfile", "--isolation", "chroot", "--tag", "bottle-vmm-test-kept", path]);
        let bottle = || {
            let image = "containers-storage:localhost/bottle-vmm-test-kept";
            Bottle::new().env(STORAGE, &conf).with(&["--image", image])
        };
        bottle().run_default().exits(0).prints("built\n").quietly();
        command("buildah", &["rmi", "bottle-vmm-test-kept"]);
        bottle().run_default().exits(125).complains(&["looking for `containers-storage:", "skopeo", "exit code"]);
    });
}

/// Where docker's daemon is installed; it is not installed for the test, since its package starts it.
#[test]
fn a_docker_daemon_builds_and_its_images_boot() {
    kernels();
    if Command::new("dockerd").arg("--version").output().is_err() {
        eprintln!("SKIPPED: no dockerd (Debian: docker.io)");
        return;
    }
    install("skopeo");
    large_guest_test(|| {
        let context = context();
        let dockerfile = dockerfile_of(context.path());
        let place = tempfile::tempdir().unwrap();
        let (daemon, host) = Daemon::start(place.path());
        let built = || Bottle::new().env("DOCKER_HOST", &host).with(&["--dockerfile", &dockerfile]);
        built().run_default().exits(0).prints("built\n").quietly();
        let docker = |words: &[&str]| {
            let output = Command::new("docker").args(words).env("DOCKER_HOST", &host).output().unwrap();
            assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
            String::from_utf8(output.stdout).unwrap()
        };
        let id = docker(&["image", "ls", "--quiet", "--no-trunc"]);
        docker(&["tag", id.lines().next().unwrap(), "kept:1"]);
        let kept = |image| Bottle::new().env("DOCKER_HOST", &host).with(&["--image", image]);
        // Through a cache that does not have it from the build.
        let cache = place.path().join("cache");
        kept("docker-daemon:kept:1").env("XDG_CACHE_HOME", &cache).run_default().exits(0).prints("built\n").quietly();
        kept("docker-daemon:kept:1").run(&["id", "-u"]).exits(0).prints("7\n").quietly();
        kept("docker-daemon:absent").run_default().exits(125).complains(&["looking for `docker-daemon:absent`"]);
        drop(daemon);
    });
}

/// A docker daemon without a network, on a socket of its own.
struct Daemon(Child);

impl Daemon {
    fn start(directory: &Path) -> (Self, String) {
        let path = |name: &str| directory.join(name).display().to_string();
        let socket = format!("unix://{}", path("docker.sock"));
        let log = fs::File::create(directory.join("dockerd.log")).unwrap();
        let mut command = Command::new("dockerd");
        command.args(["--bridge=none", "--iptables=false", "--storage-driver=vfs", "--host", &socket]);
        command.args(["--data-root", &path("data"), "--exec-root", &path("exec"), "--pidfile", &path("pid")]);
        let child = command.stdout(log.try_clone().unwrap()).stderr(log).stdin(Stdio::null()).spawn().unwrap();
        let daemon = Self(child);
        let begin = Instant::now();
        // Its socket is there long before it answers; until then the build would be podman's.
        let answers = || {
            let asked = Command::new("docker").args(["--host", &socket, "version"]).output();
            asked.is_ok_and(|output| output.status.success())
        };
        while !answers() {
            let log = || fs::read_to_string(directory.join("dockerd.log")).unwrap();
            assert!(begin.elapsed() < Duration::from_secs(120), "the daemon comes up: {}", log());
            std::thread::sleep(Duration::from_millis(100));
        }
        (daemon, socket)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // With time to end containerd, which it has started.
        kill(Pid::from_raw(self.0.id().try_into().unwrap()), Signal::SIGTERM).unwrap();
        self.0.wait().unwrap();
    }
}

/// Where images are packed, which needs no KVM, with programs of its own on PATH.
struct Unlucky {
    directory: tempfile::TempDir,
}

impl Unlucky {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        for sub in ["bin", "tmp", "cache"] {
            fs::create_dir(directory.path().join(sub)).unwrap();
        }
        for program in ["sh", "sleep", "touch"] {
            std::os::unix::fs::symlink(format!("/bin/{program}"), directory.path().join("bin").join(program)).unwrap();
        }
        Self { directory }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn with(self, program: &str, script: &str) -> Self {
        let path = self.path("bin").join(program);
        fs::write(&path, format!("#!/bin/sh\nHERE={}\n{script}\n", self.directory.path().display())).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        self
    }

    fn command(&self, options: &[&str]) -> Command {
        // Whoever started the tests may ignore signals (as nohup does), and a program keeps to that.
        let mut command = Command::new("/usr/bin/env");
        command
            .args(["--default-signal=HUP,INT,QUIT,TERM", PROGRAM, "pack"])
            .args(options)
            .arg("--output")
            .arg(self.path("out.bottle"));
        command.stdin(Stdio::null());
        command.env("PATH", self.path("bin")).env("TMPDIR", self.path("tmp")).env("XDG_CACHE_HOME", self.path("cache"));
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn run(&self, options: &[&str]) -> Finished {
        Finished::of(self.command(options).output().unwrap())
    }

    /// Files and directories that a run left, other than the cache's own directories.
    fn left(&self) -> Vec<PathBuf> {
        let temporary = fs::read_dir(self.path("tmp")).unwrap().map(|entry| entry.unwrap().path());
        let output = Command::new("find").arg(self.path("cache")).args(["-type", "f"]).output().unwrap();
        assert!(!self.path("out.bottle").exists());
        temporary.chain(String::from_utf8(output.stdout).unwrap().lines().map(PathBuf::from)).collect()
    }
}

#[test]
fn a_failing_build_shows_its_end_and_prints_nothing() {
    let context = context();
    let dockerfile = dockerfile_of(context.path());
    let host = Unlucky::new().with("podman", "echo STEP 1; echo no such package >&2; exit 100");
    let finished = host.run(&["--dockerfile", &dockerfile]).exits(125).prints("");
    finished.complains(&[
        "bottle-vmm: the build of",
        &dockerfile,
        "podman ended with exit code 100",
        "    STEP 1\n    no such package\n",
    ]);
    let host = Unlucky::new().with("buildah", "kill -9 $$");
    host.run(&["--dockerfile", &dockerfile]).exits(125).complains(&["buildah was ended by signal 9"]);
    assert_eq!(host.left(), Vec::<PathBuf>::new());
}

#[test]
fn what_is_missing_is_named_before_a_builder_starts() {
    let context = context();
    let dockerfile = dockerfile_of(context.path());
    let host = Unlucky::new().with("podman", "touch $HERE/started");
    host.run(&["--dockerfile", "/no/such/Dockerfile"]).exits(125).complains(&["`/no/such/Dockerfile`", "hint: "]);
    host.run(&["--dockerfile", &dockerfile, "--context", "/no/such"]).exits(125).complains(&["`/no/such`"]);
    host.run(&["--dockerfile", &dockerfile, "x.tar"]).exits(125).complains(&["--dockerfile", "IMAGE"]);
    let run = Bottle::new().with(&["--dockerfile", &dockerfile, "--image", "x.tar"]);
    run.run(&["true"]).exits(125).complains(&["--dockerfile", "--image"]);
    Bottle::new().with(&["--context", "/"]).run(&["true"]).exits(125).complains(&["--dockerfile"]);
    host.run(&["--context", "/", "x.tar"]).exits(125).complains(&["--context", "IMAGE"]);
    assert!(!host.path("started").exists());
    let nothing = Unlucky::new();
    let finished = nothing.run(&["--dockerfile", &dockerfile]).exits(125);
    finished.complains(&["docker", "podman", "buildah", "hint: ", "apt-get install buildah"]);
    let finished = nothing.run(&["docker-daemon:debian:12"]).exits(125);
    finished.complains(&["`docker-daemon:debian:12` needs skopeo", "hint: ", "docker save"]);
    let failing = Unlucky::new().with("skopeo", "echo 'cannot reach tcp://me:s3cret@host' >&2; exit 1");
    let finished = failing.run(&["docker-daemon:debian:12"]).exits(125);
    assert!(!finished.stderr.contains("s3cret"), "{}", finished.stderr);
    finished.complains(&["skopeo ended with exit code 1", "cannot reach tcp://host"]);
    // The name of a file.
    nothing.run(&["./docker-daemon:x"]).exits(125).complains(&["cannot open `./docker-daemon:x`"]);
}

#[test]
fn a_signal_ends_the_builder_and_everything_is_removed() {
    let context = context();
    let dockerfile = dockerfile_of(context.path());
    for (signal, code) in [(Signal::SIGINT, 130), (Signal::SIGTERM, 143), (Signal::SIGHUP, 129)] {
        let script = "trap 'touch $HERE/asked; exit 1' TERM; touch $HERE/started; while :; do sleep 0.1; done";
        let host = Unlucky::new().with("podman", script);
        let finished = interrupted(&host, &["--dockerfile", &dockerfile], &[signal]);
        finished.exits(code).complains(&["podman", "signal"]);
        assert!(host.path("asked").exists());
        assert_eq!(host.left(), Vec::<PathBuf>::new());
    }
    // One that does not listen is killed when asked again.
    let host = Unlucky::new().with("podman", "trap '' TERM; touch $HERE/started; while :; do sleep 0.1; done");
    let begin = Instant::now();
    interrupted(&host, &["--dockerfile", &dockerfile], &[Signal::SIGINT, Signal::SIGINT]).exits(130);
    assert!(begin.elapsed() < Duration::from_secs(9), "the second signal does not wait");
    assert_eq!(host.left(), Vec::<PathBuf>::new());
}

/// Runs it until its program has started, and sends the signals.
fn interrupted(host: &Unlucky, options: &[&str], signals: &[Signal]) -> Finished {
    let mut child = host.command(options).spawn().unwrap();
    let begin = Instant::now();
    while !host.path("started").exists() {
        assert!(begin.elapsed() < Duration::from_secs(60), "the builder starts");
        std::thread::sleep(Duration::from_millis(10));
    }
    for signal in signals {
        kill(Pid::from_raw(child.id().try_into().unwrap()), *signal).unwrap();
        std::thread::sleep(Duration::from_millis(300));
    }
    let mut stderr = String::new();
    child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
    Finished { code: child.wait().unwrap().code(), stdout: Vec::new(), stderr }
}
