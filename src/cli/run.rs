//! `bottle-vmm run`: what was typed becomes a bottle with everything looked up.

use super::args::RunArgs;
use super::args::run;
use super::egress;
use super::env::{self, Line, Variables};
use super::fit;
use super::images;
use super::progress::{self, Bar};
use super::report::{Failure, note};
use super::sandbox;
use crate::builder;
use crate::debian::busybox;
use crate::host::{kvm, resources};
use crate::image::{self, Artifact, ImageConfig};
use crate::kernel::{self, Chosen, Installed};
use crate::launch::claim::Claim;
use crate::launch::egress::Egress;
use crate::launch::session::Outcome;
use crate::launch::timings::{Phase, Timings};
use crate::launch::{self, Bottle, Command, LaunchError, RootDisk};
use crate::paths;
use crate::scratch;
use bottle_protocol::{Hostname, StartStage};
use std::ffi::{CString, OsStr, OsString};
use std::fs::File;
use std::io::IsTerminal as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

pub(super) const MIB: u64 = 1 << 20;
/// Below this no kernel comes up; above, it says itself what it lacks.
const MEMORY_MIN: u64 = 32 * MIB;

#[derive(Debug, thiserror::Error)]
pub(super) enum RunError {
    #[error("the input device is not a terminal, so `-it` cannot give the command one")]
    NoTerminal,
    #[error("the image names no command, and none was given")]
    NoCommand,
    #[error("{what} holds a NUL byte")]
    Nul { what: &'static str },
    #[error("--mem {given} is less than a kernel needs ({} MiB)", MEMORY_MIN / MIB)]
    Memory { given: super::quantity::Bytes, usual: &'static str },
    #[error("--mem {given} is more than this machine has ({} MiB with swap)", host / MIB)]
    MoreMemoryThanHost { given: super::quantity::Bytes, host: u64 },
    #[error("--cpus {given} is more than this machine has ({host})")]
    MoreCpusThanHost { given: u8, host: usize },
    #[error("the working directory `{given}` is not an absolute path")]
    Workdir { given: String },
    #[error("the image's configuration names `{}` as its {what}, which cannot be one", named.escape_debug())]
    OfImage { what: &'static str, named: String, hint: &'static str },
    #[error("`--user {}` is not the name or number of a user, with `:` and one of a group or without", given.escape_debug())]
    User { given: String },
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
            Self::Memory { usual, .. } => format!("leave `--mem` out for {usual}, which most commands can live with"),
            Self::MoreMemoryThanHost { .. } => {
                "give what the command needs at most, as in `--mem 1G`; the host lends it only as it is used".to_owned()
            }
            Self::MoreCpusThanHost { host, .. } => format!(
                "a vCPU without a processor holds the others up: leave `--cpus` out, or give at most {}",
                CPUS_ANYWHERE.max(*host)
            ),
            Self::OfImage { hint, .. } => (*hint).to_owned(),
            Self::Workdir { given } => format!("begin it at the root of the image: `--workdir /{given}`"),
            Self::User { .. } => {
                format!("as in `node`, `1000` or `node:users`; a number is at most {}", u32::MAX - 1)
            }
            Self::Hostname { .. } => "give another `--hostname`; without it the bottle's name is taken".to_owned(),
            Self::Open { .. } | Self::Timings { .. } | Self::Nul { .. } => return None,
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
    if let Some(warning) = sandbox::warning(&sandbox::confinement(&args.no_sandbox)) {
        note(&warning);
    }
    // Here already: an image may take minutes, and nobody is to wait so long to hear of a bad line.
    forbid_dumps();
    let lines = env::read(&args.env_file)?;
    let egress = egress::plan(args)?;
    let ledger = egress.as_ref().map(|egress| Arc::clone(&egress.ledger));
    // Now, and not when the command's exit code would be lost with it.
    let timings_file = args.timings.as_deref().map(create).transpose()?;
    timings.mark(Phase::Parsed);
    let bottle = prepare(args, lines, egress)?;
    timings.mark(Phase::ImageReady);
    let outcome = launch::launch(bottle, &mut timings);
    // Whatever became of the bottle: what it was refused may be why, and the last phase is where it stopped.
    if let Some(summary) = ledger.and_then(|ledger| egress::summary(&ledger)) {
        note(&summary);
    }
    if let Some(Err(error)) = timings_file.map(|file| timings.write(file)) {
        note(&format!("the timings cannot be written: {error}"));
    }
    let outcome = outcome.map_err(|error| ended(error, args))?;
    if let Outcome::TimedOut(limit) = outcome {
        note(&format!("the command was ended after {} s (--timeout)", limit.as_secs_f64()));
    }
    Ok(ExitCode::from(outcome.exit_code()))
}

/// `usual` is what is given without a word.
pub(super) fn check_memory(given: super::quantity::Bytes, usual: &'static str) -> Result<(), RunError> {
    if given.0 < MEMORY_MIN {
        return Err(RunError::Memory { given, usual });
    }
    match resources::all_memory().filter(|host| given.0 > *host) {
        Some(host) => Err(RunError::MoreMemoryThanHost { given, host }),
        None => Ok(()),
    }
}

/// So many may be more than the host has: a manifest or script for a larger machine is to run on a small one too, slowly.
const CPUS_ANYWHERE: usize = 8;

/// Beyond what the host has, as docker does it: a guest with dozens of vCPUs on one processor does not come up, since each waits for others
/// that do not run.
pub(super) fn check_cpus(given: u8) -> Result<(), RunError> {
    // Where it is not known, it has to be tried.
    let host = std::thread::available_parallelism().map_or(usize::MAX, usize::from);
    if usize::from(given) > host.max(CPUS_ANYWHERE) { Err(RunError::MoreCpusThanHost { given, host }) } else { Ok(()) }
}

/// What the image says and nobody has asked for has another way out than what was typed.
fn ended(error: LaunchError, args: &RunArgs) -> Failure {
    let of_image = |option: Option<&str>| given(option).is_none();
    if let Some(hint) = images::way_out_of_damage(&error) {
        return Failure::from(error).with_hint(hint);
    }
    let hint = match &error {
        LaunchError::Start { stage: StartStage::User, .. } if of_image(args.user.as_deref()) => {
            "it is the image's configuration that names this user: `--user` names another, as in `--user 0`"
        }
        LaunchError::Start { stage: StartStage::Cwd, .. } if of_image(args.workdir.as_deref()) => {
            "it is the image's configuration that names this directory: `--workdir` names another, as in `--workdir /`"
        }
        _ => return of_kernel(error, args.kernel.as_deref()),
    };
    Failure::from(error).with_hint(hint.to_owned())
}

/// A guest that did not come up on a kernel that is a file of its own: what such a file lacks is the first thing to think of.
pub(super) fn of_kernel(error: LaunchError, kernel: Option<&Path>) -> Failure {
    let is_silent = matches!(error, LaunchError::Silent { due: "come up", .. } | LaunchError::NeverUp { .. });
    if !is_silent || !kernel.is_some_and(kernel::is_path) {
        return error.into();
    }
    Failure::from(error).with_hint(
        "a distribution's kernel has its drivers in modules, and a file like this one lacks them: `bottle-vmm kernel install --deb \
         linux-image-….deb` takes both. `--console` shows the kernel's log"
            .to_owned(),
    )
}

fn create(path: &Path) -> Result<File, RunError> {
    File::create(path).map_err(|source| RunError::Timings { path: path.to_owned(), source })
}

/// What can be wrong without looking anything up.
fn check(args: &RunArgs) -> Result<(), Failure> {
    let image_from_stdin = args.image.as_deref() == Some(Path::new("-"));
    env::check(&args.env, &args.env_file, usize::from(args.interactive) + usize::from(image_from_stdin))?;
    if args.tty && args.interactive && !std::io::stdin().is_terminal() {
        return Err(RunError::NoTerminal.into());
    }
    check_memory(args.mem, run::USUAL_MEMORY)?;
    check_cpus(args.cpus)?;
    if let Some(given) = given(args.workdir.as_deref()).filter(|path| !path.starts_with('/')) {
        return Err(RunError::Workdir { given: given.to_owned() }.into());
    }
    if let Some(given) = given(args.user.as_deref()).filter(|user| !may_be_user(user)) {
        return Err(RunError::User { given: given.to_owned() }.into());
    }
    Ok(())
}

fn prepare(args: &RunArgs, lines: Vec<Line>, egress: Option<Egress>) -> Result<Bottle, Failure> {
    // What costs nothing to find out comes first: an image may take its time.
    let name = args.name.clone().unwrap_or_else(made_up_name);
    let claim = Claim::new(&name).map_err(LaunchError::from)?;
    let hostname = args.hostname.clone().unwrap_or_else(|| name.replace('_', "-"));
    let hostname = Hostname::new(&hostname).map_err(|_| RunError::Hostname { name: hostname })?;
    let kvm = kvm::open().map_err(LaunchError::from)?;
    let kernel = open_kernel(args.kernel.as_deref())?;
    // Before it is packed in vain; what an artifact has is known only then.
    args.compression.map_or(Ok(()), |compression| fit::check(kernel.installed.as_ref(), compression))?;
    let scratch = args.disk.map(open_scratch).transpose()?;
    let image = open_image(args, &lines)?;
    fit::check(kernel.installed.as_ref(), image.manifest().root.compression)?;
    let config = image.manifest().config.clone();
    // Last, since it takes them out of our own environment, which says where everything above is; and while there is one thread
    // (see `sys::environ`): those that packed the image have ended.
    let mut passed = Variables::default();
    passed.add_lines(lines)?;
    for name in &args.env {
        passed.add_passed(name)?;
    }
    let mut variables = Variables::of_image(&config.env, hostname.as_str(), args.tty)?;
    variables.extend(passed);
    Ok(Bottle {
        claim,
        kvm,
        hostname,
        vcpus: args.cpus,
        memory_mib: args.mem.0 / MIB,
        kernel: kernel.vmlinux,
        modules: kernel.modules,
        kernel_args: args.kernel_args.clone(),
        root: root_disk(image),
        scratch,
        command: command(args, &config, variables)?,
        console: args.console,
        boot_limit: args.boot_timeout.0,
        // As timeout(1) has it, 0 is no limit.
        time_limit: args.timeout.map(|limit| limit.0).filter(|limit| !limit.is_zero()),
        measure: args.timings.is_some(),
        confinement: sandbox::confinement(&args.no_sandbox),
        probe: args.sandbox_probe,
        egress,
        placing: None,
        on_monitor: None,
        held_signals: None,
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
    let workdir = given(args.workdir.as_deref()).map_or_else(|| workdir_of(image), Ok)?;
    let user = given(args.user.as_deref()).map_or_else(|| user_of(image), Ok)?;
    Ok(Command {
        argv,
        env: variables.into_secret()?,
        cwd: c_string(workdir.as_ref(), "the working directory")?,
        user: c_string(user.as_ref(), "the user")?,
        tty: args.tty,
        stdin: args.interactive,
    })
}

fn workdir_of(image: &ImageConfig) -> Result<&str, RunError> {
    let named = image.working_dir.as_str();
    if named.is_empty() || (named.starts_with('/') && !named.contains('\0')) {
        return Ok(named);
    }
    let hint = "`--workdir` names another, as in `--workdir /`";
    Err(RunError::OfImage { what: "working directory", named: named.to_owned(), hint })
}

fn user_of(image: &ImageConfig) -> Result<&str, RunError> {
    let named = image.user.as_str();
    if named.is_empty() || may_be_user(named) {
        return Ok(named);
    }
    Err(RunError::OfImage { what: "user", named: named.to_owned(), hint: "`--user` names another, as in `--user 0`" })
}

pub(super) fn root_disk(image: Artifact) -> RootDisk {
    RootDisk {
        tree: image.tree(),
        name: image.path().display().to_string(),
        cached_as: images::cached_as(&image),
        file: image.into_file(),
    }
}

/// Empty is as good as not given, as with docker: `--user "$UNSET"` must not mean root.
fn given(option: Option<&str>) -> Option<&str> {
    option.filter(|text| !text.is_empty())
}

/// Whether some image could have it: its own files tell, in lines of fields that end at a colon (passwd(5), group(5)).
fn may_be_user(text: &str) -> bool {
    let named = |text: &str| !text.contains(|c: char| c == ':' || c.is_control());
    // The largest 32-bit number means nobody (setresuid(2)); a minus is in front of nothing but a number that is none.
    let number = |text: &str| match text.strip_prefix('-').unwrap_or(text) {
        digits if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
            text.is_empty() || text.parse::<u32>().is_ok_and(|id| id != u32::MAX)
        }
        _ => true,
    };
    let (user, group) = text.split_once(':').unwrap_or((text, ""));
    [user, group].into_iter().all(|part| named(part) && number(part))
}

pub(super) fn c_string(text: &OsStr, what: &'static str) -> Result<CString, RunError> {
    CString::new(text.as_bytes()).map_err(|_| RunError::Nul { what })
}

/// From here on this process holds secrets: no core dump, and no other process of the same user looks into it.
pub(super) fn forbid_dumps() {
    // It fails for no reason that Linux has.
    let _ = nix::sys::prctl::set_dumpable(false);
}

/// Beside the images: /tmp is memory on many machines, and a scratch disk is wanted where memory is not enough.
pub(super) fn open_scratch(size: super::quantity::Bytes) -> Result<File, Failure> {
    let directory = paths::cache()?;
    std::fs::create_dir_all(&directory).map_err(|source| RunError::Open { path: directory.clone(), source })?;
    Ok(scratch::create(&directory, size.0)?)
}

pub(super) struct Kernel {
    pub(super) vmlinux: File,
    pub(super) modules: Option<File>,
    /// Of the store.
    pub(super) installed: Option<Installed>,
}

pub(super) fn open_kernel(wanted: Option<&Path>) -> Result<Kernel, Failure> {
    let installed = match kernel::choose(wanted)? {
        Chosen::File(file) => return Ok(Kernel { vmlinux: file.open()?.file, modules: None, installed: None }),
        Chosen::Installed(installed) => installed,
    };
    let open = |path: &Path| File::open(path).map_err(|source| RunError::Open { path: path.to_owned(), source });
    let (vmlinux, modules) = (open(&installed.vmlinux)?, installed.modules.as_deref().map(open).transpose()?);
    Ok(Kernel { vmlinux, modules, installed: Some(installed) })
}

fn open_image(args: &RunArgs, lines: &[Line]) -> Result<Artifact, Failure> {
    let cache = images::cache(args.compression)?;
    let progress = progress::of(args.progress, false);
    if let Some(origin) = images::origin(args.image.as_deref(), args.dockerfile.as_deref(), args.context.as_deref()) {
        // What is passed on to the command is not for a builder.
        let of_files = lines.iter().filter_map(Line::passed).map(OsStr::to_owned);
        let withheld: Vec<OsString> = args.env.iter().cloned().chain(of_files).collect();
        return Ok(builder::open(&origin, &withheld, &cache, &*progress)?);
    }
    match &args.image {
        Some(image) => Ok(image::open(&images::source(image), &cache, &*progress)?),
        None => Ok(image::open_default_root(&busybox::find(&paths::cache()?, &Bar::new())?, &cache, &*progress)?),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_image_can_have_as_a_user_is_told_from_what_one_may() {
        for good in ["root", "1000", "node:users", "0:0", "node:", ":100", "a-b.c$", "4294967294", "7up", "-x"] {
            assert!(may_be_user(good), "{good}");
        }
        for bad in ["a:b:c", "::", "4294967295", "99999999999", "node:4294967295", "-1", "-", "node\n", "a:\0"] {
            assert!(!may_be_user(bad), "{bad:?}");
        }
    }
    #[test]
    fn what_is_wrong_in_an_image_s_configuration_is_said_to_be_there_with_the_option_that_goes_around_it() {
        let image = |user: &str, working_dir: &str| ImageConfig {
            user: user.to_owned(),
            working_dir: working_dir.to_owned(),
            ..ImageConfig::default()
        };
        let good = image("node:users", "/src");
        assert_eq!((user_of(&good).unwrap(), workdir_of(&good).unwrap()), ("node:users", "/src"));
        let none = image("", "");
        assert_eq!((user_of(&none).unwrap(), workdir_of(&none).unwrap()), ("", ""));
        for bad in ["4294967295", "a:b:c", "a\0b"] {
            let error = user_of(&image(bad, "")).unwrap_err();
            assert!(error.to_string().starts_with("the image's configuration names `"), "{error}");
            assert!(error.hint().unwrap().contains("`--user`"));
        }
        for bad in ["src", "/a\0b"] {
            assert!(workdir_of(&image("", bad)).unwrap_err().hint().unwrap().contains("`--workdir`"), "{bad:?}");
        }
    }

    #[test]
    fn a_guest_that_does_not_come_up_on_a_file_is_told_what_the_file_lacks() {
        let silent =
            || LaunchError::Silent { due: "come up", limit: std::time::Duration::ZERO, console: String::new() };
        let said = |kernel: Option<&str>| crate::cli::report::render(&of_kernel(silent(), kernel.map(Path::new)));
        assert!(said(Some("/boot/vmlinuz-6.1.0-13-amd64")).contains("kernel install --deb"));
        assert!(!said(Some("stock")).contains("--deb") && !said(None).contains("--deb"));
    }

    #[test]
    fn more_processors_than_there_are_are_refused_but_for_a_few() {
        let host = std::thread::available_parallelism().unwrap().get();
        check_cpus(8).unwrap();
        if host < 64 {
            let error = check_cpus(64).unwrap_err();
            assert!(
                error.to_string().contains("--cpus 64")
                    && error.hint().unwrap().ends_with(&format!("at most {}", host.max(CPUS_ANYWHERE)))
            );
        }
    }
}
