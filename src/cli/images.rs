//! `bottle-vmm images`: what is in the cache, and how to make room there.

use super::args::{ImagesArgs, ImagesCommand};
use super::out;
use super::progress;
use super::report::{Failure, note};
use crate::builder::Origin;
use crate::image::{Artifact, Cache, Entry, Pruned, RootCompression, Source, SourceName, Verdict};
use crate::launch::LaunchError;
use crate::vmm::stop::DiskFault;
use indicatif::{HumanBytes, HumanDuration};
use serde::Serialize;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

/// What is said of every artifact as JSON.
#[derive(Serialize)]
pub struct Summary {
    digest: String,
    image_id: String,
    path: String,
    bytes: u64,
}

impl Summary {
    pub fn of(artifact: &Artifact) -> Self {
        Self {
            digest: artifact.digest().to_string(),
            image_id: artifact.manifest().source.id.to_string(),
            path: artifact.path().display().to_string(),
            bytes: artifact.bytes(),
        }
    }
}

/// An image of the cache, as JSON.
#[derive(Serialize)]
struct Listed {
    #[serde(flatten)]
    summary: Summary,
    sources: Vec<String>,
    disk_bytes: u64,
    /// Seconds since 1970.
    created: u64,
    last_used: u64,
    in_use: bool,
}

impl Listed {
    fn of(entry: &Entry) -> Self {
        let seconds = |time: SystemTime| time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |time| time.as_secs());
        Self {
            summary: Summary::of(&entry.artifact),
            sources: entry.names.iter().map(ToString::to_string).collect(),
            disk_bytes: entry.disk_bytes,
            created: seconds(entry.created),
            last_used: seconds(entry.used),
            in_use: entry.in_use,
        }
    }

    fn all(entries: &[Entry]) -> Vec<Self> {
        entries.iter().map(Self::of).collect()
    }
}

/// What pruning did, as JSON.
#[derive(Serialize)]
struct Report {
    dry_run: bool,
    removed: Vec<Listed>,
    in_use: Vec<Listed>,
    /// Damaged files, those of other versions, and those of processes that died.
    stale: Vec<String>,
    freed_bytes: u64,
}

/// The user's cache, and which artifacts of it are meant.
pub fn cache(compression: Option<RootCompression>) -> Result<Cache, Failure> {
    let cache = Cache::open_default()?;
    Ok(match compression {
        Some(compression) => cache.with_compression(compression),
        None => cache,
    })
}

/// What was typed for an image; `-` is standard input.
pub fn source(image: &Path) -> Source {
    if image.as_os_str() == "-" { Source::Stdin } else { Source::Path(image.to_owned()) }
}

/// What was typed for an image that a program has to be asked for: a Dockerfile, or the name of where it is kept.
pub fn origin(image: Option<&Path>, dockerfile: Option<&Path>, context: Option<&Path>) -> Option<Origin> {
    match dockerfile {
        Some(path) => Some(Origin::Dockerfile { path: path.to_owned(), context: context.map(Path::to_owned) }),
        None => Origin::parse(image?.as_os_str()),
    }
}

pub fn print_json(value: &impl Serialize) -> Result<ExitCode, Failure> {
    out::json(value)?;
    Ok(ExitCode::SUCCESS)
}

pub fn run(args: &ImagesArgs) -> Result<ExitCode, Failure> {
    let cache = Cache::open_default()?;
    match &args.command {
        None if args.json => print_json(&Listed::all(&cache.entries()?)),
        None => {
            list(&cache.entries()?)?;
            let useless = cache.prune(usize::MAX, true)?;
            if !useless.stale.is_empty() {
                let size = HumanBytes(useless.freed);
                note(&format!("{size} more are of other versions, or damaged: `bottle-vmm images prune` removes them"));
            }
            Ok(ExitCode::SUCCESS)
        }
        Some(ImagesCommand::Prune { keep, dry_run, json }) => {
            let pruned = cache.prune(*keep, *dry_run)?;
            if *json {
                return print_json(&report(&pruned, *dry_run));
            }
            tell(&pruned, *dry_run)?;
            Ok(ExitCode::SUCCESS)
        }
        Some(ImagesCommand::Rm { name, force }) => remove(&cache, name, *force),
    }
}

