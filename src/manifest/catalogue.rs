//! All bottles and agents that there are.
//!
//! Law: a bottle comes from the user's own directory only. Files are read when they are asked for, once, and a broken one is an error
//! of its own only. Where the user's directory and the repository have an agent of one name, the user's is meant: a
//! repository must neither replace what somebody is used to start, nor keep it from starting.

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use nix::errno::Errno;

use super::agent::AgentFile;
use super::bottle::{Bottle, BottleFile};
use super::directory::Directory;
use super::error::{Located, ManifestError, Mark};
use super::extends::{combine, merge, overlay};
use super::fault::Fault;
use super::name::Name;
use super::nearest::{nearest, there_are};
use super::warning::Warning;

/// Where manifests are looked for.
#[derive(Clone, Debug)]
pub struct Places {
    /// `$BOT_BOTTLE_HOME`, or `~/.bot-bottle`.
    pub own: PathBuf,
    /// The user's home, where the single file of old versions was.
    pub home: Option<PathBuf>,
    /// The directory that the command is run in.
    pub current: PathBuf,
}

/// Whose file it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    Home,
    Repository,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CatalogueError {
    #[error(transparent)]
    File(#[from] ManifestError),
    #[error("there is no agent `{}`", super::error::shown(name))]
    NoAgent { name: String, agents: Vec<String>, own: PathBuf },
    #[error("there is no bottle `{}`", super::error::shown(name))]
    NoBottle { name: String, bottles: Vec<String>, own: PathBuf },
    #[error("`{}` is a manifest of an old version, and `{}` is not there", old.display(), own.display())]
    Old { old: PathBuf, own: PathBuf },
    #[error("cannot read the directory `{}`: {}", path.display(), errno.desc())]
    Directory { path: PathBuf, errno: Errno },
}

impl CatalogueError {
    /// The way out.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::File(error) => error.hint(),
            Self::NoAgent { name, agents, own } => there_is(name, agents, "agents", own),
            Self::NoBottle { name, bottles, own } => there_is(name, bottles, "bottles", own),
            Self::Old { old, own } if old.extension().is_none() => {
                format!("rename it: `mv {} {}`", old.display(), own.display())
            }
            Self::Old { own, .. } => format!(
                "write each of its bottles as a file `{0}/bottles/NAME.md`, each agent as `{0}/agents/NAME.md`; `bottle-vmm init` \
                 makes a first pair to go by",
                own.display()
            ),
            Self::Directory { errno: Errno::EACCES, .. } => "make it readable for yourself: `chmod u+rx`".to_owned(),
            Self::Directory { .. } => "a directory is to be there, or nothing: move away what is".to_owned(),
        }
    }
}

fn there_is(name: &str, names: &[String], kind: &str, own: &Path) -> String {
    if names.is_empty() {
        return format!("there are no {kind} in `{}`: `bottle-vmm init` makes a first one", own.display());
    }
    let near = nearest(name, names).map(|near| format!("did you mean `{near}`? ")).unwrap_or_default();
    format!("{near}{}", there_are(names))
}

/// A file that has been found, and is read when it is asked for.
struct Entry<T> {
    directory: Rc<Directory>,
    file_name: String,
    source: Source,
    parsed: OnceCell<Result<T, ManifestError>>,
}

impl<T> Entry<T> {
    fn path(&self) -> PathBuf {
        self.directory.path.join(&self.file_name)
    }

    fn parsed(&self, parse: impl FnOnce(&[u8]) -> Result<T, Located>) -> Result<&T, ManifestError> {
        let read = || parse(&self.text()?).map_err(|error| error.in_file(&self.path()));
        self.parsed.get_or_init(read).as_ref().map_err(Clone::clone)
    }

    fn text(&self) -> Result<Vec<u8>, ManifestError> {
        let unread = |fault| ManifestError { file: self.path(), at: None, fault: Box::new(fault) };
        self.directory.read(&self.file_name).map_err(unread)
    }

    fn fault(&self, at: Mark, fault: Fault) -> CatalogueError {
        Located { at, fault }.in_file(&self.path()).into()
    }
}

/// What there is, by name.
pub struct Catalogue {
    own: PathBuf,
    bottles: BTreeMap<Name, Entry<BottleFile>>,
    agents: BTreeMap<Name, Entry<AgentFile>>,
    providers: BTreeSet<Name>,
    /// What was seen and not used.
    pub warnings: Vec<Warning>,
}

/// An agent that has been read.
#[derive(Clone, Copy, Debug)]
pub struct FoundAgent<'a> {
    pub name: &'a Name,
    pub source: Source,
    pub file: &'a AgentFile,
}

/// A bottle with all that it extends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MergedBottle {
    /// The root first, the bottle itself last.
    pub lineage: Vec<Name>,
    pub settings: Bottle,
}

