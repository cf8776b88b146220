//! `bottle-vmm edit`: a manifest in an editor. What is edited is a copy, which replaces the file only once it is valid; a text that
//! is not is kept, and whoever wrote it is asked again. Law: signals are held: the copy goes with us, unless it is all that is left of
//! what somebody wrote.

use super::args::ManifestKind;
use super::ask::Asker;
use super::editor::{Editor, EditorError};
use super::interrupt;
use super::manifests;
use super::report::{self, Failure};
use super::tty::Tty;
use crate::manifest::{Catalogue, CatalogueError, Name, Source, nearest, there_are};
use crate::paths;
use std::fs::{self, DirBuilder, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use tempfile::{NamedTempFile, TempDir};

/// Where drafts are, in the user's own directory.
const DRAFTS: &str = "drafts";

/// What is edited.
struct Target {
    kind: ManifestKind,
    name: String,
    path: PathBuf,
}

pub fn run(name: Option<&str>, kind: Option<ManifestKind>) -> Result<ExitCode, Failure> {
    let drafts = paths::bot_bottle()?.join(DRAFTS);
    let edited = edit(name, kind, &drafts);
    let _not_empty = fs::remove_dir(&drafts);
    edited
}

/// Directories with a text that is nowhere else: kept, open in an editor, or of an `edit` that was killed.
pub(super) fn drafts(own: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(own.join(DRAFTS)).into_iter().flatten();
    let mut drafts: Vec<_> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    drafts.sort();
    drafts
}

/// A copy that is edited. Editors put files of their own beside it, which go with it.
struct Draft {
    directory: TempDir,
    path: PathBuf,
}

fn edit(name: Option<&str>, kind: Option<ManifestKind>, drafts: &Path) -> Result<ExitCode, Failure> {
    let catalogue = manifests::open()?;
    let target = target(&catalogue, name, kind)?;
    let before = match target.kind {
        ManifestKind::Agent => catalogue.agent_text(&target.name)?,
        ManifestKind::Bottle => catalogue.bottle_text(&target.name)?,
    };
    let editor = Editor::find(&target.path)?;
    let signals = interrupt::hold()?;
    let copy = copy(&target, &before, drafts).map_err(|error| cannot("write a draft in", drafts, &error))?;
    loop {
        let edited = editor.edit(&copy.path, &target.path, &signals);
        let text = fs::read(&copy.path).map_err(|error| cannot("read", &copy.path, &error))?;
        match edited {
            Err(error) if text == before => return Err(error.into()),
            Err(EditorError::Interrupted { signal }) => {
                return Err(kept(&target, copy, "interrupted").with_code(signal.saturating_add(128)));
            }
            Err(error) => {
                report::error(&error.into());
                return Err(kept(&target, copy, "the editor failed"));
            }
            Ok(()) if text == before => return said("nothing was changed"),
            Ok(()) => {}
        }
        match check(&catalogue, &target, &copy.path, &text) {
            Ok(()) => return replace(&target, &before, &text, copy),
            Err(error) => {
                report::error(&error.into());
                if !again() {
                    return Err(kept(&target, copy, "it is not valid"));
                }
            }
        }
    }
}

#[expect(clippy::print_stderr, reason = "for people")]
fn said(what: &str) -> Result<ExitCode, Failure> {
    eprintln!("bottle-vmm: {what}");
    Ok(ExitCode::SUCCESS)
}

/// Whoever leaves here by a signal finds the text kept.
fn again() -> bool {
    let asker = Tty::open().and_then(Asker::on);
    asker.is_ok_and(|mut asker| asker.yes("Edit again?", true).unwrap_or(false))
}

/// The file of that name; an agent and a bottle may share one.
fn target(catalogue: &Catalogue, name: Option<&str>, kind: Option<ManifestKind>) -> Result<Target, Failure> {
    let Some(name) = name else {
        return Err(Failure::new("which agent or bottle?", Some(choices(catalogue, kind, ""))));
    };
    let wanted = |of: ManifestKind| kind.is_none_or(|kind| kind == of);
    let agent = catalogue.agent_path(name).filter(|_| wanted(ManifestKind::Agent));
    if let Some((path, Source::Repository)) = &agent
        && path.is_symlink()
    {
        // It may lead to any file of the user's own.
        let what = format!("`{}` is a symbolic link that came with this repository", path.display());
        return Err(Failure::new(what, Some("edit the file that it leads to, if you mean that one".to_owned())));
    }
    let agent = agent.map(|(path, _)| path);
    let bottle = catalogue.bottle_path(name).filter(|_| wanted(ManifestKind::Bottle));
    let (kind, path) = match (agent, bottle) {
        (Some(path), None) => (ManifestKind::Agent, path),
        (None, Some(path)) => (ManifestKind::Bottle, path),
        (Some(_), Some(_)) => {
            let what = format!("there is an agent `{name}` and a bottle `{name}`");
            return Err(Failure::new(
                what,
                Some(format!("`edit --kind agent {name}`, or `edit --kind bottle {name}`")),
            ));
        }
        (None, None) => {
            let what = format!("there is no agent or bottle `{}`", name.escape_debug());
            return Err(Failure::new(what, Some(choices(catalogue, kind, name))));
        }
    };
    Ok(Target { kind, name: name.to_owned(), path })
}

fn choices(catalogue: &Catalogue, kind: Option<ManifestKind>, name: &str) -> String {
    let agents = catalogue.agent_names().filter(|_| kind != Some(ManifestKind::Bottle));
    let bottles = catalogue.bottle_names().filter(|_| kind != Some(ManifestKind::Agent));
    let mut names: Vec<_> = agents.chain(bottles).map(Name::as_str).collect();
    names.sort_unstable();
    names.dedup();
    if names.is_empty() {
        return "there are none yet: `bottle-vmm init` makes the first".to_owned();
    }
    let near = nearest(name, &names).map(|near| format!("did you mean `{near}`? ")).unwrap_or_default();
    format!("{near}{}", there_are(&names))
}

/// A private copy whose ending tells the editor what it is, where it outlives a boot and nobody else looks.
fn copy(target: &Target, text: &[u8], drafts: &Path) -> io::Result<Draft> {
    let new = || {
        DirBuilder::new().recursive(true).mode(0o700).create(drafts)?;
        let private = Permissions::from_mode(0o700);
        tempfile::Builder::new().prefix(&format!("{}-", target.name)).permissions(private).tempdir_in(drafts)
    };
    // Another `edit` that ends takes the empty directory with it, at this moment maybe.
    let directory = new().or_else(|error| if error.kind() == io::ErrorKind::NotFound { new() } else { Err(error) })?;
    let path = directory.path().join(format!("{}.md", target.name));
    let mut copy = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
    copy.write_all(text)?;
    Ok(Draft { directory, path })
}

/// What is wrong beyond the text is said, and does not keep it from being written.
fn check(catalogue: &Catalogue, target: &Target, path: &Path, text: &[u8]) -> Result<(), CatalogueError> {
    match target.kind {
        ManifestKind::Bottle => {
            if let Some(error) = catalogue.check_bottle(&target.name, path, text)? {
                report::error(&CatalogueError::from(error).into());
            }
        }
        ManifestKind::Agent => {
            catalogue.check_agent(path, text)?;
        }
    }
    Ok(())
}

/// Puts the text in the file's place at once, or not at all; a link stays one, its target is replaced.
fn replace(target: &Target, before: &[u8], text: &[u8], copy: Draft) -> Result<ExitCode, Failure> {
    let written = || -> io::Result<bool> {
        let path = target.path.canonicalize()?;
        if fs::read(&path)? != before {
            return Ok(false);
        }
        let mut new = NamedTempFile::new_in(path.parent().unwrap_or(Path::new("/")))?;
        new.write_all(text)?;
        new.as_file().set_permissions(fs::metadata(&path)?.permissions())?;
        new.as_file().sync_all()?;
        new.persist(&path)?;
        Ok(true)
    };
    match written() {
        Ok(true) => said(&format!("`{}` is written", target.path.display())),
        Ok(false) => Err(kept(target, copy, "somebody else changed the file in the meantime")),
        Err(error) => Err(kept(target, copy, &format!("it cannot be written: {error}"))),
    }
}

/// The text outlives the program where it does not become the file.
fn kept(target: &Target, copy: Draft, why: &str) -> Failure {
    let what = format!("`{}` stays as it was: {why}", target.path.display());
    let _kept = copy.directory.keep();
    Failure::new(what, Some(format!("what you wrote is kept in `{}`", copy.path.display())))
}

fn cannot(what: &str, path: &Path, error: &io::Error) -> Failure {
    let hint = "is the directory yours to write? BOT_BOTTLE_HOME can name another".to_owned();
    Failure::new(format!("cannot {what} `{}`: {error}", path.display()), Some(hint))
}
