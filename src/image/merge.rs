//! Layers on top of one another: whiteouts, replaced types, hard links. Law: pure; a tree and a list of entries in.
//!
//! The result is what unpacking the layers one after the other into a `chroot` would leave, as docker and umoci do.
//! Paths are relative to the root whatever they look like; a parent that is a symbolic link is followed inside the root,
//! so `a -> /etc` and then `a/x` makes the *guest's* `/etc/x`. Source: OCI image-spec, layer.md, "Applying Changesets".

use std::collections::{BTreeSet, HashMap};

use super::attributes::is_storable;
use super::erofs::{device_fits, xattrs_fit};
use super::error::beginning;
use super::layer::LayerError;
use super::tar::{Entry, EntryKind};
use super::tree::{ContentId, Inode, InodeId, Kind, Meta, NAME_MAX, Tree, TreeError};

/// `.wh.name` hides what lower layers have as `name`.
const WHITEOUT: &[u8] = b".wh.";
/// Hides all that lower layers have in this directory.
const OPAQUE: &[u8] = b".wh..wh..opq";
/// Other names with this prefix are AUFS's own book-keeping.
const RESERVED: &[u8] = b".wh..wh.";

/// `PATH_MAX` with its NUL: no system call takes a longer path, so nobody can have unpacked one.
pub(super) const PATH_MAX: usize = 4095;
/// Of symlink(2), too.
const SYMLINK_MAX: usize = PATH_MAX;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EntryError {
    #[error("climbs out of the image by `..`")]
    Escapes,
    #[error("has a name of more than {NAME_MAX} bytes")]
    NameTooLong,
    #[error("has a NUL in its name or target")]
    Nul,
    #[error("is the root of the image, but no directory")]
    RootIsNoDirectory,
    #[error("is a symbolic link of no or more than {SYMLINK_MAX} bytes")]
    SymlinkLength,
    #[error("passes through a loop of symbolic links")]
    SymlinkLoop,
    #[error("is a hard link to `{}`, which does not exist at this point", beginning(target))]
    LinkTargetMissing { target: String },
    #[error("is a hard link to `{}`, which {why}", beginning(target))]
    LinkTarget { target: String, why: Box<EntryError> },
    #[error("is a hard link to the directory `{}`", beginning(target))]
    LinkToDirectory { target: String },
    #[error("has over 256 KiB of extended attributes, which EROFS has no room for")]
    Attributes,
    #[error("is one more than an image may have")]
    TooMany,
    #[error("is too far behind directories and symbolic links, with all entries before it")]
    TooFar,
    #[error("has a path of more than {PATH_MAX} bytes")]
    PathTooLong,
    #[error("is device {major}:{minor}, and Linux has none beyond 4095:1048575")]
    Device { major: u32, minor: u32 },
}

impl From<TreeError> for EntryError {
    fn from(error: TreeError) -> Self {
        match error {
            TreeError::SymlinkLoop => Self::SymlinkLoop,
            TreeError::NameTooLong => Self::NameTooLong,
            TreeError::TooManyInodes => Self::TooMany,
            TreeError::TooManySteps => Self::TooFar,
        }
    }
}

/// Puts layer number `layer` on top of what is in `tree`.
pub(crate) fn apply(tree: &mut Tree, layer: u32, entries: Vec<Entry>) -> Result<(), LayerError> {
    // A layer may link to a file that it hides: docker takes the link if it comes before the whiteout.
    let lower: HashMap<u32, InodeId> = (0..)
        .zip(&entries)
        .filter_map(|(index, entry)| match &entry.kind {
            EntryKind::HardLink(target) => Some((index, link_target(tree, target).ok()?)),
            _ => None,
        })
        .collect();
    // Whiteouts are of lower layers only, wherever in the stream they stand; so they go first.
    let mut fresh = Fresh::default();
    for entry in &entries {
        if entry.kind == EntryKind::Directory
            && let Some(names) = replaced(tree, &entry.path).map_err(|source| failed(&entry.path, source))?
        {
            fresh.insert(&names);
        }
        // Whatever its type, as with docker and umoci.
        hide(tree, &entry.path, &fresh).map_err(|source| failed(&entry.path, source))?;
    }
    for (index, entry) in (0..).zip(entries) {
        let content = ContentId { source: layer, index };
        let path = entry.path.clone();
        add(tree, entry, content, lower.get(&index).copied()).map_err(|source| failed(&path, source))?;
    }
    Ok(())
}

