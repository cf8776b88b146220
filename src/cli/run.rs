//! `bottle-vmm run`: what was typed becomes a bottle with everything looked up.

use super::args::RunArgs;
use super::env::{self, Variables};
use super::progress::Bar;
use super::report::Failure;
use crate::debian::busybox;
use crate::image::{self, Bootable, Cache, ImageConfig, RootCompression, Source};
use crate::kernel::{self, Store};
use crate::launch::session::Outcome;
use crate::launch::timings::{Phase, Timings};
use crate::launch::{self, Bottle, Command};
use crate::paths;
use crate::scratch;
use bottle_protocol::Hostname;
use std::ffi::{CString, OsStr, OsString};
use std::fs::File;
use std::io::IsTerminal as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

const MIB: u64 = 1 << 20;
/// Below this no kernel comes up; above, it says itself what it lacks.
const MEMORY_MIN: u64 = 32 * MIB;

#[derive(Debug, thiserror::Error)]
enum RunError {
    #[error("the input device is not a terminal, so `-it` cannot give the command one")]
    NoTerminal,
    #[error("the image names no command, and none was given")]
    NoCommand,
    #[error("{what} holds a NUL byte")]
    Nul { what: &'static str },
    #[error("--mem {given} is less than a kernel needs ({} MiB)", MEMORY_MIN / MIB)]
    Memory { given: super::quantity::Bytes },
    #[error("host name `{name}` is not 1 to 63 letters, digits, `-` and `.`")]
    Hostname { name: String },
    #[error("cannot open {path}")]
    Open {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("cannot write the timings to {path}")]
    Timings {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
}

impl RunError {
    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::NoTerminal => "leave out `-t`; `-i` alone passes standard input on".to_owned(),
            Self::NoCommand => "give one after `--`".to_owned(),
            _ => return None,
        })
    }
}

impl From<RunError> for Failure {
    fn from(error: RunError) -> Self {
        let hint = error.hint();
        Self::new(error, hint)
    }
}

pub fn run(args: &RunArgs, begin_ns: u64) -> Result<ExitCode, Failure> {
    let mut timings = Timings::default();
    timings.mark_at(Phase::Begin, begin_ns);
    check(args)?;
    timings.mark(Phase::Parsed);
    let bottle = prepare(args)?;
    timings.mark(Phase::ImageReady);
    let outcome = launch::launch(bottle, &mut timings)?;
    if let Outcome::TimedOut(limit) = outcome {
        say(&format!("the command was ended after {} s (--timeout)", limit.as_secs_f64()));
    }
    if let Some(path) = &args.timings {
        timings.write(path).map_err(|source| RunError::Timings { path: path.clone(), source })?;
    }
    Ok(ExitCode::from(outcome.exit_code()))
}

#[expect(clippy::print_stderr, reason = "a message to the person at the terminal")]
fn say(what: &str) {
    eprintln!("bottle-vmm: {what}");
}

/// What can be wrong without looking anything up.
fn check(args: &RunArgs) -> Result<(), Failure> {
    let image_from_stdin = args.image.as_deref() == Some(Path::new("-"));
    env::check(&args.env, &args.env_file, usize::from(args.interactive) + usize::from(image_from_stdin))?;
    if args.tty && args.interactive && !std::io::stdin().is_terminal() {
        return Err(RunError::NoTerminal.into());
    }
    if args.mem.0 < MEMORY_MIN {
        return Err(RunError::Memory { given: args.mem }.into());
    }
    Ok(())
}

fn prepare(args: &RunArgs) -> Result<Bottle, Failure> {
    let kernel = open_kernel(args.kernel.as_deref())?;
    let image = open_image(args.image.as_deref(), args.compression)?;
    let scratch = match args.disk {
        Some(size) => Some(scratch::create(&std::env::temp_dir(), size.0)?),
        None => None,
    };
    // Last, since it takes them out of our own environment, which says where everything above is; and while there is one thread
    // (see `sys::environ`): those that packed the image have ended.
    let mut passed = Variables::default();
    for file in &args.env_file {
        passed.add_file(file)?;
    }
    for name in &args.env {
        passed.add_passed(name)?;
    }
    let name = args.name.clone().unwrap_or_else(made_up_name);
    let hostname = args.hostname.clone().unwrap_or_else(|| name.replace('_', "-"));
    let hostname = Hostname::new(&hostname).map_err(|_| RunError::Hostname { name: hostname })?;
    let mut variables = Variables::of_image(&image.config.env, hostname.as_str(), args.tty);
    variables.extend(passed);
    Ok(Bottle {
        name,
        hostname,
        vcpus: args.cpus,
        memory_mib: args.mem.0 / MIB,
        kernel: kernel.vmlinux,
        modules: kernel.modules,
        kernel_args: args.kernel_args.clone(),
        root: image.root,
        scratch,
        command: command(args, &image.config, variables)?,
        console: args.console,
        boot_limit: args.boot_timeout.0,
        time_limit: args.timeout.map(|limit| limit.0),
        measure: args.timings.is_some(),
    })
}

