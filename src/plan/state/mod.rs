//! `~/.bot-bottle/state`: what is kept of a bottle on this host, in a directory of its own, beside bot-bottle's.
//!
//! ```text
//! state/.lock                    held for the moment in which a bottle's directory comes or goes
//! state/SLUG/lock                held as long as the bottle's launcher lives
//! state/SLUG/metadata.json       what brings it back
//! state/SLUG/origin.json         where it was started, whose its agent is, and its network
//! state/SLUG/processes.json      whose it is
//! state/SLUG/preserve            it is not to be removed
//! state/SLUG/agent … supervise   what each part of the plan needs
//! queue/SLUG                     proposals to the operator
//! ```
//!
//! Law: directories are 0700, files 0600, and whole or not there; no value of a variable and no token is in any of them. A bottle that
//! came to nothing leaves nothing.

mod files;
mod lock;
pub mod metadata;
pub mod origin;
pub mod processes;

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};

use super::identity::Slug;
use files::failed;
use lock::Lock;
use metadata::{METADATA, Metadata};
use origin::{ORIGIN, Origin};
use processes::{Process, Processes, ProcessesFile};

const PROCESSES: &str = "processes.json";
const PRESERVE: &str = "preserve";
/// The mark of a bottle that is on its way to the end that it is meant for.
const PRESERVED: &str = "preserve.taken";
const LOCK: &str = "lock";

#[derive(Debug, thiserror::Error)]
pub enum StateError {
    #[error("cannot {action} `{}`", path.display())]
    Io {
        action: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("`{}` is not the record of a bottle: {why}", path.display())]
    Metadata { path: PathBuf, why: String },
    #[error("no bottle `{slug}` was kept")]
    Unknown { slug: Slug, there: Vec<Slug> },
    #[error("bottle `{slug}` is running")]
    Running { slug: Slug },
    #[error("bottle `{slug}` has changed since it was looked at, and stays")]
    Changed { slug: Slug },
    #[error("bottle `{slug}` was made by the backend `{backend}` of bot-bottle")]
    OtherBackend { slug: Slug, backend: String },
    #[error("there are bottles `{label}` to `{label}-{most}` already")]
    Label { label: Slug, most: usize },
    #[error("the kernel gives no random bytes for the bottle's identity: {0}")]
    Random(getrandom::Error),
}

impl StateError {
    /// The way out.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::Io { source, .. } if source.kind() == io::ErrorKind::StorageFull => {
                "make room: `bottle-vmm cleanup` removes what killed bottles left".to_owned()
            }
            Self::Io { action: "make" | "write" | "open" | "lock", .. } => {
                "is the directory yours to write? BOT_BOTTLE_HOME can name another".to_owned()
            }
            Self::Io { .. } => {
                "what is there is to be a bottle's, and yours: move away what is not; BOT_BOTTLE_HOME can name another place"
                    .to_owned()
            }
            // Whose it is, is not known either: `cleanup` leaves it alone.
            Self::Metadata { path, .. } => {
                let directory = path.parent().unwrap_or(path);
                format!("write it anew, or give the bottle up: `rm -r {}`", directory.display())
            }
            Self::Unknown { there, .. } => match there.as_slice() {
                [] => "a bottle is kept only if something asked for it; `start` makes a new one".to_owned(),
                there => crate::manifest::there_are(&there.iter().map(Slug::as_str).collect::<Vec<_>>()),
            },
            Self::OtherBackend { .. } => "go on with it there: `bot-bottle resume`".to_owned(),
            Self::Running { .. } => "`bottle-vmm list active` shows what runs".to_owned(),
            Self::Changed { .. } => "`bottle-vmm list kept` shows what it is now".to_owned(),
            Self::Label { label, .. } => format!("give another `--label`, or give one up: `bottle-vmm cleanup {label}`"),
            Self::Random(_) => "they come from getrandom(2), which a container may forbid".to_owned(),
        }
    }
}

/// All bottles' state.
#[derive(Clone, Debug)]
pub struct StateRoot {
    own: PathBuf,
}

/// One bottle's state, which is ours as long as this lives. Dropping it removes a bottle that is not kept.
#[derive(Debug)]
pub struct State {
    root: StateRoot,
    slug: Slug,
    keep: bool,
    _lock: Lock,
}