impl Catalogue {
    /// Looks what there is; reads no manifest.
    ///
    /// # Errors
    /// A directory of the user's own that cannot be read, or a manifest of an old version with nothing beside it. What is wrong in
    /// the repository is a warning.
    pub fn open(places: &Places) -> Result<Self, CatalogueError> {
        let mut found = Self {
            own: places.own.clone(),
            bottles: BTreeMap::new(),
            agents: BTreeMap::new(),
            providers: BTreeSet::new(),
            warnings: vec![],
        };
        let own = own_directory(&places.own)?;
        if own.is_none()
            && let Some(old) = places.home.as_deref().and_then(old_manifest)
        {
            return Err(CatalogueError::Old { old, own: places.own.clone() });
        }
        if own.is_some() {
            if let Some(bottles) = own_directory(&places.own.join("bottles"))? {
                let path = bottles.path.clone();
                found.bottles = found.entries(bottles, Source::Home).map_err(|errno| failed(&path, errno))?;
            }
            if let Some(agents) = own_directory(&places.own.join("agents"))? {
                let path = agents.path.clone();
                found.agents = found.entries(agents, Source::Home).map_err(|errno| failed(&path, errno))?;
            }
            if let Some(contrib) = own_directory(&places.own.join("contrib"))? {
                let (names, _) = contrib.names().map_err(|errno| failed(&contrib.path, errno))?;
                found.providers = names.iter().filter_map(|name| Name::new(name).ok()).collect();
            }
        }
        found.look_into_repository(&places.current, own.as_ref());
        Ok(found)
    }

    /// Agents of the current directory, and what it has no business to have.
    fn look_into_repository(&mut self, current: &Path, own: Option<&Directory>) {
        let Ok(Some(top)) = Directory::own(current) else { return };
        let shown = current.join(DIRECTORY);
        let theirs = match top.beneath(Path::new(DIRECTORY)) {
            Ok(Some(theirs)) => theirs,
            Ok(None) => {
                self.warnings.extend(old_manifest(current).filter(|_| own.is_some()).map(|path| Warning::Old { path }));
                return;
            }
            // At home, this is the user's own directory, which may be a link.
            Err(_) if own.is_some_and(|own| Directory::own(&shown).is_ok_and(|it| it.is_some_and(|it| it.is(own)))) => {
                return;
            }
            Err(errno) => return self.warnings.push(Warning::unused(shown, errno)),
        };
        if own.is_some_and(|own| own.is(&theirs)) {
            return;
        }
        if !matches!(theirs.beneath(Path::new("bottles")), Ok(None)) {
            self.warnings.push(Warning::RepositoryBottles { path: shown.join("bottles"), own: self.own.clone() });
        }
        match theirs.beneath(Path::new("agents")) {
            Ok(None) => {}
            Err(errno) => self.warnings.push(Warning::unused(shown.join("agents"), errno)),
            Ok(Some(agents)) => match self.entries(agents, Source::Repository) {
                Ok(theirs) => theirs.into_iter().for_each(|(name, entry)| self.add_of_repository(name, entry)),
                Err(errno) => self.warnings.push(Warning::unused(shown.join("agents"), errno)),
            },
        }
    }

    fn add_of_repository(&mut self, name: Name, entry: Entry<AgentFile>) {
        match self.agents.get(&name) {
            Some(own) => {
                self.warnings.push(Warning::Shadowed { name, used: own.path(), unused: entry.path() });
            }
            None => {
                self.agents.insert(name, entry);
            }
        }
    }

    fn entries<T>(&mut self, directory: Directory, source: Source) -> Result<BTreeMap<Name, Entry<T>>, Errno> {
        let (names, more) = directory.names()?;
        if more {
            self.warnings.push(Warning::TooMany { path: directory.path.clone() });
        }
        let directory = Rc::new(directory);
        let mut entries = BTreeMap::new();
        let mut nameless = vec![];
        for file_name in names {
            let Some(stem) = file_name.strip_suffix(".md") else { continue };
            match Name::new(stem) {
                Ok(name) => {
                    let (directory, parsed) = (Rc::clone(&directory), OnceCell::new());
                    entries.insert(name, Entry { directory, file_name, source, parsed });
                }
                Err(_) => nameless.push(directory.path.join(&file_name)),
            }
        }
        let unsaid = nameless.len().saturating_sub(NAMELESS_SAID);
        self.warnings.extend(nameless.into_iter().take(NAMELESS_SAID).map(|path| Warning::Name { path }));
        if unsaid > 0 {
            self.warnings.push(Warning::MoreNames { path: directory.path.clone(), count: unsaid });
        }
        Ok(entries)
    }

    pub fn agent_names(&self) -> impl Iterator<Item = &Name> {
        self.agents.keys()
    }

    pub fn bottle_names(&self) -> impl Iterator<Item = &Name> {
        self.bottles.keys()
    }

