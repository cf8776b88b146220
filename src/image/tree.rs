//! A file tree without its contents: what layers are merged into and what the EROFS writer lays out.
//!
//! Law: data and lookups only; no I/O. It lives in one arena, so a hostile depth or a million siblings cost memory in
//! proportion (bounded by `Limits`) and never stack. No path of it ever reaches the host: nothing here can escape.

use std::collections::BTreeMap;

/// A name inside a directory may not be longer (`EROFS_NAME_LEN`, `NAME_MAX`).
pub(crate) const NAME_MAX: usize = 255;

const SET_GROUP_ID: u16 = 0o2000;

/// Linux gives up on a path after this many symbolic links (path_resolution(7)).
const SYMLINK_HOPS: usize = 40;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct InodeId(u32);

impl InodeId {
    pub(crate) const ROOT: Self = Self(0);

    pub(crate) fn index(self) -> usize {
        self.0 as usize
    }
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Time {
    pub(crate) seconds: i64,
    pub(crate) nanoseconds: u32,
}

/// Name and value, sorted by name, no name twice.
pub(crate) type Xattrs = Box<[(Box<[u8]>, Box<[u8]>)]>;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Meta {
    /// Permission bits with setuid, setgid and sticky (07777); the file type is the inode's kind.
    pub(crate) mode: u16,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) mtime: Time,
    pub(crate) xattrs: Xattrs,
}

impl Meta {
    /// Of a root that no archive lists.
    pub(crate) fn implied_root() -> Self {
        Self { mode: 0o755, ..Self::default() }
    }

    /// Of a directory in a `parent` of these properties that an archive takes for granted without listing it: as mkdir(2)
    /// makes it, which passes set-group-ID and the group on.
    fn implied_directory(parent: &Self) -> Self {
        let inherited = parent.mode & SET_GROUP_ID;
        Self { mode: 0o755 | inherited, gid: if inherited == 0 { 0 } else { parent.gid }, ..Self::default() }
    }
}

/// Where a file's bytes are to be found: a meaning that only the `Contents` the tree was built from knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ContentId {
    pub(crate) source: u32,
    pub(crate) index: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Device {
    pub(crate) major: u32,
    pub(crate) minor: u32,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    File { size: u64, content: ContentId },
    Directory(BTreeMap<Box<[u8]>, InodeId>),
    Symlink(Box<[u8]>),
    CharDevice(Device),
    BlockDevice(Device),
    Fifo,
    Socket,
}

impl Kind {
    pub(crate) fn empty_directory() -> Self {
        Self::Directory(BTreeMap::new())
    }