/// What is found of a bottle.
#[derive(Debug)]
pub struct Found {
    pub slug: Slug,
    pub directory: PathBuf,
    pub metadata: Result<Metadata, StateError>,
    /// A launcher holds it.
    pub held: bool,
    /// It is to be kept after its end.
    pub preserved: bool,
    pub alive: Vec<Process>,
}

impl StateRoot {
    /// `own` is `~/.bot-bottle`, or what stands for it.
    #[must_use]
    pub fn new(own: &Path) -> Self {
        Self { own: own.to_owned() }
    }

    fn path(&self) -> PathBuf {
        self.own.join("state")
    }

    #[must_use]
    pub fn directory(&self, slug: &Slug) -> PathBuf {
        self.path().join(slug.as_str())
    }

    fn queue(&self, slug: &Slug) -> PathBuf {
        self.own.join("queue").join(slug.as_str())
    }

    /// Waits until no other process makes or removes a bottle's directory. The file may be removed with the last of them, so the one that
    /// was locked has to be the one that is there.
    fn lock(&self) -> Result<Flock<File>, StateError> {
        let directory = self.path();
        let path = directory.join(".lock");
        loop {
            files::make_directory(&directory)?;
            let opened = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path);
            let file = match opened {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                opened => opened.map_err(failed("open", &path))?,
            };
            let lock =
                Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, errno)| failed("lock", &path)(errno.into()))?;
            let ours = lock.metadata().map_err(failed("look at", &path))?;
            if fs::metadata(&path).is_ok_and(|there| (there.dev(), there.ino()) == (ours.dev(), ours.ino())) {
                return Ok(lock);
            }
        }
    }

    /// A new bottle: `draw` gives one name after another until one is free. Its directory comes with its record in it, or not at all.
    ///
    /// # Errors
    /// [`StateError`], or that of `draw`, when it has no more names.
    pub fn create(
        &self,
        mut draw: impl FnMut() -> Result<Slug, StateError>,
        metadata: impl FnOnce(Slug) -> Metadata,
    ) -> Result<State, StateError> {
        let guard = self.lock()?;
        let slug = loop {
            let slug = draw()?;
            let path = self.directory(&slug);
            match fs::symlink_metadata(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => break slug,
                Err(error) => return Err(failed("look at", &path)(error)),
                Ok(_) => {}
            }
        };
        files::make_directory(&self.directory(&slug))?;
        let lock = match self.take(&slug) {
            Ok(lock) => lock,
            Err(error) => {
                let _ = files::remove_directory(&self.directory(&slug)); // ours, a moment old
                return Err(error);
            }
        };
        // From here on, dropping it removes it; not before, as that waits for the lock which is held now.
        let state = State { root: self.clone(), slug, keep: false, _lock: lock };
        let written = state.record(&metadata(state.slug.clone()));
        drop(guard);
        written.map(|()| state)
    }

    /// The state of a bottle that was kept.
    ///
    /// # Errors
    /// There is none, it is running, it is bot-bottle's, or its record is broken.
    pub fn reopen(&self, slug: &Slug) -> Result<(State, Metadata), StateError> {
        if !self.directory(slug).is_dir() {
            return Err(self.unknown(slug));
        }
        // Before anything is written: what is bot-bottle's stays as it is.
        let metadata = Metadata::read(&self.directory(slug), slug)?;
        metadata.check_ours()?;
        let _root = self.lock()?;
        let metadata = Metadata::read(&self.directory(slug), slug)?;
        let lock = self.take(slug)?;
        Ok((State { root: self.clone(), slug: slug.clone(), keep: true, _lock: lock }, metadata))
    }

    fn unknown(&self, slug: &Slug) -> StateError {
        let all = self.all().unwrap_or_default();
        let there = all.into_iter().filter(Found::is_kept).map(|found| found.slug).collect();
        StateError::Unknown { slug: slug.clone(), there }
    }

    /// One bottle, whatever is there of it.
    ///
    /// # Errors
    /// [`StateError::Unknown`].
    pub fn find(&self, slug: &Slug) -> Result<Found, StateError> {
        if self.directory(slug).is_dir() { Ok(self.look_at(slug.clone())) } else { Err(self.unknown(slug)) }
    }

    fn take(&self, slug: &Slug) -> Result<Lock, StateError> {
        let path = self.directory(slug).join(LOCK);
        let lock = Lock::take(&path).map_err(failed("lock", &path))?;
        lock.ok_or_else(|| StateError::Running { slug: slug.clone() })
    }

    /// Every bottle of which something is there, bot-bottle's too, by name.
    ///
    /// # Errors
    /// The directory cannot be read; one that is not there has no bottles.
    pub fn all(&self) -> Result<Vec<Found>, StateError> {
        let path = self.path();
        let entries = match fs::read_dir(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(vec![]),
            entries => entries.map_err(failed("read", &path))?,
        };
        let mut found = vec![];
        for entry in entries {
            let entry = entry.map_err(failed("read", &path))?;
            let name = entry.file_name();
            if let Some(slug) = name.to_str().and_then(|name| Slug::new(name).ok())
                && entry.file_type().is_ok_and(|kind| kind.is_dir())
            {
                found.push(self.look_at(slug));
            }
        }
        found.sort_by(|one, other| one.slug.cmp(&other.slug));
        Ok(found)
    }

    fn look_at(&self, slug: Slug) -> Found {
        let directory = self.directory(&slug);
        let processes = fs::read(directory.join(PROCESSES)).ok();
        let processes = processes.and_then(|bytes| serde_json::from_slice::<Processes>(&bytes).ok());
        Found {
            metadata: Metadata::read(&directory, &slug),
            preserved: is_marked(&directory) || directory.join(PRESERVED).exists(),
            alive: processes.map(|processes| processes.alive()).unwrap_or_default(),
            held: Lock::is_held(&directory.join(LOCK)),
            slug,
            directory,
        }
    }

    /// What a bottle has beside its machine, by what was written for it.
    #[must_use]
    pub fn services(&self, slug: &Slug) -> Vec<&'static str> {
        let directory = self.directory(slug);
        let services = [
            ("egress", directory.join("egress")),
            ("git-gate", directory.join("git-gate")),
            ("supervise", self.queue(slug)),
        ];
        services.into_iter().filter(|(_, path)| path.is_dir()).map(|(name, _)| name).collect()
    }

    /// Removes what is left of a bottle, unless a launcher has it by now, or it is not what it was when it was asked about.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn remove(&self, slug: &Slug, is_as_before: impl FnOnce(&Found) -> bool) -> Result<(), StateError> {
        let _root = self.lock()?;
        let directory = self.directory(slug);
        if directory.is_dir() {
            let found = self.look_at(slug.clone());
            if !is_as_before(&found) {
                return Err(StateError::Changed { slug: slug.clone() });
            }
            if found.is_empty() {
                // Nothing but itself: bot-bottle knows no locks, and may be about to fill it.
                fs::remove_dir(&directory).map_err(failed("remove", &directory))?;
            } else {
                drop(self.take(slug)?);
            }
        }
        self.remove_locked(slug)
    }

    /// With the lock held. The last bottle's takes with it what only bottles need.
    fn remove_locked(&self, slug: &Slug) -> Result<(), StateError> {
        files::remove_directory(&self.queue(slug))?;
        files::remove_directory(&self.directory(slug))?;
        let _others = fs::remove_dir(self.own.join("queue"));
        let path = self.path();
        let alone = fs::read_dir(&path).is_ok_and(|entries| entries.count() == 1);
        if alone && fs::remove_file(path.join(".lock")).is_ok() {
            let _others = fs::remove_dir(&path);
        }
        Ok(())
    }
}

