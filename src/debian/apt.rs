//! apt under a private configuration in one directory, usable by anyone.

use std::cell::Cell;
use std::ffi::OsStr;
use std::fmt;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, SystemTime};

use nix::fcntl::{Flock, FlockArg};

use super::{DebianError, sources};

/// Lists older than this are fetched again: a security update of a kernel should not wait longer.
const LISTS_GOOD_FOR: Duration = Duration::from_secs(24 * 60 * 60);

/// How much of apt's output an error carries.
const LAST_LINES: usize = 6;

/// Where a package may come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Suite {
    /// The machine's release, with its updates and security fixes.
    Stable,
    /// Newer software rebuilt for that release.
    Backports,
    /// Whichever of the two is newer.
    Any,
}

impl Suite {
    /// `archive` is as apt prints it: `bookworm-backports/main`.
    fn holds(self, archive: &str) -> bool {
        let backports = archive.split('/').next().is_some_and(|suite| suite.ends_with("-backports"));
        match self {
            Self::Stable => !backports,
            Self::Backports => backports,
            Self::Any => true,
        }
    }
}

impl fmt::Display for Suite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Stable => "the stable suite",
            Self::Backports => "the backports suite",
            Self::Any => "the stable and backports suites",
        })
    }
}

/// A package version as Debian writes it, such as `6.12.117-1~deb12u1`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version(String);

