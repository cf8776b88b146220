//! `cargo bottle ARGS…`: `bottle-vmm ARGS…`, built if it has to be, on this machine's KVM or else in the emulated host.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, ExitStatus, Stdio};

use bottle_vmm::debian::busybox;
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

fn main() -> ExitCode {
    let program = match prepared() {
        Ok(program) => program,
        Err(error) => {
            say(NAME, &error.to_string());
            return ExitCode::from(session::HOST_FAILED);
        }
    };
    let arguments = std::env::args_os().skip(1);
    match needed() {
        Need::No => {
            let error = Command::new(&program).args(arguments).exec();
            say(NAME, &AnywhereError::Start { program, error }.to_string());
            ExitCode::from(session::HOST_FAILED)
        }
        Need::Yes(reason) => {
            say(NAME, &format!("{reason}; using an emulated KVM host"));
            if let Err(error) = fetch_default_root() {
                say(NAME, &error.to_string());
                return ExitCode::from(session::HOST_FAILED);
            }
            let argv: Vec<OsString> = [program.into_os_string()].into_iter().chain(arguments).collect();
            let host = Host::default().timeout(None);
            session::exit_code(NAME, session::run(&host, &argv, Stdin::as_found(), &Lines { program: NAME }))
        }
    }
}

/// `bottle-vmm`, built, with a kernel to run.
fn prepared() -> Result<PathBuf, AnywhereError> {
    let own = std::env::current_exe().map_err(AnywhereError::OwnFile)?;
    let program = own.with_file_name("bottle-vmm");
    // Only cargo knows whether the program is up to date; without cargo it is taken as it is.
    if let Some(cargo) = std::env::var_os("CARGO") {
        build(Path::new(&cargo), &program)?;
    }
    if !has_kernel(&program)? {
        let status = run(Command::new(&program).args(["kernel", "install"]), &program)?;
        succeeded("bottle-vmm kernel install", status)?;
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