/// The path of a directory that the layer puts where something else was. Whiteouts below it, if they come after it, hide nothing of
/// lower layers: where a link that was there led is none of their business. Those before it still go through the link, as with docker.
fn replaced<'p>(tree: &mut Tree, path: &'p [u8]) -> Result<Option<Vec<Name<'p>>>, EntryError> {
    let Ok(names) = components(path) else { return Ok(None) };
    let Some((&name, parents)) = names.split_last() else { return Ok(None) };
    let parent = match tree.find_directory(parents) {
        Err(TreeError::TooManySteps) => return Err(EntryError::TooFar),
        // It will be said of the entry itself, unless a directory takes the place of what is wrong.
        found => found.ok().flatten(),
    };
    let there = parent.and_then(|parent| tree.child(parent, name));
    Ok(there.is_some_and(|there| !tree.get(there).kind.is_directory()).then_some(names))
}

/// Paths of directories that a layer puts where something else was. Names are joined by NUL, which is in none of them and comes before
/// all else; and no path is in here that is below another one. So the one that a path is below, if any, is the last one before it.
#[derive(Default)]
struct Fresh(BTreeSet<Vec<u8>>);

impl Fresh {
    fn insert(&mut self, names: &[Name<'_>]) {
        if self.has_above(names) {
            return;
        }
        let path = names.join(&0);
        let below = |other: &Vec<u8>| other.strip_prefix(&*path).is_some_and(|rest| rest.first() == Some(&0));
        while let Some(other) = self.0.range(path.clone()..).next().filter(|other| below(other)).cloned() {
            self.0.remove(&other);
        }
        self.0.insert(path);
    }

    /// Is this path one of them, or below one?
    fn has_above(&self, names: &[Name<'_>]) -> bool {
        if self.0.is_empty() {
            return false;
        }
        let path = names.join(&0);
        let before = self.0.range(..=path.clone()).next_back();
        before
            .and_then(|before| path.strip_prefix(&**before))
            .is_some_and(|rest| matches!(rest.first(), None | Some(0)))
    }
}

fn failed(path: &[u8], source: EntryError) -> LayerError {
    LayerError::Entry { entry: String::from_utf8_lossy(path).into_owned(), source }
}

/// The names of a path, `.` and `..` resolved as text, as docker does it before anything is looked up.
fn components(path: &[u8]) -> Result<Vec<&[u8]>, EntryError> {
    if path.len() > PATH_MAX {
        return Err(EntryError::PathTooLong);
    }
    let mut names = Vec::new();
    for name in path.split(|&byte| byte == b'/') {
        match name {
            b"" | b"." => {}
            b".." => {
                names.pop().ok_or(EntryError::Escapes)?;
            }
            _ if name.contains(&0) => return Err(EntryError::Nul),
            _ if name.len() > NAME_MAX => return Err(EntryError::NameTooLong),
            _ => names.push(name),
        }
    }
    Ok(names)
}

fn is_whiteout(path: &[Name<'_>]) -> bool {
    path.last().is_some_and(|name| name.starts_with(WHITEOUT))
}

type Name<'a> = &'a [u8];

fn hide(tree: &mut Tree, path: &[u8], fresh: &Fresh) -> Result<(), EntryError> {
    let names = components(path)?;
    let Some((&name, parents)) = names.split_last() else { return Ok(()) };
    let Some(hidden) = name.strip_prefix(WHITEOUT) else { return Ok(()) };
    if fresh.has_above(parents) {
        return Ok(());
    }
    let Some(directory) = tree.find_directory(parents)? else { return Ok(()) };
    let Some(children) = tree.children_mut(directory) else { return Ok(()) };
    if name == OPAQUE {
        children.clear();
    } else if !name.starts_with(RESERVED) {
        children.remove(hidden);
    }
    Ok(())
}

/// `lower` is what a hard link would be to if the layer hid nothing.
fn add(tree: &mut Tree, entry: Entry, content: ContentId, lower: Option<InodeId>) -> Result<(), EntryError> {
    let Entry { path, meta, kind } = entry;
    let names = components(&path)?;
    if is_whiteout(&names) {
        return Ok(());
    }
    let mut meta = storable(meta);
    if !xattrs_fit(&meta.xattrs) {
        return Err(EntryError::Attributes);
    }
    let Some((&name, parents)) = names.split_last() else {
        if kind != EntryKind::Directory {
            return Err(EntryError::RootIsNoDirectory);
        }
        tree.get_mut(InodeId::ROOT).meta = meta;
        return Ok(());
    };
    let kind = match kind {
        EntryKind::Directory => {
            let directory = tree.make_directory(parents)?;
            return add_directory(tree, directory, name, meta);
        }
        EntryKind::HardLink(target) => {
            // Before the parents: one of them may be what it links to, and give way. The arena forgets nothing.
            let target = link_target(tree, &target).or_else(|error| lower.ok_or(error))?;
            let directory = tree.make_directory(parents)?;
            return Ok(tree.link(directory, name, target)?);
        }
        EntryKind::Symlink(target) => {
            // What Linux has them be, whatever an archive says (symlink(7)).
            meta.mode = 0o777;
            Kind::Symlink(symlink_target(target)?)
        }
        EntryKind::File { size } => Kind::File { size, content },
        EntryKind::CharDevice(device) | EntryKind::BlockDevice(device) if !device_fits(device) => {
            return Err(EntryError::Device { major: device.major, minor: device.minor });
        }
        EntryKind::CharDevice(device) => Kind::CharDevice(device),
        EntryKind::BlockDevice(device) => Kind::BlockDevice(device),
        EntryKind::Fifo => Kind::Fifo,
    };
    let directory = tree.make_directory(parents)?;
    let inode = tree.add(Inode { meta, kind })?;
    Ok(tree.link(directory, name, inode)?)
}

/// A directory that is there when the image runs. Where a layer has something else in its place, or on the way, that stays.
pub(crate) fn add_volume(tree: &mut Tree, path: &[u8]) -> Result<(), EntryError> {
    Ok(tree.make_if_missing(&components(path)?)?)
}

/// A directory over a directory changes what it is, not what it holds. Over anything else it takes its place.
fn add_directory(tree: &mut Tree, parent: InodeId, name: Name<'_>, meta: Meta) -> Result<(), EntryError> {
    match tree.child(parent, name).filter(|&child| tree.get(child).kind.is_directory()) {
        Some(there) => tree.get_mut(there).meta = meta,
        None => {
            let made = tree.add(Inode { meta, kind: Kind::empty_directory() })?;
            tree.link(parent, name, made)?;
        }
    }
    Ok(())
}

/// The last component is not followed: a hard link may be to a symbolic link.
fn link_target(tree: &mut Tree, path: &[u8]) -> Result<InodeId, EntryError> {
    let shown = || String::from_utf8_lossy(path).into_owned();
    let names = components(path).map_err(|why| EntryError::LinkTarget { target: shown(), why: Box::new(why) })?;
    let Some((&name, parents)) = names.split_last() else {
        return Err(EntryError::LinkToDirectory { target: shown() });
    };
    let target = tree.find_directory(parents)?.and_then(|directory| tree.child(directory, name));
    let target = target.ok_or_else(|| EntryError::LinkTargetMissing { target: shown() })?;
    if tree.get(target).kind.is_directory() {
        return Err(EntryError::LinkToDirectory { target: shown() });
    }
    Ok(target)
}

fn symlink_target(target: Vec<u8>) -> Result<Box<[u8]>, EntryError> {
    if target.contains(&0) {
        return Err(EntryError::Nul);
    }
    if target.is_empty() || target.len() > SYMLINK_MAX {
        return Err(EntryError::SymlinkLength);
    }
    Ok(target.into())
}

fn storable(mut meta: Meta) -> Meta {
    if meta.xattrs.iter().any(|(name, value)| !is_storable(name, value)) {
        meta.xattrs = meta.xattrs.into_iter().filter(|(name, value)| is_storable(name, value)).collect();
    }
    meta
}

#[cfg(test)]
#[path = "merge_test.rs"]
mod tests;