impl Version {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Without epoch and Debian revision: `6.12.117`.
    pub fn upstream(&self) -> &str {
        let rest = self.0.split_once(':').map_or(self.0.as_str(), |(_, rest)| rest);
        rest.rsplit_once('-').map_or(rest, |(upstream, _)| upstream)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Package lists and packages under one directory. Operations of several processes on the same directory take turns.
#[derive(Debug)]
pub struct Apt {
    dir: PathBuf,
    updated: Cell<bool>,
}

impl Apt {
    /// Writes the configuration; fetches nothing yet. A machine without apt is an error here, not later.
    pub fn open(dir: &Path) -> Result<Self, DebianError> {
        Self::open_with(dir, Path::new("/etc/apt"), Path::new("/etc/os-release"))
    }

    fn open_with(dir: &Path, etc_apt: &Path, os_release: &Path) -> Result<Self, DebianError> {
        if !on_path("apt-get") {
            return Err(DebianError::NoApt { program: "apt-get" });
        }
        for sub in ["lists/partial", "cache/archives/partial", "debs", "no-parts"] {
            let path = dir.join(sub);
            fs::create_dir_all(&path).map_err(io_error("create", &path))?;
        }
        // apt resolves relative paths against its own root, not against ours.
        let dir = dir.canonicalize().map_err(io_error("resolve", dir))?;
        let found = sources::read(etc_apt).map_err(io_error("read the sources in", etc_apt))?;
        // Only a release has backports; testing and unstable do not name a version.
        let release = fs::read_to_string(os_release).unwrap_or_default();
        let is_release = release.lines().any(|line| line.starts_with("VERSION_ID="));
        let text = sources::render(&found, is_release)
            .ok_or_else(|| DebianError::NoSources { etc_apt: etc_apt.to_owned() })?;
        let apt = Self { dir, updated: Cell::new(false) };
        let _turn = apt.lock()?;
        apt.write_configuration(&text)?;
        Ok(apt)
    }

    /// Fetches the package lists: at most once per instance, and not while those of an earlier run are fresh.
    pub fn update(&self) -> Result<(), DebianError> {
        if self.updated.get() {
            return Ok(());
        }
        let _turn = self.lock()?;
        let mark = self.dir.join("updated");
        if !is_fresh(&mark) {
            // Without this, a mirror that cannot be reached is a warning and yesterday's lists are used in silence.
            self.run("apt-get", &["-o", "APT::Update::Error-Mode=any", "update"])?;
            File::create(&mark).map_err(io_error("write", &mark))?;
        }
        self.updated.set(true);
        Ok(())
    }

    /// The newest version of `package` in `suite`.
    pub fn newest(&self, package: &str, suite: Suite) -> Result<Version, DebianError> {
        self.update()?;
        let output = self.run("apt-cache", &["madison", package])?;
        newest_in(&output, suite).ok_or_else(|| DebianError::NoPackage { package: package.to_owned(), suite })
    }

    /// The package starting with `prefix` that the newest `package` of `suite` depends on: what a meta package stands for,
    /// such as `linux-image-6.1.0-56-cloud-amd64` for `linux-image-cloud-amd64`.
    pub fn dependency_like(&self, package: &str, prefix: &str, suite: Suite) -> Result<String, DebianError> {
        let mut names = self.dependencies(package, suite)?.into_iter();
        names
            .find(|name| name.starts_with(prefix))
            .ok_or_else(|| DebianError::NoDependency { package: package.to_owned(), prefix: prefix.to_owned() })
    }

    /// What the newest `package` of `suite` needs, by name; of alternatives all.
    pub fn dependencies(&self, package: &str, suite: Suite) -> Result<Vec<String>, DebianError> {
        let version = self.newest(package, suite)?;
        let record = self.run("apt-cache", &["show", &format!("{package}={version}")])?;
        Ok(dependencies_in(&record))
    }

    /// Fetches the newest `package` of `suite`, verified by apt against the signed index; a file fetched before is used
    /// again.
    pub fn download(&self, package: &str, suite: Suite) -> Result<PathBuf, DebianError> {
        let exact = format!("{package}={}", self.newest(package, suite)?);
        let _turn = self.lock()?;
        let (name, size) = download_in(&self.run("apt-get", &["--print-uris", "download", &exact])?)
            .ok_or_else(|| DebianError::NoPackage { package: package.to_owned(), suite })?;
        let debs = self.dir.join("debs");
        let file = debs.join(&name);
        if fs::metadata(&file).is_ok_and(|meta| meta.len() == size) {
            return Ok(file);
        }
        // Into a directory of its own and renamed, so that a killed download is never taken for a package.
        let partial = self.dir.join("partial");
        match fs::remove_dir_all(&partial) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(io_error("clear", &partial)(e)),
            _ => fs::create_dir(&partial).map_err(io_error("create", &partial))?,
        }
        self.run_in(&partial, "apt-get", &["download", &exact])?;
        let fetched = partial.join(&name);
        if !fetched.exists() {
            return Err(DebianError::NotDownloaded { package: package.to_owned(), file: fetched });
        }
        fs::rename(&fetched, &file).map_err(io_error("place", &file))?;
        Ok(file)
    }

    /// Those of `packages` that are not installed on this machine.
    pub fn missing<'a>(&self, packages: &[&'a str]) -> Result<Vec<&'a str>, DebianError> {
        // dpkg-query fails if one package is unknown to it, and still tells about the others.
        let output = command("dpkg-query", &self.dir)
            .args(["--show", "--showformat", "${Package} ${db:Status-Status}\n"])
            .args(packages)
            .output()
            .map_err(start_error("dpkg-query"))?;
        let known = String::from_utf8_lossy(&output.stdout);
        let installed = |package: &str| known.lines().any(|line| line == format!("{package} installed"));
        Ok(packages.iter().copied().filter(|package| !installed(package)).collect())
    }

    /// Installs those of `packages` that are missing, into the machine itself. Only root can; for others the error's hint is
    /// the command that root should run.
    pub fn install(&self, packages: &[&str]) -> Result<(), DebianError> {
        let missing = self.missing(packages)?;
        if missing.is_empty() {
            return Ok(());
        }
        if !nix::unistd::geteuid().is_root() {
            return Err(DebianError::NeedsRoot { packages: missing.into_iter().map(str::to_owned).collect() });
        }
        self.update()?;
        let _turn = self.lock()?;
        let mut args = vec!["install", "--yes", "--no-install-recommends"];
        args.extend(missing);
        self.run("apt-get", &args).map(drop)
    }

    fn write_configuration(&self, sources: &str) -> Result<(), DebianError> {
        let list = self.dir.join("debian.sources");
        let changed = fs::read_to_string(&list).ok().as_deref() != Some(sources);
        if changed {
            let mark = self.dir.join("updated");
            match fs::remove_file(&mark) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(io_error("remove", &mark)(e)),
                _ => fs::write(&list, sources).map_err(io_error("write", &list))?,
            }
        }
        let path = self.dir.join("apt.conf");
        fs::write(&path, configuration(&self.dir)).map_err(io_error("write", &path))
    }

    fn lock(&self) -> Result<Flock<File>, DebianError> {
        let path = self.dir.join("lock");
        let file = File::create(&path).map_err(io_error("open", &path))?;
        Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, errno)| io_error("lock", &path)(errno.into()))
    }

    fn run(&self, program: &'static str, args: &[&str]) -> Result<String, DebianError> {
        self.run_in(&self.dir, program, args)
    }

    fn run_in(&self, cwd: &Path, program: &'static str, args: &[&str]) -> Result<String, DebianError> {
        let output = command(program, cwd)
            .arg("-c")
            .arg(self.dir.join("apt.conf"))
            .args(args)
            .output()
            .map_err(start_error(program))?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let command = format!("{program} {}", args.join(" "));
        Err(DebianError::Failed { command, status: output.status, last_lines: last_lines(&output) })
    }
}