    /// Providers of the user's own: the directories in `contrib`.
    #[must_use]
    pub fn own_providers(&self) -> &BTreeSet<Name> {
        &self.providers
    }

    /// Where an agent's file is, and whose it is; it need not be readable.
    #[must_use]
    pub fn agent_path(&self, name: &str) -> Option<(PathBuf, Source)> {
        self.agents.get(name).map(|entry| (entry.path(), entry.source))
    }

    /// Where a bottle's file is; it need not be readable.
    #[must_use]
    pub fn bottle_path(&self, name: &str) -> Option<PathBuf> {
        self.bottles.get(name).map(Entry::path)
    }

    /// Where in a bottle's files a line `is` what is looked for, `FILE:LINE`: in the last of its lineage that has one.
    #[must_use]
    pub fn place_of(&self, lineage: &[Name], is: impl Fn(&str) -> bool) -> Option<String> {
        lineage.iter().rev().find_map(|bottle| {
            let text = self.bottle_text(bottle.as_str()).ok()?;
            let at = String::from_utf8_lossy(&text).lines().position(&is)?;
            Some(format!("{}:{}", self.bottle_path(bottle.as_str())?.display(), at + 1))
        })
    }

    /// The text of an agent's file as it is, for an editor.
    ///
    /// # Errors
    /// There is none of that name, or it cannot be read: see [`Directory::read`].
    pub fn agent_text(&self, name: &str) -> Result<Vec<u8>, CatalogueError> {
        Ok(self.agents.get(name).ok_or_else(|| self.no_agent(name))?.text()?)
    }

    /// The text of a bottle's file as it is, for an editor.
    ///
    /// # Errors
    /// As [`Self::agent_text`].
    pub fn bottle_text(&self, name: &str) -> Result<Vec<u8>, CatalogueError> {
        Ok(self.bottles.get(name).ok_or_else(|| self.no_such_bottle(name))?.text()?)
    }