    pub(crate) fn is_directory(&self) -> bool {
        matches!(self, Self::Directory(_))
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Inode {
    pub(crate) meta: Meta,
    pub(crate) kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TreeError {
    #[error("more than {SYMLINK_HOPS} symbolic links on the way")]
    SymlinkLoop,
    #[error("a name is longer than {NAME_MAX} bytes")]
    NameTooLong,
    #[error("more entries than an image may have")]
    TooManyInodes,
    #[error("too many directories and symbolic links on all ways together")]
    TooManySteps,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tree {
    inodes: Vec<Inode>,
    max_inodes: u32,
    /// Directories that may still be made without being listed.
    implied: u64,
    /// Names that may still be on ways.
    steps: u64,
}

impl Tree {
    pub(crate) fn new(max_inodes: u32) -> Self {
        let root = Inode { meta: Meta::implied_root(), kind: Kind::empty_directory() };
        Self { inodes: vec![root], max_inodes, implied: u64::MAX, steps: u64::MAX }
    }

    /// Lets no more directories be made on the ways to other things: they take room that no entry stands for.
    pub(crate) fn with_implied(self, implied: u64) -> Self {
        Self { implied, ..self }
    }

    /// Lets no more names be on all ways together: forty links of two thousand names each may be on each of a million.
    pub(crate) fn with_steps(self, steps: u64) -> Self {
        Self { steps, ..self }
    }

    pub(crate) fn get(&self, id: InodeId) -> &Inode {
        &self.inodes[id.index()]
    }

    pub(crate) fn get_mut(&mut self, id: InodeId) -> &mut Inode {
        &mut self.inodes[id.index()]
    }

    /// Inodes ever added, those no longer reachable from the root included: the length of tables by `InodeId::index`.
    pub(crate) fn arena_len(&self) -> usize {
        self.inodes.len()
    }

    pub(crate) fn add(&mut self, inode: Inode) -> Result<InodeId, TreeError> {
        let id = u32::try_from(self.inodes.len()).ok().filter(|&id| id < self.max_inodes);
        let id = InodeId(id.ok_or(TreeError::TooManyInodes)?);
        self.inodes.push(inode);
        Ok(id)
    }

    pub(crate) fn children(&self, id: InodeId) -> Option<&BTreeMap<Box<[u8]>, InodeId>> {
        match &self.get(id).kind {
            Kind::Directory(children) => Some(children),
            _ => None,
        }
    }

    pub(crate) fn children_mut(&mut self, id: InodeId) -> Option<&mut BTreeMap<Box<[u8]>, InodeId>> {
        match &mut self.get_mut(id).kind {
            Kind::Directory(children) => Some(children),
            _ => None,
        }
    }

    pub(crate) fn child(&self, directory: InodeId, name: &[u8]) -> Option<InodeId> {
        self.children(directory)?.get(name).copied()
    }

    /// Makes `name` in `directory` mean `child`, whatever it meant before.
    pub(crate) fn link(&mut self, directory: InodeId, name: &[u8], child: InodeId) -> Result<(), TreeError> {
        if name.len() > NAME_MAX {
            return Err(TreeError::NameTooLong);
        }
        if let Some(children) = self.children_mut(directory) {
            children.insert(name.into(), child);
        }
        Ok(())
    }

    /// The directory that `components` lead to, symbolic links followed as a process in the root would follow them
    /// (`..` of the root is the root). `None` if there is none.
    pub(crate) fn find_directory(&mut self, components: &[&[u8]]) -> Result<Option<InodeId>, TreeError> {
        let mut walk = Walk::new(self.steps);
        let found = walk.insert(components.iter().copied()).and_then(|()| self.find(&mut walk));
        self.steps = walk.steps;
        found
    }

    fn find(&self, walk: &mut Walk) -> Result<Option<InodeId>, TreeError> {
        while let Some(name) = walk.next_name() {
            let Some(child) = self.child(walk.here(), &name) else { return Ok(None) };
            match &self.get(child).kind {
                Kind::Directory(_) => walk.enter(child),
                Kind::Symlink(target) => walk.follow(target)?,
                _ => return Ok(None),
            }
        }
        Ok(Some(walk.here()))
    }

    /// Like `find_directory`, but what is missing is made, and what is in the way without being a directory or a link
    /// to one gives way to a directory, as it does in an overlay mount of the layers.
    pub(crate) fn make_directory(&mut self, components: &[&[u8]]) -> Result<InodeId, TreeError> {
        self.make(components, InTheWay::Replaced)
    }

    /// Like `make_directory`, but nothing gives way: the path ends there, and nothing is made.
    pub(crate) fn make_if_missing(&mut self, components: &[&[u8]]) -> Result<(), TreeError> {
        self.make(components, InTheWay::Kept).map(drop)
    }

    fn make(&mut self, components: &[&[u8]], in_the_way: InTheWay) -> Result<InodeId, TreeError> {
        let mut walk = Walk::new(self.steps);
        walk.insert(components.iter().copied())?;
        while let Some(name) = walk.next_name() {
            let child = self.child(walk.here(), &name);
            match child.map(|child| (child, &self.get(child).kind)) {
                Some((child, Kind::Directory(_))) => walk.enter(child),
                Some((_, Kind::Symlink(target))) => walk.follow(target)?,
                Some(_) if in_the_way == InTheWay::Kept => break,
                _ => {
                    self.implied = self.implied.checked_sub(1).ok_or(TreeError::TooManyInodes)?;
                    let meta = Meta::implied_directory(&self.get(walk.here()).meta);
                    let made = self.add(Inode { meta, kind: Kind::empty_directory() })?;
                    self.link(walk.here(), &name, made)?;
                    walk.enter(made);
                }
            }
        }
        self.steps = walk.steps;
        Ok(walk.here())
    }

    /// Every inode that can be reached, once, the children of a directory side by side and in name order, with the
    /// directory it was met in first. The order in which the image stores them: deterministic, and near to how
    /// directories are read.
    pub(crate) fn breadth_first(&self) -> Vec<(InodeId, InodeId)> {
        let mut seen = vec![false; self.inodes.len()];
        let mut order = vec![(InodeId::ROOT, InodeId::ROOT)];
        seen[InodeId::ROOT.index()] = true;
        let mut next = 0;
        while let Some(&(directory, _)) = order.get(next) {
            next += 1;
            let Some(children) = self.children(directory) else { continue };
            for &child in children.values() {
                if !std::mem::replace(&mut seen[child.index()], true) {
                    order.push((child, directory));
                }
            }
        }
        order
    }
}

/// What is where a directory is to be made, and is none.
#[derive(Clone, Copy, PartialEq, Eq)]
enum InTheWay {
    Replaced,
    Kept,
}

/// A position on the way through a tree: the directories passed, and the names still to go (last first).
struct Walk {
    trail: Vec<InodeId>,
    ahead: Vec<Box<[u8]>>,
    hops: usize,
    /// Names that may still be put ahead.
    steps: u64,
}

impl Walk {
    fn new(steps: u64) -> Self {
        Self { trail: vec![InodeId::ROOT], ahead: Vec::new(), hops: 0, steps }
    }

    /// Puts names before those still to go. Here they cost something, and so they are counted here, whether the way comes to them or not.
    fn insert<'n>(&mut self, names: impl DoubleEndedIterator<Item = &'n [u8]> + Clone) -> Result<(), TreeError> {
        let left = self.steps.checked_sub(names.clone().count() as u64);
        self.steps = left.unwrap_or(0);
        left.ok_or(TreeError::TooManySteps)?;
        self.ahead.extend(names.rev().map(Into::into));
        Ok(())
    }

    fn here(&self) -> InodeId {
        self.trail.last().copied().unwrap_or(InodeId::ROOT)
    }

    fn next_name(&mut self) -> Option<Box<[u8]>> {
        while let Some(name) = self.ahead.pop() {
            match &*name {
                b"" | b"." => {}
                b".." => {
                    self.trail.pop();
                }
                _ => return Some(name),
            }
        }
        None
    }

    fn enter(&mut self, directory: InodeId) {
        self.trail.push(directory);
    }

    fn follow(&mut self, target: &[u8]) -> Result<(), TreeError> {
        self.hops += 1;
        if self.hops > SYMLINK_HOPS {
            return Err(TreeError::SymlinkLoop);
        }
        if target.first() == Some(&b'/') {
            self.trail.clear();
        }
        self.insert(target.split(|&byte| byte == b'/'))
    }
}