impl Found {
    /// Whether it can be gone on with.
    #[must_use]
    pub fn is_kept(&self) -> bool {
        !self.held && self.metadata.as_ref().is_ok_and(Metadata::is_ours)
    }

    /// Whether there is no record at all: whoever made it was killed in the middle of it.
    #[must_use]
    pub fn unrecorded(&self) -> bool {
        // The lock comes a moment after the directory. One that somebody else has put something into is not ours.
        !self.directory.join(METADATA).exists() && (self.directory.join(LOCK).exists() || self.is_empty())
    }

    fn is_empty(&self) -> bool {
        fs::read_dir(&self.directory).is_ok_and(|mut entries| entries.next().is_none())
    }
}

impl State {
    #[must_use]
    pub fn slug(&self) -> &Slug {
        &self.slug
    }

    #[must_use]
    pub fn directory(&self) -> PathBuf {
        self.root.directory(&self.slug)
    }

    /// Writes who the bottle is and whose: first of all, so that it can be brought back whatever happens next.
    ///
    /// # Errors
    /// [`StateError::Io`].
    pub fn record(&self, metadata: &Metadata) -> Result<(), StateError> {
        let directory = self.directory();
        let json =
            |value: serde_json::Result<Vec<u8>>| value.map_err(|error| failed("write", &directory)(error.into()));
        let mut text = json(serde_json::to_vec_pretty(metadata))?;
        text.push(b'\n');
        files::write(&directory.join(METADATA), &text)?;
        let processes = Processes::of_launcher().map_err(failed("tell the process of", &directory))?;
        self.processes().write(&processes)
    }