    /// # Errors
    /// There is none of that name, or its file is broken.
    pub fn agent(&self, name: &str) -> Result<FoundAgent<'_>, CatalogueError> {
        let (name, entry) = self.agents.get_key_value(name).ok_or_else(|| self.no_agent(name))?;
        Ok(FoundAgent { name, source: entry.source, file: entry.parsed(AgentFile::parse)? })
    }

    /// The bottle's own file, without what it extends.
    ///
    /// # Errors
    /// There is none of that name, or its file is broken.
    pub fn bottle_file(&self, name: &str) -> Result<&BottleFile, CatalogueError> {
        let entry = self.bottles.get(name).ok_or_else(|| self.no_such_bottle(name))?;
        Ok(entry.parsed(|bytes| BottleFile::parse(bytes, &self.providers))?)
    }

    /// The bottle with all that it extends.
    ///
    /// # Errors
    /// As [`Self::bottle_file`], for each of the lineage; a parent that is not there, or a circle.
    pub fn bottle(&self, name: &str) -> Result<MergedBottle, CatalogueError> {
        self.merged(name, self.bottle_file(name)?)
    }

    /// The bottle that an agent runs in, with the agent's own identity for git over it.
    ///
    /// # Errors
    /// As [`Self::bottle`].
    pub fn bottle_for(&self, agent: &FoundAgent<'_>) -> Result<MergedBottle, CatalogueError> {
        let wanted = &agent.file.agent.bottle;
        if !self.bottles.contains_key(wanted)
            && let Some(entry) = self.agents.get(agent.name)
        {
            return Err(entry.fault(agent.file.bottle_at, self.no_bottle(wanted)));
        }
        Ok(for_agent(self.bottle(wanted.as_str())?, agent))
    }

    /// Other bottles in place of the agent's own, the later over the earlier.
    ///
    /// # Errors
    /// As [`Self::bottle`].
    pub fn bottles_for(&self, agent: &FoundAgent<'_>, names: &[Name]) -> Result<MergedBottle, CatalogueError> {
        let mut all = MergedBottle { lineage: vec![], settings: Bottle::default() };
        for name in names {
            let next = self.bottle(name.as_str())?;
            all.lineage.extend(next.lineage);
            all.settings = combine(all.settings, next.settings);
        }
        Ok(for_agent(all, agent))
    }

    /// Whether a text can become the bottle `name`: the check of an editor. What is wrong with a bottle that it extends is not its fault, and
    /// is returned.
    ///
    /// # Errors
    /// The text is no bottle, or extends what is not there, or itself.
    pub fn check_bottle(&self, name: &str, path: &Path, bytes: &[u8]) -> Result<Option<ManifestError>, CatalogueError> {
        let file = BottleFile::parse(bytes, &self.providers).map_err(|error| error.in_file(path))?;
        let own = self.bottle_path(name);
        match self.merged(name, &file) {
            Ok(_) => Ok(None),
            Err(CatalogueError::File(error)) if own.as_ref() == Some(&error.file) => {
                Err(ManifestError { file: path.to_owned(), ..error }.into())
            }
            Err(CatalogueError::File(error)) if !error.fault.is_circle_with(name) => Ok(Some(error)),
            Err(error) => Err(error),
        }
    }

    /// The same for an agent.
    ///
    /// # Errors
    /// The text is no agent, or there is no such bottle. That the bottle itself is broken is not the agent's fault.
    pub fn check_agent(&self, path: &Path, bytes: &[u8]) -> Result<AgentFile, CatalogueError> {
        let file = AgentFile::parse(bytes).map_err(|error| error.in_file(path))?;
        if self.bottles.contains_key(&file.agent.bottle) {
            return Ok(file);
        }
        Err(Located { at: file.bottle_at, fault: self.no_bottle(&file.agent.bottle) }.in_file(path).into())
    }

    fn merged(&self, name: &str, file: &BottleFile) -> Result<MergedBottle, CatalogueError> {
        let mut chain: Vec<(Name, &BottleFile)> = vec![];
        let mut next = Name::new(name).ok().map(|name| (name, file));
        while let Some((name, file)) = next {
            next = self.parent(&chain, &name, file)?;
            chain.push((name, file));
        }
        chain.reverse();
        let (lineage, files): (Vec<_>, Vec<_>) = chain.into_iter().unzip();
        let settings = files.into_iter().fold(Bottle::default(), |merged, file| merge(merged, file.bottle.clone()));
        Ok(MergedBottle { lineage, settings })
    }

    /// The next of a lineage whose members so far are `chain`, the child first, and `name`.
    fn parent(
        &self,
        chain: &[(Name, &BottleFile)],
        name: &Name,
        file: &BottleFile,
    ) -> Result<Option<(Name, &BottleFile)>, CatalogueError> {
        let Some(parent) = &file.bottle.extends else { return Ok(None) };
        let fault = if parent == name {
            Fault::ExtendsItself
        } else if let Some(at) = chain.iter().position(|(earlier, _)| earlier == parent) {
            let circle = chain.iter().skip(at).map(|(name, _)| name).chain([name, parent]);
            Fault::ExtendsCycle { chain: circle.map(Name::to_string).collect() }
        } else if self.bottles.contains_key(parent) {
            return Ok(Some((parent.clone(), self.bottle_file(parent.as_str())?)));
        } else {
            self.no_bottle(parent)
        };
        let path = self.bottle_path(name.as_str()).unwrap_or_else(|| PathBuf::from(format!("{name}.md")));
        Err(Located { at: file.extends_at, fault }.in_file(&path).into())
    }

    fn no_agent(&self, name: &str) -> CatalogueError {
        let (name, agents) = (name.to_owned(), self.agents.keys().map(Name::to_string).collect());
        CatalogueError::NoAgent { name, agents, own: self.own.clone() }
    }

    fn no_such_bottle(&self, name: &str) -> CatalogueError {
        let (name, bottles) = (name.to_owned(), self.names_of_bottles());
        CatalogueError::NoBottle { name, bottles, own: self.own.clone() }
    }

    fn no_bottle(&self, name: &Name) -> Fault {
        Fault::NoBottle { name: name.to_string(), bottles: self.names_of_bottles() }
    }

    fn names_of_bottles(&self) -> Vec<String> {
        self.bottles.keys().map(Name::to_string).collect()
    }
}

/// With the agent's own identity for git over the bottle's.
fn for_agent(mut bottle: MergedBottle, agent: &FoundAgent<'_>) -> MergedBottle {
    let user = std::mem::take(&mut bottle.settings.git_gate.user);
    bottle.settings.git_gate.user = overlay(user, agent.file.agent.user.clone());
    bottle
}

/// How many files of a directory are told to have no name: a repository may have thousands.
const NAMELESS_SAID: usize = 5;
/// The directory of manifests in a repository.
const DIRECTORY: &str = ".bot-bottle";

fn own_directory(path: &Path) -> Result<Option<Directory>, CatalogueError> {
    Directory::own(path).map_err(|errno| failed(path, errno))
}

fn failed(path: &Path, errno: Errno) -> CatalogueError {
    CatalogueError::Directory { path: path.to_owned(), errno }
}

/// What bot-bottle read before there was a file for each: one JSON file, and a directory of its first name.
fn old_manifest(beside: &Path) -> Option<PathBuf> {
    let candidates = ["bot-bottle.json", "claude-bottle.json", ".claude-bottle"].map(|name| beside.join(name));
    candidates.into_iter().find(|path| path.symlink_metadata().is_ok())
}

#[cfg(test)]
#[path = "catalogue_test.rs"]
mod tests;