/// Entrypoint and command as docker combines them: `--entrypoint` drops the image's command, words after `--` replace it.
fn command(args: &RunArgs, image: &ImageConfig, variables: Variables) -> Result<Command, Failure> {
    let mut words: Vec<OsString> = match args.entrypoint.as_deref() {
        None => image.entrypoint.iter().map(OsString::from).collect(),
        Some("") => Vec::new(),
        Some(entrypoint) => vec![entrypoint.into()],
    };
    if !args.command.is_empty() {
        words.extend(args.command.iter().cloned());
    } else if args.entrypoint.is_none() {
        words.extend(image.cmd.iter().map(OsString::from));
    }
    if words.is_empty() {
        return Err(RunError::NoCommand.into());
    }
    let argv = words.iter().map(|word| c_string(word, "the command")).collect::<Result<_, _>>()?;
    Ok(Command {
        argv,
        env: variables.into_secret()?,
        cwd: c_string(given(args.workdir.as_deref()).unwrap_or(&image.working_dir).as_ref(), "the working directory")?,
        user: c_string(given(args.user.as_deref()).unwrap_or(&image.user).as_ref(), "the user")?,
        tty: args.tty,
        stdin: args.interactive,
    })
}

/// Empty is as good as not given, as with docker: `--user "$UNSET"` must not mean root.
fn given(option: Option<&str>) -> Option<&str> {
    option.filter(|text| !text.is_empty())
}

fn c_string(text: &OsStr, what: &'static str) -> Result<CString, RunError> {
    CString::new(text.as_bytes()).map_err(|_| RunError::Nul { what })
}

struct Kernel {
    vmlinux: File,
    modules: Option<File>,
}

/// A name of the store, or anything with a slash in it as a path. A store that is empty is the first thing a new user meets: the
/// error says how to fill it.
fn open_kernel(wanted: Option<&Path>) -> Result<Kernel, Failure> {
    if let Some(path) = wanted.filter(|path| path.as_os_str().as_bytes().contains(&b'/')) {
        return Ok(Kernel { vmlinux: kernel::image::open(path)?.file, modules: None });
    }
    let installed = Store::open_default()?.select(wanted.and_then(Path::to_str))?;
    let open = |path: &Path| File::open(path).map_err(|source| RunError::Open { path: path.to_owned(), source });
    Ok(Kernel { vmlinux: open(&installed.vmlinux)?, modules: installed.modules.as_deref().map(open).transpose()? })
}

fn open_image(wanted: Option<&Path>, compression: RootCompression) -> Result<Bootable, Failure> {
    let cache = Cache::open_default()?.with_compression(compression)?;
    let bar = Bar::new();
    match wanted {
        Some(path) if path.as_os_str() == "-" => Ok(image::open(&Source::Stdin, &cache, &bar)?),
        Some(path) => Ok(image::open(&Source::Path(path.to_owned()), &cache, &bar)?),
        None => Ok(image::open_default_root(&busybox::find(&paths::cache()?, &bar)?, &cache, &bar)?),
    }
}

/// `bottle-` and five base-36 characters: enough to tell bottles apart; a clash is refused, not mixed up.
fn made_up_name() -> String {
    const DIGITS: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";
    let mut random = [0u8; 5];
    let read = File::open("/dev/urandom").and_then(|mut source| std::io::Read::read_exact(&mut source, &mut random));
    if read.is_err() {
        random.copy_from_slice(&std::process::id().to_le_bytes().repeat(2)[..5]);
    }
    let letters: String = random.iter().map(|byte| char::from(DIGITS[usize::from(*byte) % DIGITS.len()])).collect();
    format!("bottle-{letters}")
}