fn remove(cache: &Cache, name: &str, force: bool) -> Result<ExitCode, Failure> {
    let entry = cache.find(name)?;
    cache.remove(&entry, force)?;
    out::line(format_args!("{}", entry.artifact.digest()))?;
    Ok(ExitCode::SUCCESS)
}

/// As much of a digest as docker shows.
fn short(artifact: &Artifact) -> String {
    artifact.digest().hex().chars().take(12).collect()
}

/// What `images rm` finds it by, if it is one of the user's cache.
pub fn cached_as(artifact: &Artifact) -> Option<String> {
    Cache::open_default().ok().filter(|cache| cache.keeps(artifact)).map(|_| short(artifact))
}

/// The way out where an image of the cache was found to be damaged by a monitor, which may be anybody's by then: it is looked at again.
pub fn way_out_of_damage(error: &LaunchError) -> Option<String> {
    let LaunchError::Root { fault: DiskFault::Changed, cached_as: Some(name), .. } = error else { return None };
    let hint = match Cache::open_default().ok()?.drop_if_damaged(name, &progress::Bar::new()) {
        Verdict::Dropped => "it was removed from the cache: the next run makes it anew",
        Verdict::Unusable => "the next run makes it anew",
        Verdict::Whole => {
            "read again, the image is whole: this machine's memory or disk may fail, or the guest may have taken over its monitor"
        }
        Verdict::Kept => return None,
    };
    Some(hint.to_owned())
}

/// The file names of its sources; where they lie is in the JSON.
fn names(entry: &Entry) -> String {
    let mut names: Vec<_> = entry.names.iter().map(SourceName::short).collect();
    names.dedup();
    if names.is_empty() { "<none>".to_owned() } else { names.join(", ").replace(char::is_control, "\u{fffd}") }
}

fn ago(time: SystemTime) -> String {
    match SystemTime::now().duration_since(time) {
        Ok(age) if age >= Duration::from_secs(1) => format!("{} ago", HumanDuration(age)),
        _ => "now".to_owned(),
    }
}

fn list(entries: &[Entry]) -> Result<(), Failure> {
    let mut rows = vec![["NAME", "DIGEST", "SIZE", "CREATED", "LAST USED"].map(str::to_owned)];
    rows.extend(entries.iter().map(|entry| {
        let used = if entry.in_use { "in use".to_owned() } else { ago(entry.used) };
        [names(entry), short(&entry.artifact), HumanBytes(entry.disk_bytes).to_string(), ago(entry.created), used]
    }));
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<_> = (0..5).map(width).collect();
    for row in &rows {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        out::line(format_args!("{}", cells.collect::<Vec<_>>().join("   ").trim_end()))?;
    }
    Ok(())
}

fn report(pruned: &Pruned, dry_run: bool) -> Report {
    Report {
        dry_run,
        removed: Listed::all(&pruned.removed),
        in_use: Listed::all(&pruned.in_use),
        stale: pruned.stale.iter().map(|path| path.display().to_string()).collect(),
        freed_bytes: pruned.freed,
    }
}

fn tell(pruned: &Pruned, dry_run: bool) -> Result<(), Failure> {
    let done = if dry_run { "would remove" } else { "removed" };
    for entry in &pruned.removed {
        let size = HumanBytes(entry.disk_bytes);
        out::line(format_args!("{done} {} {}: {size}", short(&entry.artifact), names(entry)))?;
    }
    for path in &pruned.stale {
        out::line(format_args!("{done} {}", path.display()))?;
    }
    for entry in &pruned.in_use {
        out::line(format_args!("kept {} {}: in use", short(&entry.artifact), names(entry)))?;
    }
    out::line(format_args!("{} {}", if dry_run { "would free" } else { "freed" }, HumanBytes(pruned.freed)))
}