/// Given by `-c`, which apt reads after the machine's own configuration: proxies and the like stay in force, and what is set
/// here wins.
fn configuration(dir: &Path) -> String {
    let dir = dir.display();
    // As root, apt would fetch as the user `_apt`, who may not enter a directory under /root.
    format!(
        "Dir::Etc::sourcelist \"{dir}/debian.sources\";\n\
         Dir::Etc::sourceparts \"{dir}/no-parts\";\n\
         Dir::State::lists \"{dir}/lists\";\n\
         Dir::Cache \"{dir}/cache\";\n\
         APT::Sandbox::User \"root\";\n"
    )
}

fn command(program: &str, cwd: &Path) -> Command {
    let mut command = Command::new(program);
    command.current_dir(cwd).stdin(Stdio::null()).env("LC_ALL", "C.UTF-8").env("DEBIAN_FRONTEND", "noninteractive");
    command
}

/// `apt-cache madison`: `package | version | uri suite/component arch Packages`, the newest first.
fn newest_in(madison: &str, suite: Suite) -> Option<Version> {
    madison.lines().find_map(|line| {
        let mut columns = line.split('|').map(str::trim);
        let (_, version, origin) = (columns.next()?, columns.next()?, columns.next()?);
        let mut words = origin.split_whitespace();
        let (_, archive, kind) = (words.next()?, words.next()?, words.next_back()?);
        (kind == "Packages" && suite.holds(archive)).then(|| Version(version.to_owned()))
    })
}

fn dependencies_in(record: &str) -> Vec<String> {
    let depends = record.lines().find_map(|line| line.strip_prefix("Depends:")).unwrap_or_default();
    let names = depends.split([',', '|']).filter_map(|one| one.split_whitespace().next());
    // `python3:any` is python3 of whichever architecture.
    names.filter_map(|name| name.split(':').next()).map(str::to_owned).collect()
}

/// `apt-get --print-uris download`: `'uri' file size digest`.
fn download_in(uris: &str) -> Option<(String, u64)> {
    uris.lines().find_map(|line| {
        let mut words = line.strip_prefix('\'')?.split_once('\'')?.1.split_whitespace();
        let (name, size) = (words.next()?, words.next()?.parse().ok()?);
        (!name.contains('/')).then(|| (name.to_owned(), size))
    })
}

/// The end of what apt said, errors rather than progress, without the credentials that a mirror's address may carry.
fn last_lines(output: &Output) -> Vec<String> {
    let said = if output.stderr.is_empty() { &output.stdout } else { &output.stderr };
    let text = String::from_utf8_lossy(said);
    let mut lines: Vec<_> =
        text.lines().rev().filter(|line| !line.trim().is_empty()).take(LAST_LINES).map(without_credentials).collect();
    lines.reverse();
    lines
}

fn without_credentials(line: &str) -> String {
    let word = |word: &str| match word.split_once("://") {
        Some((scheme, rest)) => {
            let host_end = rest.find('/').unwrap_or(rest.len());
            match rest[..host_end].rfind('@') {
                Some(at) => format!("{scheme}://{}", &rest[at + 1..]),
                None => word.to_owned(),
            }
        }
        None => word.to_owned(),
    };
    line.split(' ').map(word).collect::<Vec<_>>().join(" ")
}

fn is_fresh(mark: &Path) -> bool {
    let written = fs::metadata(mark).and_then(|meta| meta.modified());
    // A mark from the future (a clock set back) is as good as none.
    written.is_ok_and(|at| SystemTime::now().duration_since(at).is_ok_and(|age| age < LISTS_GOOD_FOR))
}

fn on_path(program: impl AsRef<OsStr>) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir| dir.join(program.as_ref()).is_file())
}

fn start_error(program: &'static str) -> impl FnOnce(io::Error) -> DebianError {
    move |source| match source.kind() {
        io::ErrorKind::NotFound => DebianError::NoApt { program },
        _ => DebianError::Start { program, source },
    }
}

fn io_error(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> DebianError {
    let path = path.to_owned();
    move |source| DebianError::Io { what, path, source }
}

#[cfg(test)]
#[path = "apt_test.rs"]
mod tests;