    /// Where its processes are told, for whoever starts one.
    #[must_use]
    pub fn processes(&self) -> ProcessesFile {
        ProcessesFile { path: self.directory().join(PROCESSES) }
    }

    /// What was recorded of where it was started, if it was.
    ///
    /// # Errors
    /// [`StateError::Io`] or [`StateError::Metadata`].
    pub fn origin(&self) -> Result<Option<Origin>, StateError> {
        Origin::read(&self.directory())
    }

    /// Writes where it was started, whose its agent is, and its network.
    ///
    /// # Errors
    /// [`StateError::Io`].
    pub fn originate(&self, origin: &Origin) -> Result<(), StateError> {
        let path = self.directory().join(ORIGIN);
        let json = serde_json::to_vec(origin).map_err(|error| failed("write", &path)(error.into()))?;
        files::write(&path, &json)
    }

    /// A file of one part of the plan, whole on the disk when this returns.
    ///
    /// # Errors
    /// [`StateError::Io`].
    pub fn write(&self, part: &str, name: &str, bytes: &[u8]) -> Result<PathBuf, StateError> {
        let directory = self.directory().join(part);
        files::make_directory(&directory)?;
        let path = directory.join(name);
        files::write(&path, bytes)?;
        Ok(path)
    }

    /// The directory of proposals to the operator.
    ///
    /// # Errors
    /// [`StateError::Io`].
    pub fn make_queue(&self) -> Result<PathBuf, StateError> {
        let path = self.root.queue(&self.slug);
        files::make_directory(&path)?;
        Ok(path)
    }

    /// Puts the mark of a bottle that is gone on with aside: it was meant for an end that has been. Until the next one comes it is kept
    /// all the same, whatever happens to us.
    pub fn take_mark(&self) {
        if self.keep {
            let _unmarked = fs::rename(self.directory().join(PRESERVE), self.directory().join(PRESERVED));
        }
    }

    /// The bottle has not come to the end that it was marked for: the mark is put back.
    pub fn give_mark_back(&self) {
        // What cannot be put back still keeps it.
        let _unmarked = fs::rename(self.directory().join(PRESERVED), self.directory().join(PRESERVE));
    }

    /// Its bottle has come to its end: it stays only if it is marked.
    ///
    /// Returns whether it stays.
    pub fn ended(&mut self) -> bool {
        let _unmarked = fs::remove_file(self.directory().join(PRESERVED));
        self.keep = is_marked(&self.directory());
        self.keep
    }

    /// Its bottle was ended before the agent was done. What was kept until then stays, and what was marked meanwhile.
    ///
    /// Returns whether it stays.
    pub fn interrupted(&mut self) -> bool {
        self.keep |= is_marked(&self.directory());
        self.keep
    }

    /// It stays when this is dropped, until it is known that it is not to.
    pub fn keep(&mut self) {
        self.keep = true;
    }
}

impl Drop for State {
    fn drop(&mut self) {
        // A mark counts whatever it was that ended us.
        if !self.keep
            && !is_marked(&self.directory())
            && let Ok(_root) = self.root.lock()
        {
            // `cleanup` finds what could not be removed.
            let _left = self.root.remove_locked(&self.slug);
        }
    }
}

fn is_marked(directory: &Path) -> bool {
    directory.join(PRESERVE).exists()
}

#[cfg(test)]
#[path = "state_test.rs"]
mod tests;
