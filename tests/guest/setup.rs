//! What guest tests need once: both kernels, installed by the program's own commands on the machine itself (the emulated host has
//! no network), and an image that a real builder made of a real Dockerfile.

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use bottle_vmm::debian::busybox;
use bottle_vmm::image::{self, Cache, Source};
use bottle_vmm::paths;
use bottle_vmm::progress::Silent;
use nix::fcntl::{Flock, FlockArg};

/// The program under test: the one that is built with the tests, or the one that is named when they are built.
pub const PROGRAM: &str = match option_env!("BOTTLE_VMM_TESTED") {
    Some(program) => program,
    None => env!("CARGO_BIN_EXE_bottle-vmm"),
};

/// The names of both kernels, as `--kernel` takes them.
pub struct Kernels {
    pub firmware: String,
    pub stock: String,
}

impl Kernels {
    pub fn both(&self) -> [&str; 2] {
        [&self.firmware, &self.stock]
    }
}

/// Both kernels; installed and built if they are not there. The first time takes minutes.
pub fn kernels() -> &'static Kernels {
    static KERNELS: OnceLock<Kernels> = OnceLock::new();
    KERNELS.get_or_init(|| {
        let _turn = lock("kernels");
        let stock = find("stock", "CONFIG_EROFS_FS_ZIP").unwrap_or_else(|| make(&["kernel", "install"]));
        // One of an earlier configuration is built anew.
        let firmware = find("firmware", "CONFIG_EROFS_FS_ZIP_ZSTD").unwrap_or_else(|| make(&["kernel", "build"]));
        // The default root's; the emulated host could not fetch it.
        busybox();
        Kernels { firmware, stock }
    })
}

/// A static busybox.
pub fn busybox() -> PathBuf {
    busybox::find(&paths::cache().unwrap(), &Silent).unwrap()
}

/// The preferred kernel of a kind, if it was built with an option.
fn find(kind: &str, option: &str) -> Option<String> {
    let output = Command::new(PROGRAM).args(["kernel", "list", "--json"]).output().unwrap();
    let kernels: Vec<serde_json::Value> = serde_json::from_slice(&output.stdout).unwrap();
    let has = |kernel: &serde_json::Value| {
        kernel["options"].as_array().is_some_and(|options| options.iter().any(|has| has == option))
    };
    let found = kernels.iter().find(|kernel| kernel["kind"] == kind && has(kernel))?;
    Some(found["name"].as_str().unwrap().to_owned())
}

fn make(arguments: &[&str]) -> String {
    eprintln!("setting up: bottle-vmm {}", arguments.join(" "));
    let output = Command::new(PROGRAM).args(arguments).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// One set-up at a time over all test processes.
pub fn lock(name: &str) -> Flock<File> {
    let directory = cache();
    fs::create_dir_all(&directory).unwrap();
    let file = File::create(directory.join(format!("{name}.lock"))).unwrap();
    Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, error)| error).unwrap()
}

pub fn cache() -> PathBuf {
    paths::cache().unwrap().join("tests")
}

/// A `docker save` archive of Debian with a user `node`, built by buildah from `tests/images/agent.Dockerfile`.
pub fn agent_archive() -> PathBuf {
    built("agent")
}

/// The same of the real thing: Debian with git, Node, Claude Code and Codex. A gigabyte, made in minutes; also packed already, as the
/// emulated host has only memory to do it in.
pub fn agents_archive() -> PathBuf {
    let archive = built("agents");
    image::open(&Source::Path(archive.clone()), &Cache::open_default().unwrap(), &Silent).unwrap();
    archive
}

/// A `docker save` archive of files of every sort, in layers that undo each other.
pub fn odd_archive() -> PathBuf {
    built("odd")
}

/// The archive that a recipe of `tests/images` makes, made again when the recipe changes.
fn built(name: &str) -> PathBuf {
    let _turn = lock(&format!("{name}-image"));
    let recipes = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/images");
    let dockerfile = format!("{name}.Dockerfile");
    let key = [fs::read(recipes.join(&dockerfile)).unwrap(), fs::read(recipes.join("build")).unwrap()].concat();
    let archive = cache().join(format!("{name}-{:016x}.tar", fnv1a(&key)));
    if !archive.exists() {
        eprintln!("setting up: an image, by buildah");
        let output = Command::new(recipes.join("build")).arg(dockerfile).arg(&archive).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    archive
}

/// A program of Debian's, by the package of its name.
pub fn install(package: &str) {
    let _turn = lock("apt");
    let there = Command::new("which").arg(package).output().unwrap().status.success();
    if !there {
        let output =
            Command::new("apt-get").args(["install", "-qy", "--no-install-recommends", package]).output().unwrap();
        assert!(output.status.success(), "{package}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

/// Enough to tell recipes apart.
pub fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

/// A root directory with busybox and `tput`, the program that measures and compares what flows. The compiler is called by hand: cargo
/// builds no examples for a test.
pub fn traffic_root() -> PathBuf {
    root_with("tput", &["benches/programs/tput.rs"], |program| {
        let mut compiler = Command::new("rustc");
        compiler.args(["--edition=2024", "-O", "-C", "target-feature=+crt-static", "benches/programs/tput.rs", "-o"]);
        compiler.arg(program).current_dir(env!("CARGO_MANIFEST_DIR")).status().unwrap().success()
    })
}

/// The same with `attack`, the program that tries what a guest's root can try. It needs libraries, so cargo builds it, of the same
/// profile as this test: the libraries are there.
pub fn attack_root() -> PathBuf {
    let sources =
        ["main.rs", "disguises.rs", "forms.rs", "wire.rs"].map(|file| format!("tests/guest/programs/attack/{file}"));
    root_with("attack", &sources.each_ref().map(String::as_str), |program| {
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["build", "--quiet", "--locked", "--example", "attack"]).current_dir(env!("CARGO_MANIFEST_DIR"));
        if !cfg!(debug_assertions) {
            cargo.arg("--release");
        }
        let built = Path::new(PROGRAM).with_file_name("examples").join("attack");
        cargo.status().unwrap().success() && fs::copy(built, program).is_ok()
    })
}

/// A root directory with busybox and a program of ours, made again when the program's sources change.
fn root_with(name: &str, sources: &[&str], build: impl FnOnce(&Path) -> bool) -> PathBuf {
    let _turn = lock(name);
    let text = sources.iter().flat_map(|source| fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join(source)).unwrap());
    let root = cache().join(format!("{name}-{:016x}", fnv1a(&text.collect::<Vec<_>>())));
    if !root.exists() {
        let new = root.with_extension("new");
        let _ = fs::remove_dir_all(&new);
        for directory in ["bin", "dev", "etc", "proc", "sys", "tmp"] {
            fs::create_dir_all(new.join(directory)).unwrap();
        }
        fs::copy(busybox(), new.join("bin/busybox")).unwrap();
        for applet in ["cat", "grep", "nc", "ping", "sh", "timeout"] {
            symlink("busybox", new.join("bin").join(applet)).unwrap();
        }
        assert!(build(&new.join("bin").join(name)), "{name} does not build");
        fs::rename(new, &root).unwrap();
    }
    root
}
