//! `cargo bottle ARGS…`: `bottle-vmm ARGS…`, built if it has to be; what needs a KVM, on this machine's or else in the emulated host.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, ExitStatus, Stdio};

use bottle_vmm::debian::busybox;
use bottle_vmm::host::resources;
use bottle_vmm::paths::{self, NoHome};
use kvmhost::report::{Lines, chain, say};
use kvmhost::session::{self, Stdin};
use kvmhost::{Host, Need, needed};

const NAME: &str = "bottle-anywhere";

#[derive(Debug, thiserror::Error)]
enum AnywhereError {
    #[error("cannot find out this program's own file: {0}")]
    OwnFile(io::Error),
    #[error("cannot run {}: {error}", program.display())]
    Start { program: PathBuf, error: io::Error },
    #[error("`{what}` failed ({status})")]
    Failed { what: &'static str, status: ExitStatus },
    #[error("`bottle-vmm kernel list --json` printed something that is not a JSON array")]
    KernelList,
    #[error(transparent)]
    NoHome(#[from] NoHome),
    #[error("cannot make {}: {error}", directory.display())]
    Cache { directory: PathBuf, error: io::Error },
    #[error("{}", chain(.0))]
    Busybox(#[from] busybox::BusyboxError),
}

/// Commands that want a `/dev/kvm`, or look at it. All others do without, and what they write is to stay.
const ON_KVM: [&str; 5] = ["run", "start", "resume", "bench", "doctor"];

fn main() -> ExitCode {
    match bottle(std::env::args_os().skip(1).collect()) {
        Ok(code) => code,
        Err(error) => {
            say(NAME, &error.to_string());
            ExitCode::from(session::HOST_FAILED)
        }
    }
}

fn bottle(arguments: Vec<OsString>) -> Result<ExitCode, AnywhereError> {
    let program = built()?;
    let on_kvm = arguments.first().is_some_and(|command| ON_KVM.iter().any(|on_kvm| command == on_kvm));
    if on_kvm && !has_kernel(&program)? {
        let status = run(Command::new(&program).args(["kernel", "install"]), &program)?;
        succeeded("bottle-vmm kernel install", status)?;
    }
    match needed() {
        Need::Yes(reason) if on_kvm => {
            say(NAME, &format!("{reason}; using an emulated KVM host, where only files of the current directory stay"));
            fetch_default_root()?;
            let argv: Vec<OsString> = [program.into_os_string()].into_iter().chain(arguments).collect();
            let host = Host::default().mem_mib(memory_mib()).timeout(None);
            Ok(session::exit_code(NAME, session::run(&host, &argv, Stdin::as_found(), &Lines { program: NAME })))
        }
        _ => {
            let error = Command::new(&program).args(arguments).exec();
            Err(AnywhereError::Start { program, error })
        }
    }
}

/// Half of this machine's, but enough for a bottle of the usual size; it is taken as it is used.
fn memory_mib() -> u32 {
    let all = resources::all_memory().map_or(0, |bytes| bytes >> 20);
    u32::try_from(all / 2).unwrap_or(u32::MAX).clamp(2048, 4096)
}

/// `bottle-vmm`, up to date.
fn built() -> Result<PathBuf, AnywhereError> {
    let own = std::env::current_exe().map_err(AnywhereError::OwnFile)?;
    let program = own.with_file_name("bottle-vmm");
    // Only cargo knows whether it is; without cargo it is taken as it is.
    if let Some(cargo) = std::env::var_os("CARGO") {
        build(Path::new(&cargo), &program)?;
    }
    Ok(program)
}

/// What `run` fetches when no image is named: inside there is no network.
fn fetch_default_root() -> Result<(), AnywhereError> {
    let cache = paths::cache()?;
    fs::create_dir_all(&cache).map_err(|error| AnywhereError::Cache { directory: cache.clone(), error })?;
    busybox::find(&cache, &Lines { program: NAME })?;
    Ok(())
}

fn build(cargo: &Path, program: &Path) -> Result<(), AnywhereError> {
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/../../Cargo.toml");
    let arguments =
        ["build", "--release", "--package", "bottle-vmm", "--bin", "bottle-vmm", "--manifest-path", manifest];
    let mut command = Command::new(cargo);
    command.args(arguments);
    // A first build takes minutes and should be seen; a look whether all is fresh need not be.
    if program.exists() {
        command.arg("--quiet");
    }
    succeeded("cargo build", run(&mut command, cargo)?)
}

fn has_kernel(program: &Path) -> Result<bool, AnywhereError> {
    let start_error = |error| AnywhereError::Start { program: program.into(), error };
    let output = Command::new(program)
        .args(["kernel", "list", "--json"])
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .map_err(start_error)?;
    succeeded("bottle-vmm kernel list --json", output.status)?;
    let list: serde_json::Value = serde_json::from_slice(&output.stdout).map_err(|_| AnywhereError::KernelList)?;
    list.as_array().map(|kernels| !kernels.is_empty()).ok_or(AnywhereError::KernelList)
}

/// Runs a preparation. Standard output and input are the bottle's, so it has neither.
fn run(command: &mut Command, program: &Path) -> Result<ExitStatus, AnywhereError> {
    command
        .stdin(Stdio::null())
        .stdout(io::stderr())
        .status()
        .map_err(|error| AnywhereError::Start { program: program.into(), error })
}

fn succeeded(what: &'static str, status: ExitStatus) -> Result<(), AnywhereError> {
    if status.success() { Ok(()) } else { Err(AnywhereError::Failed { what, status }) }
}
